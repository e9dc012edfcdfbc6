"""Figures of the Shannon game (claim C10): on last words, with the paper's Table 1, and on gold text."""

import altair as alt
import pandas as pd

from predact.claims import last_word
from predact.figures import style

UNITS = {  # what the button says, what the heading says
    last_word.WRONG: ("wrong guesses", "Wrong guesses before the right last word"),
    last_word.EXACT: ("exact matches", "Last words hit by greedy decoding, %"),
    last_word.F1: ("F1", "F1 of the last word, %"),
}
ON_TEXT = {
    last_word.PER_TOKEN: ("wrong guesses", "Wrong guesses per token"),
    last_word.AT_ONCE: ("guessed at once", "Tokens that are the first guess, %"),
}
OURS = "this pair"


def last_words(frame: pd.DataFrame, values: pd.DataFrame) -> alt.LayerChart:
    """Table 1: the Shannon game on last words, of this pair with 95 % intervals, and of the paper's models.

    Args:
        frame: what `last_word.last_words` returns.
        values: `paper.values("Table 1")`.
    """
    models = list(frame.model.unique())
    marks, (boxes, visible) = style.models(models), style.steps(models)
    unit, heading = style.units(UNITS)
    own = frame.assign(row=OURS)
    theirs = values.assign(
        measure=values.x.map(last_word.AS_THE_PAPER), row="paper: " + values.model.str.rpartition(" ")[0]
    )
    rows = [OURS, *theirs.row.unique()]
    y = alt.Y("row:N", title=None, scale=alt.Scale(domain=rows), axis=alt.Axis(grid=False, labelPadding=10))
    x = alt.X("estimate:Q", title=None, scale=alt.Scale(zero=False), axis=style.plain_axis())
    shown = alt.Chart(own).transform_filter("datum.unit == unit").transform_filter(visible).encode(y=y)
    layers = (
        *style.estimates(shown, x, marks, style.interval(alt.Tooltip("passages:Q"))),
        style.of_paper(theirs, x="value:Q", y=y).transform_filter("datum.measure == unit"),
    )
    first = own[own.unit == last_word.WRONG]
    said = [f"{row.model} {style.with_interval(row, '.2f')}" for row in first.itertuples()]
    said += [
        f"{row.model} in the paper {row.value:.2f}" for row in theirs[theirs.measure == last_word.WRONG].itertuples()
    ]
    return style.figure(
        layers,
        [unit, *boxes],
        title=heading,
        description=f"Mean wrong guesses before the right last word of a passage: {', '.join(said)}.",
        height=2 * style.LINE * len(rows),
    )


def by_corpus(frame: pd.DataFrame) -> alt.LayerChart:
    """Wrong guesses on gold text, by corpus, with 95 % intervals.

    Args:
        frame: what `last_word.by_corpus` returns; differences are told by the tooltip of RLHF.
    """
    apart = frame.model == last_word.DIFFERENCE
    models = list(frame.model[~apart].unique())
    marks, (boxes, visible) = style.models(models), style.steps(models)
    unit, heading = style.units(ON_TEXT)
    found = {(row.corpus, row.unit): style.with_interval(row) for row in frame[apart].itertuples()}
    data = frame[~apart]
    data = data.assign(above=[found[place] for place in zip(data.corpus, data.unit, strict=True)])
    corpora = list(data.corpus.unique())
    y = alt.Y(
        "corpus:N", title=None, sort=None, scale=alt.Scale(domain=corpora), axis=alt.Axis(grid=False, labelPadding=8)
    )
    x = alt.X("estimate:Q", title=None, scale=alt.Scale(zero=False), axis=style.plain_axis())
    shown = alt.Chart(data).transform_filter("datum.unit == unit").transform_filter(visible).encode(y=y)
    tooltip = style.interval(alt.Tooltip("corpus:N"), alt.Tooltip("above:N", title="RLHF minus Base"))
    told = [f"{corpus} {found[corpus, last_word.PER_TOKEN]}" for corpus in corpora]
    return style.figure(
        style.estimates(shown, x, marks, tooltip),
        [unit, *boxes],
        title=heading,
        description=f"Wrong guesses per token of RLHF above Base by corpus, with 95 % intervals: {', '.join(told)}.",
        height=style.LINE * len(corpora),
    )
