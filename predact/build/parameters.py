"""The parameters of a notebook: what its source declares, which values are given, whether the two match."""

import ast
import contextlib
import csv
import logging
import re
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from predact.errors import UserError, in_line, near, quoted

TYPES: dict[str, Any] = {"bool": bool, "int": int, "float": float, "str": str}
TYPES |= {"list[bool]": list[bool], "list[int]": list[int], "list[float]": list[float], "list[str]": list[str]}

_RANGE = re.compile(r"; (\d+) (?:or more|to (\d+))$")  # at the end of a comment
_FINITE = ConfigDict(allow_inf_nan=False)


class Parameter(NamedTuple):
    """A parameter that a notebook declares: its type, its default, and the comment after it.

    A comment on a number that ends with ``; 1 or more`` or ``; 0 to 100`` says which numbers are accepted.
    """

    type: str
    default: Any
    help: str

    @property
    def kind(self) -> Any:
        """Its type in Python, with its range; anything if `TYPES` does not have it."""
        kind, within = TYPES.get(self.type, Any), _RANGE.search(self.help)
        if not within or self.type not in ("int", "float"):
            return kind
        return Annotated[kind, Field(ge=int(within[1]), le=within[2] and int(within[2]))]

    @property
    def expected(self) -> str:
        """Its type and range in words."""
        within = _RANGE.search(self.help)
        return self.type + within[0].replace(";", ",") if within else self.type


def of_notebook(path: Path) -> dict[str, Parameter]:
    """Return the parameters that the cell tagged `parameters` of a notebook declares, by name."""
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)  # a notebook without such a cell has no parameters
    found = papermill.inspect_notebook(path).values()
    return {
        each["name"]: Parameter(each["inferred_type_name"], ast.literal_eval(each["default"]), each["help"])
        for each in found
    }


def declared(source: str) -> dict[str, Parameter]:
    """Return the annotated names of a cell's source, by name; a default that is computed is told as it is written."""
    found, lines = {}, source.split("\n")
    for node in _statements(source):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value:
            last = lines[node.value.end_lineno - 1].encode()  # type: ignore
            comment = last[node.value.end_col_offset :].decode().partition("#")[2].strip()
            found[node.target.id] = Parameter(ast.unparse(node.annotation), _default(node.value), comment)
    return found


def _default(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):  # TypeError: a list as a key
        return ast.unparse(node)


def assigned(source: str) -> set[str]:
    """Return the names that a cell's source assigns to without an annotation, as the cell that papermill adds does."""
    targets = (target for node in _statements(source) if isinstance(node, ast.Assign) for target in node.targets)
    return {target.id for target in targets if isinstance(target, ast.Name)}


def check_names(known: Iterable[str], given: Iterable[str]) -> None:
    """Raise UserError for the first of the given names that is not known."""
    known = list(known)
    for name in given:
        if name not in known:
            raise UserError(f"{name}: no such parameter{near(name, known) or '.'} Parameters here: {', '.join(known)}.")


def check_types(known: Mapping[str, Parameter], given: Mapping[str, Any]) -> None:
    """Raise UserError for the first value that is not of its parameter's type and range (an int passes for a float)."""
    for name, value in given.items():
        if not _fits(value, known[name].kind):
            expected = known[name].expected
            raise UserError(f"{name}: expected {expected}, got {in_line(repr(value))} ({type(value).__name__}).")


def changes(known: Mapping[str, Parameter], given: Mapping[str, str]) -> dict[str, Any]:
    """Read values from the command line's texts; return those that differ from their parameters' defaults.

    Args:
        known: the parameters that a notebook declares.
        given: texts by name; names that the notebook does not declare are ignored.

    Raises:
        UserError: a text cannot be read as its parameter's type, or is not in its range.
    """
    values = {name: read(name, word, TYPES[known[name].type]) for name, word in given.items() if name in known}
    check_types(known, values)
    return {name: value for name, value in values.items() if value != known[name].default}


def read(name: str, word: str, kind: Any) -> Any:
    """Read a value from the command line; a list is JSON, or its items stand between commas.

    Texts are taken as they are: ``2024``, ``no`` and ``[draft].jsonl`` may be names of files.

    Raises:
        UserError: the word cannot be read as a value of this type; the message begins with the name.
    """
    with contextlib.suppress(ValueError, KeyError, csv.Error):
        word.encode()
        return _read(word, kind)
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    expected = " or ".join(map(str, choices)) or next((said for said, each in TYPES.items() if each == kind), str(kind))
    raise UserError(f"{name}: expected {expected}, got {quoted(word)}.")


def _read(word: str, kind: Any) -> Any:
    adapter, origin = TypeAdapter(kind, config=_FINITE), typing.get_origin(kind)
    if origin is typing.Literal:
        return {str(choice): choice for choice in typing.get_args(kind)}[word]
    if origin is not list:
        return adapter.validate_python(word)
    with contextlib.suppress(ValidationError):
        return adapter.validate_json(word, strict=True)
    parts = next(csv.reader([word], skipinitialspace=True, strict=True), [])
    return adapter.validate_python([part.strip() for part in parts])


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value has a type: True is no int, but 1 is accepted as a float."""
    try:
        TypeAdapter(kind, config=_FINITE).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _statements(source: str) -> list[ast.stmt]:
    with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):  # these two: it is too long
        return ast.parse(source).body
    return []
