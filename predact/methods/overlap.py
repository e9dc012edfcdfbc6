"""Overlap along the text, as the paper measures it (its appendix; Figures 1 and 13): pairwise matches of characters.

An alignment is read column by column: columns that few sequences share are left out, the rest is one curve, brought to
a fixed number of points so that curves of several prompts can be averaged.
"""

import math

import numpy as np

from predact.errors import UserError
from predact.methods.alignment import GAP, agreeing

LEAST, POINTS, WIDTH = 5, 100, 2.0  # sequences that share a column; points of a curve; of the filter, in points


def matching(alignment: np.ndarray, least: int = LEAST) -> np.ndarray:
    """Proportion of pairs of sequences that match, in each column that at least `least` sequences share.

    Σ over ids of c·(c − 1) / (G·(G − 1)), c the number of rows with that id in the column. All pairs of the G sequences
    count; one with a gap in the column matches none.

    Args:
        alignment: ids [G, columns], as `alignment.align` returns them.
        least: sequences without a gap in a column for it to be kept; fewer shared columns are removed.

    Returns:
        Proportions [columns kept].
    """
    count = len(alignment)
    held = alignment != GAP
    others = np.bincount(np.nonzero(held)[1], agreeing(alignment) - 1, minlength=alignment.shape[1])
    return others[held.sum(0) >= least] / max(1, count * (count - 1))


def resampled(values: np.ndarray, points: int = POINTS) -> np.ndarray:
    """Bring values [n] to `points` points: point i is the mean over the i-th of equal parts of their length.

    A value that lies across the border of two parts counts in each as far as it lies there. Of no values all points
    are 0.
    """
    if not len(values):
        return np.zeros(points)
    sums = np.append(0, np.cumsum(values, dtype=float))
    borders = np.interp(np.linspace(0, len(values), points + 1), np.arange(len(values) + 1), sums)
    return np.diff(borders) * points / len(values)


def smoothed(curves: np.ndarray, width: float = WIDTH) -> np.ndarray:
    """Filter curves [..., points] with a Gaussian: a mean over all points, weighted by exp(-distance² / (2·width²)).

    At the ends the weights of the points that there are sum to 1. A width of 0 changes nothing.

    Raises:
        UserError: the width is no finite number from 0 on.
    """
    if not 0 <= width < math.inf:
        raise UserError(f"width: expected a number, 0 or more, not {width}.")
    if width == 0:
        return curves
    distance = np.subtract.outer(*[np.arange(curves.shape[-1])] * 2)
    weights = np.exp(-(distance**2) / (2 * width**2))
    return curves @ (weights / weights.sum(0))
