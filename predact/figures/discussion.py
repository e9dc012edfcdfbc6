"""Figures of the discussion: the trade-off during training, in panels with a slider; the ladder, mixtures, nudges.

And of the paper's arguments: errors along an answer, sameness of right answers, what a free choice is worth.
"""

from typing import Any

import altair as alt
import pandas as pd

from predact.discussion.frontier import EXCESS, REWARD
from predact.discussion.judged import ALL, GAP, MEASURED, MORE, RIGHT, SHARED, UNIQUE
from predact.discussion.ladder import PLACE, STEPS, VALUE
from predact.discussion.nudging import BRANCHING, NUDGED, STRANGE
from predact.discussion.planning import ADDED, FREE, OWN, PLANNED
from predact.figures import style

LAYOUTS = {44: 3, 88: 5}  # characters of a line (phone, page): number of answers that fit
NARROW = 440  # pixels; narrower panels use the layout for phones
_MONO = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
_EM = 0.602  # width of a character in these fonts, in em
_LINE = 19  # pixels
_BEYOND = (-2, 2)  # places on the ladder are clipped to this range
MIXTURES, RUNS = "mixtures", "recorded runs"
ANSWERS_OF = {"Base": "Base, own answers", "RLHF": "RLHF, own answers"}
NUDGE_TOLD = {
    BRANCHING: ("branching factor", "Branching factor of the next tokens"),
    STRANGE: ("strangeness", "Nats per token that RLHF needs for them"),
}
ALIKE_TOLD = {
    SHARED: ("shared 10-gram", "Answers with the commonest 10-gram, %"),
    UNIQUE: ("unique n-grams", "Unique n-grams, n = 1 … 4, %"),
}


def frontier_panels(
    paths: pd.DataFrame, signs: pd.DataFrame, mass: pd.DataFrame, answers: pd.DataFrame, base: dict
) -> dict:
    """Frontier, signs of collapse, mass curve and some answers, at one step of the runs; a mimebundle.

    Args:
        paths: what `frontier.paths` returns.
        signs: what `frontier.signs` returns.
        mass: what `frontier.mass` returns.
        answers: what `frontier.answers` returns, laid out for `LAYOUTS`.
        base: reward and excess of Base.
    """
    runs, steps = list(paths.run.unique()), sorted(paths.step.unique().tolist())
    controls = [
        style.Control("step", "Step", steps[-1], range(steps[0], steps[-1] + 1, steps[1] - steps[0])),
        style.Control("run", "Run", runs[0], runs),
    ]
    parts = [_frontier(paths, base), _signs(signs), _mass(mass), _answers(answers)]
    return style.panels(parts, controls)


def _color(runs: list) -> alt.Color:
    return alt.Color("run:N", scale=alt.Scale(domain=runs, range=style.RUNS[: len(runs)]), legend=None)


def _params(frame: pd.DataFrame) -> list[alt.Parameter]:
    """Parameters that the controls set: the step and the highlighted run."""
    return [alt.param("step", value=int(frame.step.max())), alt.param("run", value=frame.run.iloc[0])]


def _strong(pale: float = 0.25) -> Any:
    return alt.when("datum.run == run").then(alt.value(1)).otherwise(alt.value(pale))


