"""Many pairs: the verdicts of each, from published results and from executed notebooks."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from predact.claims.verdict import Protocol, claims
from predact.discussion import published
from predact.models.pairs import title

Row = Mapping[str, Any]


def verdicts(root: Path) -> list[dict]:
    """Return the verdicts of all published pairs: see `published.read_all`."""
    return [row for each in published.read_all(root) for row in each.verdicts]


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Return verdicts claim by claim, and for each the pairs in the order of their names.

    If there are several verdicts on one claim and pair by one rule, the last one counts; the paper's rule comes first.
    Those of an older version, on a claim that is gone or by no rule that is known, are left out.
    """
    order, rules = list(claims()), get_args(Protocol)
    known = (row for row in rows if row["id"] in order and row.get("protocol") in rules)
    last = {(row["id"], row["protocol"], title(row["pair"])): row for row in known}

    def place(row: Row) -> tuple:
        return order.index(row["id"]), rules.index(row["protocol"]), title(row["pair"])

    return sorted(last.values(), key=place)
