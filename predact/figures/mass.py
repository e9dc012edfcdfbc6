"""Figures of C3 and C11: how much probability the likeliest tokens hold."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import altair as alt
import pandas as pd

from predact.claims import paper
from predact.claims.mass import ENTROPY, KS, TOP1
from predact.figures import style
from predact.figures.style import TICKS, choose_from, log_axis, with_interval
from predact.models.passages import GOLD

TOLD = {  # what the button says, what the heading says
    "mass": ("the k likeliest", "Mass of the k likeliest tokens"),
    "rest": ("all others", "Mass of all other tokens"),
    TOP1: ("likeliest token", "Probability of the likeliest token"),
    ENTROPY: ("entropy", "Entropy, nats per token"),
}
LEAST = 1e-9  # remaining mass below this is rounding error, and not drawn


def first_masses(frame: pd.DataFrame, values: pd.DataFrame) -> alt.LayerChart:
    """Figures 3 and 16: the mass of the 1, 2, ..., 20 likeliest tokens, and the paper's, thin and with hollow marks.

    Args:
        frame: What `mass.first_masses` returns: model, text, k, estimate, low, high, unit.
        values: What `paper.values` returns for the figure; kinds of text that are not in the frame are left out.
    """
    texts = list(frame.text.unique())
    theirs = values.assign(text=values.condition.map(paper.TEXTS), k=values.x)
    theirs = theirs[theirs.text.isin(texts) & theirs.k.le(frame.k.max())]
    shown = alt.Chart(frame.assign(mark=frame.k.isin(KS).astype(int)))
    x = alt.X(
        "k:Q", title="k (tokens)", axis=style.plain_axis(), scale=alt.Scale(domain=[1, frame.k.max()], nice=False)
    )
    only_mass = choose_from("mass", "", ["mass"], TOLD)
    said = [f"{row.model} on {row.text} {with_interval(row)} for k = {row.k}" for row in _at(frame, KS)]
    read = [f"{row.model} on {row.text} {row.value:.3f} for k = {row.k:.0f}" for row in _at(theirs, KS)]
    text = f"Mean mass of the k likeliest tokens, with 95 % intervals: {'; '.join(said)}. The paper: {'; '.join(read)}."
    y = ("estimate", "low", "high", alt.Axis())
    chart = style.curves(shown.encode(x=x), frame, y, only_mass, text, [alt.Tooltip("k:Q")], GOLD)
    encodings = (layer.encoding for layer in chart.layer)
    dash = next(each.strokeDash for each in encodings if each.strokeDash is not alt.Undefined)
    chart.layer += [
        style.of_paper(theirs, "k:Q", "value:Q", line=True, strokeDash=dash),
        style.of_paper(theirs[theirs.k.isin(KS)], "k:Q", "value:Q"),
    ]
    return chart


def _at(frame: pd.DataFrame, ks: Sequence[int]) -> Iterator[Any]:
    return frame[frame.k.isin(ks)].itertuples()


def mass_curves(frame: pd.DataFrame) -> alt.LayerChart:
    """Figure 3: the mass of the k likeliest tokens; or the mass of all others, which separates curves close to 1.

    Args:
        frame: What `mass.mass_curves` returns: model, text, k, estimate, low, high, unit.
    """
    rest = pd.DataFrame({"rest": 1 - frame.estimate, "rest_low": 1 - frame.high, "rest_high": 1 - frame.low}).clip(0)
    others = [f"{row.rest:.2g} ({row.rest_low:.2g} to {row.rest_high:.2g})" for row in rest.itertuples()]
    mark = (frame.k.rank(method="dense") % 8 == 1).astype(int)  # a symbol at every eighth k keeps the line visible
    data = frame.join(rest.clip(LEAST)).assign(others=others, mark=mark)
    ends = {"y": ("estimate", "rest"), "y_low": ("low", "rest_high"), "y_high": ("high", "rest_low")}
    either = {y: f"mass == 'mass' ? datum.{of} : log(datum.{left}) / LN10" for y, (of, left) in ends.items()}
    shown = alt.Chart(data).transform_filter(f"mass == 'mass' || datum.rest > {LEAST}").transform_calculate(**either)
    number = "mass == 'mass' ? datum.value : pow(10, datum.value)"
    form = "mass == 'mass' || datum.value > -4 ? '~f' : '.0e'"
    axis = alt.Axis(labelExpr=f"format({number}, {form})", tickMinStep=alt.ExprRef("mass == 'mass' ? 0.001 : 1"))
    tooltip = (alt.Tooltip("k:Q", format=","), alt.Tooltip("others:N", title="all others"))
    at = frame.k.isin([min(frame.k, key=lambda each: abs(math.log(each / k))) for k in (1, 10, 100, 1000)])
    rows = frame[at].itertuples()
    said = "; ".join(f"{row.model} on {row.text} {with_interval(row, '.4f')} for k = {row.k}" for row in rows)
    text = f"Mean probability mass of the k likeliest tokens, with 95 % intervals: {said}."
    shown = shown.encode(x=log_axis("k:Q", "k (tokens)", TICKS[9::3]))
    return style.curves(
        shown, data, (*ends, axis), choose_from("mass", "Mass of", ["mass", "rest"], TOLD), text, tooltip, GOLD
    )


def certainty_along_text(frame: pd.DataFrame) -> alt.LayerChart:
    """The likeliest token's probability, and the entropy, along the text, with 95 % bands.

    Args:
        frame: What `mass.certainty_by_position` returns: model, text, measure, first, last, estimate, low, high, unit.
    """
    first, last = frame["first"] + 1, frame["last"] + 1  # readers count from one
    span = [str(a) if a == b else f"{a} to {b}" for a, b in zip(first, last, strict=True)]
    data = frame.assign(middle=(first * last) ** 0.5, span=span, mark=1)
    lines = data.groupby(["measure", "model", "text"], sort=False)
    rows = [row for _, line in lines for row in line.sort_values("first").iloc[[0, -1]].itertuples()]
    said = [f"{row.measure}, {row.model} on {row.text} {with_interval(row)} at tokens {row.span}" for row in rows]
    text = f"By position in the text, with 95 % bands: {'; '.join(said)}."
    x = log_axis("middle:Q", "Position in the text (tokens)", TICKS[9:])
    shown = alt.Chart(data).transform_filter("datum.measure == measure").encode(x=x)
    tooltip, y = [alt.Tooltip("span:N", title="tokens")], ("estimate", "low", "high", alt.Axis())
    return style.curves(
        shown, data, y, choose_from("measure", "Measure", frame.measure.unique(), TOLD), text, tooltip, GOLD
    )
