"""Many pairs: the verdicts of each, from published files and from executed notebooks."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from predact.claims.verdict import Protocol, claims
from predact.models.pairs import title

Row = Mapping[str, Any]


def published(folder: Path) -> list[dict]:
    """Return the verdicts below a folder: a JSON file for each claim and rule, in a folder for each pair."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/*.json"))]


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Return verdicts claim by claim, and for each the pairs in the order of their names.

    If there are several verdicts on one claim and pair by one rule, the last one counts; the paper's rule comes first.
    Those of an older version, on a claim that is gone or by no rule that is known, are left out.
    """
    order, rules = list(claims()), get_args(Protocol)
    known = (row for row in rows if row["id"] in order and row.get("protocol") in rules)
    last = {(row["id"], row["protocol"], row["pair"]): row for row in known}

    def place(row: Row) -> tuple:
        return order.index(row["id"]), rules.index(row["protocol"]), title(row["pair"])

    return sorted(last.values(), key=place)
