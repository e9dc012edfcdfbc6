"""Figures of where tuning bites: the branching factor along an answer, and a Base that is nudged towards RLHF's."""

import altair as alt
import pandas as pd

from predact.discussion.nudging import BRANCHING, NUDGED, STRANGE
from predact.figures import style
from predact.figures.discussion import NARROW

OWN = {"Base": "Base, own answers", "RLHF": "RLHF, own answers"}
TOLD = {
    BRANCHING: ("branching factor", "Branching factor of the next tokens"),
    STRANGE: ("strangeness", "Nats per token that RLHF needs for them"),
}


def by_position(frame: pd.DataFrame) -> alt.LayerChart:
    """The branching factor along own answers, a line with its 95 % band for each model.

    Args:
        frame: what `nudging.by_position` returns.
    """
    marks = style.models(list(frame.model.unique()))
    x = alt.X("first:Q", title="Tokens into the answer", axis=alt.Axis(grid=False))
    y = alt.Y("estimate:Q", title=None, scale=alt.Scale(zero=False))
    places = alt.Tooltip("first:Q", title="from token"), alt.Tooltip("last:Q", title="to token")
    shown = alt.Chart(frame.round(4)).encode(x=x)
    layers = (
        shown.mark_area(opacity=0.22).encode(y="low:Q", y2="high:Q", color=marks["color"]),
        shown.mark_line(strokeWidth=2).encode(y=y, color=marks["color"]),
        shown.mark_point(filled=True, size=50).encode(y=y, tooltip=style.interval(*places), **marks),
    )
    ends = frame.groupby("model", sort=False).estimate
    told = [
        f"{model} {first:.2f} at first, {last:.2f} at last"
        for model, first, last in zip(ends.first().index, ends.first(), ends.last(), strict=True)
    ]
    text = f"{BRANCHING} by position in own answers: {'; '.join(told)}."
    return style.figure(layers, [], title="Branching factor", description=text, height=260)


def by_nudge(frame: pd.DataFrame) -> alt.LayerChart:
    """What follows the first tokens of an RLHF answer when Base goes on, beside own answers at the same places.

    Args:
        frame: what `nudging.by_nudge` returns.
    """
    names = [NUDGED, *OWN.values()]
    data = frame.replace({"model": OWN}).round(4)
    measure, heading = style.choice("measure", "Measure", {each: TOLD[each] for each in data.measure.unique()})
    x = alt.X("nudge:O", title="Tokens of an RLHF answer given", axis=alt.Axis(labelAngle=0))
    y = alt.Y("estimate:Q", title=None, scale=alt.Scale(zero=False))
    colors = alt.Scale(domain=names, range=[style.STEP, style.BASE, style.RLHF])
    columns = alt.ExprRef(f"width < {NARROW} ? 1 : {len(names)}")
    color = alt.Color("model:N", scale=colors, legend=alt.Legend(columns=columns, **style.STROKE))
    shown = alt.Chart(data).transform_filter("datum.measure == measure").encode(x=x, color=color)
    tooltip = [alt.Tooltip("model:N"), alt.Tooltip("nudge:O", title="tokens given")]
    tooltip += [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("estimate", "low", "high")]
    layers = (
        shown.mark_area(opacity=0.22).encode(y="low:Q", y2="high:Q"),
        shown.mark_line(strokeWidth=2).encode(y=y),
        shown.mark_point(filled=True, size=50).encode(y=y, tooltip=tooltip),
    )
    first = data[(data.measure == BRANCHING) & (data.model == NUDGED)]
    told = [f"{row.nudge} given, {row.estimate:.2f}" for row in first.itertuples()]
    text = f"{BRANCHING} of the tokens after a nudge: {'; '.join(told)}."
    return style.figure(layers, [measure], title=heading, description=text, height=260)
