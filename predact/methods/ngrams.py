"""n-grams that generations for one prompt share (claim C6), exact for every n at once, and two nulls.

The suffixes of all generations are sorted once. Suffixes that begin with the same n-gram are then adjacent and form a
run, for every n (Yamamoto & Church 2001). The generations in a run are counted by the suffixes that come first of their
generation in it (Muthukrishnan 2002), for all n-grams of one n together.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

GENERATIONS, ACROSS, SHUFFLED = "generations", "null: other prompts", "null: shuffled tokens"
Ids = Sequence[int] | np.ndarray


def shares(generations: Sequence[Ids], longest: int = 50) -> np.ndarray:
    """Return the share of generations that contain the most shared n-gram, for n = 1 ... longest.

    share_n = max over n-grams of (number of generations that contain it) / G. A generation counts once however often it
    repeats the n-gram, and no n-gram reaches from one generation into the next.

    Args:
        generations: G sequences of ids, some of them maybe empty.
        longest: the largest n.

    Returns:
        Shares of generations [longest], non-increasing; 0 if no generation has n tokens.
    """
    suffixes = _sorted(generations, longest)
    most = [_runs(suffixes, n)[1].max(initial=0) for n in range(1, longest + 1)]
    return np.array(most, dtype=float) / max(1, len(generations))


def most_shared(generations: Sequence[Ids], n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the n-gram that most generations contain, and which generations these are.

    Among ties it is the n-gram that comes first in lexicographic order of ids, so the order of the generations does not
    matter.

    Returns:
        Its ids [n] and the places of the generations, ascending; both empty if no generation has n tokens.
    """
    suffixes = _sorted(generations, n)
    starts, counts = _runs(suffixes, n)
    if not len(starts):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    best = int(counts.argmax())
    begin = starts[best]
    others = np.flatnonzero(suffixes.common[begin + 1 :] < n)
    stop = begin + 1 + others[0] if len(others) else len(suffixes.common)
    ids = np.asarray(generations[suffixes.generation[begin]], dtype=np.int64)
    first = len(ids) - suffixes.tokens[begin]
    return ids[first : first + n], np.unique(suffixes.generation[begin:stop])


def spread(generations: Sequence[Ids], n: int) -> np.ndarray:
    """Return for each different n-gram, in lexicographic order of ids, how many generations contain it."""
    return _runs(_sorted(generations, n), n)[1]


class _Suffixes(NamedTuple):
    """Suffixes of all generations in lexicographic order: arrays with an entry for each."""

    generation: np.ndarray  # that it belongs to
    tokens: np.ndarray  # how many it has
    common: np.ndarray  # length of its common prefix with the suffix before it, exact up to the longest n
    previous: np.ndarray  # place of the last suffix of the same generation before it in this order; -1: none


def _sorted(generations: Sequence[Ids], longest: int) -> _Suffixes:
    """Sort suffixes by at least their first `longest` tokens: rank doubling (Karp, Miller & Rosenberg 1972).

    Each generation ends with a mark of its own, lower than all ids, so equal names never extend beyond a generation.
    """
    count = len(generations)
    lengths = np.array([len(each) for each in generations], dtype=np.int64)
    ids = np.concatenate([np.asarray(each, dtype=np.int64) for each in generations] or [np.empty(0, dtype=np.int64)])
    ends = np.cumsum(lengths + 1) - 1
    name = np.empty(len(ids) + count, dtype=np.int64)
    name[ends] = np.arange(count)
    is_token = np.ones(len(name), dtype=bool)
    is_token[ends] = False
    name[is_token] = count + np.unique(ids, return_inverse=True)[1]
    names = [name]  # names[k][place]: rank of the 2**k tokens from that place among all such
    while 2 ** (len(names) - 1) < longest:
        after = np.zeros_like(name)
        step = 2 ** (len(names) - 1)
        after[:-step] = names[-1][step:]
        names.append(np.unique(names[-1] * (len(name) + 1) + after, return_inverse=True)[1])
    order = np.argsort(names[-1], kind="stable")[count:]  # the marks sort first and begin no n-gram
    common = np.zeros(len(order), dtype=np.int64)
    for power in reversed(range(len(names))):
        left, right = order[:-1] + common[1:], order[1:] + common[1:]
        common[1:] += (names[power][left] == names[power][right]) * 2**power
    generation = np.repeat(np.arange(count), lengths + 1)[order]
    grouped = np.argsort(generation, kind="stable")
    previous = np.full(len(order), -1)
    same = generation[grouped[1:]] == generation[grouped[:-1]]
    previous[grouped[1:][same]] = grouped[:-1][same]
    return _Suffixes(generation, ends[generation] - order, common, previous)


def _runs(suffixes: _Suffixes, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the suffixes that begin with each n-gram start, and how many generations they come from."""
    starts = np.flatnonzero(suffixes.common < n)
    begin = np.repeat(starts, np.diff(starts, append=len(suffixes.common)))
    firsts = np.append(0, np.cumsum(suffixes.previous < begin))  # the first of each generation in its run
    counts = np.diff(firsts[np.append(starts, len(begin))])
    whole = suffixes.tokens[starts] >= n
    return starts[whole], counts[whole]


def across(frame: pd.DataFrame, seed: int = 0) -> list[list[Ids]]:
    """Draw the null of unrelated texts: samples of one generation from each of G different prompts.

    There are as many draws as prompts. No generation is in two of them unless a prompt has fewer generations than there
    are draws.

    Args:
        frame: generations of one model, as `sampling.sample_pair` returns them.
        seed: of the draws.

    Returns:
        For each draw the ids of its G generations. G is the largest number of generations of a prompt, or the number of
        prompts if that is smaller; the smallest possible share, 1 / G, is then larger than that of generations.
    """
    rng = np.random.default_rng(seed)
    pools = [rng.permutation(np.fromiter(part.ids, dtype=object)) for _, part in frame.groupby("prompt", sort=False)]
    size = min(len(pools), max(map(len, pools), default=0))
    chosen = [rng.permutation(len(pools))[:size] for _ in pools]
    return [[pools[place][draw % len(pools[place])] for place in places] for draw, places in enumerate(chosen)]


def shuffled(generations: Sequence[Ids], seed: int | Sequence[int] = 0) -> list[Ids]:
    """Draw the null of texts without word order: the tokens of each generation, shuffled."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(np.array(each, dtype=np.int64)) for each in generations]


def samples(frame: pd.DataFrame, seed: int = 0) -> dict[str, list[list[Ids]]]:
    """The generations of one model, prompt by prompt, and the two nulls: as many samples of each.

    Args:
        frame: generations of one model, as `sampling.sample_pair` returns them.
        seed: of the nulls.
    """
    prompts = [list(each.ids) for _, each in frame.groupby("prompt", sort=False)]
    mixed = [shuffled(each, [seed, place]) for place, each in enumerate(prompts)]
    return {GENERATIONS: prompts, ACROSS: across(frame, seed), SHUFFLED: mixed}
