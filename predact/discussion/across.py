"""Many pairs: the verdicts of each, from published files and from executed notebooks."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from predact.claims.verdict import claims
from predact.models.pairs import title

Row = Mapping[str, Any]


def published(folder: Path) -> list[dict]:
    """Return the verdicts below a folder: a JSON file for each claim, in a folder for each pair."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*/*.json"))]


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Return verdicts claim by claim, and for each the pairs in the order of their names.

    If there are several verdicts on one claim and pair, the last one counts.
    """
    last = {(row["id"], row["pair"]): row for row in rows}
    order = list(claims())
    return sorted(last.values(), key=lambda row: (order.index(row["id"]), title(row["pair"])))
