"""The built book as one PDF: Chromium prints its pages in their order, and pypdf joins them."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import yaml
from tqdm import tqdm

from predact.build.execute import Failed
from predact.errors import UserError
from predact.store import write

BROWSERS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
DRAWN = (
    60_000  # milliseconds of the page's own clock, which runs faster than ours: until figures and formulas are drawn
)
PATIENCE = 600  # seconds for one page


def make(out: Path) -> Path:
    """Print the pages of a built book, and return the path of the PDF, `out`/book.pdf.

    Links between pages lead to places in the PDF; the outline has the title of every page.

    Args:
        out: folder of the book, in which `book.build` has left `html` and `_toc.yml`.

    Raises:
        UserError: there is no built book, no browser of the Chromium family, or no pypdf.
        Failed: the browser has not printed a page.
    """
    if not (out / "html" / "index.html").exists():
        raise UserError(f"out: no built book in {out}; build it first with `predact book`.")
    try:
        import pypdf  # noqa: F401
    except ImportError:
        raise UserError("pdf: pypdf is missing; `make pdf` installs it, or `pip install pypdf`.") from None
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise UserError(
            "pdf: no Chromium found (or Chrome, Edge), which prints the pages; install one, such as chromium."
        )
    toc = yaml.safe_load((out / "_toc.yml").read_text(encoding="utf-8"))
    names = [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]
    pages = [(out / "html" / f"{name}.html").resolve() for name in names]
    bar = tqdm(pages, desc="printing", unit="page", leave=False, disable=None)
    write(out / "book.pdf", joined({page: printed(browser, page) for page in bar}), "out")
    return out / "book.pdf"


def printed(browser: str, page: Path) -> bytes:
    """Return a page as PDF, with all that it folds unfolded; nothing is loaded from elsewhere.

    Raises:
        Failed: there is none.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        target = Path(folder, "page.pdf")
        command = [
            browser,
            "--headless=new",
            "--disable-gpu",
            "--no-first-run",
            "--no-pdf-header-footer",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--user-data-dir={folder}/profile",
            f"--virtual-time-budget={DRAWN}",
            f"--print-to-pdf={target}",
            *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []),  # root has no sandbox
            f"{page.as_uri()}?print",
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f"pdf: the browser has not printed {page.name} within {PATIENCE} seconds.") from None
        if not target.exists():
            why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise Failed(f"pdf: the browser has not printed {page.name}: {why}")
        return target.read_bytes()


def joined(parts: Mapping[Path, bytes]) -> bytes:
    """Return the PDFs of pages as one, with an outline; links between the pages lead to their first page in it."""
    from pypdf import PdfReader, PdfWriter

    writer, first = PdfWriter(), {}
    for page, data in parts.items():
        reader = PdfReader(BytesIO(data))
        first[page] = len(writer.pages)
        _name_places(reader)
        title = (reader.metadata and reader.metadata.title or page.stem).partition(" — ")[0]
        writer.append(reader, outline_item=title, import_outline=False)
    for sheet in writer.pages:
        for link in sheet.get("/Annots", []):
            _lead(link.get_object(), writer, first)
    made = BytesIO()
    writer.write(made)
    return made.getvalue()


def _name_places(reader: Any) -> None:
    """Let links within a page name their places by sheet, not by a name, which other pages may have, too."""
    from pypdf.generic import NameObject

    known = reader.named_destinations
    for sheet in reader.pages:
        for link in sheet.get("/Annots", []):
            each = link.get_object()
            if isinstance(each.get("/Dest"), str) and each["/Dest"] in known:
                each[NameObject("/Dest")] = known[each["/Dest"]].dest_array


def _lead(link: Any, writer: Any, first: Mapping[Path, int]) -> None:
    """Let a link to a file of the book lead into the PDF; one to a file that is not in it leads nowhere."""
    from pypdf.generic import ArrayObject, NameObject

    target = urlparse(str(link.get("/A", {}).get("/URI", "")))
    if target.scheme == "file":
        del link["/A"]
        place = first.get(Path(unquote(target.path)))
        if place is not None:
            link[NameObject("/Dest")] = ArrayObject([writer.pages[place].indirect_reference, NameObject("/Fit")])
