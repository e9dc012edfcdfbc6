"""Calibration of the next token: is what a model thinks likeliest right as often as it says?

Positions are gathered in bins of equal width by the probability p that a model gives to its likeliest token. With n_b
positions in bin b, of N in all, mean probability conf_b, and share of right tokens acc_b (Guo et al. 2017):

    expected calibration error = sum over b of  n_b / N * |acc_b - conf_b|

A token counts as right if none is above it (rank 0). In a finite sample, the error of a perfect model lies above 0, and
that of a resample further above it: so the interval is one of the weighted sum of acc_b - conf_b with the signs of the
whole sample, which resampling does not bend. Where it would reach below 0, it begins at 0.
"""

from typing import Any

import numpy as np
import pandas as pd

from predact import stats
from predact.models.distributions import Conditions, Measured, each_condition
from predact.models.passages import GOLD

BINS = 10
RIGHT, ERROR = "share of right tokens", "expected calibration error"


def sums_by_bin(positions: pd.DataFrame, bins: int = BINS) -> np.ndarray:
    """Sums by group and bin of positions, of their probabilities, and of right tokens: [groups, 3, bins].

    Args:
        positions: group, top1 (probability of the likeliest token), rank (of the right token).
        bins: how many, of equal width; a probability on an edge belongs to the bin below it.
    """
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], positions.top1)
    size = (positions.group.max() + 1) * bins
    cell = positions.group * bins + place
    columns = (np.ones(len(positions)), positions.top1, positions["rank"] == 0)
    return np.stack([np.bincount(cell, each, size).reshape(-1, bins) for each in columns], 1)


def reliability(conditions: Conditions, text: str = GOLD, bins: int = BINS) -> pd.DataFrame:
    """How often the likeliest token is right, by the probability that it is given.

    Args:
        conditions: what `distributions.measure_pair` returns.
        text: kind of text.
        bins: how many.

    Returns:
        For each bin with positions: model, text, low_edge, high_edge, positions, confidence (mean probability),
        estimate (share of right tokens), low, high (95 %, documents resampled), unit.
    """
    edges, rows = np.linspace(0, 1, bins + 1), []
    for place, measured in _on(conditions, text):
        sums = sums_by_bin(measured.positions, bins)
        for b in np.flatnonzero(sums[:, 0].sum(0)):
            count, p, _ = sums[:, :, b].sum(0)
            value = stats.interval(sums[sums[:, 0, b] > 0][:, :, b], lambda totals: totals[..., 2] / totals[..., 0])
            bin_ = {"low_edge": edges[b], "high_edge": edges[b + 1], "positions": int(count), "confidence": p / count}
            rows.append(place | bin_ | vars(value) | {"unit": RIGHT})
    return pd.DataFrame(rows)


def expected_errors(conditions: Conditions, text: str = GOLD, bins: int = BINS) -> pd.DataFrame:
    """Expected calibration error of each model.

    Args:
        conditions: what `distributions.measure_pair` returns.
        text: kind of text.
        bins: how many.

    Returns:
        model, text, positions, estimate, low, high (95 %, documents resampled), unit.
    """
    rows = []
    for place, measured in _on(conditions, text):
        sums = sums_by_bin(measured.positions, bins)
        gap = sums[:, 2] - sums[:, 1]
        signs = np.sign(gap.sum(0))
        value = stats.interval(np.column_stack([gap @ signs, sums[:, 0].sum(1)]), stats.means)
        estimate, low, high = (max(0.0, float(np.squeeze(end))) for end in vars(value).values())
        rows.append(place | {"positions": len(measured.positions), "estimate": estimate, "low": low, "high": high})
    return pd.DataFrame(rows).assign(unit=ERROR)


def _on(conditions: Conditions, text: str) -> list[tuple[dict[str, Any], Measured]]:
    return [(place, measured) for place, measured in each_condition(conditions) if place["text"] == text]
