"""Counts by hand and against the whole distribution."""

import numpy as np
import pytest

from predact.methods import counts


def dense(left, right, single):
    """P(right | left) of all pairs, by definition."""
    size = len(single)
    pairs = np.zeros((size, size))
    np.add.at(pairs, (left, right), 1)
    kinds, seen = (pairs > 0).sum(1, keepdims=True), pairs.sum(1, keepdims=True)
    return np.where(seen > 0, (pairs + kinds * single) / np.maximum(seen + kinds, 1), single)


def brute(p, right):
    """Top-1, top-5 and nll under distributions [n, V]; of equals the lower id first."""
    order = np.argsort(-p.round(12), axis=1, kind="stable")
    hit = order[:, :5] == right[:, None]
    return np.column_stack([hit[:, 0], hit.any(1), -np.log(p[np.arange(len(right)), right])])


def test_witten_and_bell_by_hand():
    single = counts.unigram(np.array([1, 1, 2, 0]), 4)
    assert single == pytest.approx(np.array([1.75, 2.75, 1.75, 0.75]) / 7), "(c + 3 / 4) / (4 + 3)"
    found = counts.fit(np.array([0, 0, 0, 1]), np.array([1, 1, 2, 0]), single)
    assert found.codes.tolist() == [0 * 4 + 1, 0 * 4 + 2, 1 * 4 + 0]
    assert found.probability == pytest.approx([(2 + 2 * 2.75 / 7) / 5, (1 + 2 * 0.25) / 5, (1 + 0.25) / 2])
    assert found.backoff == pytest.approx([2 / 5, 1 / 2, 1, 1])
    judged = counts.judge(found, np.array([0, 0, 1, 3]), np.array([1, 3, 3, 2]))
    assert np.exp(-judged[:, 2]) == pytest.approx([(2 + 5.5 / 7) / 5, 2 / 5 * 0.75 / 7, 1 / 2 * 0.75 / 7, 1.75 / 7])
    assert judged[:, 0].tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("known", [4, 12, 30])
def test_judgements_are_those_of_the_whole_distribution(seed, known):
    draw, size = np.random.default_rng(seed), 30
    left, right = np.minimum(draw.geometric(0.2, (2, 80)), known) - 1
    single = counts.unigram(right, size)
    found, p = counts.fit(left, right, single), dense(left, right, single)
    asked, came = np.repeat(np.arange(size), size), np.tile(np.arange(size), size)
    judged, alone = counts.judge(found, asked, came), counts.judge_unigram(single, came)
    np.testing.assert_allclose(judged, brute(p[asked], came), rtol=1e-9)
    np.testing.assert_allclose(alone, brute(np.tile(single, (size**2, 1)), came), rtol=1e-9)
    np.testing.assert_allclose(np.exp(-judged[:, 2]).reshape(size, size).sum(1), 1)
    assert single.sum() == pytest.approx(1) and single.min() > 0
    assert judged[:, 0].sum() == size and judged[:, 1].sum() == 5 * size


def test_of_equals_the_lower_id_comes_first():
    single = counts.unigram(np.array([9, 8]), 10)
    found = counts.fit(np.array([3, 3, 4]), np.array([9, 8, 6]), single)
    assert found.first[3].tolist() == [8, 9, 0, 1, 2] and found.first[4].tolist() == [6, 8, 9, 0, 1]
    assert found.first[0].tolist() == [8, 9, 0, 1, 2]
    came = np.arange(10)
    assert counts.judge_unigram(single, came)[:, 1].tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 1, 1]
