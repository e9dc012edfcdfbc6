"""Summaries of the paper's figures: what chapters find for a pair, in the columns of one table.

A summary is small and tidy: numbers and names, no text of a model. So the figures of many pairs can be put together.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from predact.methods.ngrams import GENERATIONS

MIME = "application/vnd.predact.figures+json"  # of a chapter's summaries in its last output
COLUMNS = {
    "figure": "str",  # of the paper, a key of `FIGURES`
    "pair": "str",
    "scale": "str",  # and the settings that differ from it; empty for the paper
    "protocol": "str",  # paper or book, as of a verdict
    "model": "str",  # Base, RLHF, or a step between
    "series": "str",  # which text, where there are several kinds
    "x": "str",  # place on the axis: a category, or a number
    "unit": "str",
    "estimate": "float64",
    "low": "float64",  # of the 95 % interval; without one, NaN as `high`
    "high": "float64",
    "n": "Int64",  # documents, prompts or passages; none where the paper does not tell
}
_NOTHING = dict.fromkeys(["estimate", "low", "high", "n"])  # columns in which nothing, None, stands for what is missing
OF_MEASURE = {"matched": "paper", "equal": "book"}  # diversity matched as in the paper, or both models at one p
DIGITS = 5  # of a number that is kept


class Figure(NamedTuple):
    """A figure of the paper whose summary is kept: which columns of its frame are which in the summary."""

    chapter: str
    x: str = ""  # column
    series: tuple[str, ...] = ()  # columns
    n: str = "n"  # column
    rows: str = ""  # a query; empty: all rows


def kept(figure: str, frame: pd.DataFrame, pair: str, scale: str, protocol: str = "paper") -> pd.DataFrame:
    """Return the summary of a figure: the frame that it draws, in the columns of `COLUMNS`.

    What could not be measured is left out, and so are both ends of an interval if one is not finite.

    Args:
        figure: a key of `FIGURES`.
        frame: what the chapter draws: estimate, low, high, unit, model, and the columns named in `FIGURES`. One with a
            column measure (`OF_MEASURE`) tells the protocol of each row itself.
        pair: its name.
        scale: and the settings that differ from it.
        protocol: paper, or book where ours differs.

    Raises:
        ValueError: there is no such figure, or the summary is not as `check` wants it.
    """
    if figure not in FIGURES:
        raise ValueError(f"no summary is kept of a figure {figure!r}; known are {', '.join(FIGURES)}")
    told = FIGURES[figure]
    found = frame.query(told.rows) if told.rows else frame
    found = found[np.isfinite(found.estimate)]
    ends = found[["low", "high"]]
    found = found.assign(
        **ends.where(np.isfinite(ends).all(axis=1)),
        figure=figure,
        pair=pair,
        scale=scale,
        protocol=found.measure.map(OF_MEASURE) if "measure" in found else protocol,
        series=[", ".join(parts) for parts in found[list(told.series)].astype(str).to_numpy()],
        x=found[told.x].map(place) if told.x else "",
        n=found[told.n],
    )
    return check(typed(found))


def check(summary: pd.DataFrame) -> pd.DataFrame:
    """Return a summary as it is.

    Raises:
        ValueError: its columns are not `COLUMNS`, a name is missing or unknown, a number is not finite, or an interval
            is turned round.
    """
    if list(summary.columns) != list(COLUMNS):
        raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
    unknown = sorted(set(summary.figure) - FIGURES.keys())
    if unknown:
        raise ValueError(f"no figure is called {unknown[0]!r}; known are {', '.join(FIGURES)}")
    rules: Mapping[str, Any] = {
        "protocol is paper or book": summary.protocol.isin(["paper", "book"]),
        "pair, model and unit are named": (summary[["pair", "model", "unit"]] != "").all(axis=1),
        "estimate is a finite number": np.isfinite(summary.estimate),
        "low and high are finite numbers, or both are missing": (
            np.isfinite(summary.low) & np.isfinite(summary.high) | summary.low.isna() & summary.high.isna()
        ),
        "low is at most high": summary.low.isna() | (summary.low <= summary.high),
        "n is 1 or more": summary.n.isna() | (summary.n >= 1),
        "each place is told once": ~summary.duplicated(
            ["figure", "pair", "protocol", "model", "series", "x", "unit"], keep=False
        ),
    }
    for rule, holds in rules.items():
        if not holds.all():
            row = summary[~holds.astype(bool)].iloc[0]
            raise ValueError(f"expected that {rule}; not so in Figure {row.figure}, {row.model} {row.series} {row.x}")
    return summary


def as_data(summary: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a summary as JSON data: a mapping for each row; what is missing is None."""
    whole = summary.astype(object).where(summary.notna(), None)
    return [dict(zip(COLUMNS, row, strict=True)) for row in whole.itertuples(index=False)]


def from_data(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the summary that `as_data` has made into JSON data.

    Raises:
        ValueError: it is none.
    """
    if not all(isinstance(row, dict) and row.keys() == COLUMNS.keys() for row in rows):
        raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
    return check(typed(pd.DataFrame(rows, columns=list(COLUMNS))))


def as_csv(summary: pd.DataFrame) -> str:
    """Return a summary as the text of a CSV file; without rows, its header."""
    return summary.to_csv(index=False, lineterminator="\n")


def from_csv(text: str) -> pd.DataFrame:
    """Return the summary that `as_csv` has made into a text.

    Raises:
        ValueError: it is none.
    """
    reader = csv.DictReader(io.StringIO(text))
    if list(reader.fieldnames or []) != list(COLUMNS):
        raise ValueError(f"expected the columns {', '.join(COLUMNS)}")
    return from_data([{name: row[name] or _NOTHING.get(name, "") for name in row} for row in reader])


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Bring a frame to `COLUMNS`; what it does not have is missing.

    Raises:
        ValueError: what should be a number is none.
    """
    whole = frame.reindex(columns=list(COLUMNS)).reset_index(drop=True)
    try:
        numbers = {name: pd.to_numeric(whole[name]) for name in _NOTHING}
        whole = whole.assign(**numbers).astype(COLUMNS)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected numbers ({error})") from error
    short = {name: whole[name].map(lambda value: float(f"{value:.{DIGITS}g}")) for name in _NOTHING if name != "n"}
    return whole.assign(**short)


def place(at: Any) -> str:
    """A place on the axis as text: a number in its shortest form."""
    return at if isinstance(at, str) else f"{at:g}"


_ALONG = ("position", ("text",), "prompts", f"text == {GENERATIONS!r}")
FIGURES = {
    "2A": Figure("02_world_modeling", "category", n="documents"),
    "2B": Figure("02_world_modeling", "category", n="documents"),
    "Table 1": Figure("02_world_modeling", n="passages"),
    "3": Figure("03_collapse", "k", ("text",)),
    "4": Figure("03_collapse", "", ("text",)),
    "5": Figure("03_collapse", "category", n="prefixes", rows="source == 'mean' and category != 'all'"),
    "7A": Figure("04_anchor_spans", "n", n="prompts", rows="model != 'RLHF - Base'"),
    "7B": Figure("04_anchor_spans", "x", n="prompts"),
    "14": Figure("04_anchor_spans", *_ALONG),
    "13": Figure("05_backbones", *_ALONG),
    "6": Figure("06_planning", "n", ("kind", "text"), "prompts"),
}
