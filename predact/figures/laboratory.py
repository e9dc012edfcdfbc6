"""Figures of the laboratory: one text, one passage or one question, so that counts are drawn, and no estimates."""

import altair as alt
import pandas as pd

from predact.figures import style

_SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right")
_SHADES = ("#2a7fc0", "#16a05c", "#c79a00", "#8a5cc0", "#c0487f", "#b3431a", "#d9602b")  # the last is RLHF's
_GRAPH = {"height": 220}


def running_ratio(frame: pd.DataFrame) -> alt.LayerChart:
    """Draw the running ratio of perplexities along a text.

    Args:
        frame: what `read.ratio` returns.
    """
    data = frame.assign(word=frame.token.str.replace("\n", "↵")).round({"ratio": 4})
    x = alt.X("position:Q", title="tokens read up to here", axis=style.plain_axis())
    y = alt.Y("ratio:Q", title=None, scale=alt.Scale(zero=False))
    told = ["position:Q", alt.Tooltip("word:N", title="token"), alt.Tooltip("ratio:Q", format=".2f")]
    line = alt.Chart(data).encode(x=x, y=y)
    layers = (
        alt.Chart(pd.DataFrame({"ratio": [1.0]})).mark_rule(strokeDash=[4, 3], opacity=0.6).encode(y="ratio:Q"),
        line.mark_line(strokeWidth=2, color=style.RLHF),
        line.mark_point(filled=True, size=30, color=style.RLHF).encode(tooltip=told),
    )
    first, last = data.iloc[0], data.iloc[-1]
    text = (
        f"Running ratio of perplexities, RLHF's to Base's: {first.ratio:.2f} after {first.position} token, "
        f"{last.ratio:.2f} after {last.position}."
    )
    title = "RLHF's perplexity, in times of Base's"
    return style.figure(layers, [], title=title, description=text, **_GRAPH)


def guesses(frame: pd.DataFrame) -> alt.LayerChart:
    """Draw the wrong guesses before the right word, word by word, for each player.

    Args:
        frame: model (Base, RLHF and the reader), round, word, wrong, known (False: given up after so many).
    """
    players = list(frame.model.unique())
    data = frame.assign(name=(frame["round"] + 1).astype(str) + " " + frame.word)
    data = data.assign(at=data.wrong + 1, told=data.wrong.astype(str) + data.known.map({True: "", False: ", given up"}))
    names = list(dict.fromkeys(data.sort_values("round").name))
    y = alt.Y("name:N", title=None, scale=alt.Scale(domain=names), axis=alt.Axis(grid=True, labelLimit=140))
    axis = alt.Axis(values=[1, 2, 5, 11, 21, 51, 101, 1001], labelExpr="format(datum.value - 1, ',')", grid=False)
    scale = alt.Scale(type="log", nice=False, domainMin=0.9)
    x = alt.X("at:Q", title="wrong guesses before the right word", scale=scale, axis=axis)
    marks = style.models(players)
    side = alt.YOffset("model:N", sort=players)
    tooltip = ["model:N", "word:N", alt.Tooltip("told:N", title="wrong guesses")]
    layer = (
        alt.Chart(data)
        .mark_point(filled=True, size=80, opacity=1)
        .encode(x=x, y=y, yOffset=side, tooltip=tooltip, **marks)
    )
    said = [f"{name}: {', '.join(data[data.model == name].told)}" for name in players]
    text = f"Wrong guesses before {', '.join(frame.word.unique())}. {'; '.join(said)}."
    return style.figure([layer], [], description=text, height=max(120, 44 * len(names)))


def steering(frame: pd.DataFrame, n: int) -> alt.LayerChart:
    """Draw how many answers hold the commonest n-gram, by the weight of the tuned model in the mixture.

    Args:
        frame: rows of `steer.measured`.
        n: tokens of the n-gram.
    """
    names = list(frame.station.unique())
    last = len(_SHADES) - len(names)
    colors, shapes = _SHADES[max(0, last) :], _SHAPES[: len(names)]
    legend = alt.Legend(title="mixed with Base", columns=alt.ExprRef(f"width < 440 ? 3 : {len(names)}"))
    color = alt.Color("station:N", scale=alt.Scale(domain=names, range=list(colors)), legend=legend)
    shape = alt.Shape("station:N", scale=alt.Scale(domain=names, range=list(shapes)), legend=legend)
    data = frame.assign(share=frame.sharing / frame.answers.clip(lower=1))
    data = data.assign(told=[f"{row.sharing} of {row.answers}" for row in data.itertuples()])
    x = alt.X(
        "weight:Q",
        title="weight of the tuned model (0: Base alone)",
        scale=alt.Scale(domain=[0, 1]),
        axis=style.plain_axis(),
    )
    y = alt.Y("share:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="%"))
    told = ["station:N", "weight:Q", alt.Tooltip("told:N", title=f"with the commonest {n}-gram"), "different:Q"]
    shown = alt.Chart(data).encode(x=x, y=y, color=color)
    layers = (
        shown.mark_line(strokeWidth=2),
        shown.mark_point(filled=True, size=80, opacity=1).encode(shape=shape, tooltip=told),
    )
    said = [f"{row.station}, weight {row.weight:g}: {row.told}" for row in data.itertuples()]
    title = f"Share with the commonest {n}-gram"
    text = f"{title}, of one question: {'; '.join(said)}."
    return style.figure(layers, [], title=title, description=text, height=260)
