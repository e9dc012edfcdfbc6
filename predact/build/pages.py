"""The computed pages of the book, as MyST Markdown: the claims with their verdicts, and how each notebook ran."""

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

OURS = "↳ *by our own, stricter measure*"
BADGES = {"holds": "success", "fails": "danger", "undecided": "warning"}


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
        (row["id"], row["protocol"]): row for row in published if row["pair"] == pair and row["scale"] not in scales
    }
    rows: list[tuple[str, ...]] = []
    for claim in claims().values():
        name = f"[{claim.id}](../notebooks/{claim.chapter}.ipynb)" if claim.chapter in chapters else claim.id
        told = f"{claim.claim} *({claim.figure})*" + (f"<br>*The paper's models:* {claim.paper}" if claim.paper else "")
        for protocol, first in (("paper", (name, told)), ("book", ("", OURS))):
            key = (claim.id, protocol)
            if protocol == "paper" or key in found or key in other:
                beside = (_verdict(other[key]) if key in other else "–",) if other else ()
                rows.append((*first, _verdict(found.get(key)), *beside))
    last = ("Published, at full scale",) if other else ()
    head = ("", "Claim *(where in the paper)*", "Verdict, estimate [95 % interval]", *last)
    at = f", at the scale {_code('; '.join(scales))}" if scales else ""
    return f"Computed for the pair {_code(pair)}{at}.\n\n{_table(head, rows)}\n"


def pairs(verdicts: Iterable[Row], first: str, numbers: bool = True) -> str:
    """Return the table of all claims and pairs as an HTML block; the colour of a cell shows its verdict.

    A claim has a line for the paper's rule, and one for ours where a pair has such a verdict.

    Args:
        verdicts: rows, as `across.in_order` returns them.
        first: the pair of the first column.
        numbers: whether a cell also shows the estimate and its interval. A scale below the full one is named.
    """
    found = {(row["id"], row["protocol"], row["pair"]): row for row in verdicts}
    names = sorted({pair for _, _, pair in found}, key=lambda pair: (pair != first, title(pair)))
    by_rule = {key[:2] for key in found}
    lines = [
        {
            "id": claim.id + (", ours" if protocol == "book" else ""),
            "text": claim.claim,
            "units": "; ".join(sorted({row["unit"] for key, row in found.items() if key[:2] == (claim.id, protocol)})),
            "cells": [_cell(found.get((claim.id, protocol, pair))) for pair in names],
        }
        for claim in claims().values()
        for protocol in ("paper", "book")
        if protocol == "paper" or (claim.id, protocol) in by_rule
    ]
    at = {row["pair"]: row["scale"] for row in found.values()}
    heads = [{"name": title(pair), "scale": at[pair]} for pair in names]
    page = markup.render("verdicts.html", pairs=heads, claims=lines, numbers=numbers)
    return f"```{{raw}} html\n{page}\n```\n"


def _cell(row: Row | None) -> dict[str, str] | None:
    """Return the verdict of one claim on one pair and its numbers, as texts; None if there is no verdict."""
    if not row:
        return None
    return {"verdict": row["verdict"], **{name: told(row[name]) for name in ("estimate", "low", "high")}}


def settings() -> str:
    """Return the table of all settings: the value at every scale (one where they agree), and what each says."""
    rows = []
    for name, field in Settings.model_fields.items():
        values = [_code(at.get(name, field.default)) for at in scales().values()]
        rows.append((_code(name), *(values if len(set(values)) > 1 else [values[0], "", ""]), str(field.description)))
    return _table(("Setting", *(f"`{scale}`" for scale in scales()), "Says"), rows) + "\n"


def status(notebooks: Iterable[Path]) -> str:
    """Return the tables of the status page, from the metadata and the provenance of executed notebooks."""
    notebooks = list(notebooks)
    head = ("Notebook", "Executed (UTC)", "Time", "Seed", "Stored results")
    parts = [_table(head, map(_summary, notebooks)), _changed(notebooks), *map(_details, notebooks)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _changed(notebooks: Iterable[Path]) -> str:
    """Tell the settings in which the notebooks differ from the full scale, each once."""
    full = {name: field.default for name, field in Settings.model_fields.items()}
    told = {
        (name, _code(value))
        for each in notebooks
        for name, value in execute.settings(each).items()
        if value != full[name]
    }
    said = "Notebooks were run with the [settings](#settings) of the full scale, but for these:"
    return f"## Settings\n\n{said}\n\n{_table(('Setting', 'Value'), sorted(told))}" if told else ""


def _verdict(row: Row | None) -> str:
    return f"{{bdg-{BADGES[row['verdict']]}}}`{row['verdict']}` {numbers(row)}" if row else "not yet run"


def _summary(notebook: Path) -> tuple[str, ...]:
    run, seed = execute.metadata(notebook), execute.values(notebook).get("seed", "")
    time, count = f"{run['duration']:.1f} s", len(execute.results(notebook))
    return f"[{notebook.stem}](../notebooks/{notebook.name})", _minute(run["start_time"]), time, str(seed), str(count)


def _details(notebook: Path) -> str:
    results, parameters = execute.results(notebook), execute.values(notebook).items()
    parts = [
        f"## {notebook.stem}",
        _table(("Parameter", "Value"), ((name, _code(value)) for name, value in parameters)),
    ]
    if results:
        versions = sorted({f"{name} {version}" for result in results for name, version in result["versions"].items()})
        devices = sorted({result["device"] for result in results})
        parts += [
            f"Stored results made with {', '.join(versions)} on {'; '.join(devices)}.",
            "````{dropdown} Stored results, with the fingerprints of models and data",
            _table(("Stage", "Inputs", "Time", "Made (UTC)", "Checksum"), map(_result, results)),
            "````",
        ]
    return "\n\n".join(parts)


def _result(sidecar: Mapping[str, Any]) -> tuple[str, ...]:
    time, checksum = f"{sidecar['seconds']:.1f} s", _code(sidecar["sha256"][:12])
    return sidecar["stage"], _code(brief(sidecar["inputs"])), time, _minute(sidecar["created"]), checksum


def _minute(timestamp: str) -> str:
    return timestamp[:16].replace("T", " ")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ("---",) * len(head), *rows))


def _code(value: object) -> str:
    """Return a value as code inside a table: shown as it is, never as markup; an empty text as ``''``."""
    return "`" + (str(value) or "''").replace("`", "'").replace("|", "\\|").replace("\n", " ") + "`"
