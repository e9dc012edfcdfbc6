"""Figures of C6: n-grams that generations for one prompt share."""

from collections.abc import Sequence

import altair as alt
import pandas as pd

from predact.figures import style
from predact.figures.style import plain_axis
from predact.methods.ngrams import GENERATIONS


def shares(frame: pd.DataFrame, quoted: Sequence[int] = (10, 25)) -> alt.LayerChart:
    """How many generations contain the most shared n-gram, by its length, beside the nulls.

    Args:
        frame: what `shared_ngrams.shares_by_length` returns.
        quoted: lengths n that the description quotes.
    """
    data = frame.drop(columns="prompts").round(4).assign(mark=frame.n.isin([1, *range(5, int(frame.n.max()) + 1, 5)]))
    known = bool(frame.low.notna().all())  # a single prompt has no interval
    told = [
        f"{row.model}, {row.text} {row.estimate:.3f}{f' ({row.low:.3f} to {row.high:.3f})' * known} for n = {row.n}"
        for row in frame[frame.n.isin(list(quoted))].itertuples()
    ]
    text = f"Share of generations with the commonest n-gram, with 95 % intervals: {'; '.join(told)}."
    shown = alt.Chart(data.assign(mark=data["mark"].astype(int))).encode(
        x=alt.X("n:Q", title="n (tokens)", axis=plain_axis())
    )
    heading = alt.Title("Generations with the commonest n-gram")
    y = ("estimate", "low", "high", alt.Axis(format="%"))
    return style.curves(
        shown, data, y, (alt.param("quoted", value=list(quoted)), heading), text, [alt.Tooltip("n:Q")], GENERATIONS
    )
