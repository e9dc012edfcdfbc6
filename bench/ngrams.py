"""Shares of the most common n-grams, n = 1 ... 50, against a count over sets of tuples in plain Python.

python bench/ngrams.py [generations] [tokens of each]
"""

import sys
from collections import Counter

import numpy as np
from rows import record, timed

from predact.methods import ngrams

ROUNDS = 3
LONGEST = 50


def texts(count, tokens, seed=0):
    """Generations in which passages of 5 to 40 tokens recur between words drawn by Zipf's law."""
    rng = np.random.default_rng(seed)
    words = 1 / np.arange(1, 32_001)
    words /= words.sum()
    passages = [rng.choice(len(words), rng.integers(5, 41), p=words) for _ in range(30)]
    made = []
    for _ in range(count):
        between = rng.choice(len(words), (len(passages), 15), p=words)
        kept = np.flatnonzero(rng.random(len(passages)) < 0.6)
        rest = rng.choice(len(words), tokens, p=words)
        made.append(
            np.concatenate([*(part for i in kept for part in (passages[i], between[i])), rest])[:tokens].tolist()
        )
    return made


def sets(generations):
    """The same by a Counter of each generation's set of n-grams, one n after the other."""
    most = []
    for n in range(1, LONGEST + 1):
        counts = Counter()
        for ids in generations:
            counts.update({tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)})
        most.append(max(counts.values(), default=0) / len(generations))
    return np.array(most)


def main(count="100", tokens="512"):
    generations = texts(int(count), int(tokens))
    rounds = []
    for _ in range(ROUNDS):
        expected, theirs = timed(sets, generations)
        found, ours = timed(ngrams.shares, generations, LONGEST)
        assert (found == expected).all(), "the two counts differ"
        rounds.append((ours, theirs))
    ours, theirs = np.median(rounds, axis=0)
    numbers = {"unit": "s", "ours": ours, "theirs": theirs, "ratio": theirs / ours}
    work = f"{count} generations of {tokens} tokens, n = 1 ... {LONGEST}, same shares, median of {ROUNDS} rounds"
    record([{"name": "ngrams", "peer": "sets of tuples and a Counter in plain Python", **numbers, "work": work}])


if __name__ == "__main__":
    main(*sys.argv[1:])
