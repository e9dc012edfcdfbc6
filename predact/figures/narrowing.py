"""The figures of distribution collapse (claims C3 to C5): a tidy frame in, a chart out, in the house style of `style`.

Colour and shape tell the model, as in every figure; where gold text and own generations meet, the latter are dashed.
"""

import math
from collections.abc import Iterable
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from predact.claims.narrowing import ENTROPY, GOLD, TOP1
from predact.claims.prediction import BITS
from predact.claims.self_reading import PERPLEXITY, RATIO
from predact.figures import style
from predact.figures.prediction import grouped

TOLD = {  # what the button says, what the heading says
    "mass": ("the k likeliest", "Probability mass of the k likeliest tokens"),
    "rest": ("all others", "Probability mass of all other tokens"),
    TOP1: ("likeliest token", "Probability of the likeliest token"),
    ENTROPY: ("entropy", "Entropy, nats per token"),
    PERPLEXITY: ("perplexity", "Perplexity per token"),
    BITS: ("bits", "Bits per byte"),
    RATIO: ("ratio to Base", "Perplexity, as a multiple of Base's"),
}
LEAST = 1e-9  # mass of all others below which it is not drawn: there it ends in rounding, then in nothing
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
WIDE = 12  # estimates of one unit that differ by more than this factor ask for a logarithmic axis
TICKS = [digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5)]


def _choice(name: str, label: str, values: Iterable[str], first: str = "", told: Any = TOLD) -> tuple[Any, alt.Title]:
    """Buttons and heading of `style.choice`; no buttons where there is no choice."""
    known = {each: told.get(each, (each, each[:1].upper() + each[1:])) for each in values}
    choice, heading = style.choice(name, label, known, first)
    return (choice if len(known) > 1 else alt.param(name, value=next(iter(known)))), heading


def _log(field: str, title: str, values: list[float], **scale: Any) -> alt.X:
    axis = alt.Axis(values=values, format=",", grid=False)
    return alt.X(field, scale=alt.Scale(type="log", nice=False, **scale), axis=axis, title=title)


def _value(row: Any, form: str = ".3f") -> str:
    return f"{row.estimate:{form}} ({row.low:{form}} to {row.high:{form}})"


def mass_curves(frame: pd.DataFrame) -> alt.LayerChart:
    """Figure 3: the mass of the k likeliest tokens; or what it leaves to all others, where curves near 1 part.

    Args:
        frame: What `narrowing.mass_curves` returns: model, text, k, estimate, low, high, unit.
    """
    rest = pd.DataFrame({"rest": 1 - frame.estimate, "rest_low": 1 - frame.high, "rest_high": 1 - frame.low}).clip(0)
    others = [f"{row.rest:.2g} ({row.rest_low:.2g} to {row.rest_high:.2g})" for row in rest.itertuples()]
    mark = (frame.k.rank(method="dense") % 8 == 1).astype(int)  # a symbol here and there: the line must stay visible
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
    said = "; ".join(f"{row.model} on {row.text} {_value(row, '.4f')} for k = {row.k}" for row in rows)
    text = f"Mean probability mass of the k likeliest tokens, with 95 % intervals: {said}."
    shown = shown.encode(x=_log("k:Q", "k (tokens)", TICKS[9::3]))
    return style.curves(shown, data, (*ends, axis), _choice("mass", "Mass of", ["mass", "rest"]), text, tooltip, GOLD)


def by_position(frame: pd.DataFrame) -> alt.LayerChart:
    """The likeliest token's probability, and the entropy, along the text, with 95 % bands.

    Args:
        frame: What `narrowing.by_position` returns: model, text, measure, first, last, estimate, low, high, unit.
    """
    first, last = frame["first"] + 1, frame["last"] + 1  # readers count from one
    span = [str(a) if a == b else f"{a} to {b}" for a, b in zip(first, last, strict=True)]
    data = frame.assign(middle=(first * last) ** 0.5, span=span, mark=1)
    lines = data.groupby(["measure", "model", "text"], sort=False)
    rows = [row for _, line in lines for row in line.sort_values("first").iloc[[0, -1]].itertuples()]
    said = [f"{row.measure}, {row.model} on {row.text} {_value(row)} at tokens {row.span}" for row in rows]
    text = f"By position in the text, with 95 % bands: {'; '.join(said)}."
    x = _log("middle:Q", "Position in the text (tokens)", TICKS[9:])
    shown = alt.Chart(data).transform_filter("datum.measure == measure").encode(x=x)
    tooltip, y = [alt.Tooltip("span:N", title="tokens")], ("estimate", "low", "high", alt.Axis())
    return style.curves(shown, data, y, _choice("measure", "Measure", frame.measure.unique()), text, tooltip, GOLD)


def support(frame: pd.DataFrame, means: pd.DataFrame) -> alt.LayerChart:
    """Figure 4: positions by how many tokens are likelier than a threshold, a panel for each kind of text, and means.

    Equal areas are equal shares of the positions: a bin is as high as its share divided by its width on the axis.

    Args:
        frame: What `narrowing.support` returns: model, text, threshold, low_edge, high_edge, share.
        means: What `narrowing.mean_support` returns: model, text, threshold, estimate, low, high, unit.
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
    x = _log("x:Q", "Number of tokens", TICKS[9::3], domain=[frame.low_edge.min(), frame.high_edge.max()])
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
    choice, heading = _choice("threshold", "p above", names, "1e-08", told)
    said = []
    for row in means[means.threshold == choice.param.value].itertuples():  # what is shown at first
        part = frame[(frame.model == row.model) & (frame.text == row.text) & (frame.threshold == row.threshold)]
        half = part.high_edge[part.share.cumsum() > 0.5 - 1e-9].min()
        said.append(f"{row.model} on {row.text} {_value(row, ',.1f')}, at half of the positions below {half:,.0f}")
    text = f"Mean number of tokens with p > {choice.param.value}, with 95 % intervals: {'; '.join(said)}."
    return style.figure(layers, [choice, *boxes], title=heading, description=text, height=170 * len(texts))


def _histograms(frame: pd.DataFrame, floor: dict[str, float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The middles of bins, for tooltips, and the corners of every histogram; the highest of a threshold is 1 high."""
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


