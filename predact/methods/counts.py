"""Predictions of a token from counts in the training text alone: the baselines of the probes.

Unigrams use no context, skip-grams the token k places before, bigrams the token just before (which a probe that looks k
places ahead does not see). All are smoothed without a parameter (Witten & Bell 1991).
"""

from typing import NamedTuple

import numpy as np


class Counts(NamedTuple):
    """Pairs of tokens that were seen, and their smoothed probabilities."""

    unigram: np.ndarray  # probability of each token [V]
    codes: np.ndarray  # left * V + right of the pairs seen, ascending
    probability: np.ndarray  # of right after left, for each pair seen
    backoff: np.ndarray  # weight of the unigram after each token [V]
    first: np.ndarray  # the five likeliest tokens after each token [V, 5]; of ties, the lower id


def unigram(ids: np.ndarray, vocabulary: int) -> np.ndarray:
    """Probability of each token: P(w) = (c(w) + T / V) / (N + T), T the number of different tokens seen."""
    count = np.bincount(ids, minlength=vocabulary)
    seen = max(int((count > 0).sum()), 1)
    return (count + seen / vocabulary) / (len(ids) + seen)


def fit(left: np.ndarray, right: np.ndarray, single: np.ndarray) -> Counts:
    """Count pairs: P(w | v) = (c(v, w) + T(v) P(w)) / (c(v) + T(v)), T(v) the number of different tokens after v.

    Args:
        left: ids [n].
        right: the ids that came k places later [n].
        single: what `unigram` returns.
    """
    size = len(single)
    codes, count = np.unique(left.astype(np.int64) * size + right, return_counts=True)
    after, seen = codes // size, np.bincount(left, minlength=size)
    kinds = np.bincount(after, minlength=size)
    backoff = np.where(seen > 0, kinds / np.maximum(seen + kinds, 1), 1.0)
    probability = count / (seen + kinds)[after] + backoff[after] * single[codes % size]
    return Counts(single, codes, probability, backoff, _first(codes, probability, backoff, single))


def _first(codes: np.ndarray, probability: np.ndarray, backoff: np.ndarray, single: np.ndarray) -> np.ndarray:
    """Find the five likeliest tokens after each token among those seen after it and the likeliest unigrams."""
    size = len(single)
    common = np.argsort(-single, kind="stable")[:5]
    known = np.unique(codes // size)
    more = np.setdiff1d((known[:, None] * size + common).ravel(), codes)
    every = np.concatenate([codes, more])
    value = np.concatenate([probability, backoff[more // size] * single[more % size]])
    order = np.lexsort((every % size, -value, every // size))
    left = every[order] // size
    rank = np.arange(len(left)) - np.searchsorted(left, left)
    result = np.tile(np.resize(common, 5), (size, 1))
    result[left[rank < 5], rank[rank < 5]] = every[order][rank < 5] % size
    return result


def judge(counts: Counts, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Top-1, top-5 (1 or 0) and nll (nats) of `right` after `left`: [n, 3]."""
    code = left.astype(np.int64) * len(counts.unigram) + right
    place = np.searchsorted(counts.codes, code).clip(max=max(len(counts.codes) - 1, 0))
    found = counts.codes[place] == code
    p = np.where(found, counts.probability[place], counts.backoff[left] * counts.unigram[right])
    hit = counts.first[left] == right[:, None]
    return np.stack([hit[:, 0], hit.any(1), -np.log(p)], 1).astype(float)


def judge_unigram(single: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The same as `judge`, for the unigram probabilities."""
    first = np.argsort(-single, kind="stable")[:5]
    return np.stack([right == first[0], np.isin(right, first), -np.log(single[right])], 1).astype(float)
