"""The house style of figures: colours, theme, renderer, and the controls that several figures share.

Importing this module enables theme and renderer in Altair. Text, axes and grid take the page's colour, so one
specification serves light and dark pages. The book's own script draws the HTML of a figure, which fetches nothing.
"""

import json
from collections.abc import Iterable, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import altair as alt
import pandas as pd
from pandas.io.formats.style import Styler

from predact import markup

BASE, STEP, RLHF, NULL = "#2a7fc0", "#16a05c", "#d9602b", "#8b8b8b"  # distinct in any colour vision, on white and black
RUNS = ["#d9602b", "#b3431a", "#f09a6c", "#8a5cc0", "#c79a00"]  # shades of RLHF's colour for its seeds, then variants
OTHERS = [(STEP, "diamond"), ("#8a5cc0", "triangle-up"), ("#c79a00", "cross"), ("#c0487f", "triangle-down")]
DOCUMENT, CHAT = "as a document", "as a chat"  # labels of one model in both roles, as Base and as RLHF
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
LINE = 21  # pixels: height of a row in a figure that lists items
MIME = f"application/vnd.vegalite.{alt.SCHEMA_VERSION.split('.')[0]}+json"
_INK = {"labelColor": "currentColor", "titleColor": "currentColor", "labelFontSize": 12, "titleFontSize": 12}
_AXIS = {
    "titleFontWeight": "normal",
    "titleOpacity": 0.75,
    "titlePadding": 8,
    "labelPadding": 5,
    "gridColor": "currentColor",
    "gridOpacity": 0.12,
    "domainColor": "currentColor",
    "domainOpacity": 0.3,
    "tickColor": "currentColor",
    "tickOpacity": 0.3,
    "tickSize": 4,
}
_LEGEND = {"orient": "top", "title": None, "offset": 10, "columnPadding": 18, "symbolSize": 110, "symbolOpacity": 1}
_TITLE = {
    "color": "currentColor",
    "fontSize": 13,
    "fontWeight": 600,
    "anchor": "start",
    "frame": "bounds",
    "offset": 10,
}
STROKE: Any = {"symbolType": "stroke", "symbolStrokeWidth": 2, "symbolSize": 400}  # a line in a legend
_CONFIG: Any = {
    "font": FONT,
    "background": "transparent",
    "view": {"stroke": None},
    "axis": _INK | _AXIS,
    "axisX": {"labelFlush": False, "tickCount": {"expr": "clamp(width / 70, 3, 8)"}},
    "axisY": {"domain": False, "ticks": False},
    "legend": _INK | _LEGEND | {"symbolStrokeWidth": 0},
    "title": _TITLE,
    "text": {"color": "currentColor"},
}
TICKS = [digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5)]


@alt.theme.register("predact", enable=True)
def _theme() -> alt.theme.ThemeConfig:
    return {"config": _CONFIG, "usermeta": {"embedOptions": {"renderer": "svg", "actions": False}}}


def render(spec: dict) -> dict[str, Any]:
    """Return a chart's mimebundle: its specification for Jupyter, and the figure that the book's script draws."""
    return {MIME: spec, "text/html": markup.render("chart.html", spec=spec)}


alt.renderers.register("predact", render)


alt.renderers.enable("predact")


class Control(NamedTuple):
    """A control that sets a parameter of several charts: a list of choices, or a slider over a range of numbers."""

    name: str
    label: str
    value: Any
    choices: Sequence | range

    @property
    def is_slider(self) -> bool:
        """Whether the control is a slider over a range of numbers."""
        return isinstance(self.choices, range)


def panels(charts: Sequence[alt.LayerChart], controls: Sequence[Control]) -> dict[str, Any]:
    """Return charts with shared controls as a mimebundle; the first and the last chart are as wide as the page.

    The book's script connects controls and charts. A live notebook does not have it: it shows the first chart alone,
    with its controls.

    Args:
        charts: each declares the parameters that it reads.
        controls: they set these parameters.
    """
    page = markup.render("panels.html", charts=[chart.to_dict() for chart in charts], controls=controls)
    first: Any = charts[0].copy()
    first.params = [alt.param(each.name, value=each.value, bind=_bind(each)).param for each in controls]
    return {MIME: first.to_dict(), "text/html": page}


def _bind(control: Control) -> Any:
    label = f"{control.label} "
    if isinstance(control.choices, range):
        low, high, step = control.choices[0], control.choices[-1], control.choices.step
        return alt.binding_range(min=low, max=high, step=step, name=label)
    return alt.binding_select(options=list(control.choices), name=label)


