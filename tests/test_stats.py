import warnings

import numpy as np
import pytest

from predact import stats


def ratio(totals):
    return np.exp(totals[..., 0] / totals[..., 1])


def test_estimate_and_interval_against_a_plain_bootstrap():
    rng = np.random.default_rng(1)
    sums = np.column_stack([rng.normal(3, 2, 40), rng.integers(1, 9, 40)])
    found = stats.interval(sums, ratio)
    assert found.estimate == pytest.approx(np.exp(sums[:, 0].sum() / sums[:, 1].sum()))
    plain = [ratio(sums[rng.integers(40, size=40)].sum(axis=0)) for _ in range(10_000)]
    low, high = np.quantile(plain, [0.025, 0.975])
    assert found.low == pytest.approx(low, rel=0.02)
    assert found.high == pytest.approx(high, rel=0.02)


@pytest.mark.parametrize("level", [0.95, 0.8])
def test_the_interval_covers_the_truth_as_often_as_it_says(level):
    rng = np.random.default_rng(0)
    covered = []
    for seed in range(400):
        size = rng.integers(1, 20, 60)
        nll = size * 0.7 + rng.normal(0, np.sqrt(size))
        found = stats.interval(np.column_stack([nll, size]), ratio, resamples=600, seed=seed, level=level)
        covered.append(found.low <= np.exp(0.7) <= found.high)
    assert level - 0.05 <= np.mean(covered) <= level + 0.03


def test_pairing_takes_out_what_the_units_have_in_common():
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 100, 50)
    base, rlhf = hard + rng.normal(0, 1, 50), hard + 1 + rng.normal(0, 1, 50)
    found = stats.interval(np.column_stack([base, rlhf]), lambda totals: (totals[..., 1] - totals[..., 0]) / 50)
    assert 0.4 < found.low < 1 < found.high < 1.6


def test_equal_columns_give_exactly_one():
    nll = np.random.default_rng(0).exponential(size=101)
    found = stats.interval(np.column_stack([nll, nll]), lambda totals: totals[..., 0] / totals[..., 1])
    assert (found.estimate, found.low, found.high) == (1.0, 1.0, 1.0)


def test_seed():
    sums = np.random.default_rng(0).normal(size=(20, 1))
    first, again, other = (stats.interval(sums, lambda totals: totals[..., 0], seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_chunks_bound_memory_and_do_not_lose_resamples(monkeypatch):
    monkeypatch.setattr(stats, "_DRAWS", 1_000)
    seen = []

    def mean(totals):
        seen.append(totals.shape)
        return totals[..., 0] / 30

    stats.interval(np.random.default_rng(0).normal(size=(30, 2)), mean, resamples=1_001)
    assert seen[0] == (2,)
    assert sum(shape[0] for shape in seen[1:]) == 1_001
    assert max(shape[0] for shape in seen[1:]) <= 1_000 // 30


def test_strata_are_resampled_each_within_itself():
    strata = [np.full((10, 1), 2.0), np.full((5, 1), 8.0)]
    found = stats.stratified(strata, lambda totals: np.sqrt(totals[0][..., 0] / 10 * totals[1][..., 0] / 5))
    assert (found.estimate, found.low, found.high) == pytest.approx((4.0, 4.0, 4.0))


def test_strata_of_equal_size_are_resampled_independently():
    rng = np.random.default_rng(0)
    units = rng.normal(size=(200, 1))
    found = stats.stratified([units, -units], lambda totals: totals[0][..., 0] + totals[1][..., 0], resamples=4_000)
    width = (found.high - found.low) / (2 * 1.96)
    assert width == pytest.approx(np.sqrt(2 * 200) * units.std(), rel=0.1)


def test_several_values_share_their_resamples():
    sums = np.random.default_rng(0).normal(size=(25, 3))
    found = stats.interval(sums, lambda totals: totals / 25)
    assert found.estimate.shape == found.low.shape == found.high.shape == (3,)
    alone = stats.interval(sums, lambda totals: totals[..., 1] / 25)
    assert (found.low[1], found.high[1]) == (alone.low, alone.high)


def test_one_unit_has_an_estimate_and_no_interval():
    found = stats.interval(np.array([[1.0, 2.0]]), ratio)
    assert found.estimate == np.exp(0.5)
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize("sums", [np.empty((0, 2)), np.array([[1.0, np.nan], [1.0, 1.0]])])
def test_what_cannot_be_resampled_is_refused(sums):
    with pytest.raises(ValueError, match="a bootstrap needs"):
        stats.interval(sums, ratio)


def test_a_mean_of_nothing_is_nan_and_warns_of_nothing():
    with warnings.catch_warnings(action="error"):
        value = stats.interval(np.zeros((3, 2)), stats.means)
    assert np.isnan([value.estimate, value.low, value.high]).all()
