"""Every exercise's solution, run as its reader would run it: pasted into a fresh session, in a classroom's scale."""

import contextlib
import json
import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHAPTERS = [f"0{number}" for number in range(1, 8)]
EXERCISE = re.compile(r"^\*\*(\d+)\. .*?(?=^\*\*\d+\. |\Z)", re.M | re.S)
SOLUTION = re.compile(r"^(`{4,})\{dropdown\} Solution\n(.*?)^\1$", re.M | re.S)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)


def exercises(path):
    """The exercises of a notebook by number: from the cell with that title, where it has one."""
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]
    texts = [text for text in cells if text.startswith("## Exercises\n")]
    return {f"{path.stem[:2]}-{found[1]}": found[0] for text in texts for found in EXERCISE.finditer(text)}


EXERCISES = {name: text for path in NOTEBOOKS for name, text in exercises(path).items()}


def blocks(text):
    """The code in the one solution of an exercise."""
    ((_, solution),) = SOLUTION.findall(text)
    return BLOCK.findall(solution)


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """A folder like the project's to a solution, with a store that all of them share, also those of other workers."""
    root = tmp_path_factory.getbasetemp()
    folder = (root.parent if "PYTEST_XDIST_WORKER" in os.environ else root) / "exercises"
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (folder / "book").symlink_to(ROOT / "book")
    return folder


def test_there_are_enough():
    assert len(EXERCISES) >= 12
    for chapter in CHAPTERS:
        assert sum(name.startswith(chapter) for name in EXERCISES) >= 2, chapter


@pytest.mark.parametrize("name", EXERCISES)
def test_a_solution_has_code_that_fits(name):
    found = blocks(EXERCISES[name])
    assert found and "assert" in "".join(found)
    for code in found:
        compile(code, name, "exec")
        assert max(map(len, code.splitlines())) <= 120


@pytest.mark.parametrize("name", EXERCISES)
def test_a_solution_is_true(name, project, monkeypatch):
    monkeypatch.chdir(project)
    for code in blocks(EXERCISES[name]):
        exec(compile(code, name, "exec"), {"__name__": name})
