"""Summaries of the paper's figures: what a chapter finds for its pair, and the paper's own values, in one table.

A summary is small and tidy: numbers and names, no text of a model. So the figures of many pairs can be put together.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from predact.claims import paper
from predact.claims.backbone import OVERLAP, PAPER_PAIRS
from predact.claims.foresight import BEGINNINGS, OTHERS, PERCENT, QUESTIONS
from predact.claims.last_word import AS_THE_PAPER
from predact.claims.mass import MASS
from predact.claims.prediction import INCREASES
from predact.claims.self_reading import ALL, MEAN, PERPLEXITY, RATIO
from predact.claims.shared_ngrams import DIFFERENCE, PER_PROMPT, UNIT
from predact.claims.skeleton import INSIDE
from predact.claims.support import PERCENT as OF_VOCABULARY
from predact.methods.ngrams import GENERATIONS
from predact.models.passages import OWN

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
CATEGORIES = {"new corpora": "new", "instruction tuning": "instruction", "instruction data": "instruction"}
PAIRS = {"TULU 7B": "Tulu 2 7B", "TULU 70B": "Tulu 2 70B"}  # where the paper has several names for one pair


class Figure(NamedTuple):
    """A figure of the paper whose summary is kept: which columns of its frame are which in the summary."""

    chapter: str
    x: str = ""  # column
    series: tuple[str, ...] = ()  # columns
    n: str = "n"  # column
    rows: str = ""  # a query; empty: all rows
    papers: Callable[[], pd.DataFrame] = pd.DataFrame  # pair, model, series, x, unit, value (low and high, where known)


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
        x=found[told.x].map(_place) if told.x else "",
        n=found[told.n],
    )
    return check(_typed(found))


def of_paper(figure: str) -> pd.DataFrame:
    """Return the paper's own values of a figure as a summary: its five pairs, intervals where it has some."""
    found = FIGURES[figure].papers().rename(columns={"value": "estimate"}).dropna(subset="estimate")
    return check(_typed(found.assign(figure=figure, scale="", protocol="paper", x=found.x.map(_place))))


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
    return check(_typed(pd.DataFrame(rows, columns=list(COLUMNS))))


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


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Bring a frame to `COLUMNS`; the ends of an interval that the frame does not have are missing."""
    whole = frame.reindex(columns=list(COLUMNS)).reset_index(drop=True)
    try:
        numbers = {name: pd.to_numeric(whole[name]) for name in _NOTHING}
        whole = whole.assign(**numbers).astype(COLUMNS)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected numbers ({error})") from error
    short = {name: whole[name].map(lambda value: float(f"{value:.{DIGITS}g}")) for name in _NOTHING if name != "n"}
    return whole.assign(**short)


def _place(at: Any) -> str:
    """A place on the axis as text: a number in its shortest form."""
    return at if isinstance(at, str) else f"{at:g}"


def _increases(panel: str) -> pd.DataFrame:
    found = paper.values("2", panel)
    categories = found.x.str.lower().replace(CATEGORIES)
    return found.assign(pair=found.model.replace(PAIRS), model="RLHF", series="", x=categories, unit=INCREASES[0])


def _masses() -> pd.DataFrame:
    found = _of_pairs(paper.values("3"))
    return found.assign(series=found.condition.map(paper.TEXTS), unit=MASS)


def _supports() -> pd.DataFrame:
    found = _of_pairs(paper.values("4"))
    return found.assign(series=found.condition.map(paper.TEXTS), x="", unit=OF_VOCABULARY)


def _self_perplexities() -> pd.DataFrame:
    """The perplexities, and as multiples of Base's."""
    found = _of_pairs(paper.values("5"))
    found = found.assign(series="", x=found.x.str.lower().replace(CATEGORIES))
    base = found[found.model == "Base"].set_index(["pair", "x"]).value.rename("base")
    ratios = found.join(base, on=["pair", "x"])
    ratios = ratios.assign(value=ratios.value / ratios.base, unit=RATIO)
    return pd.concat([found.assign(unit=PERPLEXITY), ratios], ignore_index=True)


def _accuracies() -> pd.DataFrame:
    found = _of_pairs(paper.values("6"))
    kinds = found.panel.str.contains("Pile").map({True: BEGINNINGS, False: QUESTIONS})
    texts = found.panel.str.contains("own").map({True: OWN, False: OTHERS})
    return found.assign(series=kinds + ", " + texts, unit=PERCENT)


def _commonest() -> pd.DataFrame:
    found = _of_pairs(paper.values("7", "A"))
    return found.assign(series="", value=found.value / 100, unit=UNIT)


def _histogram() -> pd.DataFrame:
    found = _of_pairs(paper.values("7", "B"))
    return found.assign(series="", value=found.value / paper.PROMPTS, unit=PER_PROMPT)


def _along(figure: str, unit: str) -> pd.DataFrame:
    found = paper.values(figure)
    parts = [
        found[found.model == name].assign(pair=pair, model=model)
        for pair, names in PAPER_PAIRS.items()
        for model, name in zip(("Base", "RLHF"), names, strict=True)
    ]
    whole = pd.concat(parts, ignore_index=True)
    return whole.assign(series=GENERATIONS, x=whole.x + 0.5, unit=unit)


def _last_words() -> pd.DataFrame:
    found = _of_pairs(paper.values("Table 1"))
    return found.assign(series="", unit=found.x.map(AS_THE_PAPER), x="")


def _of_pairs(found: pd.DataFrame) -> pd.DataFrame:
    """Part the paper's names of models, such as Llama 2 7B Base, into pair and model."""
    names = found.model.str.rsplit(n=1)
    return found.assign(pair=names.str[0].replace(PAIRS), model=names.str[1])


_ALONG = ("position", ("text",), "prompts", f"text == {GENERATIONS!r}")
_CATEGORIES = f"source == {MEAN!r} and category != {ALL!r}"  # of self-perplexity
FIGURES = {
    "2A": Figure("02_world_modeling", "category", n="documents", papers=lambda: _increases("A")),
    "2B": Figure("02_world_modeling", "category", n="documents", papers=lambda: _increases("B")),
    "Table 1": Figure("02_world_modeling", n="passages", papers=_last_words),
    "3": Figure("03_collapse", "k", ("text",), papers=_masses),
    "4": Figure("03_collapse", "", ("text",), papers=_supports),
    "5": Figure("03_collapse", "category", n="prefixes", rows=_CATEGORIES, papers=_self_perplexities),
    "7A": Figure("04_anchor_spans", "n", n="prompts", rows=f"model != {DIFFERENCE!r}", papers=_commonest),
    "7B": Figure("04_anchor_spans", "x", n="prompts", papers=_histogram),
    "14": Figure("04_anchor_spans", *_ALONG, papers=lambda: _along("14", INSIDE)),
    "13": Figure("05_backbones", *_ALONG, papers=lambda: _along("13", OVERLAP)),
    "6": Figure("06_planning", "n", ("kind", "text"), "prompts", papers=_accuracies),
}
