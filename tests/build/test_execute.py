"""Executing notebooks: what is skipped, what a failure leaves behind, what an executed one tells."""

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import nbformat
import papermill
import pytest

from predact import store
from predact.build import compared, execute, pages, standalone
from predact.claims.materials import AS_WRITTEN
from predact.errors import UserError
from predact.models import transcripts
from tests.made import COMPUTE, PARAMETERS, ROOT, executed, row, write_notebook


def run(project, chapter, **words):
    work = execute.plan([chapter], {}, {name: str(word) for name, word in words.items()})
    return next(execute.run(project, project / "out", work))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of two chapters, the second one without parameters of its own."""
    project = tmp_path_factory.mktemp("project")
    chapters = "[{file: notebooks/02_toy}, {file: book/prose}, {file: notebooks/01_bare}]"
    (project / "_toc.yml").write_text(f"format: jb-book\nroot: index\nparts:\n- chapters: {chapters}\n")
    write_notebook(project / "notebooks/02_toy.ipynb", PARAMETERS, COMPUTE, "notebook.provenance()")
    write_notebook(project / "notebooks/01_bare.ipynb", "seed: int = 0  # of all")
    return project


@pytest.fixture(scope="module")
def chapter(project):
    return project / "notebooks/02_toy.ipynb"


@pytest.fixture(scope="module")
def done(project, chapter):
    """The toy, executed once."""
    return run(project, chapter)


def test_notebooks_come_in_the_order_of_the_table_of_contents(project):
    assert [path.stem for path in execute.find(project)] == ["02_toy", "01_bare"]
    assert [path.stem for path in execute.find(project, "01")] == ["01_bare"]


def test_an_executed_notebook_tells_its_values_and_its_results(project, chapter, done):
    assert done.executed and done.name == "02_toy" and done.seconds > 0 and done.warnings == ""
    target = project / "out/notebooks/02_toy.ipynb"
    assert execute.values(target) == {"seed": 0, "n": 3, "texts": [], "name": "", "store": "_build/store"}
    (result,) = execute.results(target)
    assert result["stage"] == "toy" and result["inputs"] == {"n": 3, "seed": 0}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such sockets")
def test_a_kernel_needs_no_network_not_even_to_its_own_machine(project, tmp_path):
    source = project / "notebooks/sockets.ipynb"
    write_notebook(source, "n: int = 1", "import ipykernel\nprint(ipykernel.get_connection_info(unpack=True))")
    run(project, source)
    assert "'transport': 'ipc'" in (project / "out/notebooks/sockets.ipynb").read_text()


def test_nothing_changed_nothing_executed(project, chapter, done):
    assert not run(project, chapter).executed


def test_a_lost_result_is_made_again(project, chapter, done):
    for path in (project / "_build/store/toy").iterdir():
        path.unlink()
    assert run(project, chapter).executed


def test_a_changed_text_or_parameter_counts_as_a_change(project, chapter, done):
    def key(**injected):
        return execute._key(project, chapter, injected)

    text = project / "text.txt"
    text.write_text("one")
    before = key(texts=["text.txt"])
    assert key(texts=["text.txt"]) == before
    text.write_text("longer")
    assert len({before, key(texts=["text.txt"]), key(), key(n=4)}) == 4


def test_what_is_published_counts_as_a_change_of_the_chapter_that_reads_it(project):
    source, folder = project / "notebooks/reads.ipynb", project / "kept/mine"
    write_notebook(source, 'published: str = "kept"  # a folder')
    before = execute._key(project, source, {})
    assert execute._key(project, source, {}) == before
    folder.mkdir(parents=True)
    (folder / "pair.json").write_text("{}")
    assert execute._key(project, source, {}) != before


def test_files_at_home_and_words_that_name_none(project, chapter, monkeypatch):
    monkeypatch.setenv("HOME", str(project))
    (project / "home.txt").write_text("one")
    before = execute._key(project / "notebooks", chapter, {"texts": ["~/home.txt"], "prompt": "long " * 1000})
    (project / "home.txt").write_text("longer")
    assert before != execute._key(project / "notebooks", chapter, {"texts": ["~/home.txt"], "prompt": "long " * 1000})
    assert not list(execute._files(project, {"prompt": ["a\0", "~nosuchuser/x", "", "x" * 5000]}))


@pytest.mark.parametrize("damage", [b"{", b'{"metadata": 3}', None])
def test_an_executed_notebook_that_is_damaged_is_executed_again(project, damage):
    bare = project / "notebooks/01_bare.ipynb"
    target = project / "out/notebooks" / bare.name
    target.unlink(missing_ok=True)
    if damage is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(damage)
    assert run(project, bare).executed and not run(project, bare).executed


@pytest.mark.parametrize("damage", [b"[]", b"", b"3", None])
def test_a_damaged_sidecar_is_no_reason_to_stop(project, chapter, done, damage):
    other = project / "_build/store/toy/other.json"
    other.write_bytes(damage) if damage is not None else other.mkdir()
    try:
        assert not run(project, chapter).executed
    finally:
        other.unlink() if damage is not None else other.rmdir()


def test_two_runs_may_share_one_folder(project, tmp_path):
    slow = project / "notebooks/slow.ipynb"
    write_notebook(slow, PARAMETERS, "import time\ntime.sleep(2)")
    begin = f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
    begin += "from pathlib import Path\nfrom predact.build import execute\n"
    begin += f"[*execute.run(Path({str(project)!r}), Path({str(tmp_path)!r}), {{Path({str(slow)!r}): {{}}}})]"
    two = [subprocess.Popen([sys.executable, "-c", begin], cwd=project) for _ in range(2)]
    assert [each.wait() for each in two] == [0, 0]
    assert [path.name for path in tmp_path.rglob("*.ipynb")] == [slow.name]


def test_a_failing_notebook_leaves_the_executed_one_as_it_was(project, chapter, done):
    source, target = chapter.read_text(), project / "out/notebooks" / chapter.name
    before = target.read_bytes()
    write_notebook(chapter, PARAMETERS, COMPUTE, "1 / 0")
    try:
        with pytest.raises(execute.Failed) as caught:
            run(project, chapter)
    finally:
        chapter.write_text(source)
    assert str(caught.value).startswith(f"{chapter.stem} failed in cell 3: ZeroDivisionError: division by zero (see ")
    assert "\n" not in str(caught.value)
    assert target.read_bytes() == before
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
    with pytest.raises(UserError, match="^out: cannot write to .*file/notebooks"):
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
    assert "UserError: sede: no such parameter, did you mean 'seed'" in done.stderr
    cells = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    errors = [output for cell in cells for output in cell.get("outputs", []) if output["output_type"] == "error"]
    assert [len(error["traceback"]) for error in errors] == [1]


def test_unknown_names_are_refused_before_anything_runs(project, chapter, tmp_path):
    with pytest.raises(UserError, match="sede: no such parameter, did you mean 'seed'?"):
        execute.plan([chapter], {}, {"sede": "1"})
    with pytest.raises(UserError, match="only: no notebook begins with '99'"):
        execute.find(project, "99")
    with pytest.raises(UserError, match="no book here"):
        execute.find(tmp_path)


def changed(path, change):
    made = json.loads(path.read_text())
    change(made)
    path.write_text(json.dumps(made))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda made: made["metadata"].pop("kernelspec"), "No kernel name found"),
        (lambda made: made["metadata"]["kernelspec"].pop("language"), "No language found"),
        (lambda made: made.pop("cells"), "missing an expected key: cells"),
        (lambda made: made["cells"][1].update(source="n: int = len(3)  # how many"), "malformed"),
    ],
)
def test_a_source_that_cannot_be_read_is_one_line(tmp_path, change, why):
    source = tmp_path / "notebooks/01_odd.ipynb"
    write_notebook(source, PARAMETERS, COMPUTE)
    changed(source, change)
    with pytest.raises(UserError, match=f"^notebooks: .*01_odd.ipynb cannot be read .*{why}") as caught:
        execute.plan([source], {}, {"n": "4"})
    assert "\n" not in str(caught.value)


def test_a_notebook_saved_under_another_kernel_is_executed_by_this_python(tmp_path):
    source = tmp_path / "notebooks/01_odd.ipynb"
    write_notebook(source, "n: int = 3  # how many")
    changed(source, lambda made: made["metadata"]["kernelspec"].update(name="conda-of-somebody"))
    assert next(execute.run(tmp_path, tmp_path / "out", {source: {}})).executed


def test_a_full_disk_is_one_line_and_leaves_the_last_run_as_it_was(project, chapter, done, monkeypatch):
    target = project / "out/notebooks" / chapter.name
    before = target.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    made = nbformat.read(target, 4)
    made.metadata.papermill |= {"input_path": "", "output_path": ""}
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: made)
    monkeypatch.setattr(store.os, "replace", full)
    with pytest.raises(UserError, match="^out: cannot write to .*out/notebooks .No space left on device.") as caught:
        run(project, chapter, n=2)
    assert "\n" not in str(caught.value) and target.read_bytes() == before
    assert {path.suffix for path in target.parent.iterdir()} == {".ipynb"}


SHOWING = """\
import pandas as pd
from predact import store as keep
from predact.build import notebook
from predact.claims.verdict import Verdict
run = notebook.start(globals())
n = run.settings.documents
kept = keep.frame(run.root, "toy", {"n": n}, lambda: pd.DataFrame({"x": [float(n)]}))
notebook.show(Verdict("C1", "…", "holds", kept.x[0], 1.0, 99.0, "documents", 9))"""


def test_verdicts_travel_with_the_executed_notebook(project, tmp_path):
    source, root = tmp_path / "notebooks/03_claim.ipynb", tmp_path / "store"
    parameters = 'pair: str = "pocket"  # a pair\nscale: str = "laptop"  # how much\nstore: str = "store"  # a folder'
    write_notebook(source, parameters, SHOWING, "notebook.provenance()")
    (done,) = execute.run(tmp_path, tmp_path / "out", execute.plan([source], {"store": str(root)}, {}))
    target = tmp_path / "out/notebooks/03_claim.ipynb"
    (shown,) = execute.verdicts([target, tmp_path / "not_there.ipynb"])
    assert done.executed
    numbers = {"estimate": 30.0, "low": 1.0, "high": 99.0, "unit": "documents", "n": 9}
    assert shown == row(scale="laptop", **numbers)
    assert execute.settings(target)["documents"] == 30 and "documents" not in execute.values(target)
    assert "<td>documents</td><td><code>30</code></td>" in pages.status([target])
    by_hand = tmp_path / "by_hand.ipynb"
    papermill.execute_notebook(source, by_hand, {"documents": 7, "store": str(root)}, progress_bar=False, cwd=tmp_path)
    assert execute.verdicts([by_hand]) == [row(scale="laptop, documents 7", **numbers | {"estimate": 7.0})]
    assert execute.verdicts([target]) == [shown], "another run into another file changes nothing"
    shutil.rmtree(root)
    assert execute.verdicts([target]) == [shown], "nor does a store that is gone"


@pytest.mark.parametrize("damage", ["{", "[]", '{"cells": []}', None])
def test_verdicts_of_a_damaged_notebook_are_refused_in_one_line(tmp_path, damage):
    target = tmp_path / "one.ipynb"
    target.write_text(damage) if damage is not None else target.mkdir()
    with pytest.raises(UserError, match="^out: .*one.ipynb is missing or damaged; execute it again"):
        execute.verdicts([target])


def test_verdicts_come_notebook_by_notebook(tmp_path):
    paths = [tmp_path / f"{name}.ipynb" for name in "ab"]
    executed(paths[0], row("C2"), row("C1"))
    executed(paths[1], row("C2", verdict="fails"))
    found = [(each["id"], each["verdict"]) for each in execute.verdicts(paths)]
    assert found == [("C2", "holds"), ("C1", "holds"), ("C2", "fails")]


def test_settings_are_planned_where_there_is_a_scale(tmp_path):
    with_scale, without = tmp_path / "notebooks/01_a.ipynb", tmp_path / "notebooks/02_b.ipynb"
    write_notebook(with_scale, 'scale: str = ""  # how much\nshown: int = 8  # prompts')
    write_notebook(without, "documents: int = 200  # of each\nseed: int = 0  # of all")
    given = {"documents": "7", "shown": "8", "corpora": "news"}
    assert execute.plan([with_scale, without], {"scale": "laptop", "seed": "3"}, given) == {
        with_scale: {"scale": "laptop", "documents": 7, "corpora": ["news"]},
        without: {"documents": 7, "seed": 3},
    }
    with pytest.raises(UserError, match="^documents: expected a number greater than or equal to 1, not 0"):
        execute.plan([with_scale], {}, {"documents": "0"})
    with pytest.raises(UserError, match="^document: no such parameter, did you mean 'documents'?"):
        execute.plan([with_scale], {}, {"document": "7"})


def test_what_numba_and_python_compile_is_no_part_of_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "PACKAGE", tmp_path)
    (tmp_path / "a.py").write_text("x = 1")
    before = execute._package.__wrapped__()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/a.f-1.py311.nbi").write_text("")
    assert execute._package.__wrapped__() == before
    (tmp_path / "b.yaml").write_text("")
    assert execute._package.__wrapped__() != before


def test_a_chapter_is_executed_on_generations_alone_and_again_when_they_change(tmp_path):
    """Backbones, from a file of five short texts of each model for each of three prompts."""
    rows = [
        {"model": model, "prompt": prompt, "generation": f"{start} {prompt} {number} and that is all."}
        for model, start in (("Base", "so"), ("RLHF", "I am glad to tell you all of it at once:"))
        for prompt in "QRS"
        for number in range(6)
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in rows))
    common = {"pair": str(file), "scale": "classroom", "store": str(tmp_path / "store")}
    work = execute.plan([ROOT / "notebooks/05_backbones.ipynb"], common, {})
    (done,) = execute.run(ROOT, tmp_path, work)
    assert done.executed and transcripts.LEFT_OUT in done.warnings
    paper, ours = execute.verdicts([tmp_path / "notebooks/05_backbones.ipynb"])
    page = compared.compare(standalone.read(file), "book", tmp_path).verdicts
    assert ours == asdict(page[2]) | {"pair": str(file), "scale": "classroom, generations 6"}
    assert paper["protocol"] == "paper" and 0 < paper["estimate"] < 1 and paper["n"] == 3
    remarks = execute.remarks(tmp_path / "notebooks/05_backbones.ipynb")
    assert any(transcripts.LEFT_OUT in told for told in remarks) and any(AS_WRITTEN in told for told in remarks)
    stages = {
        result["stage"]: result["inputs"] for result in execute.results(tmp_path / "notebooks/05_backbones.ipynb")
    }
    assert stages["words"] == {"file": store.checksum(file), "writer": "RLHF"} and stages.keys() == {
        "words",
        "alignments",
    }
    assert [path for path, *_ in execute._files(ROOT, common)] == [str(file)] * 3, "of the parameter and both models"


def test_notebooks_say_that_generations_are_enough():
    notebooks = execute.find(ROOT)
    assert [path.stem[:2] for path in execute.on_generations(notebooks)] == ["01", "04", "05", "08", "09", "a2"]
    with pytest.raises(UserError, match=r"^only: 02_world_modeling, 03_collapse: not without the models' weights"):
        execute.on_generations(notebooks[1:3])
