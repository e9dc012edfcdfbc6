"""Figures of finetuning (claim C2): the paper's Figure 2B, and learning curves with the tokens needed to recover."""

import altair as alt
import numpy as np
import pandas as pd

from predact.claims import prediction, relearning
from predact.figures import prediction as prediction_figures
from predact.figures import style
from predact.models.finetuned import AFTER, BEFORE

CURVES = {
    relearning.BITS: ("bits", "Bits per byte"),
    relearning.ABOVE_START: ("above Base's start", "Bits per byte above where Base started"),
    relearning.ABOVE_WORLD: ("excess over the world", "Bits per byte above the world's entropy"),
}
TICKS = [sign * digit * 10.0**power for power in range(-3, 2) for digit in (1, 2, 3, 5, 7) for sign in (1, -1)] + [0]


def before_and_after(frame: pd.DataFrame) -> alt.LayerChart:
    """Figure 2B: how much worse than Base each corpus is predicted, before (hollow) and after finetuning (filled).

    Args:
        frame: what `relearning.before_and_after` returns. Its units, except bits per byte, become the buttons below.
    """
    data = _joined(frame[frame.unit != prediction.BITS])
    models = list(data.model.unique())
    marks, (boxes, visible) = style.models(models), style.steps(models)
    unit, heading = style.units({name: prediction_figures.UNITS[name] for name in data.unit.unique()})
    moments = alt.binding_radio(options=["both", AFTER], labels=["before and after", "after"], name="Show ")
    show = alt.param("show", value="both", bind=moments)
    y, lines = prediction_figures.grouped(data)
    shown = alt.Chart(data).transform_filter("datum.unit == unit").transform_filter(visible).encode(y=y)
    both = "show == 'both'"
    present = shown.transform_filter(f"{both} || datum.when == '{AFTER}'")
    after = shown.transform_filter(f"datum.when == '{AFTER}'")
    x = alt.X("estimate:Q", title=None, scale=alt.Scale(zero=False))
    span, point = style.estimates(present, x, marks, style.interval(alt.Tooltip("corpus:N"), alt.Tooltip("when:N")))
    filled = alt.condition(f"datum.when == '{AFTER}'", marks["color"], alt.value("transparent"))
    layers = (
        after.mark_tick(color=style.NULL, size=style.LINE, thickness=2, opacity=1).encode(
            x=alt.X("nothing:Q", title=None)
        ),
        after.transform_filter(both).mark_rule(opacity=0.4).encode(x="before:Q", x2="estimate:Q", color=marks["color"]),
        span,
        point.mark_point(size=60, opacity=1, strokeWidth=1.5).encode(fill=filled),
        after.transform_filter("datum.model == 'RLHF'")
        .transform_calculate(at=f"{both} ? datum.far : datum.edge", said=f"{both} ? datum.change : datum.label")
        .mark_text(align="left", dx=9, fontSize=11)
        .encode(x="at:Q", text="said:N"),
    )
    return style.figure(
        layers,
        [unit, show, *boxes],
        title=heading,
        description=_in_words(data),
        height=style.LINE * lines,
        padding={"left": 2, "top": 5, "right": 5, "bottom": 5},
    )


def _joined(frame: pd.DataFrame) -> pd.DataFrame:
    """Add to each row its line, the estimate before, the value of no gap, its label, and where that has room."""
    keys = ["corpus", "unit", "model"]
    before = frame[frame.when == BEFORE].set_index(keys).estimate.rename("before")
    data = frame.assign(row=frame.category + "\n" + frame.corpus).join(before, on=keys)
    change = [f"{old:.2f} → {new:.3f}" for old, new in zip(data.before, data.estimate, strict=True)]
    label = [f"{new:.4f}" for new in data.estimate]
    nothing = data.unit.isin(prediction.RATIOS).astype(float)
    far, edge = (data.groupby(each).high.transform("max") for each in (["row", "unit"], ["row", "unit", "when"]))
    return data.assign(nothing=nothing, label=label, change=change, far=far, edge=edge)


def _in_words(data: pd.DataFrame) -> str:
    first = data[(data.unit == data.unit.iloc[0]) & (data.model == "RLHF") & (data.when == AFTER)]
    told = [f"{row.corpus} {row.change} ({row.low:.3f} to {row.high:.3f})" for row in first.itertuples()]
    return f"{data.unit.iloc[0]} of RLHF to Base before and after finetuning, with 95 % intervals: {', '.join(told)}."


