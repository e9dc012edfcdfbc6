"""Figures of C8: generations aligned with each other. The curves along the text serve C7 too."""

import json
from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from predact.claims.backbone import PAPER_PAIRS
from predact.figures import style
from predact.figures.skeleton import choose
from predact.figures.style import one_line, plain_axis
from predact.methods.ngrams import GENERATIONS

PACKED: list[Any] = ["position", "estimate", "low", "high"]
MATCHED, EQUAL, OURS = "matched", "equal", "ours"  # measures: the paper's at matched diversity, at equal p; ours
ROW = 5  # pixels of a generation in the viewer
SHOWN = {1: "all", 2: "2", 5: "5", 10: "10", 25: "25"}  # generations that must agree for a column to be shown: label


def along_text(
    frame: pd.DataFrame, told: Mapping[str, str], values: pd.DataFrame | None = None, decimals: int = 3
) -> alt.LayerChart:
    """Figures 1 (bottom), 13 and 14: curves along the text with bands, and the paper's own as thin dashed lines.

    Args:
        frame: rows of `backbone.mean_along` with a column `measure`.
        told: for each measure to choose from (`MATCHED`, `EQUAL`, `OURS`), the heading; the first is shown at first.
        values: rows of `paper.values`, shown with all measures but `OURS`; a pair of the paper's is chosen from a list.
        decimals: of the numbers told.
    """
    buttons = {MATCHED: "diversity matched", EQUAL: "equal p", OURS: "ours"}
    choice = style.choose_from("measure", "Measure", told, {each: (buttons[each], told[each]) for each in told})
    shown = alt.Chart(frame.round(decimals + 1)).transform_filter("datum.measure == measure")
    shown = shown.transform_calculate(mark="0").encode(
        x=alt.X("position:Q", title="Position in the generation (percent)", axis=plain_axis())
    )
    y = ("estimate", "low", "high", alt.Axis())
    tooltip = [alt.Tooltip("position:Q", format=".0f")]
    text = f"{told[next(iter(told))]}: {_ends(frame[frame.measure == next(iter(told))], decimals)}."
    chart = style.curves(shown, frame, y, choice, text, tooltip, GENERATIONS)
    return chart if values is None else _with_paper(chart, values)


def _with_paper(chart: alt.LayerChart, values: pd.DataFrame) -> alt.LayerChart:
    """Add the paper's curves of one pair, chosen from a list."""
    parts = [values[values.model.isin(models)].assign(pair=pair) for pair, models in PAPER_PAIRS.items()]
    rows = pd.concat(parts, ignore_index=True)
    rows = rows.assign(position=rows.x + 0.5).drop(columns=["panel", "x", "low", "high"])
    known = list(rows.pair.unique())
    select: Any = {"bind": alt.binding_select(options=[*known, "none"], name="The paper's ")}
    layer = style.of_paper(rows, "position:Q", alt.Y("value:Q", title=None), line=True)
    layer = layer.transform_filter(f"datum.pair == paper && measure != {json.dumps(OURS)}")
    choice: Any = alt.param("paper", value=known[0], **select).param
    made: Any = chart.copy()
    made.layer, made.params = [*made.layer, layer], [*made.params, choice]
    return made


