"""Executing notebooks and building the book: what is skipped, what a failure leaves behind, what the pages say."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml

from predact.build import book, execute, pages
from predact.errors import UserError

ROOT = Path(__file__).parents[2]
PARAMETERS = """\
seed: int = 0  # seed of all that is random
n: int = 3  # how many
texts: list[str] = []  # files
name: str = ""  # empty unless given
store: str = "_build/store"  # folder of results"""
COMPUTE = """\
import pandas as pd
from predact import notebook, store as keep
root = notebook.start(globals())
keep.frame(root, "toy", {"n": n, "seed": seed}, lambda: pd.DataFrame({"x": range(n)}))"""


def write_notebook(path, *sources, title="A chapter"):
    cells = [nbformat.v4.new_markdown_cell(f"# {title}"), *map(nbformat.v4.new_code_cell, sources)]
    cells[1].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The repository's prose and settings, with a toy in the place of every notebook."""
    project = tmp_path_factory.mktemp("project")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy(ROOT / name, project)
    shutil.copytree(ROOT / "book", project / "book")
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    for name in (chapter["file"] for part in parts for chapter in part["chapters"]):
        if name.startswith("notebooks/"):
            write_notebook(project / f"{name}.ipynb", PARAMETERS, COMPUTE, "notebook.provenance()", title=name)
    return project


@pytest.fixture(scope="module")
def chapter(project):
    return execute.find(project)[0]


def run(project, chapter, **words):
    work = execute.plan([chapter], {}, {name: str(word) for name, word in words.items()})
    return next(execute.run(project, project / "out", work))


@pytest.fixture(scope="module")
def built(project):
    work = execute.plan(execute.find(project), {"seed": "0"}, {})
    runs = list(execute.run(project, project / "out", work))
    return runs, book.build(project, project / "out", project / "_build/store", "pocket")


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
    assert (project / "out/html/book/index.html").read_text().count("not yet run") == 9
    assert all(path.stem in (project / "out/html/book/status.html").read_text() for path in execute.find(project))
    text = pages.status(sorted((project / "out/notebooks").glob("*.ipynb")))
    assert "| name | `''` |" in text, "an empty text is not raw markup"
    assert "| toy | `n 3, seed 0` |" in text and "| n | `3` |" in text and "torch 2." in text


def test_nothing_changed_nothing_executed(project, built, chapter):
    assert not run(project, chapter).executed


def test_a_lost_result_is_made_again(project, built, chapter):
    for path in (project / "_build/store/toy").iterdir():
        path.unlink()
    assert run(project, chapter).executed


def test_a_changed_text_or_parameter_counts_as_a_change(project, built, chapter):
    def key(**injected):
        return execute._key(project, chapter, injected)

    text = project / "text.txt"
    text.write_text("one")
    before = key(texts=["text.txt"])
    assert key(texts=["text.txt"]) == before
    text.write_text("longer")
    assert len({before, key(texts=["text.txt"]), key(), key(n=4)}) == 4


def test_failing_notebook_leaves_the_book_as_it_was(project, built, chapter):
    source, executed = chapter.read_text(), project / "out/notebooks" / chapter.name
    before = executed.read_bytes()
    write_notebook(chapter, PARAMETERS, COMPUTE, "1 / 0")
    try:
        with pytest.raises(execute.Failed) as caught:
            run(project, chapter)
    finally:
        chapter.write_text(source)
    assert str(caught.value).startswith(f"{chapter.stem} failed in cell 3: ZeroDivisionError: division by zero (see ")
    assert "\n" not in str(caught.value)
    assert executed.read_bytes() == before and built[1].exists()
    assert (project / "out/failed" / chapter.name).exists()


def test_a_mistake_of_the_user_leaves_nothing_behind(project, chapter, tmp_path):
    source = chapter.read_text()
    write_notebook(chapter, PARAMETERS, "from predact.errors import UserError\nraise UserError('n: too many.')")
    try:
        with pytest.raises(UserError, match="^n: too many.$"):
            next(execute.run(project, tmp_path / "out", {chapter: {}}))
    finally:
        chapter.write_text(source)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="^out: cannot make .*file/notebooks"):
        next(execute.run(project, tmp_path / "file", {chapter: {}}))


