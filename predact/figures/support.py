"""Figures of C4: how many tokens have a non-negligible probability."""

import altair as alt
import numpy as np
import pandas as pd

from predact.claims import paper
from predact.figures import style
from predact.figures.prediction import grouped
from predact.figures.style import TICKS, choose_from, log_axis, with_interval

SHARE = "Percent of the vocabulary with p > 10⁻⁸"
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def shares(frame: pd.DataFrame, values: pd.DataFrame) -> alt.LayerChart:
    """Figure 4: percent of the vocabulary with a non-negligible probability, and the paper's.

    Args:
        frame: What `support.shares` returns: model, text, estimate, low, high, unit.
        values: What `paper.values` returns for the figure.
    """
    models = list(frame.model.unique())
    marks, (boxes, visible) = style.models(models), style.steps(models)
    data = frame.assign(row=frame.text + "\n" + frame.model, category=frame.text)
    size, model = (values.model.str.split().str[place] for place in (-2, -1))
    theirs = values.assign(size=size, text=values.condition.map(paper.TEXTS))
    theirs = theirs.assign(row=theirs.text + "\n" + model)
    theirs = theirs[theirs.row.isin(data.row)]
    y, lines = grouped(data)
    x = alt.X("estimate:Q", title=None, scale=alt.Scale(domainMin=0))
    shown = alt.Chart(data).transform_filter(visible).encode(y=y)
    layers = (
        *style.estimates(shown, x, marks, style.interval(alt.Tooltip("text:N"))),
        style.of_paper(theirs, "value:Q", y),
        alt.Chart(theirs).mark_text(dy=-9, fontSize=9).encode(x="value:Q", y=y, text="size:N"),
    )
    said = [f"{row.model} on {row.text} {with_interval(row, '.1f')}" for row in data.itertuples()]
    read = [f"{row.model} on {row.text} {row.value:.1f}" for row in theirs.itertuples()]
    told = f"Percent of the vocabulary with p > 1e-8, with 95 % intervals: {'; '.join(said)}."
    told += f" The paper: {'; '.join(read)}."
    return style.figure(layers, boxes, title=SHARE, description=told, height=1.5 * style.LINE * lines)


def support_histograms(frame: pd.DataFrame, means: pd.DataFrame) -> alt.LayerChart:
    """Figure 4: histograms of the number of tokens above a threshold, a panel for each kind of text, with means.

    Equal areas are equal shares of the positions: a bin is as high as its share divided by its width on the axis.

    Args:
        frame: What `support.support_histograms` returns: model, text, threshold, low_edge, high_edge, share.
        means: What `support.mean_support` returns: model, text, threshold, estimate, low, high, unit.
    """
    models, texts, names = (list(frame[column].unique()) for column in ("model", "text", "threshold"))
    marks, (boxes, visible) = style.models(models), style.steps(models)
    line = 1 / 8  # of a histogram's height, for the mean of one model
    step = 1.25 + line * (len(models) + 1)
    floor = {text: step * place for place, text in enumerate(reversed(texts))}
    ground, above = means.text.map(floor), 1.15 + line * means.model.map(models.index)
    label = [f"{value:,.0f}" if value >= 10 else f"{value:.1f}" for value in means.estimate]
    panels = pd.DataFrame({"name": [text.upper() for text in texts], "floor": [floor[text] for text in texts]})
    named = alt.Chart(panels.assign(y=panels.floor + step - 1.5 * line))
    y = alt.Y("y:Q", scale=alt.Scale(domain=[0, step * len(texts)], nice=False), axis=None)
    x = log_axis("x:Q", "Number of tokens", TICKS[9::3], domain=[frame.low_edge.min(), frame.high_edge.max()])
    bars, outlines, mean = (
        alt.Chart(data).transform_filter("datum.threshold == threshold").transform_filter(visible).encode(y=y)
        for data in (*_histograms(frame, floor), means.assign(floor=ground, y=ground + above, label=label))
    )
    color, base, tooltip = marks["color"], alt.Y("floor:Q", axis=None), style.interval(alt.Tooltip("text:N"))
    share = ["model:N", "text:N", alt.Tooltip("span:N", title="tokens"), alt.Tooltip("share:Q", format=".1%")]
    layers = (
        named.mark_rule(opacity=0.3, color="currentColor").encode(y=base),
        named.mark_text(align="left", fontSize=10, fontWeight=700).encode(x=alt.value(0), y=y, text="name:N"),
        outlines.mark_line(strokeWidth=1.5, fillOpacity=0.15).encode(
            x=x, color=color, fill=alt.Fill("model:N", scale=color["scale"]), detail="text:N", order="order:Q"
        ),
        bars.mark_point(filled=True, size=150).encode(x=x, color=color, opacity=alt.value(0), tooltip=share),
        mean.mark_rule(opacity=0.5).encode(x="estimate:Q", y=base, y2="y:Q", color=color),
        *style.estimates(mean, "estimate:Q", marks, tooltip),
        mean.mark_text(align="left", dx=9, fontSize=11).encode(x="high:Q", text="label:N"),
    )
    powers = {name: f"10{str(int(name[2:])).translate(RAISED)}" if name[:2] == "1e" else name for name in names}
    told = {name: (power, f"How many tokens have p > {power}") for name, power in powers.items()}
    choice, heading = choose_from("threshold", "p above", names, told, "1e-08")
    said = []
    for row in means[means.threshold == choice.param.value].itertuples():  # what is shown at first
        part = frame[(frame.model == row.model) & (frame.text == row.text) & (frame.threshold == row.threshold)]
        half = part.high_edge[part.share.cumsum() > 0.5 - 1e-9].min()
        said.append(
            f"{row.model} on {row.text} {with_interval(row, ',.1f')}, at half of the positions below {half:,.0f}"
        )
    text = f"Mean number of tokens with p > {choice.param.value}, with 95 % intervals: {'; '.join(said)}."
    return style.figure(layers, [choice, *boxes], title=heading, description=text, height=170 * len(texts))


def _histograms(frame: pd.DataFrame, floor: dict[str, float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return bin centres, for tooltips, and outlines of the histograms; the highest of a threshold has height 1."""
    density: pd.Series = frame.share / np.log(frame.high_edge / frame.low_edge)
    height: pd.Series = density / density.groupby(frame.threshold).transform("max")
    first, last = np.ceil(frame.low_edge).astype(int), np.ceil(frame.high_edge).astype(int) - 1
    span = [f"{a:,}" if a >= b else f"{a:,} to {b:,}" for a, b in zip(first, last, strict=True)]
    base, middle = frame.text.map(floor), (frame.low_edge * frame.high_edge) ** 0.5
    bins = frame.assign(x=middle, y=base + height, base=base, span=span)
    corners = []
    for (model, text, threshold), part in bins.groupby(["model", "text", "threshold"], sort=False):
        (taken,) = np.nonzero(part.share)
        part = part.iloc[taken[0] : taken[-1] + 1]
        x = np.repeat([*part.low_edge, part.high_edge.iloc[-1]], 2)
        y = [part.base.iloc[0], *np.repeat(part.y, 2), part.base.iloc[0]]
        corners.append(pd.DataFrame(dict(model=model, text=text, threshold=threshold, order=range(len(x)), x=x, y=y)))
    return bins[bins.share > 0], pd.concat(corners, ignore_index=True)