def _ends(frame: pd.DataFrame, decimals: int) -> str:
    """Tell curves in words: their beginning, middle and end."""
    lines = []
    for (model, text), part in frame.groupby(["model", "text"], sort=False):
        first, middle, last = (f"{part.estimate.iloc[at]:.{decimals}f}" for at in (0, len(part) // 2, -1))
        lines.append(f"{model}, {text} {first} at the beginning, {middle} in the middle, {last} at the end")
    return "; ".join(lines)


def companions_along_text(frame: pd.DataFrame, others: int = 5) -> alt.LayerChart:
    """Of 100 generations, how many are aligned with at least m others, along the text: our measure.

    Args:
        frame: what `backbone.mean_curves` returns.
        others: the number shown at first.
    """
    known = sorted(frame.others.unique().tolist())
    keys = ["model", "text", "others", "prompts"]
    numbers = frame.round(2).astype(object).where(frame.notna(), None)  # no interval: null, as JSON knows no NaN
    packed = numbers.groupby(keys, sort=False)[PACKED].agg(list).reset_index().assign(unit=frame.unit.iloc[0])
    shown = alt.Chart(packed).transform_filter("datum.others == others").transform_flatten(PACKED)
    shown = shown.transform_calculate(mark="0").encode(
        x=alt.X("position:Q", title="Position in the generation (percent)", axis=plain_axis())
    )
    first = others if others in known else known[0]
    select: Any = {"bind": alt.binding_select(options=known, name="At least so many others ")}
    choice = alt.param("others", value=first, **(select if len(known) > 1 else {}))
    heading = alt.Title(text=alt.ExprRef("'Of 100, aligned with at least ' + others + ' others'"))
    told = _ends(frame[frame.others == first], 0)
    text = f"Generations of 100 that are aligned with at least {first} others: {told}."
    y = ("estimate", "low", "high", alt.Axis())
    return style.curves(
        shown, frame, y, (choice, heading), text, [alt.Tooltip("position:Q", format=".0f")], GENERATIONS
    )


def _widest(cells: pd.DataFrame) -> int:
    """How many generations agree in the column in which most do."""
    return 1 + max((max(others) for others in cells.others if len(others)), default=0)


def viewer(cells: pd.DataFrame, prompts: Mapping[str, str], agreeing: int = 5) -> alt.LayerChart:
    """The alignment itself: a row for each generation, a cell for each token, its colour by how many others agree.

    Args:
        cells: what `blueprint.cells` returns.
        prompts: the text of each prompt, by its id; the first is shown at first.
        agreeing: generations that must agree in a column for it to be shown at first: 1, 2, 5, 10 or 25; fewer where so
            many do nowhere.
    """
    models, most = list(cells.model.unique()), int(cells.row.max()) + 1
    model = alt.param("model", value=models[-1], bind=alt.binding_radio(options=models, name="Model "))
    first = cells[cells.prompt == next(iter(prompts))]
    widest, *each = (_widest(part) for part in (cells, *(part for _, part in first.groupby("model"))))
    size = max(most, widest)  # of the alignment; the cells may be those of its first generations only
    known = {number: label for number, label in SHOWN.items() if number <= widest}  # more: nothing would be shown
    select = alt.binding_radio(options=list(known), labels=list(known.values()), name="Columns where so many agree ")
    least = alt.param(
        "agreeing", value=max(number for number in known if number <= max(1, min(agreeing, *each))), bind=select
    )
    tokens = (
        alt.Chart(cells.drop(columns="width"))
        .transform_filter("datum.prompt == prompt && datum.model == model")
        .transform_calculate(all="datum.tokens", at="datum.columns")
        .transform_flatten(["tokens", "columns", "others"])
        .transform_joinaggregate(widest="max(others)", groupby=["columns"])
        .transform_filter("datum.widest + 1 >= agreeing")
        .transform_window(place="dense_rank()", sort=[alt.SortField("columns")])
        .transform_calculate(
            index="indexof(datum.at, datum.columns)",
            right="datum.place + 1",
            below="datum.row + 1",
            before=one_line("join(slice(datum.all, max(0, datum.index - 8), datum.index), '')"),
            token=one_line("'[' + datum.tokens + ']'"),
            after=one_line("join(slice(datum.all, datum.index + 1, datum.index + 9), '')"),
            said="datum.before + datum.token + datum.after",
            agree=f"datum.others + ' of ' + {size - 1}",
        )
    )
    names = {"row": "generation", "said": "text", "agree": "others with this token here"}
    tooltip = [alt.Tooltip(f"{name}:N", title=title) for name, title in names.items()]
    ink: Any = {"labelColor": style.NULL, "titleColor": style.NULL}  # a canvas does not know the page's colour
    color = alt.Color(
        "others:Q",
        title="others that agree",
        scale=alt.Scale(scheme="viridis", domain=[0, size - 1]),
        legend=alt.Legend(orient="top", gradientLength=160, titleFontWeight="normal", **ink),
    )
    x = alt.X(
        "place:Q",
        title="Column of the alignment, of those shown",
        scale=alt.Scale(nice=False, zero=False),
        axis=plain_axis(**ink),
    )
    y = alt.Y(
        "row:Q",
        title="Generation",
        scale=alt.Scale(domain=[0, most], reverse=True, nice=False),
        axis=alt.Axis(grid=False, tickMinStep=1, **ink),
    )
    layer = tokens.mark_rect().encode(x=x, x2="right:Q", y=y, y2="below:Q", color=color, tooltip=tooltip)
    parts = [
        f"{model}, {sum(map(sum, part.others)) / max(1, part.others.map(len).sum()):.1f} on average"
        for model, part in first.groupby("model", sort=False)
    ]
    text = f"Alignment of {most} generations; others that agree with a token: {'; '.join(parts)}."
    controls = [choose(prompts), *([model] if len(models) > 1 else [alt.param("model", value=models[-1])]), least]
    chart = style.figure([layer], controls, description=text, height=ROW * most)
    return chart.properties(usermeta={"embedOptions": {"renderer": "canvas", "actions": False}})
