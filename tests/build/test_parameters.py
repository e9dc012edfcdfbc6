"""Parameters: what a cell declares, what the command line gives, and what is refused."""

from pathlib import Path
from typing import Literal

import pytest

from predact.build.parameters import (
    TYPES,
    Parameter,
    assigned,
    changes,
    check_names,
    check_types,
    declared,
    of_notebook,
    read,
)
from predact.errors import UserError
from tests.made import write_notebook

CELL = """
pair: str = "pocket"  # a pair
documents: int = 100
threshold: float = 1e-8
corpora: list[str] = []
lags: list[int] = [1, 2]
fast: bool = False
shown: int = 8  # prompts that are shown; 1 or more
width: float = 2.0  # of the filter; 0 to 100
note = "not a parameter"
"""
NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
KNOWN = declared(CELL)


@pytest.fixture(scope="module")
def of_cell(tmp_path_factory):
    """What papermill finds in a notebook with this cell."""
    path = tmp_path_factory.mktemp("notebooks") / "toy.ipynb"
    write_notebook(path, CELL.strip(), "other: int = 3")
    return of_notebook(path)


def test_declared():
    assert KNOWN["documents"] == Parameter("int", 100, "") and KNOWN["corpora"].type == "list[str]"
    assert list(KNOWN) == ["pair", "documents", "threshold", "corpora", "lags", "fast", "shown", "width"]
    assert declared('é: str = "#é"  # a # b')["é"] == Parameter("str", "#é", "a # b")
    assert declared("x: Path = Path('a')\ny: int")["x"] == Parameter("Path", "Path('a')", "")
    assert declared("%not python") == declared("\0") == declared("A " * 5000) == declared("(" * 5000) == {}
    assert declared("x: dict = {[]: 1}")["x"] == Parameter("dict", "{[]: 1}", "")


def test_of_a_notebook(of_cell, tmp_path):
    assert of_cell["pair"] == Parameter("str", "pocket", "a pair")
    assert of_cell["documents"] == Parameter("int", 100, "")
    assert of_cell["corpora"] == Parameter("list[str]", [], "") and of_cell["lags"].default == [1, 2]
    assert of_cell["threshold"].default == 1e-8 and of_cell["fast"].default is False
    assert {name: parameter for name, parameter in of_cell.items() if name != "note"} == KNOWN
    assert all(parameter.type in TYPES for parameter in KNOWN.values())
    write_notebook(tmp_path / "notebooks/bare.ipynb", "1 + 1", tag="other")
    assert of_notebook(tmp_path / "notebooks/bare.ipynb") == {}


def test_assigned():
    assert assigned("# Parameters\npair = 'x'\nseed = 1\n") == {"pair", "seed"}


def test_unknown_name_is_refused_with_the_near_one():
    with pytest.raises(UserError, match="documnts: no such parameter, did you mean 'documents'?"):
        check_names(KNOWN, ["pair", "documnts"])
    check_names(KNOWN, KNOWN)


@pytest.mark.parametrize(
    "name, value",
    [
        ("documents", "100"),
        ("documents", 1.5),
        ("documents", True),
        ("pair", 3),
        ("corpora", "news"),
        ("corpora", ["news", 1]),
        ("fast", 1),
        ("lags", [1, "a"]),
        ("threshold", "small"),
        ("threshold", False),
        ("threshold", float("inf")),
        ("threshold", float("nan")),
        ("shown", True),
    ],
)
def test_wrong_type_is_refused(name, value):
    with pytest.raises(UserError, match=rf"^{name}: expected "):
        check_types(KNOWN, {name: value})


@pytest.mark.parametrize(
    "name, word, expected",
    [
        ("shown", "0", "int, 1 or more"),
        ("shown", "-1", "int, 1 or more"),
        ("width", "-0.5", "float, 0 to 100"),
        ("width", "101", "float, 0 to 100"),
    ],
)
def test_a_number_out_of_its_range_is_refused_from_the_command_line_and_in_a_notebook(of_cell, name, word, expected):
    with pytest.raises(UserError, match=rf"^{name}: expected {expected}, got {word}"):
        changes(of_cell, {name: word})
    with pytest.raises(UserError, match=rf"^{name}: expected {expected}, got {word}"):
        check_types(KNOWN, {name: float(word) if "width" in name else int(word)})


