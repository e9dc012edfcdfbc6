"""The Sankey diagram of anchor spans (claim C7, Figure 1): what `blueprint` lays out, in pixels.

One chart holds the diagrams of the models one above the other, the list of a model's spans, and its generations; all
share one vertical axis, of pixels.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import bidirectional

import altair as alt
import pandas as pd

from predact.figures import style
from predact.methods.blueprint import ELSEWHERE, IN_PLACE, OTHER, Blueprint, shortened

FLOW, GAP, HEAD = 120, 5, 34  # pixels: height of all generations, gap between states, space above
BLOCK = HEAD + FLOW + 2 * GAP + 18
ROW = 18  # pixels: of a line in a list
SMALL: Any = {"fontSize": 11, "baseline": "middle"}
LISTED = 10  # generations at a time
LABELS = {"short": 34, "middle": 60, "long": 110}  # characters of a span on a phone, on a page, in a wide window
PROTOCOLS = {"paper": "the paper's", "book": "ours"}
MODEL = "(pick.model ? pick.model[0] : first_model)"
SLOT = "(pick.slot && pick.prompt[0] == prompt && pick.protocol[0] == protocol ? pick.slot[0] : 0)"
FLAT: Any = {"axis": None}


def sankey(
    drawn: Mapping[str, Blueprint], prompts: Mapping[str, str], models: Sequence[str] = ("RLHF", "Base")
) -> alt.LayerChart:
    """Figure 1, top: anchor spans from left to right as slots, generations as ribbons; below, the texts of the spans.

    A click on a span marks its generations and lists them; a click beside it lists all.

    Args:
        drawn: by protocol ("paper", "book"), what `blueprint.of_paper` and `blueprint.blueprint` return; the first is
            shown at first, a switch shows the other. Or by names of a page's own, which chooses among them.
        prompts: the text of each prompt, by its id; the first is shown at first.
        models: drawn one above the other, to one scale.
    """
    nodes, ribbons = (
        pd.concat([lay(each, models).assign(protocol=name) for name, each in drawn.items()], ignore_index=True)
        for lay in (_nodes, _ribbons)
    )
    spans = nodes[(nodes.state == IN_PLACE) & ~nodes.ends]
    listed = BLOCK * len(models) + ROW
    read = listed + ROW * (max(spans.slot.max() if len(spans) else 0, 0) + 2)
    height = read + ROW * (LISTED + 1)
    color = style.models(models)["color"].legend(None)
    pick = alt.selection_point("pick", fields=["prompt", "model", "slot", "protocol"], empty=False)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[0, height], reverse=True, nice=False, zero=False), **FLAT)
    heads = pd.concat([_heads(spans[spans.protocol == name], drawn[name], prompts, models, name) for name in drawn])
    node, head = (_of(frame).encode(x=_x("x"), y=y) for frame in (nodes, heads))
    span = node.transform_filter(f"datum.state == {IN_PLACE} && !datum.ends")  # of the same rows: held once
    ends = _of(nodes[nodes.ends]).encode(x=_x("x"), y=_y("above"), text="name:N")
    quiet: Any = {"fontSize": 11, "opacity": 0.75}
    hits = span.mark_rule(strokeWidth=24, opacity=0.001).encode(
        y=_y("hit"), y2="hit2:Q", tooltip=[alt.Tooltip("text:N", title="span"), alt.Tooltip("told:N", title="in")]
    )
    shade = alt.Opacity("shade:Q", scale=None)
    grey = alt.when(f"datum.kind == {OTHER}").then(alt.value(style.NULL)).otherwise(color)
    top: Any = {"baseline": "top"}
    layers = [
        *_flows(ribbons, color, grey),
        node.mark_rule(strokeWidth=9).encode(y2="y2:Q", color=grey, opacity=shade),
        span.mark_text(fontSize=11, fontWeight=700, baseline="bottom").encode(
            y=_y("above"), text="slot:N", color=color
        ),
        ends.transform_filter("datum.slot == 0").mark_text(align="left", baseline="bottom", **quiet),
        ends.transform_filter("datum.slot > 0").mark_text(align="right", baseline="bottom", **quiet),
        head.mark_text(align="left", fontSize=13, fontWeight=700, limit=alt.ExprRef("width - 230"), **top).encode(
            x=alt.value(0), text="model:N", color=color
        ),
        head.mark_text(align="right", **quiet, **top).encode(x=alt.value("width"), text="told:N"),
        *_list(span, color, listed),
        *_texts(drawn, read),
        hits.add_params(pick),
    ]
    most = 1 + max(int(each.texts.row.max()) for each in drawn.values()) // LISTED * LISTED
    pages: Any = {"bind": alt.binding_range(min=1, max=most, step=LISTED, name="Listed from ")} if most > 1 else {}
    labels = [PROTOCOLS.get(name, name) for name in drawn]
    switch: Any = {"bind": alt.binding_radio(options=list(drawn), labels=labels, name="Protocol ")}
    controls = [choose(prompts), alt.param("protocol", value=next(iter(drawn)), **(switch if len(drawn) > 1 else {}))]
    controls += [alt.param("from_row", value=1, **pages), alt.param("first_model", value=models[0])]
    text = _in_words(spans[spans.protocol == next(iter(drawn))], prompts)
    return style.figure(layers, controls, description=text, height=height)


def isolated(text: str) -> str:
    """Return a text that begins right to left between marks that let it have this direction."""
    strong = next((each for each in map(bidirectional, text) if each in ("L", "R", "AL")), "L")
    return text if strong == "L" else f"\u2068{text}\u2069"


def _isolated(expression: str) -> str:
    """The same in Vega, for Hebrew, Arabic and the scripts between them in Unicode."""
    marked = f"'\u2068' + {expression} + '\u2069'"
    return f"test(/[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/, {expression}) ? {marked} : {expression}"


def _x(field: str) -> alt.X:
    return alt.X(f"{field}:Q", scale=alt.Scale(domain=[0, 1], nice=False), **FLAT)


def _y(field: str) -> alt.Y:
    return alt.Y(f"{field}:Q", **FLAT)


def _of(frame: pd.DataFrame) -> alt.Chart:
    return alt.Chart(frame).transform_filter("datum.prompt == prompt && datum.protocol == protocol")


def choose(prompts: Mapping[str, str]) -> alt.Parameter:
    """The prompt, chosen from a list where there are several."""
    labels = [shortened(text, 80) for text in prompts.values()]
    select: Any = {"bind": alt.binding_select(options=list(prompts), labels=labels, name="Prompt ")}
    return alt.param("prompt", value=next(iter(prompts)), **(select if len(prompts) > 1 else {}))


def _flows(ribbons: pd.DataFrame, color: alt.Color, grey: Any) -> list[alt.Chart]:
    """Ribbons, and in them the generations that contain the chosen span."""
    curves = (
        _of(ribbons)
        .transform_calculate(t="sequence(0, 1.01, 0.125)")
        .transform_flatten(["t"])
        .transform_calculate(
            along="(1 - datum.t) * datum.x + datum.t * datum.x2",
            bend="datum.t * datum.t * (3 - 2 * datum.t)",
            top="(1 - datum.bend) * datum.y + datum.bend * datum.y2",
            bottom="datum.top + datum.thick",
            part=f"datum.model == {MODEL} && {SLOT} ? datum.lit[{SLOT} - 1] : 0",
            end="datum.top + datum.part",
        )
    )
    names = {
        "told": "generations",
        "from": "from",
        "to": "to",
        "who": "for example",
        "example": "between, in the first",
    }
    about = [alt.Tooltip(f"{name}:N", title=title) for name, title in names.items()]
    each = ["model:N", "slot:Q", "begin:Q", "stop:Q", "source:Q", "target:Q"]
    curves = curves.encode(x=_x("along"), y=_y("top"), detail=each, tooltip=about)
    shade = alt.Opacity("shade:Q", scale=None)
    lit = curves.transform_filter("datum.part > 0").mark_area(interpolate="monotone", opacity=0.65)
    return [
        curves.mark_area(interpolate="monotone").encode(y2="bottom:Q", color=grey, opacity=shade),
        lit.encode(y2="end:Q", color=color),
    ]


def _list(span: alt.Chart, color: alt.Color, top: int) -> list[alt.Chart]:
    """The spans of the clicked model, each with its number and how many generations contain it."""
    rows = span.transform_filter(f"datum.model == {MODEL}")
    rows = rows.transform_calculate(
        y=f"{top} + {ROW} * datum.slot",
        label="width < 480 ? datum.short : width < 900 ? datum.middle : datum.long",
        ink=f"datum.slot == {SLOT} ? 1 : {SLOT} ? 0.55 : 0.9",
    ).encode(y=_y("y"), opacity=alt.Opacity("ink:Q", scale=None))
    text = f"{MODEL} + ': anchor spans, and generations that hold them'"
    return [
        _heading(text, top),
        rows.mark_text(align="right", fontWeight=700, **SMALL).encode(x=alt.value(16), text="slot:N", color=color),
        rows.mark_text(align="right", **SMALL).encode(x=alt.value(42), text="contained:N"),
        rows.mark_text(align="left", limit=alt.ExprRef("width - 52"), **SMALL).encode(x=alt.value(52), text="label:N"),
    ]


def _texts(drawn: Mapping[str, Blueprint], top: int) -> list[alt.Chart]:
    """Generations aligned at the chosen span (a concordance), or all generations from their beginning."""
    rows = (
        alt.Chart(_placed(drawn))
        .transform_filter(f"datum.prompt == prompt && datum.places[protocol] && datum.model == {MODEL}")
        .transform_calculate(at=f"{SLOT} ? datum.places[protocol][{SLOT} - 1] : 0")
        .transform_filter("datum.at >= 0")
        .transform_window(rank="row_number()")
        .transform_joinaggregate(all="count()")
        .transform_calculate(first=f"min(from_row, {LISTED} * floor((datum.all - 1) / {LISTED}) + 1)")
        .transform_filter(f"datum.rank >= datum.first && datum.rank < datum.first + {LISTED}")
        .transform_calculate(
            y=f"{top} + {ROW} * (datum.rank - datum.first + 1)",
            before=_isolated(style.one_line("slice(datum.text, max(0, datum.at - 90), datum.at)")),
            after=_isolated(style.one_line("slice(datum.text, datum.at, datum.at + 240)")),
        )
        .encode(y=_y("y"))
    )
    middle = f"({SLOT} ? 0.32 * width : 24)"
    left, right = (alt.ExprRef(f"{middle} {shift}") for shift in ("- 28", "+ 4"))
    after, rest = alt.value(right), alt.ExprRef(f"width - {middle} - 4")
    text = f"{SLOT} ? 'Generations with span ' + {SLOT} + ', from it on' : 'Generations'"
    return [
        _heading(text, top),
        rows.mark_text(align="left", opacity=0.6, **SMALL).encode(x=alt.value(0), text="row:N"),
        rows.mark_text(align="right", opacity=0.6, limit=left, dir="rtl", **SMALL).encode(
            x=alt.value(alt.ExprRef(middle)), text="before:N"
        ),
        rows.mark_text(align="left", limit=rest, **SMALL).encode(x=after, text="after:N"),
    ]


def _placed(drawn: Mapping[str, Blueprint]) -> pd.DataFrame:
    """Each generation once, with the places of the spans in it by protocol."""
    known: dict[tuple, dict[str, list[int]]] = {}
    for name, each in drawn.items():
        row: Any
        for row in each.texts.itertuples():
            places = known.setdefault((row.prompt, row.model, row.row, row.text), {})
            places[name] = _units(row.text, row.places)
    frame = pd.DataFrame(list(known), columns=["prompt", "model", "row", "text"])
    return frame.assign(places=pd.Series(list(known.values()), frame.index))


def _units(text: str, places: Sequence[int]) -> list[int]:
    """Places as JavaScript counts them, in UTF-16: an emoji counts twice."""
    return [len(text[:place].encode("utf-16-le")) // 2 if place >= 0 else -1 for place in places]


def _heading(text: str, y: int) -> alt.Chart:
    one = alt.Chart(pd.DataFrame({"y": [y]})).transform_calculate(text=text)
    look = one.mark_text(align="left", fontSize=12, fontWeight=600, baseline="middle", limit=alt.ExprRef("width"))
    return look.encode(x=alt.value(0), y=_y("y"), text="text:N")


def _sized(frame: pd.DataFrame, drawn: Blueprint, models: Sequence[str]) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """Return these models' rows with their prompt's last slot, the top of each diagram, and pixels per generation."""
    keys = ["prompt", "model"]
    last = drawn.ribbons.groupby(keys, sort=False).slot.max().rename("last") + 1
    size = drawn.texts.groupby(keys, sort=False).size().rename("size")
    frame = frame[frame.model.isin(list(models))].join(last, on=keys).join(size, on=keys)
    top = frame.model.map({model: BLOCK * place + HEAD for place, model in enumerate(models)}).astype(float)
    return frame, top, FLOW / frame["size"]


def _nodes(drawn: Blueprint, models: Sequence[str]) -> pd.DataFrame:
    frame, top, unit = _sized(drawn.nodes, drawn, models)
    y = top + frame.top * unit + frame.state * GAP
    texts = frame.text.where(frame.state == IN_PLACE, "")  # others need none
    labels = {name: [isolated(shortened(text.strip(), most)) for text in texts] for name, most in LABELS.items()}
    told = [f"{held} of {size} generations" for held, size in zip(frame.contained, frame["size"], strict=True)]
    shade = frame.state.map({IN_PLACE: 1.0, ELSEWHERE: 0.5, OTHER: 0.4})
    place = {"x": frame.slot / frame["last"], "y": y, "y2": y + frame["count"] * unit, "above": top - 3}
    place |= {"hit": top - 16, "hit2": top + FLOW + 2 * GAP}
    name = [text.split()[0] if ends else "" for text, ends in zip(frame.text, frame.ends, strict=True)]  # start, end
    made = frame.assign(**place, kind=frame.state, text=texts, shade=shade, told=told, name=name, **labels)
    return made[(made["count"] > 0) | (made.state == IN_PLACE)].drop(columns=["top", "size", "last", "held"])


def _ribbons(drawn: Blueprint, models: Sequence[str]) -> pd.DataFrame:
    frame, top, unit = _sized(drawn.ribbons, drawn, models)
    begins, ends = frame.slot == 0, frame.slot == frame["last"] - 1
    source = frame.source.mask(begins & (frame.source == OTHER), ELSEWHERE)  # in the middle, where there is no node
    target = frame.target.mask(ends & (frame.target == OTHER), ELSEWHERE)
    spans = drawn.nodes[~drawn.nodes.ends]
    texts = spans.groupby(["prompt", "model", "slot"], sort=False).text.first().to_dict()
    names: dict[str, list[str]] = {"from": [], "to": []}
    row: Any
    for row in frame.itertuples():
        source_state = row.source if row.begin == row.slot else IN_PLACE  # else it comes from an earlier node
        target_state = row.target if row.stop == row.slot + 1 else IN_PLACE
        names["from"].append(_name(texts, (row.prompt, row.model, row.begin), source_state))
        names["to"].append(_name(texts, (row.prompt, row.model, row.stop), target_state))
    parts = [[count * each for count in held] for held, each in zip(frame.held, unit, strict=True)]
    told = [f"{count} of {size}" for count, size in zip(frame["count"], frame["size"], strict=True)]
    place = {"x": frame.slot / frame["last"], "x2": (frame.slot + 1) / frame["last"], "thick": frame["count"] * unit}
    place |= {"y": top + frame.top * unit + source * GAP, "y2": top + frame.bottom * unit + target * GAP}
    shade = frame.kind.map({IN_PLACE: 0.5, ELSEWHERE: 0.3, OTHER: 0.22})
    made = frame.assign(**place, lit=pd.Series(parts, frame.index), shade=shade, told=told, **names)
    return made.drop(columns=["top", "bottom", "size", "last", "held", "count"])


def _name(texts: dict, place: tuple, state: int) -> str:
    """Describe a node in words."""
    if place not in texts:
        return "the beginning" if place[2] == 0 else "the end"
    name = f"{place[2]}: {shortened(texts[place], 60)}"
    return (name, f"{name} (out of order)", f"other text than {name}")[state]


def _heads(
    spans: pd.DataFrame, drawn: Blueprint, prompts: Mapping[str, str], models: Sequence[str], protocol: str
) -> pd.DataFrame:
    counts = spans.groupby(["prompt", "model"]).size().to_dict()
    rows = []
    for prompt, model in drawn.texts[["prompt", "model"]].drop_duplicates().itertuples(index=False):
        if prompt in prompts and model in models:
            count = counts.get((prompt, model), 0)
            told = f"{count} anchor span{'s' * (count > 1)}" if count else "no anchor spans: other text throughout"
            row = {"prompt": prompt, "model": model, "x": 0, "y": BLOCK * list(models).index(model)}
            rows.append(row | {"told": told, "protocol": protocol})
    return pd.DataFrame(rows)


def _in_words(spans: pd.DataFrame, prompts: Mapping[str, str]) -> str:
    """Describe what the figure shows at first."""
    prompt, text = next(iter(prompts.items()))
    said = []
    for model, own in spans[spans.prompt == prompt].groupby("model", sort=False):
        held = zip(own.told, own.text, strict=True)
        told = [f"{count} hold {json.dumps(text.strip(), ensure_ascii=False)}" for count, text in held]
        said.append(f"{model}, {len(own)}: {'; '.join(told)}")
    return f"Anchor spans of generations for the prompt {text!r}. {'. '.join(said) or 'None'}."