def _frontier(paths: pd.DataFrame, base: dict) -> alt.LayerChart:
    runs = list(paths.run.unique())
    data = paths.round(4)
    x = alt.X("excess:Q", title=EXCESS, scale=alt.Scale(zero=True), axis=alt.Axis(grid=False))
    ends = [min(data.low.min(), base["reward"]), data.high.max()]  # over all steps, so that the axes do not move
    y = alt.Y("reward:Q", title=None, scale=alt.Scale(domain=ends, nice=True))
    shown = alt.Chart(data).encode(
        x=x, y=y, color=_color(runs).legend(symbolType="circle", columns=alt.ExprRef(f"width < {NARROW} ? 2 : 5"))
    )
    now = shown.transform_filter("datum.step == step")
    places = [{"name": "Base", **base}, {"name": "SFT", **data[data.step == 0].iloc[0][["excess", "reward"]]}]
    known = alt.Chart(pd.DataFrame(places)).encode(x=x, y=y)
    tooltip = ["run:N", "step:Q", *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("reward", "low", "high"))]
    tooltip += [alt.Tooltip("excess:Q", format=".3f"), alt.Tooltip("kl:Q", format=".1f")]
    last = data[data.step == data.step.max()]
    told = ", ".join(f"{row.run} {row.reward:.2f} at {row.excess:.3f}" for row in last.itertuples())
    layers = [
        shown.mark_line(strokeWidth=1.5).encode(order="step:Q", opacity=_strong()),
        shown.mark_point(filled=True, size=18).encode(opacity=_strong(0.35)),
        now.mark_rule(strokeWidth=6, strokeCap="round").encode(y="low:Q", y2="high:Q", opacity=_strong(0.12)),
        now.mark_point(filled=True, size=130, opacity=1).encode(tooltip=tooltip),
        now.transform_filter("datum.run == run")
        .transform_calculate(told="'step ' + datum.step")
        .mark_text(dx=12, align="left", fontSize=12)
        .encode(text="told:N"),
        known.mark_point(filled=True, size=110, color=style.NULL, shape="diamond", opacity=1),
        known.mark_text(dy=-13, fontSize=12, fontWeight=600).encode(text="name:N"),
    ]
    text = f"{REWARD} against {EXCESS}. Base {base['reward']:.2f} at {base['excess']:.3f}. At the end: {told}."
    return style.figure(layers, _params(paths), title=_title(REWARD), description=text, height=300)


def _title(text: str) -> alt.Title:
    return alt.Title(text[:1].upper() + text[1:])


def _signs(signs: pd.DataFrame) -> alt.LayerChart:
    runs, measures = list(signs.run.unique()), list(signs.measure.unique())
    data = signs.round(4)
    y = alt.Y("measure:N", sort=measures, title=None, axis=None)
    shown = alt.Chart(data).encode(
        x=alt.X("share:Q", title=None, axis=None, scale=alt.Scale(domain=[0, 1])), y=y, color=_color(runs)
    )
    now, first = shown.transform_filter("datum.step == step"), shown.transform_filter("datum.step == 0")
    mine = now.transform_filter("datum.run == run")
    tooltip = ["run:N", "measure:N", alt.Tooltip("value:Q", format=",.3~f")]
    layers = [
        alt.Chart(data[["measure"]].drop_duplicates())
        .mark_text(align="left", dy=-17, fontSize=12)
        .encode(x=alt.value(0), y=y, text="measure:N"),
        first.mark_tick(thickness=3, size=16, color=style.NULL, opacity=1).encode(color=alt.value(style.NULL)),
        now.mark_point(filled=True, size=70).encode(opacity=_strong(0.35), tooltip=tooltip),
        mine.mark_text(align="right", dy=-17, fontSize=12, fontWeight=600).encode(
            x=alt.value("width"), text=alt.Text("value:Q", format=",.3~r")
        ),
    ]
    text = f"{', '.join(measures)} of each run at the chosen step; grey: SFT."
    return style.figure(layers, _params(signs), title=_title("signs of collapse"), description=text, height=230)


def _mass(mass: pd.DataFrame) -> alt.LayerChart:
    runs = list(mass.run.unique())
    data = mass.round(4)
    shown = alt.Chart(data).encode(
        x=alt.X("k:Q", title="k likeliest tokens", scale=alt.Scale(type="log"), axis=alt.Axis(grid=False)),
        y=alt.Y("mass:Q", title=None, scale=alt.Scale(domain=[data.mass.min(), 1], nice=True)),
        color=_color(runs),
    )
    now, start = shown.transform_filter("datum.step == step"), shown.transform_filter("datum.step == 0")
    layers = [
        start.transform_filter("datum.run == run")
        .mark_line(strokeDash=[4, 3], strokeWidth=1.5)
        .encode(color=alt.value(style.NULL)),
        now.mark_line(strokeWidth=2).encode(opacity=_strong()),
        now.mark_point(filled=True, size=30).encode(
            opacity=_strong(), tooltip=["run:N", "k:Q", alt.Tooltip("mass:Q", format=".3f")]
        ),
    ]
    text = "Mean probability of the k likeliest tokens along own answers at the chosen step; dashed: SFT."
    return style.figure(layers, _params(mass), title=_title("mass of the k likeliest"), description=text, height=230)


