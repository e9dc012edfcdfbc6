"""Figures of prediction (claim C1), of the distance from the world, and of training runs."""

from typing import Any

import altair as alt
import pandas as pd
from IPython.display import HTML

from predact import markup
from predact.claims import prediction
from predact.figures import style

UNITS = {  # what the button says, what the heading says
    "perplexity increase": ("perplexity above Base", "Perplexity above Base's"),
    "byte perplexity increase": ("perplexity above Base", "Perplexity per byte above Base's"),
    "perplexity ratio": ("ratio to Base", "Perplexity, as a multiple of Base's"),
    "byte perplexity ratio": ("ratio to Base", "Perplexity per byte, as a multiple of Base's"),
    prediction.ABOVE_BASE: ("bits above Base", "Bits per byte above Base"),
    prediction.BITS: ("bits", "Bits per byte"),
    prediction.ABOVE_WORLD: ("excess over the world", "Bits per byte above the world's entropy"),
    prediction.TOKEN_BITS: ("each model", "Bits per token"),
    prediction.TOKEN_ABOVE_BASE: ("above Base", "Bits per token above Base"),
}

DISTANCES = {
    prediction.KL: ("bits per byte", "KL to the world, bits per byte"),
    prediction.SHARE: ("share of the entropy", "KL to the world, share of its entropy"),
}


def perplexity_increase(frame: pd.DataFrame) -> alt.LayerChart:
    """Figure 2A: how much worse than Base each corpus is predicted, by category, with 95 % intervals.

    Grey marks the value of no increase: Base itself or, in bits per byte, the world's entropy if it is known.

    Args:
        frame: What `prediction.increase_by_corpus` returns. Its units become the buttons below the figure.
    """
    models = list(frame.model.unique())
    marks, (boxes, visible) = style.models(models), style.steps(models)
    unit, heading = style.units({name: UNITS[name] for name in frame.unit.unique()})
    data = _with_references(frame)
    y, lines = grouped(data)
    shown = alt.Chart(data).transform_filter("datum.unit == unit").transform_filter(visible).encode(y=y)
    rlhf = shown.transform_filter("datum.model == 'RLHF'")
    x, color = alt.X("estimate:Q", title=None, scale=alt.Scale(zero=False)), marks["color"]
    tooltip = style.interval(alt.Tooltip("corpus:N"), alt.Tooltip("documents:Q"))
    layers = (
        rlhf.mark_tick(color=style.NULL, size=style.LINE, thickness=2, opacity=1).encode(
            x=alt.X("nothing:Q", title=None)
        ),
        rlhf.mark_rule(opacity=0.4).encode(x="base:Q", x2="estimate:Q", color=color),
        *style.estimates(shown, x, marks, tooltip),
        rlhf.mark_text(align="left", dx=9, fontSize=11).encode(x="high:Q", text="label:N"),
    )
    return style.figure(
        layers,
        [unit, *boxes],
        title=heading,
        description=_in_words(data),
        height=style.LINE * lines,
        padding={"left": 2, "top": 5, "right": 30, "bottom": 5},  # on the right for the longest printed number
    )


def increase_bars(frame: pd.DataFrame, values: pd.DataFrame) -> alt.LayerChart:
    """Figure 2: perplexity increase over Base by category, as bars with 95 % intervals; the paper's pairs beside them.

    Args:
        frame: what `prediction.increase_by_category` or `relearning.increase_by_category` returns.
        values: the paper's, of panel A or B of its Figure 2.
    """
    models = list(frame.model.unique())
    marks, (boxes, visible) = style.models(models), style.steps(["Base", *models])
    theirs = values.assign(category=values.x.str.lower())
    order = list(dict.fromkeys([*frame.category.str.lower(), *theirs.category]))
    y = alt.Y("category:N", sort=order, title=None, axis=alt.Axis(grid=False, labelLimit=130))
    data = frame.assign(category=frame.category.str.lower())
    shown = alt.Chart(data).transform_filter(visible).encode(y=y, yOffset=alt.YOffset("model:N", sort=models))
    tooltip = style.interval(alt.Tooltip("category:N"), alt.Tooltip("documents:Q"))
    layers = (
        shown.mark_bar(opacity=0.75).encode(x=alt.X("estimate:Q", title=None), color=marks["color"], tooltip=tooltip),
        shown.mark_rule(color="currentColor", strokeWidth=2).encode(x=alt.X("low:Q", title=None), x2="high:Q"),
        style.of_paper(theirs, alt.X("value:Q", title=None), y),
    )
    rlhf = data[data.model == "RLHF"]
    told = ", ".join(f"{row.category} {style.with_interval(row, '.2f')}" for row in rlhf.itertuples())
    return style.figure(
        layers,
        boxes,
        title=UNITS[frame.unit.iloc[0]][1],
        description=f"Perplexity of RLHF above Base's by category: {told}; hollow, the paper's five pairs.",
        height=30 * len(order),
    )


