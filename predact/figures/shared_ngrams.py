"""Figures of C6: n-grams that generations for one prompt share, and the paper's Figure 7 with its values."""

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from predact.claims import paper
from predact.claims.shared_ngrams import DIFFERENCE, PER_PROMPT, UNIT
from predact.figures import style
from predact.figures.style import plain_axis
from predact.methods.ngrams import GENERATIONS


def commonest(frame: pd.DataFrame, values: pd.DataFrame) -> alt.LayerChart:
    """Figure 7A: how many of 100 generations contain the commonest n-gram, as bars, the paper's hollow.

    Args:
        frame: what `shared_ngrams.commonest_shares` returns.
        values: the paper's, of panel A.
    """
    data = frame[(frame.model != DIFFERENCE) & frame.estimate.notna()].assign(side=lambda each: each.model)
    lengths, models = sorted(frame.n.unique()), ["Base", "RLHF"]
    x = alt.X("n:O", sort=lengths, title="n (tokens)", axis=alt.Axis(labelAngle=0))
    y, title = alt.Y("estimate:Q", title=None, axis=alt.Axis(format="%")), "Generations with the commonest n-gram"
    side = alt.XOffset("side:N", sort=models)
    shown = alt.Chart(data).encode(x=x, xOffset=side)
    theirs = values.assign(n=values.x.astype(int), side=values.model.str.split().str[-1], unit=UNIT)
    theirs = theirs.assign(value=theirs.value / 100, error=theirs.error / 100)
    layers = (
        shown.mark_bar(opacity=0.4).encode(
            y=y, color=style.models(models)["color"], tooltip=style.interval(alt.Tooltip("n:Q"))
        ),
        *_intervals(shown, data),
        style.of_paper(theirs, x, alt.Y("value:Q", title=None), xOffset=side),
    )
    said = [f"n = {row.n}, {row.model} {_told(row, '.3f')}" for row in data.itertuples()]
    missing = [f"n = {row.n}, {row.model}" for row in frame[frame.estimate.isna()].itertuples()]
    text = f"Share of generations with the commonest n-gram: {'; '.join(said)}. Hollow: the paper's Llama 2 7B and 70B."
    text += f" Not measured, for want of long generations: {'; '.join(missing)}." if missing else ""
    return style.figure(layers, [], title=title, description=text, height=270)


def histogram(frame: pd.DataFrame, values: pd.DataFrame) -> alt.LayerChart:
    """Figure 7B: how many 10-grams a prompt has that so many of its generations contain, the paper's as thin lines.

    A bin in which there is none has no place on the logarithmic axis; an interval from 0 is drawn from half of the
    least mean that there can be.

    Args:
        frame: what `shared_ngrams.histogram` returns.
        values: the paper's, of panel B.
    """
    data = frame[frame.estimate > 0].assign(drawn_low=frame.low.clip(lower=1 / frame.prompts.max() / 2))
    theirs = values[values.value > 0].assign(unit=PER_PROMPT)
    theirs = theirs.assign(value=theirs.value / paper.PROMPTS, error=theirs.error / paper.PROMPTS)
    bins, marks = list(frame.x.unique()), style.models(["Base", "RLHF"])
    x = alt.X("x:O", sort=bins, title="of 100 generations", axis=alt.Axis(labelAngle=-45))
    axis = alt.Axis(format=",~g", values=style.TICKS[::3])
    y = alt.Y("estimate:Q", title=None, scale=alt.Scale(type="log", nice=False), axis=axis)
    shown = alt.Chart(data).encode(x=x)
    point = shown.mark_point(filled=True, size=70, opacity=1)
    layers = (
        shown.mark_line(strokeWidth=2).encode(y=y, color=marks["color"]),
        *_intervals(shown, data, "drawn_low", color=marks["color"]),
        point.encode(y=y, tooltip=style.interval(alt.Tooltip("x:O")), **marks),
        style.of_paper(theirs, x, alt.Y("value:Q", title=None), line=True),
    )
    said = [f"{row.model} {row.x}: {_told(row, ',.1f')}" for row in data.itertuples()]
    text = f"{PER_PROMPT} by how many of 100 generations contain them: {'; '.join(said)}. Thin: the paper's."
    return style.figure(layers, [], title=PER_PROMPT, description=text, height=270)


def _intervals(shown: alt.Chart, data: pd.DataFrame, low: str = "low", **look: Any) -> list[alt.Chart]:
    """Return the layer of 95 % intervals, from a field of their lower ends up; none for a single prompt."""
    rule = shown.mark_rule(strokeWidth=2, color="currentColor")
    span = rule.encode(y=alt.Y(f"{low}:Q", title=None), y2="high:Q", **look)
    return [span] if data.low.notna().any() else []


def _told(row: Any, form: str) -> str:
    return style.with_interval(row, form) if pd.notna(row.low) else f"{row.estimate:{form}}"


def shares(frame: pd.DataFrame, quoted: Sequence[int] = (10, 25)) -> alt.LayerChart:
    """How many generations contain the most shared n-gram, by its length, beside the nulls.

    Args:
        frame: what `shared_ngrams.shares_by_length` returns.
        quoted: lengths n that the description quotes.
    """
    data = frame.round(4).assign(mark=frame.n.isin([1, *range(5, int(frame.n.max()) + 1, 5)]))
    known = bool(frame.low.notna().all())  # a single prompt has no interval
    told = [
        f"{row.model}, {row.text} {row.estimate:.3f}{f' ({row.low:.3f} to {row.high:.3f})' * known} for n = {row.n}"
        for row in frame[frame.n.isin(list(quoted))].itertuples()
    ]
    text = f"Share of generations with the commonest n-gram, with 95 % intervals: {'; '.join(told)}."
    shown = alt.Chart(data.assign(mark=data["mark"].astype(int))).encode(
        x=alt.X("n:Q", title="n (tokens)", axis=plain_axis())
    )
    heading = alt.Title("Generations with the commonest n-gram")
    y = ("estimate", "low", "high", alt.Axis(format="%"))
    return style.curves(
        shown, data, y, (alt.param("quoted", value=list(quoted)), heading), text, [alt.Tooltip("n:Q")], GENERATIONS
    )
