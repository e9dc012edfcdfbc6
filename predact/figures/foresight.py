"""Figures of the probes (claims C9 and C12), and texts with a probe's guesses below their tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import altair as alt
import pandas as pd
from IPython.display import HTML

from predact import markup
from predact.claims.foresight import AFTER, BEGINNINGS, OTHERS, QUESTIONS
from predact.figures import style
from predact.methods.probes import AFFINE, BIGRAM, GAINED, LOW_RANK, SHUFFLED, SKIP, TOKEN_BITS, UNIGRAM
from predact.models.passages import OWN

TOLD = {
    GAINED: ("bits gained", "Bits gained over the skip-gram, per token"),
    TOKEN_BITS: ("bits", "Bits per token that the probe needs"),
    "top-1": ("top-1", "Share that are the probe's first guess"),
    "top-5": ("top-5", "Share among the probe's first five"),
}
PANELS = [(kind, text) for kind in (BEGINNINGS, QUESTIONS) for text in (OWN, OTHERS)]  # from left to right
WIDE = len(AFTER) + 1  # of a panel, in steps of its axis
DASHES = {AFFINE: [1, 0], LOW_RANK: [6, 3], SKIP: [12, 3], BIGRAM: [6, 2, 1, 2], UNIGRAM: [2, 3], SHUFFLED: [1, 4]}


def accuracy(frame: pd.DataFrame, papers: pd.DataFrame) -> alt.LayerChart:
    """The paper's Figure 6: how often probes guess right, in panels by kind of prompts and by whose text is read.

    Args:
        frame: what `foresight.accuracy` returns.
        papers: the paper's own values, `paper.values("6")`; its prompts of the Pile stand beside beginnings of
            documents, those of Helpful beside questions.
    """
    kinds = papers.panel.map(lambda panel: BEGINNINGS if "Pile" in panel else QUESTIONS)
    texts = papers.panel.map(lambda panel: OWN if "own" in panel else OTHERS)
    papers = papers.assign(at=_at(kinds, texts, papers.x, papers.model.str.endswith("Base")))
    data = frame.assign(at=_at(frame.kind, frame.text, frame.n, frame.model == "Base")).round(3)
    right = WIDE * len(PANELS)
    ticks = [WIDE * panel + n for panel in range(len(PANELS)) for n in AFTER]
    axis = alt.Axis(values=ticks, tickCount=len(ticks), labelExpr=f"datum.value % {WIDE}", grid=False)
    scale = alt.Scale(domain=[0.3, right - 0.3], nice=False)
    x = alt.X("at:Q", scale=scale, axis=axis, title="Tokens after the one being predicted")
    top = 1.25 * max(data.high.max(), data.estimate.max(), papers.value.max())
    y = alt.Y("estimate:Q", title=None, scale=alt.Scale(domain=[0, float(top)], nice=False))
    heads = pd.DataFrame({"at": [0.3, right / 2 + 0.3], "name": ["Beginnings", "Questions"], "line": 2})
    names = [{"at": WIDE * n + 0.3, "name": text, "line": 20} for n, (_, text) in enumerate(PANELS)]
    short = pd.DataFrame(names).replace({"name": {OWN: "own text", OTHERS: "the other's"}})
    between = alt.Chart(pd.DataFrame({"at": [WIDE * n for n in range(1, len(PANELS))]}))
    marks, shown = style.models(list(data.model.unique())), alt.Chart(data).encode(x=x)
    tooltip = style.interval(alt.Tooltip("kind:N"), alt.Tooltip("text:N"), alt.Tooltip("n:Q"))
    layers = (
        between.mark_rule(opacity=0.2, color="currentColor").encode(x=x, y=alt.value(20), y2=alt.value("height")),
        *(_heading(rows, x, weight) for rows, weight in ((heads, 600), (short, 400))),
        shown.mark_rule(strokeWidth=6, opacity=0.35, strokeCap="round").encode(
            y=alt.Y("low:Q", title=None), y2="high:Q", color=marks["color"]
        ),
        shown.mark_line(strokeWidth=2).encode(y=y, color=marks["color"], detail=["kind:N", "text:N"]),
        shown.mark_point(filled=True, size=60, opacity=1).encode(y=y, tooltip=tooltip, **marks),
        style.of_paper(papers, x, alt.Y("value:Q", title=None)),
    )
    told = [
        f"{row.model}, {row.text}, {row.kind}, n = {row.n}: {style.with_interval(row, '.1f')}"
        for row in frame.itertuples()
    ]
    text = f"Percent of tokens that are the probe's first guess: {'; '.join(told)}."
    return style.figure(layers, [], title="Right at the probe's first guess, percent", description=text, height=270)


def _at(kinds: pd.Series, texts: pd.Series, n: pd.Series, is_base: pd.Series) -> pd.Series:
    """Places along the axis of all panels: Base's a little to the left, RLHF's to the right."""
    panel = pd.Series([PANELS.index(place) for place in zip(kinds, texts, strict=True)], index=n.index)
    return WIDE * panel + n + is_base.map({True: -0.14, False: 0.14})


def _heading(rows: pd.DataFrame, x: alt.X, weight: Any) -> alt.Chart:
    mark = alt.Chart(rows).mark_text(align="left", baseline="top", fontWeight=weight, dx=4)
    return mark.encode(x=x, y=alt.value(int(rows.line.iloc[0])), text="name:N")


def accuracy_by_offset(frame: pd.DataFrame) -> alt.LayerChart:
    """How well both readers' probes, and counts alone, predict the tokens ahead in one author's text.

    Args:
        frame: what `probes.probe_means` returns. Author, layer and measure are chosen below the figure.
    """
    authors, layers = list(frame.author.unique()), sorted(set(frame.layer) - {-1})
    data = frame[(frame.reader == frame.author) | frame.source.isin([AFFINE]) | ~frame.author.isin(frame.reader)]
    data = data[(data.source != SHUFFLED) | (data.layer == layers[-1])].round(4)
    lines = data[data.source.isin([AFFINE, LOW_RANK])]
    grey = data[data.source.isin([SKIP, BIGRAM, UNIGRAM, SHUFFLED])].drop_duplicates(
        ["author", "source", "offset", "measure"]
    )
    whose, deep = authors[min(1, len(authors) - 1)], layers[len(layers) // 2]  # shown at first
    author, layer = _select("author", "Text of ", authors, whose), _select("layer", "Layer ", layers, deep)
    measure, heading = style.choice("measure", "Measure", {each: TOLD[each] for each in frame.measure.unique()}, GAINED)
    marks = style.models(list(frame.reader.unique()))
    color = alt.Color("reader:N", scale=marks["color"]["scale"], legend=alt.Legend(title=None))
    shape = alt.Shape("reader:N", scale=marks["shape"]["scale"])
    used = [each for each in DASHES if each in set(data.source)]
    look = style.STROKE | {"symbolStrokeColor": "currentColor"}
    legend = alt.Legend(orient="bottom", columns=alt.ExprRef("width < 600 ? 1 : 3"), labelLimit=240, **look)
    dash = alt.StrokeDash(
        "source:N", scale=alt.Scale(domain=used, range=[DASHES[each] for each in used]), legend=legend
    )
    here = "datum.author == author && datum.measure == measure"
    x = alt.X("offset:Q", title="Tokens ahead", axis=alt.Axis(tickMinStep=1, grid=False))
    y = alt.Y("estimate:Q", title=None, scale=alt.Scale(zero=False))
    shown = alt.Chart(lines).transform_filter(f"{here} && datum.layer == layer").encode(x=x)
    base = alt.Chart(grey).transform_filter(here).encode(x=x)
    tooltip = [alt.Tooltip("reader:N"), alt.Tooltip("source:N"), alt.Tooltip("offset:Q", title="tokens ahead")]
    tooltip += [alt.Tooltip(f"{name}:Q", format=".3f") for name in ("estimate", "low", "high")]
    layers_drawn = (
        shown.mark_area(opacity=0.2).encode(y="low:Q", y2="high:Q", color=color, detail="source:N"),
        base.mark_line(strokeWidth=2, color=style.NULL).encode(y=y, strokeDash=dash),
        base.mark_point(filled=True, size=60, opacity=0, color=style.NULL).encode(y=y, tooltip=tooltip[1:]),
        shown.mark_line(strokeWidth=2).encode(y=y, color=color, strokeDash=dash),
        shown.mark_point(filled=True, size=50).encode(y=y, color=color, shape=shape, tooltip=tooltip),
    )
    first = lines[(lines.author == whose) & (lines.layer == deep) & (lines.measure == GAINED)]
    told = [f"{row.source} of {row.reader}, {row.offset} ahead, {row.estimate:.2f}" for row in first.itertuples()]
    text = f"{GAINED} by tokens ahead, text of {whose}, layer {deep}: {'; '.join(told)}."
    return style.figure(layers_drawn, [author, layer, measure], title=heading, description=text, height=270)


def heat_map(frame: pd.DataFrame) -> alt.LayerChart:
    """Bits that the affine probe gains over the skip-gram: a block for each reader and author, layer by offset.

    Args:
        frame: what `probes.probe_means` returns.
    """
    data = frame[(frame.measure == GAINED) & (frame.source == AFFINE)].drop(columns=["measure", "source"])
    readers, authors, layers = list(data.reader.unique()), list(data.author.unique()), sorted(data.layer.unique())
    ahead, deep = int(data.offset.max()), len(layers)
    left = data.author.map({author: place * (ahead + 1) for place, author in enumerate(authors)}) + data.offset - 1
    top = data.reader.map({reader: place * (deep + 2) for place, reader in enumerate(readers)}) + deep
    top = top - data.layer.map({layer: place for place, layer in enumerate(layers)})
    data = data.round(3).assign(x=left, x2=left + 1, y=top, y2=top + 1)
    most = float(data.estimate.abs().max()) or 1.0
    names = pd.DataFrame(
        [
            {"x": column * (ahead + 1), "y": row * (deep + 2) + 0.45, "name": f"{reader} reads {author}"}
            for row, reader in enumerate(readers)
            for column, author in enumerate(authors)
        ]
    )
    size: Any = alt.ExprRef("clamp(width / 42, 7.5, 12)")
    x = alt.X("x:Q", scale=alt.Scale(domain=[0, len(authors) * (ahead + 1) - 1], nice=False), axis=None)
    y = alt.Y("y:Q", scale=alt.Scale(domain=[0, len(readers) * (deep + 2) - 1], reverse=True, nice=False), axis=None)
    color = alt.Color(
        "estimate:Q",
        title="bits gained",
        scale=alt.Scale(scheme="blueorange", domain=[-most, most]),
        legend=alt.Legend(orient="bottom", gradientLength=160, titleFontWeight="normal", format=".1f"),
    )
    tooltip = [alt.Tooltip(f"{name}:N") for name in ("reader", "author", "layer")]
    tooltip += [alt.Tooltip("offset:Q", title="tokens ahead")]
    tooltip += [alt.Tooltip(f"{name}:Q", format=".2f") for name in ("estimate", "low", "high")]
    layers_drawn = (
        alt.Chart(data).mark_rect().encode(x=x, x2="x2:Q", y=y, y2="y2:Q", color=color, tooltip=tooltip),
        alt.Chart(names).mark_text(align="left", baseline="bottom", fontSize=size).encode(x=x, y=y, text="name:N"),
    )
    means = data.groupby(["reader", "author"], sort=False).estimate.mean()
    told = [f"{row.reader} reading {row.author} {row.estimate:.2f}" for row in means.reset_index().itertuples()]
    text = f"{GAINED} by layer and tokens ahead; means: {'; '.join(told)}."
    return style.figure(layers_drawn, [], description=text, height=24 * (len(readers) * (deep + 2) - 1))


def lens(frame: pd.DataFrame, decode: Callable[[list[int]], str], prompts: Sequence[str]) -> HTML:
    """Show texts and, below every token, a probe's guesses for the next tokens; stronger colour, higher probability.

    Args:
        frame: what `probes.lens` returns.
        decode: turns ids into text.
        prompts: texts of the prompts, by group number. The text of the first one is unfolded.
    """
    texts = [
        {
            "prompt": prompts[int(str(group))],
            "tokens": [_token(part, decode) for _, part in text.groupby("position", sort=True)],
        }
        for group, text in frame.groupby("group", sort=True)
    ]
    return HTML(markup.render("lens.html", texts=texts))


def _token(part: pd.DataFrame, decode: Callable[[list[int]], str]) -> dict[str, Any]:
    """A token with the guesses below it."""
    guesses = [
        {"word": _plain(decode([row["seen"]])), "hit": row["hit"], "p": f"{row['p']:.2f}", "offset": row["offset"]}
        for row in part.to_dict("records")
    ]
    return {"word": _plain(decode([part.id.iloc[0]])), "guesses": guesses}


def _plain(token: str) -> str:
    return token.replace("\n", "↵").strip() or "␣"


def _select(name: str, label: str, values: list, first: Any) -> alt.Parameter:
    bind: Any = {"bind": alt.binding_select(options=values, name=label)} if len(values) > 1 else {}
    return alt.param(name, value=first, **bind)
