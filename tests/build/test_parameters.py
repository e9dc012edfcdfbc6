"""Parameters: what a cell declares, what the command line gives, and what is refused."""

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
note = "not a parameter"
"""
KNOWN = declared(CELL)


@pytest.fixture(scope="module")
def of_cell(tmp_path_factory):
    """What papermill finds in a notebook with this cell."""
    path = tmp_path_factory.mktemp("notebooks") / "toy.ipynb"
    write_notebook(path, CELL.strip(), "other: int = 3")
    return of_notebook(path)


def test_declared():
    assert KNOWN["documents"] == "int" and KNOWN["corpora"] == "list[str]"
    assert list(KNOWN) == ["pair", "documents", "threshold", "corpora", "lags", "fast"]
    assert declared("%not python") == {}


def test_of_a_notebook(of_cell, tmp_path):
    assert of_cell["pair"] == Parameter("str", "pocket", "a pair")
    assert of_cell["documents"] == Parameter("int", 100, "")
    assert of_cell["corpora"] == Parameter("list[str]", [], "") and of_cell["lags"].default == [1, 2]
    assert of_cell["threshold"].default == 1e-8 and of_cell["fast"].default is False
    assert {name: parameter.type for name, parameter in of_cell.items() if name != "note"} == KNOWN
    assert all(parameter.type in TYPES for name, parameter in of_cell.items() if name in KNOWN)
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
    ],
)
def test_wrong_type_is_refused(name, value):
    with pytest.raises(UserError, match=rf"^{name}: expected "):
        check_types(KNOWN, {name: value})


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
        ("lags", "[1,4]", [1, 4]),
        ("fast", "true", True),
    ],
)
def test_words_are_read_as_the_declared_type(of_cell, name, word, value):
    assert changes(of_cell, {name: word}) == {name: value}


def test_only_what_differs_from_the_default_is_a_change(of_cell):
    words = {"pair": "pocket", "documents": "100", "threshold": "1e-8", "corpora": "[]", "fast": "no", "else": "1"}
    assert changes(of_cell, words) == {}


def test_unreadable_word(of_cell):
    with pytest.raises(UserError, match="documents: expected int, got 'many'"):
        changes(of_cell, {"documents": "many"})


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