def _with_references(frame: pd.DataFrame) -> pd.DataFrame:
    """Add to each row its line in the figure, Base's estimate, a label, and the value of no increase in its unit."""
    short = frame.unit.isin(prediction.RATIOS + prediction.INCREASES)
    label = [f"{value:.2f}" if few else f"{value:.3f}" for value, few in zip(frame.estimate, short, strict=True)]
    data = frame.assign(row=frame.category + "\n" + frame.corpus, label=label)
    base = data[data.model == "Base"].set_index(["row", "unit"]).estimate.rename("base")
    bits, excess = (
        base[base.index.get_level_values("unit") == unit].droplevel("unit")
        for unit in (prediction.BITS, prediction.ABOVE_WORLD)
    )
    world = data.row.map(bits.sub(excess, fill_value=0))
    nothing = frame.unit.isin(prediction.RATIOS).astype(float).mask(frame.unit == prediction.BITS, world)
    return data.assign(nothing=nothing).join(base, on=["row", "unit"])


def grouped(data: pd.DataFrame) -> tuple[alt.Y, int]:
    """Return an axis of corpora grouped by category (`row` is category, newline, corpus), and its number of lines."""
    groups = data.groupby("category", sort=False).row.unique()
    lines = [line for category, rows in groups.items() for line in (f"{category}\n", *rows)]
    corpus = "split(datum.value, '\\n')[1]"
    axis = alt.Axis(
        title=None,
        grid=False,
        labelLimit=130,
        labelExpr=f"{corpus} || upper(split(datum.value, '\\n')[0])",
        labelFontWeight={"condition": {"test": corpus, "value": 400}, "value": 700},
        labelFontSize={"condition": {"test": corpus, "value": 12}, "value": 10},
    )
    return alt.Y("row:N", sort=None, scale=alt.Scale(domain=lines), axis=axis), len(lines)


def _in_words(data: pd.DataFrame) -> str:
    """Describe what the figure shows at first, for readers who cannot see it."""
    first = data[(data.unit == data.unit.iloc[0]) & (data.model == "RLHF")].set_index("corpus").sort_values("estimate")
    told = [f"{corpus} {row.label} ({row.low:.2f} to {row.high:.2f})" for corpus, row in first.iterrows()]
    return f"{data.unit.iloc[0]} of RLHF to Base by corpus, with 95 % intervals: {', '.join(told)}."


def loss_along_document(frame: pd.DataFrame) -> alt.LayerChart:
    """Bits per token along the document, with 95 % bands; unit and corpus are chosen below the figure.

    Args:
        frame: What `prediction.loss_by_position` returns.
    """
    models, corpora = list(frame.model.unique()), list(frame.corpus.unique())
    marks, (boxes, visible) = style.models(models), style.steps(models)
    unit, heading = style.units({name: UNITS[name] for name in frame.unit.unique()})
    corpus = alt.param("corpus", value=corpora[0], bind=alt.binding_select(options=corpora, name="Corpus "))
    first, last = frame["first"] + 1, frame["last"] + 1  # readers count from one
    span = [str(a) if a == b else f"{a} to {b}" for a, b in zip(first, last, strict=True)]
    data = frame.assign(middle=(first * last) ** 0.5, span=span)
    ticks = alt.Axis(values=[digit * 10**power for power in range(6) for digit in (1, 2, 5)], grid=False)
    title = "Position in the document (tokens)"
    x = alt.X("middle:Q", scale=alt.Scale(type="log", nice=False), axis=ticks, title=title)
    chosen = alt.Chart(data).transform_filter("datum.unit == unit && datum.corpus == corpus")
    shown = chosen.transform_filter(visible).encode(x=x)
    tooltip = style.interval(alt.Tooltip("span:N", title="tokens"))
    layers = (
        shown.mark_area(opacity=0.22).encode(y=alt.Y("low:Q", title=None), y2="high:Q", color=marks["color"]),
        shown.mark_line(strokeWidth=2).encode(y="estimate:Q", color=marks["color"]),
        shown.mark_point(filled=True, size=55, opacity=1).encode(y="estimate:Q", tooltip=tooltip, **marks),
    )
    text = f"Bits per token of {', '.join(models)} by position in the document, with 95 % bands."
    return style.figure(layers, [unit, corpus, *boxes], title=heading, description=text, height=260)


def tokens_that_lose(frame: pd.DataFrame) -> HTML:
    """Show the tokens that RLHF predicts much worse than Base, in context; colour shows each token's loss or gain.

    Texts are escaped, and MathJax ignores them.

    Args:
        frame: What `prediction.losses_by_token` returns.
    """
    passages = [_passage(passage) for _, passage in frame.groupby(["corpus", "example"], sort=False)]
    return HTML(markup.render("passages.html", passages=passages))