REFUSED = {
    "longest": ("5", "100000", "0"),
    "shown": ("0", "-1"),
    "seed": ("-1", "4294967296"),
    "width": ("-1", "inf"),
    "documents": ("0",),
    "answers": ("1", "0"),
}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_number_of_a_notebook_has_a_range(path):
    numbers = {name: each for name, each in of_notebook(path).items() if each.type in ("int", "float")}
    assert numbers.keys() <= REFUSED.keys()
    assert ("seed" in numbers) == (path.stem != "09_across_models"), "which draws nothing"
    for name, parameter in numbers.items():
        check_types({name: parameter}, {name: parameter.default})
        for word in REFUSED[name]:
            with pytest.raises(UserError, match=f"^{name}: expected {parameter.type}.*{word}"):
                changes(numbers, {name: word})


def test_a_type_that_is_not_known_is_not_checked():
    check_types(declared("x: Path = Path('a')"), {"x": object()})


def test_right_types_pass():
    check_types(KNOWN, {"threshold": 1, "corpora": ["news"], "lags": [1, 2], "fast": True, "documents": 0})


@pytest.mark.parametrize(
    "name, word, value",
    [
        ("pair", "1", "1"),
        ("documents", "20", 20),
        ("threshold", "1e-6", 1e-6),
        ("threshold", "1", 1),
        ("corpora", "news,stories", ["news", "stories"]),
        ("corpora", "a b.txt", ["a b.txt"]),
        ("corpora", '["a, b"]', ["a, b"]),
        ("corpora", '"a, b", c', ["a, b", "c"]),
        ("corpora", "[1]", ["[1]"]),
        ("lags", "1, 4", [1, 4]),
        ("documents", "010", 10),
        ("lags", "[1,4]", [1, 4]),
        ("fast", "true", True),
    ],
)
def test_words_are_read_as_the_declared_type(of_cell, name, word, value):
    assert changes(of_cell, {name: word}) == {name: value}


@pytest.mark.parametrize(
    "name", ["@a", "%a", "&a", "[a", "{a}", "[x].jsonl", "2024", "010", "no", "null", "1e3", "a: b"]
)
def test_a_list_of_texts_holds_the_texts(name):
    assert read("corpora", name, list[str]) == [name] and read("prompts", name, str) == name
    assert read("corpora", f"news, {name},x", list[str]) == ["news", name, "x"]


def test_only_what_differs_from_the_default_is_a_change(of_cell):
    words = {"pair": "pocket", "documents": "100", "threshold": "1e-8", "corpora": "[]", "fast": "no", "else": "1"}
    assert changes(of_cell, words) == {}


def test_unreadable_word(of_cell):
    for word in ("many", "1:30", "1.5", "", "9" * 5000, "[" * 100_000):
        with pytest.raises(UserError, match=r"^documents: expected int, got '") as error:
            changes(of_cell, {"documents": word})
        assert len(str(error.value)) < 250
    with pytest.raises(UserError, match=r"^pair: expected str, got 'a\\udcff'\.$"):
        changes(of_cell, {"pair": "a\udcff"})
    with pytest.raises(UserError, match=r"^corpora: expected list\[str\], got 'a\\nb'\.$"):
        changes(of_cell, {"corpora": "a\nb"})


@pytest.mark.parametrize(
    "word, kind, value",
    [
        ("3", int, 3),
        ("1e-3", float, 1e-3),
        ("3", str, "3"),
        ("0.1, 0.2", list[float], [0.1, 0.2]),
        ("full", Literal["auto", "full"], "full"),
        ("2", Literal[1, 2], 2),
    ],
)
def test_a_word_is_read_as_any_type_that_a_setting_has(word, kind, value):
    assert read("x", word, kind) == value


def test_what_is_not_of_a_setting_s_type_is_one_line_that_names_it():
    with pytest.raises(UserError, match=r"^method: expected auto or full, got 'lore'\.$"):
        read("method", "lore", Literal["auto", "full"])
    with pytest.raises(UserError, match=r"^rates: expected list\[float\], got 'fast'\.$"):
        read("rates", "fast", list[float])
