"""JSON Lines files of users: their records, or one line that says what is wrong and where."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from predact.errors import UserError


def lines(path: Path, parameter: str) -> list[str]:
    """Return the lines of a UTF-8 file.

    Raises:
        UserError: it cannot be read; the message names the parameter that it was given for.
    """
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{parameter}: '{path}' cannot be read as UTF-8 text ({error.__class__.__name__}).") from error


def records(found: Iterable[str], source: str, parameter: str, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the records of lines that are not blank, each after its place in words; what is no object is empty.

    Raises:
        UserError: a line is not JSON; the message ends in what was expected.
    """
    for number, line in enumerate(found, 1):
        if not line.strip():
            continue
        place = f"'{source}', line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UserError(f"{parameter}: {place}, is not JSON; {expected}.") from error
        yield place, record if isinstance(record, dict) else {}
