"""The computed parts of the book's pages, as HTML: the claims with their verdicts, and how each notebook ran.

They are filled templates, whose values are escaped, and the pages load them as files: what a name says is never markup.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from predact import markup
from predact.build import execute
from predact.build.notebook import brief
from predact.claims.verdict import claims, told
from predact.discussion.across import Row
from predact.models.pairs import title
from predact.models.runs import Settings, scales


def numbers(row: Mapping[str, Any]) -> str:
    """Return the numbers of a verdict: ``1.412 [1.380, 1.444] perplexity ratio, n = 900``, and the value by chance."""
    estimate, low, high = (told(row[name]) for name in ("estimate", "low", "high"))
    chance = "" if row.get("null") is None else f" (by chance {row['null']:.3f})"
    return f"{estimate} [{low}, {high}]{chance} {row['unit']}, n = {row['n']:,}"


def scorecard(verdicts: Iterable[Row], pair: str, chapters: Iterable[str], published: Iterable[Row] = ()) -> str:
    """Return the claims table: each claim with the paper's values, its verdict by the paper's rule, and by ours.

    A claim without a verdict is "not yet run". Where there are published verdicts of the full scale, they stand beside.

    Args:
        verdicts: rows of this pair only.
        pair: its name.
        chapters: names of the notebooks in the book; a claim links to its notebook if that is one of them.
        published: rows of any pairs; those of this pair at another scale are shown in a column of their own.
    """
    chapters, found = set(chapters), {(row["id"], row["protocol"]): row for row in verdicts}
    scales = sorted({row["scale"] for row in found.values()})
    other = {
        (row["id"], row["protocol"]): row
        for row in published
        if row["pair"] == title(pair) and row["scale"] not in scales
    }
    lines = []
    for claim in claims().values():
        for protocol in ("paper", "book"):
            key = (claim.id, protocol)
            if protocol == "paper" or key in found or key in other:
                cells = [found.get(key), other.get(key)] if other else [found.get(key)]
                told = [row and {"verdict": row["verdict"], "numbers": numbers(row)} for row in cells]
                line = {"claim": claim, "linked": claim.chapter in chapters, "ours": protocol == "book", "cells": told}
                lines.append(line)
    return markup.render("scorecard.html", pair=pair, scales=scales, lines=lines, published=bool(other))


def settings() -> str:
    """Return the table of all settings: the value at every scale (one where they agree), and what each says."""
    rows = []
    for name, field in Settings.model_fields.items():
        values = [_shown(at.get(name, field.default)) for at in scales().values()]
        shown = values if len(set(values)) > 1 else [values[0], "", ""]
        rows.append({"name": name, "values": shown, "says": field.description})
    return markup.render("settings.html", scales=list(scales()), rows=rows)


def status(notebooks: Iterable[Path]) -> str:
    """Return the tables of the status page, from the metadata and the provenance of executed notebooks."""
    notebooks = list(notebooks)
    remarks = dict.fromkeys(told for each in notebooks for told in execute.remarks(each))
    chapters, changed = list(map(_chapter, notebooks)), _changed(notebooks)
    return markup.render("status.html", chapters=chapters, changed=changed, remarks=list(remarks))


def _changed(notebooks: Iterable[Path]) -> list[tuple[str, str]]:
    """Return the settings in which the notebooks differ from the full scale, each once."""
    full = {name: field.default for name, field in Settings.model_fields.items()}
    return sorted(
        {
            (name, _shown(value))
            for each in notebooks
            for name, value in execute.settings(each).items()
            if value != full[name]
        }
    )


def _chapter(notebook: Path) -> dict[str, Any]:
    """What the status page tells about one notebook."""
    run, values, results = execute.metadata(notebook), execute.values(notebook), execute.results(notebook)
    return {
        "name": notebook.stem,
        "executed": _minute(run["start_time"]),
        "seconds": f"{run['duration']:.1f}",
        "seed": values.get("seed", ""),
        "parameters": {name: _shown(value) for name, value in values.items()},
        "versions": sorted({f"{name} {told}" for result in results for name, told in result["versions"].items()}),
        "devices": sorted({result["device"] for result in results}),
        "results": [_result(result) for result in results],
    }


def _result(sidecar: Mapping[str, Any]) -> dict[str, str]:
    return {
        "stage": sidecar["stage"],
        "inputs": brief(sidecar["inputs"]),
        "seconds": f"{sidecar['seconds']:.1f}",
        "made": _minute(sidecar["created"]),
        "checksum": sidecar["sha256"][:12],
    }


def _minute(timestamp: str) -> str:
    return timestamp[:16].replace("T", " ")


def _shown(value: object) -> str:
    """Return a value as text; an empty one as ``''``."""
    return str(value) or "''"
