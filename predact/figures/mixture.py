"""The figure of the counter-measure: mixtures of Base and RLHF on the frontier, beside the recorded runs."""

import altair as alt
import pandas as pd

from predact.discussion.frontier import EXCESS, REWARD
from predact.figures import style
from predact.figures.discussion import NARROW

MIXTURES, RUNS = "mixtures", "recorded runs"


def frontier(found: pd.DataFrame, paths: pd.DataFrame) -> alt.LayerChart:
    """Reward against lost prediction: mixtures by the weight of RLHF, with intervals of both, and the runs in grey.

    Args:
        found: what `matched.frontier` returns.
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
