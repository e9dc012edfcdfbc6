"""Entropy and KL by hand, and their sampling against a world and a model whose KL is known."""

import numpy as np
import pandas as pd
import pytest

from predact import distance
from predact.errors import UserError

LN2 = np.log(2)


def documents(world, models, size=10):
    frames = [
        pd.DataFrame({"doc": range(len(world)), "bytes": size, "nll": nll, "world_nll": world}).assign(
            model=name, corpus="c", category="k"
        )
        for name, nll in models.items()
    ]
    return pd.concat(frames, ignore_index=True)


def test_by_hand():
    frame = distance.from_world(documents([4 * LN2, 6 * LN2], {"Base": [5 * LN2, 6 * LN2], "RLHF": [6 * LN2, 9 * LN2]}))
    assert frame.of.tolist() == ["world", "Base", "RLHF"]
    assert frame.estimate.tolist() == pytest.approx([10 / 20, 1 / 20, 5 / 20])  # bits per byte
    assert frame.share.tolist()[1:] == pytest.approx([0.1, 0.5])
    assert frame.low[1] == pytest.approx(0) and frame.high[1] == pytest.approx(2 / 20)
    text = distance.table(frame)
    assert text.columns.tolist() == ["entropy of the world", "KL of Base", "KL of RLHF"]
    assert text.iloc[0, 1] == "0.0500 (0.0000 to 0.1000), 10.0%"


def test_the_interval_covers_the_true_divergence():
    """A world of four texts and a model that believes otherwise: KL and entropy are sums over the four."""
    rng = np.random.default_rng(0)
    p, q = np.array([0.5, 0.25, 0.15, 0.1]), np.array([0.25, 0.25, 0.25, 0.25])
    entropy, kl = -(p * np.log2(p)).sum() / 10, (p * np.log2(p / q)).sum() / 10
    covered = []
    for _ in range(60):
        drawn = rng.choice(4, size=400, p=p)
        frame = distance.from_world(documents(-np.log(p[drawn]), {"Base": -np.log(q[drawn])})).set_index("of")
        covered += [frame.low[name] <= true <= frame.high[name] for name, true in (("world", entropy), ("Base", kl))]
    assert np.mean(covered) > 0.88


def test_a_corpus_without_a_world_is_refused():
    with pytest.raises(UserError, match="corpora: the probabilities of 'c' are not known"):
        distance.from_world(documents([np.nan, np.nan], {"Base": [1.0, 2.0]}))
