"""Figure of calibration: whether the likeliest token is right as often as a model says."""

import altair as alt
import pandas as pd

from predact.figures import style
from predact.figures.style import with_interval


def reliability(frame: pd.DataFrame, errors: pd.DataFrame) -> alt.LayerChart:
    """Share of right tokens by the probability of the likeliest one, with 95 % intervals; on the grey line, both agree.

    Args:
        frame: What `calibration.reliability` returns: model, low_edge, high_edge, positions, confidence, estimate, low,
            high, unit.
        errors: What `calibration.expected_errors` returns: model, estimate, low, high.
    """
    models = list(frame.model.unique())
    marks, (boxes, visible) = style.models(models), style.steps(models)
    shown = alt.Chart(frame).transform_filter(visible)
    share = alt.Axis(format="%", tickCount=5)
    x = alt.X("confidence:Q", title="Probability of the likeliest token", axis=alt.Axis(format="%", grid=False))
    y = alt.Y("estimate:Q", title=None, scale=alt.Scale(domain=[0, 1]), axis=share)
    tooltip = style.interval(alt.Tooltip("confidence:Q", format=".3f"), alt.Tooltip("positions:Q", format=","))
    line = alt.Chart(pd.DataFrame({"confidence": [0.0, 1.0], "estimate": [0.0, 1.0]}))
    layers = (
        line.mark_line(color=style.NULL, strokeDash=[4, 3]).encode(x=x, y=y),
        shown.mark_rule(strokeWidth=6, opacity=0.35, strokeCap="round").encode(
            x=x, y="low:Q", y2="high:Q", color=marks["color"]
        ),
        shown.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=marks["color"]),
        shown.mark_point(filled=True, size=60, opacity=1).encode(x=x, y=y, tooltip=tooltip, **marks),
    )
    said = [f"{row.model} {with_interval(row)}" for row in errors.itertuples()]
    parts = [f"{row.model} {row.estimate:.2f} at {row.confidence:.2f}" for row in frame.itertuples()]
    text = f"Expected calibration error: {', '.join(said)}. Share of right tokens by probability: {'; '.join(parts)}."
    return style.figure(layers, boxes, title="How often the likeliest token is right", description=text, height=300)