def _passage(passage: pd.DataFrame) -> dict[str, Any]:
    peak = passage[passage.offset == 0].iloc[0]
    return {
        "corpus": peak.corpus,
        "bits": f"{peak.bits:.1f}",
        "base": _percent(peak.base),
        "rlhf": _percent(peak.rlhf),
        "tokens": [_token(token, peak.bits) for token in passage.itertuples()],
    }


def _token(token: Any, most: float) -> dict[str, Any]:
    word = token.text.lstrip(" ")
    return {
        "space": token.text[: len(token.text) - len(word)],
        "word": word.replace("\n", "↵") or "\N{EN SPACE}",
        "color": _tint(token.bits, most),
        "peak": token.offset == 0,
        "base": _percent(token.base),
        "rlhf": _percent(token.rlhf),
    }


def _tint(bits: float, most: float) -> str:
    """Orange where RLHF loses bits, blue where it gains; the more of the largest loss, the less pale: up to 60 %."""
    if pd.isna(bits):
        return ""
    opacity = round(150 * min(abs(bits / most), 1)) if most else 0
    return f"{style.RLHF if bits > 0 else style.BASE}{opacity:02x}"


def _percent(probability: float) -> str:
    if probability < 1e-4:
        return "below 0.01\N{NO-BREAK SPACE}%"
    return f"{100 * probability:{'.0f' if probability > 0.1 else '.2g'}}\N{NO-BREAK SPACE}%"


def distances(frame: pd.DataFrame) -> alt.LayerChart:
    """Distance of each model from the world, by corpus and category, with 95 % intervals.

    Args:
        frame: What `prediction.distance_from_world` returns; the entropy itself is not drawn.
    """
    told = frame[frame.model != prediction.WORLD]
    data = told.assign(row=told.category + "\n" + told.corpus)
    names = list(data.model.unique())
    marks = style.models(names)
    unit, heading = style.units(DISTANCES)
    y, lines = grouped(data)
    shown = alt.Chart(data).transform_filter("datum.unit == unit").encode(y=y)
    x = alt.X("estimate:Q", title=None, axis=alt.Axis(format=".3~g"))
    layers = style.estimates(shown, x, marks, style.interval(alt.Tooltip("corpus:N")))
    first = data[data.unit == prediction.KL]
    said = ", ".join(f"{row.model} {row.corpus} {row.estimate:.3f}" for row in first.itertuples())
    return style.figure(
        layers,
        [unit],
        title=heading,
        description=f"KL to the world in bits per byte by model and corpus: {said}.",
        height=style.LINE * lines,
    )


def runs(frame: pd.DataFrame) -> alt.LayerChart:
    """Compare training runs: one recorded measure by optimizer steps, or by KL to the SFT model.

    Args:
        frame: What `trajectory.tidy` returns.
    """
    names, measures = list(frame.run.unique()), list(frame.measure.unique())
    measure = alt.param("measure", value=measures[0], bind=alt.binding_select(options=measures, name="Measure "))
    against = alt.binding_radio(options=["step", "kl"], labels=["steps", "KL to SFT"], name="Along ")
    axis = alt.param("axis", value="step", bind=against)
    legend = alt.Legend(columns=alt.ExprRef(f"width < 440 ? 3 : {len(names)}"))
    marks = {
        "color": alt.Color("run:N", scale=alt.Scale(domain=names, range=style.RUNS[: len(names)]), legend=legend),
        "shape": alt.Shape("run:N", scale=alt.Scale(domain=names), legend=legend),
    }
    heading = "[measure, axis == 'kl' ? 'by KL to the SFT model (nats per answer)' : 'by optimizer steps']"
    shown = (
        alt.Chart(frame)
        .transform_filter("datum.measure == measure")
        .transform_calculate(x="axis == 'kl' ? datum.kl : datum.step")
        .encode(x=alt.X("x:Q", title=None, axis=alt.Axis(grid=False)), order="step:Q")
    )
    y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False))
    tooltip = ["run:N", "step:Q", alt.Tooltip("kl:Q", format=".2f"), alt.Tooltip("value:Q", format=".3f")]
    layers = (
        shown.mark_rule(opacity=0.35).encode(y="low:Q", y2="high:Q", color=marks["color"]),
        shown.mark_line(strokeWidth=2).encode(y=y, color=marks["color"]),
        shown.mark_point(filled=True, size=45, opacity=1).encode(y=y, tooltip=tooltip, **marks),
    )
    last = frame[frame.measure == measures[0]].groupby("run", sort=False).value.last()
    told = ", ".join(f"{name} {value:.2f}" for name, value in last.items())
    return style.figure(
        layers,
        [measure, axis],
        title=alt.Title(text=alt.ExprRef(heading)),
        description=f"{measures[0]} at the end of each run: {told}.",
        height=280,
    )