def learning_curves(frame: pd.DataFrame, recovered: pd.DataFrame) -> alt.LayerChart:
    """Validation loss by training tokens, with 95 % bands, and where RLHF reaches the loss at which Base started.

    Args:
        frame: what `relearning.learning_curves` returns.
        recovered: what `relearning.recovered` returns.
    """
    models, corpora = list(frame.model.unique()), list(frame.corpus.unique())
    marks, (boxes, visible) = style.models(models), style.steps(models)
    unit, heading = style.units({name: CURVES[name] for name in frame.unit.unique()})
    corpus = alt.param("corpus", value=corpora[0], bind=alt.binding_select(options=corpora, name="Corpus "))
    parts = alt.binding_radio(options=[0, 1], labels=["the whole run", "its last three quarters"], name="Show ")
    part = alt.param("part", value=0, bind=parts)
    start = frame[(frame.model == "Base") & (frame.tokens == 0)].set_index(["corpus", "unit"]).estimate.rename("start")
    data = frame.join(start, on=["corpus", "unit"]).assign(most=frame.groupby("corpus").tokens.transform("max"))
    chosen = "datum.corpus == corpus"
    shown = alt.Chart(data).transform_filter(f"datum.unit == unit && {chosen} && datum.tokens >= part * datum.most / 4")
    shown = shown.transform_filter(visible)
    least = float(frame.tokens[frame.tokens > 0].min())
    places = [digit * 10**power for power in range(10) for digit in (1, 2, 5) if digit * 10**power >= least]
    scale = alt.Scale(type="symlog", constant=least, zero=False, nice=False)
    x = alt.X(
        "tokens:Q",
        title="Tokens learned from",
        scale=scale,
        axis=alt.Axis(grid=False, values=[0, *places], labelExpr="format(datum.value, '~s')"),
    )
    height = alt.Scale(type="symlog", constant=0.003, zero=False, nice=False)
    y = alt.Y("estimate:Q", title=None, scale=height, axis=alt.Axis(values=TICKS))
    tooltip = style.interval(alt.Tooltip("tokens:Q", format=",.0f"))
    base = shown.transform_filter("datum.model == 'Base'")
    told = _told(recovered)
    there = alt.Chart(told).transform_filter(chosen)
    reached = alt.when("datum.reached").then(alt.value(1)).otherwise(alt.value(0))  # an empty layer has no axis
    layers = (
        there.mark_rect(color=style.RLHF, opacity=0.12).encode(x="low:Q", x2="high:Q"),
        there.mark_rule(color=style.RLHF, strokeDash=[2, 3]).encode(x="estimate:Q", opacity=reached),
        base.mark_line(color=style.NULL, strokeWidth=1.5, strokeDash=[6, 4]).encode(x=x, y="start:Q"),
        shown.mark_area(opacity=0.18).encode(x=x, y="low:Q", y2="high:Q", color=marks["color"]),
        shown.mark_line(strokeWidth=2).encode(x=x, y=y, color=marks["color"]),
        shown.mark_point(filled=True, size=45, opacity=1).encode(x=x, y=y, tooltip=tooltip, **marks),
        there.mark_text(align="right", baseline="top", fontSize=11, lineBreak="\n").encode(
            x=alt.value("width"), y=alt.value(2), text="said:N"
        ),
    )
    text = f"Bits per byte of {', '.join(models)} along finetuning. RLHF: {'; '.join(told.told)}."
    return style.figure(layers, [unit, corpus, part, *boxes], title=heading, description=text, height=300)


def _told(recovered: pd.DataFrame) -> pd.DataFrame:
    """Rows of RLHF with their labels; an end of an interval that was not reached is drawn at the end of the run."""
    rows = recovered[recovered.model == "RLHF"]
    words = [f"Base's start {relearning.in_words(row)}" for row in rows.itertuples()]
    told = [f"{corpus}: {each}" for corpus, each in zip(rows.corpus, words, strict=True)]
    said = [each.replace(" (", "\n(") for each in words]  # in two lines, to fit on a phone
    ends = {name: rows[name].clip(upper=rows.learned.astype(float)) for name in ("estimate", "low", "high")}
    return rows.assign(reached=np.isfinite(rows.estimate), said=said, told=told, **ends)
