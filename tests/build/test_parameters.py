"""Parameters: what a cell declares, what the command line gives, and what is refused."""

import pytest

from predact.build.parameters import Parameter, assigned, changes, check_names, check_types, declared
from predact.errors import UserError

CELL = """
pair: str = "pocket"  # a pair
documents: int = 100
threshold: float = 1e-8
corpora: list[str] = []
lags: list = [1, 2]
fast: bool = False
note = "not a parameter"
"""
KNOWN = declared(CELL)


def test_declared():
    assert KNOWN["documents"] == Parameter("int", "100")
    assert KNOWN["corpora"] == Parameter("list[str]", "[]")
    assert list(KNOWN) == ["pair", "documents", "threshold", "corpora", "lags", "fast"]
    assert declared("%not python") == {}


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
        ("threshold", "small"),
        ("threshold", False),
    ],
)
def test_wrong_type_is_refused(name, value):
    with pytest.raises(UserError, match=rf"^{name}: expected "):
        check_types(KNOWN, {name: value})


def test_right_types_pass():
    check_types(KNOWN, {"threshold": 1, "corpora": ["news"], "lags": [1, "a"], "fast": True, "documents": 0})


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
def test_words_are_read_as_the_declared_type(name, word, value):
    assert changes(KNOWN, {name: word}) == {name: value}


def test_only_what_differs_from_the_default_is_a_change():
    words = {"pair": "pocket", "documents": "100", "threshold": "1e-8", "corpora": "[]", "fast": "no", "else": "1"}
    assert changes(KNOWN, words) == {}


def test_unreadable_word():
    with pytest.raises(UserError, match="documents: expected int, got 'many'"):
        changes(KNOWN, {"documents": "many"})
