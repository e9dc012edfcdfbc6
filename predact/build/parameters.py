"""The parameters of a notebook: what its source declares, what is given for them, whether the two agree."""

import ast
import contextlib
import json
import typing
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import yaml

from predact.errors import UserError, near


class Parameter(NamedTuple):
    """What a notebook declares of a parameter: its annotation and its default, as written there."""

    type: str
    default: str


def declared(source: str) -> dict[str, Parameter]:
    """Return the annotated names of a cell's source: ``{"seed": Parameter("int", "0")}``."""
    return {
        node.target.id: Parameter(ast.unparse(node.annotation), ast.unparse(node.value))
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


def check_types(known: Mapping[str, Parameter], given: Mapping[str, Any]) -> None:
    """Raise UserError for the first value that is not of its parameter's type (an int passes for a float)."""
    for name, value in given.items():
        if not _fits(value, eval(known[name].type, {})):
            raise UserError(f"{name}: expected {known[name].type}, got {value!r} ({type(value).__name__}).")


def changes(known: Mapping[str, Parameter], given: Mapping[str, str]) -> dict[str, Any]:
    """Return the values, read from the command line's words, of those parameters that differ from their defaults.

    Args:
        known: what a notebook declares.
        given: words by name; names that the notebook does not declare are passed over.

    Raises:
        UserError: a word that cannot be read as the parameter's type.
    """
    values = {name: _read(word, known[name].type) for name, word in given.items() if name in known}
    check_types(known, values)
    return {name: value for name, value in values.items() if repr(value) != known[name].default}


def _statements(source: str) -> list[ast.stmt]:
    with contextlib.suppress(SyntaxError):
        return ast.parse(source).body
    return []


def _read(word: str, kind: str) -> Any:
    """Read one word: a string stays as it is, a list needs no brackets, the rest is JSON or YAML."""
    if kind == "str":
        return word
    if kind.startswith("list") and not word.startswith("["):
        word = f"[{word}]"
    for read in (json.loads, yaml.safe_load):
        with contextlib.suppress(ValueError, yaml.YAMLError):
            return read(word)
    return word


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a plain type or a list of one."""
    origin, arguments = typing.get_origin(kind) or kind, typing.get_args(kind)
    if isinstance(value, bool) or origin is bool:
        return isinstance(value, bool) and origin is bool
    if isinstance(value, list) and origin is list:
        return all(_fits(item, argument) for argument in arguments for item in value)
    return isinstance(value, (int, float) if origin is float else origin)
