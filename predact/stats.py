"""Bootstrap intervals of statistics that are functions of sums over independent units (documents, prompts)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

_DRAWS = 2_000_000  # units drawn at once: bounds the memory of a resampling


@dataclass(frozen=True)
class Interval:
    """A point estimate and the ends of its interval (NaN if there are fewer than two units).

    All three are numbers, or arrays of the same shape if the statistic returns arrays.
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
    """Return the percentile bootstrap interval of a statistic of totals, resampling units (rows).

    Quantities measured on the same unit, such as one document's nll under two models, are columns of one row, so they
    are resampled together. The interval of a difference or a ratio is therefore a paired one (Efron & Tibshirani 1993,
    chapter 13).

    Args:
        sums: [units, m], what each unit adds to the m totals.
        statistic: maps totals [..., m] to values [...], for example ``lambda t: np.exp(t[..., 0] / t[..., 1])``; or to
            arrays of values [..., *shape], each of which gets an interval from the same resamples.
        resamples: number of bootstrap samples.
        seed: of the resampling; the same seed and number of units give the same resamples.
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
    """Like `interval`, for a statistic of several strata (corpora); units are resampled within each stratum.

    Where a statistic divides by nothing, as the mean of a model that wrote nothing does, it is NaN or infinite.

    Args:
        strata: one array [units, m] per stratum; the numbers of units may differ.
        statistic: maps the list of totals, one [..., m] per stratum, to values [...] or [..., *shape].
        resamples: number of bootstrap samples.
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
    with np.errstate(divide="ignore", invalid="ignore"):
        estimate = np.asarray(statistic([sums.sum(axis=0) for sums in arrays]))[()]
        if any(len(sums) < 2 for sums in arrays):
            return Interval(estimate, estimate * np.nan, estimate * np.nan)
        tails = np.quantile(_resampled(arrays, statistic, resamples, seed), [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Interval(estimate, tails[0], tails[1])


def mean(values: np.ndarray) -> Interval:
    """Return the mean of one value per unit [units], with its interval."""
    return interval(np.column_stack([values, np.ones(len(values))]), lambda totals: means(totals)[..., 0])


def tidy(values: Interval, axes: Sequence[tuple[str, Sequence]], **same: Any) -> pd.DataFrame:
    """Return an interval of arrays as a tidy frame; `axes` names and labels the dimensions, `same` adds constants."""
    index = pd.MultiIndex.from_product([labels for _, labels in axes], names=[name for name, _ in axes])
    columns = {name: np.ravel(getattr(values, name)) for name in ("estimate", "low", "high")}
    return pd.DataFrame(same | columns, index).reset_index()


def means(totals: np.ndarray) -> np.ndarray:
    """Divide totals [..., m + 1] by their last column, the count: means [..., m]."""
    return totals[..., :-1] / totals[..., -1:]


def _resampled(
    arrays: list[np.ndarray], statistic: Callable[[list[np.ndarray]], np.ndarray], resamples: int, seed: int
) -> np.ndarray:
    """Values [resamples, *shape] of the statistic, in chunks that draw at most `_DRAWS` units per stratum."""
    rng = np.random.default_rng(seed)
    rows = max(1, _DRAWS // max(map(len, arrays)))
    chunks = [min(rows, resamples - start) for start in range(0, resamples, rows)]
    return np.concatenate([statistic([_totals(sums, size, rng) for sums in arrays]) for size in chunks])


def _totals(sums: np.ndarray, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Totals [resamples, m] of units drawn with replacement: how often each was drawn, times what it adds."""
    units = len(sums)
    drawn = rng.integers(units, size=(resamples, units)) + units * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * units).reshape(resamples, units) @ sums
