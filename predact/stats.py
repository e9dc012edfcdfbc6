"""Bootstrap intervals of statistics that are functions of sums over independent units (documents, prompts)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

_DRAWS = 2_000_000  # units drawn at once: bounds the memory of a resampling


@dataclass(frozen=True)
class Interval:
    """A point estimate with the two ends of its interval (NaN where fewer than two units leave none).

    All three are numbers, or arrays of one shape when the statistic is one.
    """

    estimate: Any
    low: Any
    high: Any


def interval(
    sums: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap interval of a statistic of totals, the units (rows) resampled with all their columns.

    Quantities measured on the same unit, such as one document's nll under two models, stand in one row and are
    therefore resampled together: the interval of a difference or a ratio is the paired one (Efron & Tibshirani 1993,
    chapter 13).

    Args:
        sums: [units, m], what each unit adds to the m totals.
        statistic: maps totals [..., m] to values [...], for example ``lambda t: np.exp(t[..., 0] / t[..., 1])``; or to
            arrays of values [..., *shape], each of which gets its interval from the same resampled units.
        resamples: bootstrap samples drawn.
        seed: of the resampling; the same seed and number of units draw the same units.
        level: probability that the interval covers the true value.

    Raises:
        ValueError: there is no unit, or a sum is not finite.
    """
    return stratified([sums], lambda totals: statistic(totals[0]), resamples, seed, level)


def stratified(
    strata: Sequence[np.ndarray],
    statistic: Callable[[list[np.ndarray]], np.ndarray],
    resamples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Like `interval`, for a statistic over several strata (corpora) whose units are resampled within each stratum.

    Args:
        strata: one array [units, m] per stratum; the numbers of units may differ.
        statistic: maps the list of totals, one [..., m] per stratum, to values [...] or [..., *shape].
        resamples: bootstrap samples drawn.
        seed: of the resampling.
        level: probability that the interval covers the true value.

    Raises:
        ValueError: there is no stratum or one without units, or a sum is not finite.
    """
    arrays = [np.asarray(sums, dtype=np.float64) for sums in strata]
    if not arrays or any(len(sums) == 0 for sums in arrays):
        raise ValueError("a bootstrap needs at least one unit in every stratum")
    if not all(np.isfinite(sums).all() for sums in arrays):
        raise ValueError("a bootstrap needs finite sums: leave out what was not measured")
    estimate = np.asarray(statistic([sums.sum(axis=0) for sums in arrays]))[()]
    if any(len(sums) < 2 for sums in arrays):
        return Interval(estimate, estimate * np.nan, estimate * np.nan)
    tails = np.quantile(_resampled(arrays, statistic, resamples, seed), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Interval(estimate, tails[0], tails[1])


def mean(values: np.ndarray) -> Interval:
    """The mean of values of units [units], with its interval."""
    return interval(np.column_stack([values, np.ones(len(values))]), lambda totals: means(totals)[..., 0])


def tidy(values: Interval, axes: Sequence[tuple[str, Sequence]], **same: Any) -> pd.DataFrame:
    """Arrays of estimates and their ends as rows; `axes` names and labels the dimensions, `same` fills more columns."""
    index = pd.MultiIndex.from_product([labels for _, labels in axes], names=[name for name, _ in axes])
    columns = {name: np.ravel(getattr(values, name)) for name in ("estimate", "low", "high")}
    return pd.DataFrame(same | columns, index).reset_index()


def means(totals: np.ndarray) -> np.ndarray:
    """Means of columns: totals [..., m and the number of things summed] to [..., m]."""
    return totals[..., :-1] / totals[..., -1:]


def _resampled(
    arrays: list[np.ndarray], statistic: Callable[[list[np.ndarray]], np.ndarray], resamples: int, seed: int
) -> np.ndarray:
    """Values [resamples, *shape] of the statistic, in chunks of at most `_DRAWS` draws of a unit per stratum."""
    rng = np.random.default_rng(seed)
    rows = max(1, _DRAWS // max(map(len, arrays)))
    chunks = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate([statistic([_totals(sums, size, rng) for sums in arrays]) for size in chunks])


def _totals(sums: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Totals [resamples, m] of units drawn with replacement: how often each was drawn, times what it adds."""
    units = len(sums)
    drawn = rng.integers(units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * units).reshape(resamples, units) @ sums
