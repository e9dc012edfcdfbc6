"""Figure of calibration: points where they belong, over the line of a model that is right as often as it says."""

import re

import numpy as np
import pandas as pd

from predact.figures import calibration as charts
from tests.figures.made import controls, drawn, points, told


def frames(models=("Base", "RLHF")):
    draw = np.random.default_rng(0)
    rows = [
        (model, bin_ / 5, bin_ / 5 + 0.2, 40, bin_ / 5 + draw.random() / 5, value, value - 0.05, value + 0.05, "right")
        for model in models
        for bin_, value in enumerate(draw.uniform(0.1, 0.9, 5))
    ]
    names = ["model", "low_edge", "high_edge", "positions", "confidence", "estimate", "low", "high", "unit"]
    errors = pd.DataFrame({"model": models, "estimate": 0.123, "low": 0.1, "high": 0.145})
    return pd.DataFrame(rows, columns=names), errors


def test_points_stand_at_confidence_and_share_of_right_tokens():
    frame, errors = frames()
    chart = charts.reliability(frame, errors)
    found = []
    for label, x, y in points(drawn(chart)):
        said, share = (float(re.search(rf"(?:^|; ){name}: ([\d.]+)", label)[1]) for name in ("confidence", "estimate"))
        found.append((said, share / 100, x, y))
    confidence, estimate, x, y = np.array(found).T
    assert np.allclose(sorted(estimate), sorted(frame.estimate), atol=6e-4)
    assert np.allclose(x / 400, confidence, atol=1e-3) and np.allclose(1 - y / 300, estimate, atol=1e-3)
    assert told(chart).startswith("Expected calibration error: Base 0.123 (0.100 to 0.145), RLHF 0.123")
    assert not controls(chart) and "steps" in controls(charts.reliability(*frames(("Base", "SFT", "RLHF"))))