def _answers(answers: pd.DataFrame) -> alt.LayerChart:
    """Draw pieces of lines in a monospaced font: a character is one unit of the horizontal scale."""
    lines = int(answers.line.max()) + 1
    phone, page = LAYOUTS
    broad = f"(width < {NARROW} ? {phone} : {page})"
    shown = (
        alt.Chart(answers.assign(marked=answers.marked.astype(int)))
        .transform_filter(f"datum.run == run && datum.step == step && datum.width == {broad}")
        .transform_calculate(x="datum.column / datum.width", x2="(datum.column + length(datum.text)) / datum.width")
        .encode(
            x=alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, 1])),
            y=alt.Y("line:Q", axis=None, scale=alt.Scale(domain=[-0.5, lines - 0.5], reverse=True, nice=False)),
        )
    )
    layers = [
        shown.transform_filter("datum.marked")
        .mark_rule(strokeWidth=_LINE - 3, opacity=0.25, color=style.RLHF)
        .encode(x2="x2:Q"),
        shown.mark_text(align="left", font=_MONO, fontSize=alt.ExprRef(f"width / {broad} / {_EM}")).encode(
            text="text:N"
        ),
    ]
    text = "Answers to the same question at the chosen step; shaded: passages that they share with other answers."
    return style.figure(
        layers, _params(answers), title=_title("answers to one question"), description=text, height=_LINE * lines
    )


