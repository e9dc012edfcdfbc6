"""The parameters of a notebook: what its source declares, which values are given, whether the two match."""

import ast
import contextlib
import json
import logging
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import TypeAdapter, ValidationError

from predact.errors import UserError, near

TYPES: dict[str, Any] = {"bool": bool, "int": int, "float": float, "str": str}
TYPES |= {"list[bool]": list[bool], "list[int]": list[int], "list[float]": list[float], "list[str]": list[str]}


class Parameter(NamedTuple):
    """A parameter that a notebook declares: its type (a key of `TYPES`), its default, and the comment after it."""

    type: str
    default: Any
    help: str


def of_notebook(path: Path) -> dict[str, Parameter]:
    """Return the parameters that the cell tagged `parameters` of a notebook declares, by name."""
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)  # a notebook without such a cell has no parameters
    found = papermill.inspect_notebook(path).values()
    return {
        each["name"]: Parameter(each["inferred_type_name"], ast.literal_eval(each["default"]), each["help"])
        for each in found
    }


def declared(source: str) -> dict[str, str]:
    """Return the annotated names of a cell's source, each with its annotation: ``{"seed": "int"}``."""
    return {
        node.target.id: ast.unparse(node.annotation)
        for node in _statements(source)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value
    }


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


def check_types(known: Mapping[str, str], given: Mapping[str, Any]) -> None:
    """Raise UserError for the first value that is not of its parameter's type (an int passes for a float)."""
    for name, value in given.items():
        if not _fits(value, TYPES[known[name]]):
            raise UserError(f"{name}: expected {known[name]}, got {value!r} ({type(value).__name__}).")


def changes(known: Mapping[str, Parameter], given: Mapping[str, str]) -> dict[str, Any]:
    """Read values from the command line's texts; return those that differ from their parameters' defaults.

    Args:
        known: the parameters that a notebook declares.
        given: texts by name; names that the notebook does not declare are ignored.

    Raises:
        UserError: a text cannot be read as its parameter's type.
    """
    values = {name: read(name, word, TYPES[known[name].type]) for name, word in given.items() if name in known}
    return {name: value for name, value in values.items() if value != known[name].default}


def read(name: str, word: str, kind: Any) -> Any:
    """Read a value from the command line: JSON or YAML, a list without brackets, or plain text.

    Raises:
        UserError: the word cannot be read as a value of this type; the message begins with the name.
    """
    if _fits(word, kind):
        return word
    for text in (word, f"[{word}]"):
        for parse in (json.loads, yaml.safe_load):
            with contextlib.suppress(ValueError, yaml.YAMLError):
                value = parse(text)
                if _fits(value, kind):
                    return value
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    expected = " or ".join(map(str, choices)) or next((said for said, each in TYPES.items() if each == kind), str(kind))
    raise UserError(f"{name}: expected {expected}, got {word!r}.")


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value has a type: True is no int, but 1 is accepted as a float."""
    try:
        TypeAdapter(kind).validate_python(value, strict=True)
    except ValidationError:
        return False
    return True


def _statements(source: str) -> list[ast.stmt]:
    with contextlib.suppress(SyntaxError):
        return ast.parse(source).body
    return []