@pytest.mark.parametrize("code, why", [("import os; os._exit(1)", "Kernel died"), ("while True: pass", "timed out")])
def test_dead_or_endless_kernel_is_one_line(project, chapter, monkeypatch, code, why):
    source = chapter.read_text()
    monkeypatch.setattr(execute, "CELL_TIMEOUT", 1)
    write_notebook(chapter, PARAMETERS, code)
    try:
        with pytest.raises(execute.Failed, match=f"{chapter.stem} failed: .*{why}") as caught:
            run(project, chapter)
    finally:
        chapter.write_text(source)
    assert "\n" not in str(caught.value)


def test_papermill_with_an_unknown_parameter_is_an_error(project, chapter, tmp_path):
    command = [sys.executable, "-m", "papermill", chapter, tmp_path / "out.ipynb", "-p", "sede", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=project)
    assert done.returncode != 0
    assert "UserError: sede: no such parameter, did you mean 'seed'?" in done.stderr
    cells = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    errors = [output for cell in cells for output in cell.get("outputs", []) if output["output_type"] == "error"]
    assert [len(error["traceback"]) for error in errors] == [1]


def test_a_warning_fails_the_build_and_is_not_forgotten_by_the_next(project, built):
    page = project / "book/teach.md"
    text, before = page.read_text(), built[1].stat().st_mtime_ns
    page.write_text(text + "\n{doc}`nowhere`\n")
    try:
        for _ in range(2):
            with pytest.raises(execute.Failed, match="book/teach.md:.*unknown document.*nowhere"):
                book.build(project, project / "out", project / "_build/store", "pocket")
    finally:
        page.write_text(text)
    assert built[1].stat().st_mtime_ns == before


def test_unknown_names_are_refused_before_anything_runs(project, chapter, tmp_path):
    with pytest.raises(UserError, match="sede: no such parameter, did you mean 'seed'?"):
        execute.plan([chapter], {}, {"sede": "1"})
    with pytest.raises(UserError, match="only: no notebook begins with '99'"):
        execute.find(project, "99")
    with pytest.raises(UserError, match="no book here"):
        execute.find(tmp_path)


def test_scorecard_page():
    row = {"id": "C1", "claim": "…", "verdict": "holds", "unit": "perplexity ratio", "pair": "a|b`c", "n": 1200}
    row |= {"estimate": 1.41234, "low": 1.38, "high": None}
    text = pages.scorecard([row], row["pair"], ["02_world_modeling"])
    assert "for the pair `a\\|b'c`" in text
    assert "| [C1](../notebooks/02_world_modeling.ipynb) |" in text
    assert "{bdg-success}`holds` | 1.412 [1.380, –] perplexity ratio, n = 1,200 |" in text
    assert "| C3 |" in text and text.count("not yet run") == 8


def test_the_table_of_all_pairs():
    row = {"id": "C1", "verdict": "holds", "unit": "ratio <b>", "estimate": 1.41234, "low": 1.38, "high": 1.5}
    rows = [row | {"pair": name} for name in ("a", "mine=org/a::org/<b>")]
    rows.append(row | {"id": "C9", "pair": "a", "verdict": "undecided", "estimate": None, "low": None, "high": None})
    text = pages.pairs(rows, "mine=org/a::org/<b>")
    assert text.startswith("```{raw} html\n") and text.index(">mine<") < text.index(">a<"), "the book's own pair first"
    assert '<td class="holds"><b>1.412</b> <span>[1.380, 1.500]</span><i>holds</i></td>' in text
    assert "ratio &lt;b&gt;" in text and text.count("<td>–</td>") == 2 * 9 - 3
    assert '<td class="undecided"><b>–</b>' in text
    assert "1.412" not in pages.pairs(rows, "a", numbers=False) and "holds" in pages.pairs(rows, "a", numbers=False)