def table(frame: pd.DataFrame, precision: int = 3) -> Styler:
    """Return a frame as a table for a page: texts escaped, numbers with `precision` decimals, no index."""
    return frame.style.format(escape="html", precision=precision, na_rep="–").hide()


def figure(layers: Iterable[alt.Chart], params: list[alt.Parameter], **properties: Any) -> alt.LayerChart:
    """Return layers as one figure, as wide as the page allows, with its controls."""
    controls: Any = [param.param for param in params]
    return alt.LayerChart(layer=list(layers), params=controls, width="container", **properties)


def models(present: Sequence[str]) -> dict[str, Any]:
    """Return the encodings of colour and shape by model, the same in every figure: Base, the steps between, RLHF."""
    looks = {"Base": (BASE, "circle"), "RLHF": (RLHF, "square")}
    looks |= {DOCUMENT: looks["Base"], CHAT: looks["RLHF"]}
    looks |= dict(zip([name for name in present if name not in looks], cycle(OTHERS), strict=False))
    colors, shapes = zip(*(looks[name] for name in present), strict=True)
    return {
        "color": alt.Color("model:N", scale=alt.Scale(domain=list(present), range=colors)),
        "shape": alt.Shape("model:N", scale=alt.Scale(domain=list(present), range=shapes)),
    }


def steps(present: Sequence[str]) -> tuple[list[alt.Parameter], str]:
    """Return a box that shows all steps but Base and RLHF, and the filter it drives; no box when there are none."""
    between = [name for name in present if name not in ("Base", "RLHF")] if "RLHF" in present else []
    box = alt.param("steps", value=False, bind=alt.binding_checkbox(name=f"Show {', '.join(between)} "))
    return ([box], f"steps || indexof({json.dumps(between)}, datum.model) < 0") if between else ([], "true")


def choice(name: str, label: str, told: dict[str, tuple[str, str]], first: str = "") -> tuple[alt.Parameter, alt.Title]:
    """Return buttons that choose a value of a parameter, and a heading that follows the choice.

    Args:
        name: of the parameter.
        label: text before the buttons.
        told: for each value, the label of its button and the heading.
        first: the value chosen at first; by default, or if it is not in `told`, the first one.
    """
    names = list(told)
    buttons = alt.binding_radio(options=names, labels=[button for button, _ in told.values()], name=f"{label} ")
    headings = json.dumps({name: heading for name, (_, heading) in told.items()})
    shown = first if first in told else names[0]
    return alt.param(name, value=shown, bind=buttons), alt.Title(text=alt.ExprRef(f"({headings})[{name}]"))


def units(told: dict[str, tuple[str, str]]) -> tuple[alt.Parameter, alt.Title]:
    """Return buttons that choose a unit, and a heading that follows the choice, in place of an axis title.

    Args:
        told: for each unit of the frame, the label of its button and the heading; the first is chosen at first.
    """
    return choice("unit", "Unit", told)


def estimates(shown: alt.Chart, x: alt.X | str, marks: dict[str, Any], tooltip: list) -> tuple[alt.Chart, alt.Chart]:
    """Return the layers that draw estimates along x: a broad line over each 95 % interval, and a point."""
    span = shown.mark_rule(strokeWidth=6, opacity=0.35, strokeCap="round")
    point = shown.mark_point(filled=True, size=70, opacity=1)
    return span.encode(x="low:Q", x2="high:Q", color=marks["color"]), point.encode(x=x, tooltip=tooltip, **marks)


def of_paper(values: pd.DataFrame, x: Any, y: Any, line: bool = False, **encodings: Any) -> alt.Chart:
    """Return a layer that draws the paper's own values as hollow diamonds, or as thin dashed lines.

    Their colour tells Base from RLHF; the tooltip names the model, how the value was read, and its error.

    Args:
        values: rows of `paper.values`, with the fields of the encodings.
        x: channel, on the scale of the figure below.
        y: likewise.
        line: draw a line for each model and condition.
        **encodings: further channels, such as an offset.
    """
    error = alt.Tooltip("error:Q", title="error of reading")
    told = ["model:N", "condition:N", "value:Q", "unit:N", "how:N", error]
    chart = alt.Chart(values.assign(model="paper: " + values.model, base=values.model.str.endswith("Base")))
    drawn = (
        chart.mark_line(strokeWidth=1.2, strokeDash=[4, 2], opacity=0.8).encode(detail=["model:N", "condition:N"])
        if line
        else chart.mark_point(shape="diamond", filled=False, size=60, strokeWidth=1.3, opacity=0.9)
    )
    stroke = alt.condition(alt.datum.base, alt.value(BASE), alt.value(RLHF))
    return drawn.encode(x=x, y=y, **({"color": stroke} | encodings), tooltip=told)


