"""The PDF of a book: what is refused, and where the links of joined pages lead."""

from io import BytesIO

import pytest

from predact.build import pdf
from predact.errors import UserError

pypdf = pytest.importorskip("pypdf")


def page(title, sheets, *links):
    """A PDF of empty sheets, which begins with links: to an address, or to a named place."""
    from pypdf.annotations import Link
    from pypdf.generic import Fit, NameObject, TextStringObject

    writer = pypdf.PdfWriter()
    for _ in range(sheets):
        writer.add_blank_page(100, 100)
    writer.add_metadata({"/Title": title})
    for link in links:
        if "//" in link:
            writer.add_annotation(0, Link(rect=(0, 0, 9, 9), url=link))
        else:
            made = writer.add_annotation(0, Link(rect=(0, 0, 9, 9), target_page_index=0, fit=Fit.fit()))
            made[NameObject("/Dest")] = TextStringObject(link)
    writer.add_named_destination("exercises", sheets - 1)
    made = BytesIO()
    writer.write(made)
    return made.getvalue()


def test_links_of_joined_pages_lead_into_the_pdf_and_no_path_of_the_machine_stays(tmp_path):
    one, two, other = tmp_path / "one.html", tmp_path / "a b.html", tmp_path / "other.ipynb"
    parts = {
        one: page("One — Book", 2, f"{two.as_uri()}#part", "https://arxiv.org/abs/1", "exercises", other.as_uri()),
        two: page("Two — Book", 3, one.as_uri(), "exercises"),
    }
    made = pdf.joined(parts)
    assert tmp_path.as_uri().encode() not in made
    book = pypdf.PdfReader(BytesIO(made))
    assert [each.title for each in book.outline] == ["One", "Two"]
    assert [book.get_destination_page_number(each) for each in book.outline] == [0, 2]
    numbers = {sheet.indirect_reference.idnum: place for place, sheet in enumerate(book.pages)}

    def ends(sheet):
        for link in (each.get_object() for each in book.pages[sheet]["/Annots"]):
            yield numbers[link["/Dest"][0].idnum] if "/Dest" in link else link.get("/A", {}).get("/URI")

    assert list(ends(0)) == [2, "https://arxiv.org/abs/1", 1, None]
    assert list(ends(2)) == [0, 4], "each page's own place of that name"


def test_what_a_pdf_needs_is_told_in_one_line(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no built book in .*predact book"):
        pdf.make(tmp_path)
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "index.html").write_text("")
    monkeypatch.setattr(pdf.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="no Chromium found"):
        pdf.make(tmp_path)