def ladder(climbed: pd.DataFrame) -> alt.LayerChart:
    """Where SFT stands on the way from Base to RLHF, measure by measure, with 95 % intervals.

    Args:
        climbed: what `ladder.climb` returns.
    """
    low, high = _BEYOND
    if PLACE not in set(climbed.kind):
        nothing = (
            alt.Chart(pd.DataFrame({"told": ["no model between Base and RLHF"]})).mark_text().encode(text="told:N")
        )
        return style.figure([nothing], [], description="This pair has no model between Base and RLHF.", height=60)
    place = climbed[climbed.kind == PLACE].drop(columns=["kind", "at"])
    values = climbed[climbed.kind == VALUE].pivot(index="measure", columns="at", values="estimate")
    told = {name: " → ".join(_short(row[step]) for step in STEPS) for name, row in values.iterrows()}
    data = place.assign(
        head=place.claim + "  " + place.measure, told=place.measure.map(told), row=range(len(place)), model="SFT"
    )
    data = data.assign(first=data.low.clip(low, high), last=data.high.clip(low, high), x=data.estimate.clip(low, high))
    y = alt.Y("row:O", title=None, axis=None)
    shown = alt.Chart(data.round(4)).encode(y=y)
    x = alt.X("x:Q", title=None, axis=None, scale=alt.Scale(domain=[low, high]))
    ends = alt.Chart(pd.DataFrame({"x": [0, 1], "name": ["Base", "RLHF"], "color": [style.BASE, style.RLHF]}))
    color = alt.Color("color:N", scale=None)
    tooltip = ["claim:N", "measure:N", alt.Tooltip("told:N", title="Base → SFT → RLHF")]
    tooltip += [alt.Tooltip(f"{name}:Q", format=".2f") for name in ("estimate", "low", "high")]
    layers = [
        ends.mark_rule(strokeWidth=2).encode(x=x, color=color),
        ends.mark_text(dy=-12, fontSize=12, fontWeight=600).encode(x=x, y=alt.value(0), text="name:N", color=color),
        shown.mark_rule(strokeWidth=6, opacity=0.35, strokeCap="round", color=style.STEP).encode(
            x=alt.X("first:Q", axis=None, scale=alt.Scale(domain=[low, high])), x2="last:Q"
        ),
        shown.mark_point(filled=True, size=90, shape="diamond", opacity=1, color=style.STEP).encode(
            x=x, tooltip=tooltip
        ),
        shown.mark_text(align="left", dy=-15, fontSize=alt.ExprRef(f"width < {NARROW} ? 10 : 12")).encode(
            x=alt.value(0), text="head:N"
        ),
        shown.mark_text(
            align="right", dy=-15, fontSize=11, opacity=alt.ExprRef(f"width < {NARROW + 100} ? 0 : 0.75")
        ).encode(x=alt.value("width"), text="told:N"),
    ]
    out = shown.transform_filter(f"datum.estimate < {low} || datum.estimate > {high}")
    layers.append(
        out.transform_calculate(way=f"datum.estimate < {low} ? '◂' : '▸'")
        .mark_text(fontSize=16, color=style.STEP, dy=13)
        .encode(x=x, text="way:N")
    )
    text = "; ".join(f"{row.head} {row.estimate:.2f} ({row.low:.2f} to {row.high:.2f})" for row in data.itertuples())
    text = f"Place of SFT on the way from Base (0) to RLHF (1): {text}."
    return style.figure(layers, [], description=text, height=44 * len(data), padding={"top": 24})


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def mixtures_on_frontier(found: pd.DataFrame, paths: pd.DataFrame) -> alt.LayerChart:
    """Reward against lost prediction: mixtures by the weight of RLHF, with intervals of both, and the runs in grey.

    Args:
        found: what `mixture.mixture_frontier` returns.
        paths: what `frontier.paths` returns.
    """
    wide = found.pivot(index="weight", columns="measure", values=["estimate", "low", "high"]).reset_index()
    wide.columns = pd.Index(["_".join(filter(None, reversed(column))) for column in wide.columns])
    mixed = wide.rename(columns={"reward_estimate": "reward", "excess_estimate": "excess"}).assign(path=MIXTURES)
    domain = alt.Scale(domain=[MIXTURES, RUNS], range=[style.STEP, style.NULL])
    legend = alt.Legend(columns=alt.ExprRef(f"width < {NARROW} ? 1 : 2"), **style.STROKE)
    color = alt.Color("path:N", scale=domain, legend=legend)
    x = alt.X("excess:Q", title=EXCESS, axis=alt.Axis(grid=False))
    y = alt.Y("reward:Q", title=None, scale=alt.Scale(nice=True))
    shown = alt.Chart(mixed.round(4)).encode(color=color)
    runs = alt.Chart(paths.assign(path=RUNS).round(4)).encode(x=x, y=y, color=color)
    tooltip = [alt.Tooltip("weight:Q", title="weight of RLHF")]
    tooltip += [
        alt.Tooltip(f"{name}:Q", format=".3f")
        for name in ("reward", "reward_low", "reward_high", "excess", "excess_low", "excess_high")
    ]
    told_runs = [
        alt.Tooltip("run:N"),
        alt.Tooltip("step:Q"),
        *(alt.Tooltip(f"{name}:Q", format=".3f") for name in ("reward", "excess")),
    ]
    layers = (
        runs.mark_line(strokeWidth=1.5, opacity=0.6).encode(detail="run:N", order="step:Q"),
        runs.mark_point(filled=True, size=22, opacity=0.7).encode(tooltip=told_runs),
        shown.mark_line(strokeWidth=2).encode(x=x, y=y, order="weight:Q"),
        shown.mark_rule(strokeWidth=5, opacity=0.35, strokeCap="round").encode(
            x=x, y="reward_low:Q", y2="reward_high:Q"
        ),
        shown.mark_rule(strokeWidth=5, opacity=0.35, strokeCap="round").encode(
            x="excess_low:Q", x2="excess_high:Q", y=y
        ),
        shown.mark_point(filled=True, size=70, opacity=1).encode(x=x, y=y, tooltip=tooltip),
        shown.transform_filter("datum.weight % 0.5 == 0 || datum.weight > 0.7")
        .mark_text(dx=10, dy=-10, align="left", fontSize=12)
        .encode(x=x, y=y, text=alt.Text("weight:Q", format=".3~f"), color=alt.value("currentColor")),
    )
    said = "; ".join(f"{row.weight:g}: {row.reward:.2f} at {row.excess:.3f}" for row in mixed.itertuples())
    title = alt.Title(REWARD[:1].upper() + REWARD[1:])
    text = f"{REWARD} against {EXCESS}, mixtures by the weight of RLHF: {said}."
    return style.figure(layers, [], title=title, description=text, height=320)


