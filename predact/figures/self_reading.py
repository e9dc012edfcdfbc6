"""Figures of C5: how well each model predicts what each has written."""

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from predact.claims.prediction import BITS
from predact.claims.self_reading import PERPLEXITY, RATIO
from predact.figures import style
from predact.figures.prediction import grouped
from predact.figures.style import TICKS, choose_from, with_interval

TOLD = {  # what the button says, what the heading says
    PERPLEXITY: ("perplexity", "Perplexity per token"),
    BITS: ("bits", "Bits per byte"),
    RATIO: ("ratio to Base", "Perplexity, as a multiple of Base's"),
}
PAPER = "the paper"
WIDE = 12  # estimates that span more than this factor get a logarithmic axis


def self_perplexity(frame: pd.DataFrame, values: pd.DataFrame) -> alt.LayerChart:
    """Figure 5: how well each model predicts its own generations, by the source of their prefixes; below, the paper's.

    Args:
        frame: category, source, model, unit, estimate, low, high (95 %), prefixes (how many).
        values: What `paper.values` returns for the figure: perplexities of five pairs by category.
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
    theirs = _of_paper(values, units)
    y, lines = grouped(pd.concat([data, theirs]))
    shown = alt.Chart(data).transform_filter("datum.unit == unit").transform_filter(visible).encode(y=y)
    rlhf, color = shown.transform_filter("datum.model == 'RLHF'"), marks["color"]
    tooltip = style.interval(alt.Tooltip("source:N"), alt.Tooltip("prefixes:Q", format=","))
    x = alt.X("estimate:Q", title=None, scale=scale, axis=axis)
    layers = (
        rlhf.mark_rule(opacity=0.4).encode(x="base:Q", x2="estimate:Q", color=color),
        *style.estimates(shown, x, marks, tooltip),
        style.of_paper(theirs, "value:Q", y).transform_filter("datum.unit == unit"),
    )
    said = [f"{row.model} {row.source} {with_interval(row)}" for row in data[data.unit == units[0]].itertuples()]
    text = f"{units[0]} of each model on its own generations, with 95 % intervals: {', '.join(said)}."
    read = [f"{row.model} {row.source} {row.value:.2f}" for row in theirs[theirs.unit == units[0]].itertuples()]
    text += f" The paper: {', '.join(read)}." if read else ""
    unit, heading = choose_from("unit", "Unit", units, TOLD)
    size: Any = {"height": style.LINE * lines, "padding": {"left": 5, "top": 5, "right": 15, "bottom": 5}}
    return style.figure(layers, [unit, *boxes], title=heading, description=text, **size)


def _of_paper(values: pd.DataFrame, units: list[str]) -> pd.DataFrame:
    """The paper's perplexities, and as multiples of Base's, in rows of their own: those of these units."""
    base = values.model.str.replace("RLHF", "Base") + values.x
    known = values.assign(model_and_x=values.model + values.x).set_index("model_and_x").value
    ratio = values.assign(value=values.value / base.map(known).to_numpy(), unit=RATIO)
    both = pd.concat([values.assign(unit=PERPLEXITY), ratio], ignore_index=True)
    told = both.assign(category=PAPER, source=both.x, row=PAPER + "\n" + both.x)
    return told[told.unit.isin(units)]


def reading_matrix(frame: pd.DataFrame) -> alt.LayerChart:
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
    said = ", ".join(f"{row.scorer} on {row.author} {with_interval(row)}" for row in shown)
    text = f"{unit} by scorer and author, {categories[0]}, with 95 % intervals: {said}."
    choice: Any = {"bind": alt.binding_select(options=categories, name="Category ")} if len(categories) > 1 else {}
    category = alt.param("category", value=categories[0], **choice)
    title = f"{TOLD.get(unit, (unit, unit))[1]} (darker: better)"
    return style.figure(layers, [category], title=title, description=text, height=48 * len(scorers))
