"""Diversity of the generations for a prompt: the percent of n-grams that are unique (the paper's Table 4)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from predact import stats
from predact.errors import UserError
from predact.methods.ngrams import Ids

LONGEST = 4
UNIT = "percent of n-grams that are unique"


def percent_unique(generations: Sequence[Ids], longest: int = LONGEST) -> np.ndarray:
    """Return 100 * (number of different n-grams) / (number of n-grams) of all generations, for n = 1 ... longest.

    No n-gram reaches from one generation into the next; one that stands twice in a generation is counted twice.

    Args:
        generations: sequences of ids, some of them maybe shorter than n.
        longest: the largest n.

    Returns:
        Percent [longest]; NaN where no generation has n tokens.
    """
    ids = np.concatenate([np.asarray(each, dtype=np.int64) for each in generations] or [np.empty(0, dtype=np.int64)])
    ids = np.unique(ids, return_inverse=True)[1]
    left = np.concatenate([np.arange(len(each), 0, -1) for each in generations] or [np.empty(0, dtype=np.int64)])
    name, percent = np.zeros(len(ids), dtype=np.int64), np.full(longest, np.nan)  # name: of the n-gram from a place on
    for n in range(1, longest + 1):
        starts = np.flatnonzero(left >= n)
        if len(starts):
            code = name[starts] * len(ids) + ids[starts + n - 1]
            different, name[starts] = np.unique(code, return_inverse=True)
            percent[n - 1] = 100 * len(different) / len(starts)
    return percent


def unique_ngrams(frame: pd.DataFrame, longest: int = LONGEST) -> pd.DataFrame:
    """Mean over prompts of `percent_unique`, for every model.

    A prompt without any n-gram of a length is left out for that length.

    Args:
        frame: generations as `sampling.sample_pair` returns them.
        longest: the largest n.

    Returns:
        model, n, estimate, low, high (95 % bootstrap over prompts), unit, prompts; NaN where there is no n-gram.
    """
    rows = []
    for model, part in frame.groupby("model", sort=False):
        values = np.array([percent_unique(list(each), longest) for _, each in part.groupby("prompt", sort=False).ids])
        for n, column in enumerate(values.T, 1):
            known = column[~np.isnan(column)]
            value = stats.mean(known) if len(known) else stats.Interval(np.nan, np.nan, np.nan)
            rows.append({"model": model, "n": n} | vars(value) | {"unit": UNIT, "prompts": len(known)})
    return pd.DataFrame(rows)


def matched_top_p(table: pd.DataFrame, top_p: float, candidates: Sequence[float]) -> float:
    """Return the p at which Base's diversity, its mean over n, comes nearest to RLHF's at `top_p`; of ties, the lower.

    Args:
        table: model, top_p, n, estimate: rows as of `unique_ngrams`, for both models at several p.
        top_p: of RLHF.
        candidates: p among which Base's is chosen.

    Raises:
        UserError: a model has written nothing.
    """
    mean = table.groupby(["model", "top_p"]).estimate.mean()
    apart = (mean["Base"][sorted(candidates)] - mean["RLHF"][top_p]).abs()
    if apart.isna().any():
        raise UserError("base_top_p: the diversity of empty generations cannot be matched; give a number.")
    return float(apart.index[apart.argmin()])
