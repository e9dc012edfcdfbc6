"""Modes: generations of a prompt that are nearly the same text, and how many different answers there are in effect.

Sameness that falls into several groups shows in no passage that most generations share, but in the sizes of the groups.
"""

from collections.abc import Sequence

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csr_array
from scipy.spatial.distance import squareform

from predact import stats
from predact.errors import UserError

ALIKE, N = 0.5, 3  # Jaccard index from which on texts are alike, of their n-grams of N words
ENOUGH = 0.5  # coverage from which on the effective number can be told


def counts(texts: Sequence[str]) -> dict[str, int]:
    """Return the different texts and how often each occurs, the commonest first; white space at the ends is no part."""
    plain = [text.strip() for text in texts]
    found: dict[str, int] = {}
    for text in plain:
        found[text] = found.get(text, 0) + 1
    return dict(sorted(found.items(), key=lambda each: (-each[1], each[0])))


def modes(texts: Sequence[Sequence[str]], alike: float = ALIKE, n: int = N) -> np.ndarray:
    """Group texts that are nearly the same.

    The likeness of two texts is the Jaccard index of their sets of n-grams of words: those in both of those in either.
    Case and white space do not count; a text of fewer words is one n-gram. Groups are merged as long as the likeness of
    two, the mean over their pairs of different texts, is at least `alike` (average linkage, Sokal & Michener 1958). The
    order of the texts does not matter.

    Args:
        texts: words of each.
        alike: from 0 to 1.
        n: words of the n-grams.

    Returns:
        The mode of each text: 0 is the largest, of equal ones that which comes first.

    Raises:
        UserError: `alike` is out of its range.
    """
    if not 0 <= alike <= 1:
        raise UserError(f"alike: expected a number from 0 to 1, not {alike}.")
    plain = [tuple(word.strip().casefold() for word in text if word.strip()) for text in texts]
    different = sorted(set(plain))
    place = {text: number for number, text in enumerate(different)}
    group = np.zeros(1, int)
    if len(different) > 1:
        apart = 1 - likeness([_grams(text, n) for text in different])
        tree = linkage(squareform(apart, checks=False), "average")
        group = fcluster(tree, 1 - alike + 1e-9, "distance")
    return ranked(group[[place[text] for text in plain]])


def _grams(text: tuple[str, ...], n: int) -> set[tuple[str, ...]]:
    return {text[at : at + n] for at in range(max(1, len(text) - n + 1))}


def likeness(sets: Sequence[set]) -> np.ndarray:
    """Return the Jaccard index of all pairs of sets, none of them empty: [sets, sets]."""
    known: dict = {}
    places = [known.setdefault(each, len(known)) for found in sets for each in sorted(found)]
    sizes = np.array(list(map(len, sets)))
    holds = csr_array((np.ones(len(places)), (np.repeat(np.arange(len(sets)), sizes), places)), (len(sets), len(known)))
    both = (holds @ holds.T).toarray()
    return both / (sizes[:, None] + sizes - both)


def ranked(groups: np.ndarray) -> np.ndarray:
    """Number groups anew: the largest is 0; of equal ones that which comes first."""
    _, first, inverse, sizes = np.unique(groups, return_index=True, return_inverse=True, return_counts=True)
    return np.argsort(np.lexsort((first, -sizes)))[inverse]


def effective(groups: np.ndarray, resamples: int = 1_000) -> stats.Interval:
    """Return the effective number of modes with its interval: the Hill number of order 1 (Hill 1973; Jost 2006).

    It is exp(H), H the entropy of the shares of the modes: of K modes of equal size it is K. A sample has too low an
    entropy, since it misses modes; Miller's (1955) correction, (K - 1) / (2 G) of G generations, is added. A bootstrap
    sample falls short of the sample as the sample does of the model, so the interval is the basic one (Davison &
    Hinkley 1997, section 5.2): the quantiles of the bootstrap mirrored at the entropy of the sample. It still is too
    low where many modes are rare, and where most generations are alone in their modes, no sample of this size tells
    the number: see `coverage`.

    Args:
        groups: the mode of each generation.
        resamples: of the bootstrap over generations.
    """
    size, sums = len(groups), np.eye(int(groups.max()) + 1)[groups]
    found = stats.interval(sums, _entropy, resamples)
    corrected = found.estimate + (sums.shape[1] - 1) / (2 * size)
    ends = sorted((2 * found.estimate - found.high, 2 * found.estimate - found.low))
    low, high = (max(1.0, float(np.exp(end))) for end in ends)
    return stats.Interval(float(np.exp(corrected)), low, high)


def _entropy(totals: np.ndarray) -> np.ndarray:
    shares = totals / totals.sum(-1, keepdims=True)
    return -(shares * np.log(np.where(shares > 0, shares, 1))).sum(-1)


def coverage(groups: np.ndarray) -> float:
    """Estimate the share of what the model writes that falls into modes seen here (Good 1953): 1 - singletons / G."""
    return 1 - float((np.bincount(groups) == 1).sum()) / len(groups)
