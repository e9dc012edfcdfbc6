"""Figures of many pairs: the paper's own five and published ones, drawn in one way.

Colour and shape tell the model, as in every figure; a hollow diamond or a thin dashed line is the paper's.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import altair as alt
import pandas as pd
from IPython.display import HTML

from predact import markup
from predact.claims.verdict import claims, told
from predact.discussion.compared import BANDS, PAPER
from predact.figures import style
from predact.models.pairs import title

EVERY = "all"
Choose = Mapping[str, tuple[str, str]]  # by column: what the list is called, and what is shown at first
SHOWN = ["label", "model", "series", "x", "unit", "estimate", "low", "high", "n", "scale", "whose", "family", "size"]
OF_PAPER = f"datum.whose == '{PAPER}'"
PALE = 0.14  # opacity of a band, of which there may be many
VERDICTS = {"holds": style.STEP, "fails": style.RLHF, "undecided": style.NULL, "": style.BASE}


def by_pair(frame: pd.DataFrame, heading: str, choose: Choose) -> alt.LayerChart:
    """One line for each pair, a point with its 95 % interval for each model of it; hollow, the paper's.

    Args:
        frame: rows of `compared.figures` of one figure and protocol.
        heading: of the figure.
        choose: columns (`x`, `series`, `unit`) of which a value is chosen below the figure: what the list is called,
            and the value shown at first, or `EVERY`, which shows all.
    """
    data = _kept(frame)
    labels, models = list(data.label.unique()), _models(data)
    marks, (boxes, visible) = style.models(models), style.steps(models)
    choices, where = _choices(data, choose)
    order = alt.EncodingSortField("place", op="min")  # a list of names would become part of an expression
    y = alt.Y("label:N", sort=order, title=None, axis=alt.Axis(grid=True, labelLimit=170))
    x = alt.X("estimate:Q", title=None, scale=alt.Scale(zero=False))
    shown = alt.Chart(data).transform_filter(visible).encode(y=y)
    for test in where:
        shown = shown.transform_filter(test)
    layers = (
        _spans(shown).encode(x=alt.X("from:Q", title=None), x2="to:Q", color=marks["color"]),
        _points(shown, marks["color"]).encode(x=x, shape=_diamonds(marks["shape"]), tooltip=_tooltip()),
    )
    return style.figure(
        layers,
        [*choices, *boxes],
        title=heading,
        description=_said(data, heading, choose),
        height=max(3, len(labels)) * style.LINE,
    )


def curves(
    frame: pd.DataFrame, heading: str, axis: str, choose: Choose | None = None, log: bool = False
) -> alt.LayerChart:
    """A line for each pair and model, with its 95 % band; thin and dashed, the paper's.

    Args:
        frame: rows of `compared.figures` of one figure and protocol.
        heading: of the figure.
        axis: title of the horizontal axis, on which the places (`x`) are: numbers, or else names in their order.
        choose: as `by_pair`.
        log: whether the vertical axis is logarithmic.
    """
    numbers = pd.to_numeric(frame.x, errors="coerce")
    named = bool(numbers.isna().any())
    data = _kept(frame if named else frame.assign(x=numbers))
    if log:  # an interval from 0 is drawn from half of the least value on
        data = data[data.estimate > 0]
        data["from"] = data["from"].clip(lower=data.estimate.min() / 2)
    labels, models = list(data.label.unique()), _models(data)
    marks, (boxes, visible) = style.models(models), style.steps(models)
    choices, where = _choices(data, choose or {})
    pair = alt.param("pair", value=EVERY, bind=alt.binding_select(options=[EVERY, *labels], name="Pair "))
    order = list(frame.x.unique())
    x = (
        alt.X("x:O", sort=order, title=axis, axis=alt.Axis(labelAngle=-45))
        if named
        else alt.X("x:Q", title=axis, axis=style.plain_axis(), scale=alt.Scale(nice=False, zero=False))
    )
    scale = alt.Scale(type="log", nice=False) if log else alt.Scale(zero=False)
    ticks: Any = {"values": style.TICKS[::3], "format": ",~g"} if log else {}
    y = alt.Y("estimate:Q", title=None, scale=scale, axis=alt.Axis(**ticks))
    shown = alt.Chart(data).transform_filter(visible).transform_filter(f"pair == '{EVERY}' || datum.label == pair")
    for test in where:
        shown = shown.transform_filter(test)
    shown = shown.encode(x=x, detail=["label:N", "series:N"])
    chosen = {"test": "pair == datum.label", "value": 0.25}
    bands: Any = {"condition": [chosen, {"test": OF_PAPER, "value": 0}], "value": PALE}  # the paper's, if asked for
    color, thin = marks["color"], alt.condition(OF_PAPER, alt.value(1.2), alt.value(2))
    dashed = alt.condition(OF_PAPER, alt.value([4, 2]), alt.value([1, 0]))
    layers = (
        shown.mark_area().encode(y=alt.Y("from:Q", title=None), y2="to:Q", color=color, opacity=alt.Opacity(**bands)),
        shown.mark_line().encode(y=y, color=color, strokeDash=dashed, strokeWidth=thin),
        shown.mark_point(filled=True, size=60).encode(y=y, opacity=alt.value(0), tooltip=_tooltip(), **marks),
    )
    return style.figure(
        layers, [pair, *choices, *boxes], title=heading, description=_said(data, heading, choose or {}), height=270
    )


def by_size(frame: pd.DataFrame) -> alt.LayerChart:
    """The effect on which a verdict rests against the number of parameters, claim by claim; hollow, the paper's.

    Args:
        frame: what `compared.effects` returns. The claim is chosen below the figure.
    """
    data = _with_ends(frame.round({"estimate": 4, "low": 4, "high": 4})).assign(
        protocol="paper"
    )  # as told by `effects`
    heads = {id: f"{id}: {data[data.id == id].unit.iloc[-1]}" for id in data.id.unique()}
    choice, heading = style.choice("claim", "Claim", {id: (id, head) for id, head in heads.items()})
    names = {"": PAPER}
    data = data.assign(said=data.verdict.replace(names))
    present = [verdict for verdict in VERDICTS if (data.verdict == verdict).any()]
    color = alt.Color(
        "said:N",
        scale=alt.Scale(
            domain=[names.get(verdict, verdict) for verdict in present], range=[VERDICTS[each] for each in present]
        ),
        legend=alt.Legend(columns=alt.ExprRef("width < 440 ? 2 : 4")),
    )
    ticks = [digit * 10.0**power for power in range(-3, 4) for digit in (1, 3)]
    x = style.log_axis("parameters:Q", "Parameters (billions)", ticks, padding=40)
    y = alt.Y("estimate:Q", title=None, scale=alt.Scale(zero=False))
    tooltip = [alt.Tooltip("label:N", title="pair"), alt.Tooltip("verdict:N"), *_numbers(), alt.Tooltip("unit:N")]
    tooltip += [alt.Tooltip("parameters:Q", format=".3~g", title="billions of parameters")]
    shown = alt.Chart(data).transform_filter("datum.id == claim && isValid(datum.parameters)").encode(x=x)
    shape = alt.condition(OF_PAPER, alt.value("diamond"), alt.value("circle"))
    layers = (
        _spans(shown).encode(y=alt.Y("from:Q", title=None), y2="to:Q", color=color),
        _points(shown, color).encode(y=y, shape=shape, tooltip=tooltip),
        shown.mark_text(align="left", dx=8, fontSize=10).encode(y=y, text="pair:N"),
    )
    first = data[data.id == data.id.iloc[0]]
    said = [f"{row.label} {row.estimate:.3f} at {row.parameters:.3g} billion" for row in first.itertuples()]
    text = f"{heads[first.id.iloc[0]]}, against the number of parameters: {'; '.join(said)}."
    return style.figure(layers, [choice], title=heading, description=text, height=280)


def verdicts(rows: Iterable[Mapping[str, Any]], first: str = "", numbers: bool = True) -> HTML:
    """Return the table of all claims and pairs; the colour of a cell shows its verdict.

    A claim has a line for the paper's rule, and one for ours where a pair has such a verdict.

    Args:
        rows: verdicts, as `across.in_order` returns them.
        first: the pair of the first column; the others come in the order of their names, the paper's last.
        numbers: whether a cell also shows the estimate and its interval. A scale below the full one is named.
    """
    found = {(row["id"], row["protocol"], row["pair"]): row for row in rows}
    at = {row["pair"]: row["scale"] for row in found.values()}
    names = sorted(at, key=lambda pair: (pair != first, at[pair] == PAPER, title(pair)))
    by_rule = {key[:2] for key in found}
    lines = [
        {
            "id": claim.id + (", ours" if protocol == "book" else ""),
            "text": claim.claim,
            "units": _units(row for key, row in found.items() if key[:2] == (claim.id, protocol)),
            "cells": [_cell(found.get((claim.id, protocol, pair))) for pair in names],
        }
        for claim in claims().values()
        for protocol in ("paper", "book")
        if protocol == "paper" or (claim.id, protocol) in by_rule
    ]
    heads = [{"name": title(pair), "scale": at[pair]} for pair in names]
    return HTML(markup.render("verdicts.html", pairs=heads, claims=lines, numbers=numbers))


def _units(rows: Iterable[Mapping[str, Any]]) -> str:
    """The units of verdicts; where there are none, those of the values of the paper, which are told in other words."""
    told = sorted({(not row["verdict"], row["unit"]) for row in rows})
    return "; ".join(unit for without, unit in told if without == told[0][0])


def _cell(row: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Return the verdict of one claim on one pair and its numbers, as texts; None if there is no verdict."""
    if not row:
        return None
    return {"verdict": row["verdict"], **{name: told(row[name]) for name in ("estimate", "low", "high")}}