def self_perplexity(frame: pd.DataFrame) -> alt.LayerChart:
    """Figure 5: how well each model predicts its own generations, by the source of their prefixes.

    Args:
        frame: category, source, model, unit, estimate, low, high (95 %), prefixes (how many).
    """
    models, units = list(frame.model.unique()), list(frame.unit.unique())
    marks, (boxes, visible) = style.models(models), style.steps(models)
    data = frame.assign(row=frame.category + "\n" + frame.source)
    data = data.join(data[data.model == "Base"].set_index(["row", "unit"]).estimate.rename("base"), on=["row", "unit"])
    ranges = frame.groupby("unit").estimate.agg(["min", "max"])
    wide = frame.low.min() > 0 and (ranges["max"] > WIDE * ranges["min"]).any()
    ticks = [digit * tick for tick in TICKS[::3] for digit in (1, 2, 3, 5, 7)]  # bits may fill less than a decade
    axis = alt.Axis(values=ticks, tickCount=len(ticks), labelSeparation=6, format="~g") if wide else alt.Axis()
    scale = alt.Scale(type="log", nice=False, padding=12) if wide else alt.Scale(zero=False)
    y, lines = grouped(data)
    shown = alt.Chart(data).transform_filter("datum.unit == unit").transform_filter(visible).encode(y=y)
    rlhf, color = shown.transform_filter("datum.model == 'RLHF'"), marks["color"]
    tooltip = style.interval(alt.Tooltip("source:N"), alt.Tooltip("prefixes:Q", format=","))
    x = alt.X("estimate:Q", title=None, scale=scale, axis=axis)
    layers = (
        rlhf.mark_rule(opacity=0.4).encode(x="base:Q", x2="estimate:Q", color=color),
        *style.estimates(shown, x, marks, tooltip),
    )
    said = [f"{row.model} {row.source} {_value(row)}" for row in data[data.unit == units[0]].itertuples()]
    text = f"{units[0]} of each model on its own generations, with 95 % intervals: {', '.join(said)}."
    unit, heading = _choice("unit", "Unit", units)
    size: Any = {"height": style.LINE * lines, "padding": {"left": 5, "top": 5, "right": 15, "bottom": 5}}
    return style.figure(layers, [unit, *boxes], title=heading, description=text, **size)


def matrix(frame: pd.DataFrame) -> alt.LayerChart:
    """How well every model predicts what each has written, and gold text; 95 % intervals stand in the cells.

    Args:
        frame: category (shown at first: the first), scorer, author, estimate, low, high, unit.
    """
    scorers, categories = list(frame.scorer.unique()), list(frame.category.unique())
    authors = [*scorers, *(name for name in frame.author.unique() if name not in scorers)]
    data = frame.assign(
        depth=frame.groupby("category").estimate.transform(lambda bits: (bits - bits.min()) / (np.ptp(bits) or 1)),
        label=[f"{value:.2f}" for value in frame.estimate],
        ends=[f"{low:.2f}\u2013{high:.2f}" for low, high in zip(frame.low, frame.high, strict=True)],
    )
    small, large = (alt.ExprRef(f"clamp(width / {5.5 * len(authors)}, 7, {most})") for most in (10, 12))  # in a cell
    bare: Any = {"grid": False, "domain": False, "ticks": False, "labelAngle": 0}
    top: Any = bare | {"orient": "top", "title": "written by", "labelFontSize": large}
    x = alt.X("author:N", scale=alt.Scale(domain=authors), axis=alt.Axis(**top))
    y = alt.Y("scorer:N", scale=alt.Scale(domain=scorers), axis=alt.Axis(title="scored by", **bare))
    tooltip = style.interval(*map(alt.Tooltip, ("scorer:N", "author:N", "category:N")))[1:]
    cells = alt.Chart(data).encode(x=x, y=y, tooltip=tooltip).transform_filter("datum.category == category")
    shade = alt.Color("depth:Q", scale=alt.Scale(scheme="cividis", domain=[0, 1]), legend=None)
    ink = alt.when("datum.depth < 0.47").then(alt.value("white")).otherwise(alt.value("black"))
    layers = (
        cells.mark_rect().encode(color=shade),
        cells.mark_text(dy=-6, fontSize=13, fontWeight=600).encode(text="label:N", color=ink),
        cells.mark_text(dy=10, fontSize=small).encode(text="ends:N", color=ink),
    )
    unit, shown = frame.unit.iloc[0], frame[frame.category == categories[0]].itertuples()
    said = ", ".join(f"{row.scorer} on {row.author} {_value(row)}" for row in shown)
    text = f"{unit} by scorer and author, {categories[0]}, with 95 % intervals: {said}."
    choice: Any = {"bind": alt.binding_select(options=categories, name="Category ")} if len(categories) > 1 else {}
    category = alt.param("category", value=categories[0], **choice)
    title = f"{TOLD.get(unit, (unit, unit))[1]} (darker: better predicted)"
    return style.figure(layers, [category], title=title, description=text, height=48 * len(scorers))