def interval(*others: alt.Tooltip) -> list[alt.Tooltip]:
    """Return the tooltip of an estimate with the ends of its 95 % interval."""
    return [
        alt.Tooltip("model:N"),
        *others,
        alt.Tooltip("estimate:Q", format=".3f"),
        alt.Tooltip("low:Q", format=".3f", title="95 % from"),
        alt.Tooltip("high:Q", format=".3f", title="to"),
        alt.Tooltip("unit:N"),
    ]


def curves(
    shown: alt.Chart, data: pd.DataFrame, y: Any, choice: Any, text: str, tooltip: Any, solid: str
) -> alt.LayerChart:
    """Return a figure with a band, a line and points for every model (colour) and kind of text (dashes).

    Args:
        shown: chart of rows with model, text, the fields of `y`, and mark: the opacity of the point (at 0 it is
            invisible, but has a tooltip).
        data: frame with the models and texts.
        y: names of the estimate and of the ends of its interval, and an axis.
        choice: a parameter and the heading.
        text: description of the figure.
        tooltip: further fields for the tooltip of a point.
        solid: the kind of text drawn with a solid line; all others are dashed.
    """
    known, texts = list(data.model.unique()), list(data.text.unique())
    marks, (boxes, visible) = models(known), steps(known)
    (estimate, low, high, axis), (param, heading), seen = y, choice, alt.Opacity("mark:Q", scale=None)
    tooltip = interval(alt.Tooltip("text:N"), *tooltip)
    dashes = iter(([5, 3], [2, 3]))
    patterns = [[1, 0] if text == solid else next(dashes) for text in texts]
    columns = alt.ExprRef(f"width < 440 ? 1 : {len(texts)}")
    legend = alt.Legend(
        orient="bottom", columns=columns, symbolStrokeColor="currentColor", **STROKE
    )  # on a phone it does not fit beside the models
    dash = alt.StrokeDash("text:N", scale=alt.Scale(domain=texts, range=patterns), legend=legend)
    middle = alt.Y(f"{estimate}:Q", title=None, scale=alt.Scale(zero=False), axis=axis)
    shown = shown.transform_filter(visible)
    band = shown.mark_area(opacity=0.22).encode(y=f"{low}:Q", y2=f"{high}:Q", color=marks["color"], detail="text:N")
    layers = (
        *([band] if data.low.notna().any() else []),
        shown.mark_line(strokeWidth=2).encode(y=middle, color=marks["color"], strokeDash=dash),
        shown.mark_point(filled=True, size=50).encode(y=middle, opacity=seen, tooltip=tooltip, **marks),
    )
    return figure(layers, [param, *boxes], title=heading, description=text, height=270)


def choose_from(
    name: str, label: str, values: Iterable[str], told: dict[str, tuple[str, str]], first: str = ""
) -> tuple[Any, alt.Title]:
    """Return buttons and heading as `choice` does, without buttons if there is only one value."""
    known = {each: told.get(each, (each, each[:1].upper() + each[1:])) for each in values}
    buttons, heading = choice(name, label, known, first)
    return (buttons if len(known) > 1 else alt.param(name, value=next(iter(known)))), heading


def log_axis(field: str, title: str, values: list[float], **scale: Any) -> alt.X:
    """Return a logarithmic axis with these ticks."""
    axis = alt.Axis(values=values, format=",", grid=False)
    return alt.X(field, scale=alt.Scale(type="log", nice=False, **scale), axis=axis, title=title)


def with_interval(row: Any, form: str = ".3f") -> str:
    """Return the estimate of a row and its interval in words."""
    return f"{row.estimate:{form}} ({row.low:{form}} to {row.high:{form}})"


def plain_axis(**look: Any) -> alt.Axis:
    """Return a horizontal axis without a grid."""
    return alt.Axis(grid=False, tickCount=alt.ExprRef("clamp(width / 70, 3, 10)"), **look)


def one_line(expression: str) -> str:
    """Return a Vega expression for a text whose line breaks are shown as ↵."""
    return f"replace({expression}, /\\n/g, '↵')"
