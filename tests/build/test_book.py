"""Building the book: every page is there, its prose warns of nothing, a warning fails it."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from predact.build import book, execute, pages
from predact.claims.verdict import claims
from predact.discussion import across, published
from predact.errors import UserError
from predact.store import writing
from tests.made import COMPUTE, PARAMETERS, prose, write_notebook


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The repository's prose and settings, with a toy in the place of every notebook."""
    project = tmp_path_factory.mktemp("project")
    for name in prose(project):
        write_notebook(project / f"{name}.ipynb", PARAMETERS, COMPUTE, "notebook.provenance()", title=name)
    return project


@pytest.fixture(scope="module")
def built(project):
    """Two notebooks executed, copies of one in the place of the others, and the front page."""
    first, second, *others = execute.find(project)
    runs = list(execute.run(project, project / "out", execute.plan([first, second], {"seed": "0"}, {})))
    made = (project / "out/notebooks" / first.name).read_text()
    for other in others:
        title = json.dumps(f"# notebooks/{other.stem}")[1:-1]
        (project / "out/notebooks" / other.name).write_text(made.replace(f"# notebooks/{first.stem}", title))
    return runs, book.build(project, project / "out", "pocket")


def test_the_book_is_built_and_its_prose_warns_of_nothing(project, built):
    runs, front = built
    assert front == project / "out/html/index.html"
    assert all(done.executed and done.seconds > 0 and done.warnings == "" for done in runs)
    assert "book/index.html" in front.read_text()
    toc = yaml.safe_load((project / "_toc.yml").read_text())
    for name in [toc["root"]] + [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]:
        assert (project / "out/html" / name).with_suffix(".html").exists()


def test_no_path_of_this_machine_stands_in_the_book(project, built):
    texts = [path for path in (project / "out/html").rglob("*") if path.suffix in (".html", ".ipynb", ".md", ".txt")]
    assert texts and not any(str(project) in path.read_text() for path in texts)


def test_front_page_lists_the_claims_and_status_page_the_runs(project, built):
    ours = [row for row in across.verdicts(project / published.FOLDER) if row["pair"] == "pocket"]
    lines = len(claims()) + sum(row["protocol"] == "book" for row in ours)
    assert (project / "out/html/book/index.html").read_text().count("not yet run") == lines
    assert all(path.stem in (project / "out/html/book/status.html").read_text() for path in execute.find(project))
    text = pages.status(sorted((project / "out/notebooks").glob("*.ipynb")))
    assert "<td>name</td><td><code>&#39;&#39;</code></td>" in text, "an empty text is shown"
    assert "<td>toy</td><td><code>n 3, seed 0</code></td>" in text and "torch 2." in text


def test_a_warning_fails_the_build_and_is_not_forgotten_by_the_next(project, built):
    page = project / "book/teach.md"
    text, before = page.read_text(), built[1].stat().st_mtime_ns
    page.write_text(text + "\n{doc}`nowhere`\n")
    try:
        for _ in range(2):
            with pytest.raises(execute.Failed, match="book/teach.md:.*unknown document.*nowhere"):
                book.build(project, project / "out", "pocket")
    finally:
        page.write_text(text)
    assert built[1].stat().st_mtime_ns == before


def html(folder, text):
    (folder / "sub").mkdir(parents=True)
    for name in ("index.html", "sub/page.html"):
        (folder / name).write_text(text)
    return folder


def whole(folder):
    """The one text that both pages of a book have."""
    (text,) = {(folder / name).read_text() for name in ("index.html", "sub/page.html")}
    return text


class Killed(BaseException):
    pass


def killed_at(monkeypatch, step):
    """Let the process end before a step of what changes the disk, counted from 0."""
    steps = iter(range(100))

    def stop(real):
        def wrapped(*args, **named):
            if next(steps) == step:
                raise Killed
            return real(*args, **named)

        return wrapped

    monkeypatch.setattr(shutil, "rmtree", stop(shutil.rmtree))
    monkeypatch.setattr(shutil, "copytree", stop(shutil.copytree))
    monkeypatch.setattr(Path, "rename", stop(Path.rename))
    monkeypatch.setattr(book, "_exchange", stop(book._exchange))


@pytest.mark.parametrize("step", range(8))
@pytest.mark.parametrize("at_once", [True, False])
def test_killed_at_any_moment_it_leaves_a_whole_book(tmp_path, monkeypatch, step, at_once):
    """Where folders can be exchanged at once it is always in its place, elsewhere when the next build begins."""
    target, built = html(tmp_path / "html", "old"), html(tmp_path / "built", "new")
    if at_once and not book._exchange(target, built):
        pytest.skip("this system or disk cannot exchange folders")
    if at_once:
        book._exchange(target, built)
    else:
        monkeypatch.setattr(book, "_exchange", lambda *_: False)
    ended = True
    with monkeypatch.context() as patch:
        killed_at(patch, step)
        try:
            book._publish(built, target)
        except Killed:
            ended = False
    assert ended or not at_once or whole(target) in ("old", "new")
    book._restore(target)
    assert whole(target) == "new" if ended else whole(target) in ("old", "new")
    book._publish(built, target)
    assert whole(target) == "new" and {path.name for path in tmp_path.iterdir()} == {"html", "built"}


def test_a_full_disk_is_one_line_and_leaves_the_last_book(project, built, monkeypatch):
    before = built[1].stat().st_mtime_ns

    def full(source, target):
        target.mkdir()
        raise shutil.Error([(source, target, "[Errno 28] No space left on device")] * 99)

    def rendered(_):
        monkeypatch.setattr(shutil, "copytree", full)
        return project / "out/_build/html"

    monkeypatch.setattr(book, "_render", rendered)
    with pytest.raises(UserError, match="^out: cannot write to .*/out .*No space left on device.; name a") as caught:
        book.build(project, project / "out", "pocket")
    assert len(str(caught.value)) < 300 and built[1].stat().st_mtime_ns == before
    assert not (project / "out/html.new").exists()


def test_a_disk_that_is_full_for_jupyter_book_is_one_line(tmp_path, monkeypatch):
    said = subprocess.CompletedProcess([], 1, stderr="WARNING: x\nWARNING: OSError(28, 'No space left on device')\n")
    monkeypatch.setattr(book.subprocess, "run", lambda *_, **__: said)
    with pytest.raises(UserError, match="^out: cannot write to .* .No space left on device.; name a folder") as caught:
        with writing(tmp_path, "out"):
            book._render(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_chapter_that_needs_weights_is_its_title_and_a_sentence(tmp_path):
    write_notebook(tmp_path / "notebooks/02_it.ipynb", PARAMETERS, COMPUTE, title="What it says")
    found = json.loads(book.left_out(tmp_path / "notebooks/02_it.ipynb"))
    assert ["".join(cell["source"]) for cell in found["cells"]] == [f"# What it says\n\n{book.LEFT_OUT}"]
