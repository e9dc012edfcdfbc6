"""Every exercise: its check, and its solution, run as its reader would run it: pasted into a fresh session."""

import contextlib
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from predact import exercises
from predact.errors import UserError
from predact.exercises import Part, check, said, sealed

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CHAPTERS = [f"0{number}" for number in range(1, 8)]
EXERCISE = re.compile(r"(?:## Exercises\n\n)?\*\*(\d+)\. ")
SOLUTION = re.compile(r"^### Exercise (\S+)\n(.*?)(?=^##|\Z)", re.M | re.S)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
CHECK = re.compile(r"(\w+)=\.\.\.")


def cells(path):
    return ["".join(cell["source"]) for cell in json.loads(path.read_text())["cells"]]


def found():
    """Each exercise's text, by chapter and number, and the cell that follows it."""
    for path in NOTEBOOKS:
        texts = cells(path)
        for text, following in zip(texts, texts[1:], strict=False):
            if number := EXERCISE.match(text):
                yield f"{path.stem[:2]}-{number[1]}", text, following


EXERCISES = {name: text for name, text, _ in found()}
CHECKS = {name: cell for name, _, cell in found() if "check(" in cell}
SOLUTIONS = dict(SOLUTION.findall((ROOT / "book/solutions.md").read_text()))
SEALED = yaml.safe_load((ROOT / "predact/exercises.yaml").read_text())


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


def test_each_has_a_solution_and_a_row_for_the_teacher():
    assert list(EXERCISES) == list(SOLUTIONS)
    assert all(
        text.rstrip().endswith(f"[Solution](../book/solutions.md#exercise-{name})") for name, text in EXERCISES.items()
    )
    row = re.compile(r"^\| \[(\S+)\]\(solutions\.md#exercise-(\S+)\) \| \d+ \| [^|]+ \| [^|]+ \|$", re.M)
    assert row.findall((ROOT / "book/teach.md").read_text()) == [(name, name) for name in EXERCISES]


@pytest.mark.parametrize("name", EXERCISES)
def test_a_solution_has_code_that_fits(name):
    code = BLOCK.findall(SOLUTIONS[name])
    assert code and "assert" in "".join(code)
    for each in code:
        compile(each, name, "exec")
        assert max(map(len, each.splitlines())) <= 120


@pytest.mark.parametrize("name", EXERCISES)
def test_a_solution_is_true(name, project, monkeypatch):
    monkeypatch.chdir(project)
    session = {"__name__": name}
    for code in BLOCK.findall(SOLUTIONS[name]):
        exec(compile(code, name, "exec"), session)
    assert ("solution" in session) == (name in SEALED)
    for part, answer in session.get("solution", {}).items():
        assert said(name, part, exercises.parts(name)[part], answer) == "right", part


def test_a_chapter_asks_for_what_can_be_checked():
    asked = {name: CHECK.findall(cell) for name, cell in CHECKS.items()}
    assert asked == {name: list(parts) for name, parts in SEALED.items()}
    assert all(f'"{name}"' in cell for name, cell in CHECKS.items())


def part(answer, tolerance=0.01, cases=()):
    return Part(
        asks="a number",
        hint="Look again.",
        tolerance=tolerance,
        cases=cases,
        seals=sealed(answer, "x/y", tolerance, cases),
    )


@pytest.mark.parametrize("answer", [2.52, 2.5149, 2.525, np.float32(2.52), np.float64(2.52), np.array(2.52)])
def test_a_number_is_right_within_its_tolerance(answer):
    assert said("x", "y", part(2.52), answer) == "right"


@pytest.mark.parametrize("answer", [2.5, 2.54, -2.52, 252, float("nan"), float("inf"), "2.52", None, [2.52], len])
def test_a_number_that_is_not_right_gets_a_hint(answer):
    assert said("x", "y", part(2.52), answer) == "not yet. Look again."


@pytest.mark.parametrize("tolerance", [0.001, 0.01, 0.5, 3])
def test_the_tolerance_is_kept(tolerance):
    for answer in np.random.default_rng(0).uniform(-9, 9, 20):
        near, far = answer + 0.99 * tolerance, answer + 1.51 * tolerance
        assert said("x", "y", part(answer, tolerance), near) == "right"
        assert said("x", "y", part(answer, tolerance), far) != "right"


@pytest.mark.parametrize(
    ("answer", "right"),
    [(["b c!", "A b"], True), ({"a  B", "b c"}, True), (["a b"], False), (["a b", "c b"], False), ("a b b c", False)],
)
def test_texts_are_right_in_any_order_and_spelling(answer, right):
    assert (said("x", "y", part(["A b.", "b c"]), answer) == "right") == right


def test_a_function_is_called():
    doubled = part(lambda x: 2 * x, cases=[[1], [4.5]])
    assert said("x", "y", doubled, lambda x: x + x) == "right"
    assert said("x", "y", doubled, lambda x: x + 1) == "not yet. y(4.5) returns 5.5. Look again."
    assert said("x", "y", doubled, lambda x: 1 / 0) == "not yet. y(1) stops: ZeroDivisionError: division by zero"
    assert said("x", "y", doubled, lambda: 1).startswith("not yet. y(1) stops: TypeError")
    assert said("x", "y", doubled, 9) == "not yet. Give the function itself, without brackets: y=y"


def test_a_function_cannot_change_its_cases():
    popped = part(len, cases=[[[1, 2]], [[1, 2]]])
    assert said("x", "y", popped, lambda given: len(given) + given.clear()) != "right"
    assert popped.cases == [[[1, 2]], [[1, 2]]]


def test_what_a_student_sees(capsys):
    check("02-1", base=..., rlhf=..., ratio=..., bits=...)
    asked = capsys.readouterr().out.splitlines()
    assert asked[:2] == ["Put your answers in place of the dots, and run this cell.", "  base: Base's perplexity"]
    assert len(asked) == 1 + 4
    check("02-1", base=2.52, rlhf=5)
    hint = exercises.parts("02-1")["rlhf"].hint
    assert capsys.readouterr().out == f"base: right\nrlhf: not yet. {hint}\nratio: no answer yet\nbits: no answer yet\n"


@pytest.mark.parametrize(
    ("name", "answers", "why"),
    [
        ("02-9", {}, "exercise: '02-9' cannot be checked, did you mean '02-6' or '02-1'? Those that can are 01-1, "),
        ("02-1", {"bass": 1}, "bass: exercise 02-1 does not ask for it. It asks for base, rlhf, ratio, bits."),
    ],
)
def test_a_slip_is_refused_in_one_line(name, answers, why):
    with pytest.raises(UserError, match="^" + re.escape(why)):
        check(name, **answers)