def _kept(frame: pd.DataFrame) -> pd.DataFrame:
    """What a figure needs of a frame, with fewer digits, for it may hold many pairs; and the place of each pair."""
    places = {label: place for place, label in enumerate(frame.label.unique())}
    data = frame[SHOWN].round({"estimate": 4, "low": 4, "high": 4}).astype({"n": float})
    return _with_ends(data.assign(place=data.label.map(places)))


def _with_ends(data: pd.DataFrame) -> pd.DataFrame:
    """Add the ends of what is drawn of an interval, from and to: without one, both are the estimate."""
    return data.assign(**{"from": data.low.fillna(data.estimate), "to": data.high.fillna(data.estimate)})


def _spans(shown: alt.Chart) -> alt.Chart:
    """Draw intervals, where there are such."""
    visible = alt.condition("isValid(datum.low)", alt.value(0.35), alt.value(0))
    return shown.mark_rule(strokeWidth=6, strokeCap="round").encode(opacity=visible)


def _points(shown: alt.Chart, color: alt.Color) -> alt.Chart:
    """Draw estimates, the paper's hollow."""
    stroke = alt.Stroke(color.shorthand, scale=color["scale"], legend=color["legend"])
    filled = alt.condition(OF_PAPER, alt.value(0), alt.value(1))
    mark = shown.mark_point(filled=True, size=70, strokeWidth=1.5, opacity=1)
    return mark.encode(color=color, stroke=stroke, fillOpacity=filled)


