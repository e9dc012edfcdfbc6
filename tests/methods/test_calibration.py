"""Calibration by hand, against scikit-learn's curve, and its interval."""

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve

from predact.methods import calibration
from predact.models.distributions import Measured
from predact.models.passages import GOLD, OWN


def measured(top1, rank, group=None):
    """What is measured at positions, as far as calibration looks at it."""
    group = np.zeros(len(top1), int) if group is None else group
    return Measured(pd.DataFrame({"group": group, "top1": top1, "rank": rank}), np.zeros((1, 1)), np.array([1]))


def drawn(power, size=3000, seed=0):
    """A model that is right with probability p where it says p ** power, on 30 documents."""
    draw = np.random.default_rng(seed)
    p = draw.random(size)
    rank = np.where(draw.random(size) < p, 0, draw.integers(1, 50, size))
    return measured(p**power, rank, draw.integers(0, 30, size))


def test_the_expected_error_by_hand():
    """Bins (0, 0.1] and (0.9, 1]: 2 of 5 positions say 0.1 and one is right; 3 say 0.95, 0.95 and 1, and two are."""
    made = measured([0.1, 0.1, 0.95, 1.0, 0.95], [0, 3, 0, 1, 0], np.array([0, 1, 0, 1, 1]))
    row = calibration.expected_errors({("Base", GOLD): made, ("Base", OWN): drawn(1)}).loc[0]
    assert row.estimate == pytest.approx(2 / 5 * abs(1 / 2 - 0.1) + 3 / 5 * abs(2 / 3 - 2.9 / 3))
    assert (row.model, row.text, row.positions) == ("Base", GOLD, 5) and row.low <= row.estimate <= row.high
    curve = calibration.reliability({("Base", GOLD): made})
    assert curve.low_edge.tolist() == pytest.approx([0, 0.9]) and curve.positions.tolist() == [2, 3]
    assert curve.confidence.tolist() == pytest.approx([0.1, 2.9 / 3])
    assert curve.estimate.tolist() == pytest.approx([1 / 2, 2 / 3])
    assert curve.low.tolist() == pytest.approx([0, 1 / 2]) and curve.high.tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize("bins", [1, 5, 10, 15])
def test_the_curve_is_that_of_scikit_learn(bins):
    made = drawn(0.7)
    curve = calibration.reliability({("RLHF", GOLD): made}, bins=bins)
    right, said = calibration_curve(made.positions["rank"] == 0, made.positions.top1, n_bins=bins)
    np.testing.assert_allclose(curve.estimate, right)
    np.testing.assert_allclose(curve.confidence, said)
    (error,) = calibration.expected_errors({("RLHF", GOLD): made}, bins=bins).estimate
    assert error == pytest.approx((curve.positions * np.abs(right - said)).sum() / 3000)


def test_who_says_what_happens_has_no_error_and_who_says_more_has():
    calm, loud = (calibration.expected_errors({("Base", GOLD): drawn(power, 30_000)}).loc[0] for power in (1, 0.5))
    assert calm.low <= calm.estimate < 0.01
    assert loud.low > 0.15 and abs(loud.estimate - 1 / 6) < 0.01, "the mean of sqrt(p) - p is 1/6"


def test_the_interval_covers_the_error_of_many_samples():
    """Of a hundred samples, nearly all intervals cover the error, which is 1/6 at every p of the mean."""
    made = [calibration.expected_errors({("Base", GOLD): drawn(0.5, 600, seed)}).loc[0] for seed in range(100)]
    assert sum(each.low <= 1 / 6 <= each.high for each in made) >= 88


def test_no_order_of_positions_matters():
    made = drawn(0.7)
    other = measured(*made.positions.sample(frac=1, random_state=1)[["top1", "rank", "group"]].to_numpy().T)
    other.positions["group"] = other.positions.group.astype(int)
    for each in (calibration.reliability, calibration.expected_errors):
        pd.testing.assert_frame_equal(each({("Base", GOLD): made}), each({("Base", GOLD): other}))