def branching_along_answer(frame: pd.DataFrame) -> alt.LayerChart:
    """The branching factor along own answers, a line with its 95 % band for each model.

    Args:
        frame: what `nudging.branching_by_position` returns.
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


def branching_after_nudges(frame: pd.DataFrame) -> alt.LayerChart:
    """What Base writes after the first tokens of an RLHF answer, beside each model's own answers at these positions.

    Args:
        frame: what `nudging.after_nudges` returns.
    """
    names = [NUDGED, *ANSWERS_OF.values()]
    data = frame.replace({"model": ANSWERS_OF}).round(4)
    measure, heading = style.choice("measure", "Measure", {each: NUDGE_TOLD[each] for each in data.measure.unique()})
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


def right_by_length(frame: pd.DataFrame) -> alt.LayerChart:
    """How often the first facts of an answer are all right, by how many they are, beside independent errors.

    Args:
        frame: what `judged.right_by_length` returns.
    """
    data = frame[frame.text != MORE].round(4).assign(mark=1)
    last = data[data.length == data.groupby("model").length.transform("max")]
    told = [f"{row.model}, {row.text}, {row.length} facts: {style.with_interval(row)}" for row in last.itertuples()]
    shown = alt.Chart(data).encode(
        x=alt.X(
            "length:Q", title="facts stated", axis=alt.Axis(grid=False, values=sorted(data.length.unique()), format="d")
        )
    )
    y = ("estimate", "low", "high", alt.Axis(format="%"))
    heading = alt.Title("Answers whose first facts are all right")
    text = f"Share of answers whose first facts are all right, with 95 % intervals: {'; '.join(told)}."
    tooltip = [alt.Tooltip("length:Q", title="facts"), alt.Tooltip("answers:Q", format=",")]
    return style.curves(shown, data, y, (alt.param("facts", value=0), heading), text, tooltip, MEASURED)


def sameness(frame: pd.DataFrame) -> alt.LayerChart:
    """How much alike all answers to a prompt are, and the right ones only; the measure is chosen below the figure.

    Args:
        frame: what `judged.sameness` returns.
    """
    data = frame[frame.model != GAP].round(3)
    measure, heading = style.choice("measure", "Measure", ALIKE_TOLD)
    shown, y = _rows(data, "kept", [ALL, RIGHT])
    shown = shown.transform_filter("datum.measure == measure")
    x = alt.X("estimate:Q", title=None, axis=style.plain_axis())
    layers = style.estimates(shown, x, style.models(list(data.model.unique())), _tooltip("kept", "prompts"))
    told = [f"{row.model}, {row.kept}: {style.with_interval(row, '.1f')}" for row in data.itertuples()]
    text = f"{SHARED}, then {UNIQUE}, with 95 % intervals: {'; '.join(told)}."
    return style.figure([layer.encode(**y) for layer in layers], [measure], title=heading, description=text, height=130)


def worth(each: pd.DataFrame, mean: pd.DataFrame) -> alt.LayerChart:
    """True reward of going one's own way, of planning under one's own randomness, and of a free choice.

    Args:
        each: what `planning.worth` returns; pale, a point for each question.
        mean: what `planning.mean_worth` returns.
    """
    data = mean[mean.kind != ADDED].round(4)
    marks, kinds = style.models(list(data.model.unique())), [OWN, PLANNED, FREE]
    shown, y = _rows(data, "kind", kinds)
    single, _ = _rows(each.round(4), "kind", kinds)
    x = alt.X("estimate:Q", title=None, axis=style.plain_axis())
    pale = single.mark_point(filled=True, size=26, opacity=0.35).encode(
        x="value:Q", tooltip=["model:N", "question:N", "kind:N", alt.Tooltip("value:Q", format=".3f")], **marks
    )
    layers = [pale, *style.estimates(shown, x, marks, _tooltip("kind", "questions"))]
    told = [f"{row.model}, {row.kind}: {style.with_interval(row)}" for row in mean.itertuples()]
    text = f"{REWARD}, mean over questions, with 95 % intervals: {'; '.join(told)}."
    return style.figure([layer.encode(**y) for layer in layers], [], title=_title(REWARD), description=text, height=190)


def _rows(data: pd.DataFrame, field: str, order: list[str]) -> tuple[alt.Chart, dict]:
    """A chart, and the encodings that give each value of a field its row, models one below the other."""
    return alt.Chart(data), {"y": alt.Y(f"{field}:N", sort=order, title=None), "yOffset": "model:N"}


def _tooltip(field: str, units: str) -> list[alt.Tooltip]:
    ends = [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("estimate", "low", "high")]
    return [alt.Tooltip("model:N"), alt.Tooltip(f"{field}:N"), *ends, alt.Tooltip(f"{units}:Q")]
