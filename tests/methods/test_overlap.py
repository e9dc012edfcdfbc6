"""Overlap by the paper's definition: each step by hand, all at once by brute force, and with both aligners."""

import math
import shutil
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predact.errors import UserError
from predact.methods import alignment, overlap
from predact.methods.alignment import GAP

needs_mafft = pytest.mark.skipif(not shutil.which("mafft"), reason="needs MAFFT")


def table(*rows):
    """An alignment of characters, a dash for a gap."""
    return np.array([[GAP if each == "-" else ord(each) for each in row] for row in rows])


def test_matching_pairs_by_hand():
    rows = table("abx-", "abyz", "ab-z", "-bxz", "a-x-", "ab--")
    found = overlap.matching(rows, least=3)
    a, b, x, z = 5 * 4, 5 * 4, 3 * 2, 3 * 2  # matching pairs, of 6 * 5; in the third column x thrice and y once
    assert found.tolist() == pytest.approx([a / 30, b / 30, x / 30, z / 30])
    assert overlap.matching(rows).tolist() == pytest.approx([a / 30, b / 30]), "columns of fewer than five are removed"
    assert overlap.matching(rows, least=4).tolist() == pytest.approx([a / 30, b / 30, x / 30])
    assert overlap.matching(rows[:4]).tolist() == [], "four sequences share no column by five"
    assert overlap.matching(np.empty((0, 0), int)).tolist() == []


@given(st.integers(1, 8), st.integers(0, 9), st.integers(1, 6), st.randoms(use_true_random=False))
def test_matching_pairs_by_brute_force(count, columns, least, draw):
    made = np.array([[draw.choice([GAP, 1, 2, 3]) for _ in range(columns)] for _ in range(count)]).reshape(count, -1)
    expected = []
    for column in made.T:
        if (column != GAP).sum() >= least:
            matches = [one == other != GAP for one, other in combinations(column.tolist(), 2)]
            expected.append(sum(matches) / max(1, len(matches)))
    assert overlap.matching(made, least).tolist() == pytest.approx(expected)


def test_resampling_averages_over_equal_parts():
    assert overlap.resampled(np.array([1, 2, 3, 4]), 2).tolist() == [1.5, 3.5]
    assert overlap.resampled(np.array([1, 2, 6]), 2).tolist() == pytest.approx([(1 + 2 / 2) / 1.5, (2 / 2 + 6) / 1.5])
    assert overlap.resampled(np.array([1, 5]), 4).tolist() == [1, 1, 5, 5]
    assert overlap.resampled(np.array([])).tolist() == [0] * 100
    long = np.random.default_rng(0).random(1234)
    assert overlap.resampled(long).mean() == pytest.approx(long.mean())


def test_smoothing_is_a_weighted_mean_of_the_points_that_there_are():
    weights = np.exp(-np.array([0, 1, 4]) / 2)  # distances 0, 1 and 2, a filter one point wide
    first, second, third = overlap.smoothed(np.array([[1.0, 0, 0]]), 1)[0]
    assert first == pytest.approx(weights[0] / weights.sum()) and third == pytest.approx(weights[2] / weights.sum())
    assert second == pytest.approx(weights[1] / (weights[0] + 2 * weights[1]))
    assert overlap.smoothed(np.ones((2, 100)), 5) == pytest.approx(np.ones((2, 100)))
    curve = np.random.default_rng(0).random((1, 100))
    assert np.array_equal(overlap.smoothed(curve, 0), curve)


@pytest.mark.parametrize("width", [math.nan, math.inf, -1.0])
def test_a_filter_without_a_width_is_refused(width):
    with pytest.raises(UserError, match=rf"^width: expected a number, 0 or more, not {width}\.$"):
        overlap.smoothed(np.ones((1, 4)), width)


def test_smoothing_is_that_of_scipy_away_from_the_ends():
    filters = pytest.importorskip("scipy.ndimage")
    curve = np.random.default_rng(0).random(100)
    peer = filters.gaussian_filter1d(curve, 2.0, truncate=8)
    assert overlap.smoothed(curve)[20:-20] == pytest.approx(peer[20:-20], abs=1e-9)


def answers(seed, count=20):
    """Texts with three passages that all of them share, and between these words of their own."""
    draw = np.random.default_rng(seed)
    passages = ("Thank you for asking about it. ", "The town lies by the sea. ", "I hope that this is of use.")
    own = [
        ["".join(draw.permutation(list("abcdefghijklmnopqrstuvwxyz"))) + " " for _ in range(2)] for _ in range(count)
    ]
    return ["".join((passages[0], first, passages[1], second, passages[2])) for first, second in own]


@needs_mafft
def test_both_aligners_give_the_same_curve_where_passages_stand_out():
    rows = [[ord(each) for each in text] for text in answers(0)]
    native, peer = (overlap.resampled(overlap.matching(engine(rows))) for engine in (alignment.align, alignment.mafft))
    smooth = np.array([overlap.smoothed(curve, 3) for curve in (native, peer)])
    for curve in smooth:
        assert min(curve[0], curve[40:60].max(), curve[99]) > 0.8, "what all share is aligned by both"
        assert curve[[30, 70]].max() < 0.3, "what they do not share is not"
    assert np.corrcoef(smooth)[0, 1] > 0.95 and abs(smooth[0] - smooth[1]).max() < 0.25
    assert 0 <= native.mean() - peer.mean() < 0.1, "the native one pays nothing for a gap"
