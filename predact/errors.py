"""`UserError`, the exception whose message is written for the user."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(Exception):
    """A mistake of the user: one line that names the parameter, what was expected and what to do."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [f"UserError: {self}"]


class NotFinite(UserError):
    """A model gives NaN or infinite numbers: what it has measured must not be used."""


def near(name: str, known: Iterable[str]) -> str:
    """Return ``", did you mean 'x' or 'y'?"`` for the known names closest to `name`, or ``""`` if none is close."""
    exact_case = {word.lower(): word for word in known}
    found = [exact_case[word] for word in get_close_matches(name.lower(), exact_case, n=2)]
    return f", did you mean {' or '.join(map(repr, found))}?" if found else ""


def refused(error: "ValidationError") -> tuple[str, str | None]:
    """Return the first name that pydantic has refused, and what it expected; None if it knows no such name."""
    first = error.errors()[0]
    name = str(first["loc"][0])
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return name, None
    said = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    for compared in ("greater", "less"):
        said = said.replace(f"expected {compared}", f"expected a number {compared}")
    return name, f"{said}, not {first['input']!r}"


def quoted(word: object, most: int = 160) -> str:
    """Return what a user has named or written in quotes and in one line; if it is long, its middle is left out."""
    text = str(word)
    return repr(text if len(text) <= most else f"{text[: most // 3]}…{text[-most * 2 // 3 :]}")


def in_line(word: object, most: int = 160) -> str:
    """Return the same as `quoted`, without the quotes."""
    return quoted(word, most)[1:-1]