def _diamonds(shape: alt.Shape) -> alt.Shape:
    """The shape that tells the model, but of the paper's a diamond."""
    return alt.Shape("model:N", scale=shape["scale"], condition={"test": OF_PAPER, "value": "diamond"})


def _models(data: pd.DataFrame) -> list[str]:
    """The models of all pairs: Base, the steps between, RLHF."""
    between = [name for name in data.model.unique() if name not in ("Base", "RLHF")]
    return [name for name in ("Base", *between, "RLHF") if name in set(data.model)]


def _choices(data: pd.DataFrame, choose: Choose) -> tuple[list[alt.Parameter], list[str]]:
    """Lists below a figure, and the tests that they drive: family, size, and what else is to be chosen."""
    sizes = [band for band in BANDS if band in set(data["size"])]
    lists = {"family": ("Family", EVERY, sorted(data.family.unique())), "size": ("Size", EVERY, sizes)}
    lists |= {column: (*told, list(data[column].unique())) for column, told in choose.items()}
    params, tests = [], []
    for column, (label, first, values) in lists.items():
        options = [EVERY, *values] if first == EVERY else values
        bind = alt.binding_select(options=options, name=f"{label} ")
        params.append(alt.param(f"only_{column}", value=first, bind=bind))
        tests.append(f"only_{column} == '{EVERY}' || datum['{column}'] == only_{column}")
    return params, tests


def _numbers() -> list[alt.Tooltip]:
    return [
        alt.Tooltip("estimate:Q", format=".3f"),
        alt.Tooltip("low:Q", format=".3f", title="95 % from"),
        alt.Tooltip("high:Q", format=".3f", title="to"),
    ]


def _tooltip() -> list[alt.Tooltip]:
    names = [alt.Tooltip("label:N", title="pair"), *(alt.Tooltip(f"{name}:N") for name in ("model", "series", "x"))]
    return [*names, *_numbers(), alt.Tooltip("unit:N"), alt.Tooltip("n:Q"), alt.Tooltip("scale:N")]


def _said(data: pd.DataFrame, heading: str, choose: Choose) -> str:
    """Tell in words what a figure shows at first: the mean of each model of each pair."""
    for column, (_, first) in choose.items():
        data = data if first == EVERY else data[data[column] == first]
    means = data.groupby(["label", "model"], sort=False).estimate.mean().unstack()
    ends = [
        f"{label} {', '.join(f'{model} {row[model]:.3f}' for model in row.dropna().index)}"
        for label, row in means.iterrows()
    ]
    return f"{heading}, means: {'; '.join(ends)}."
