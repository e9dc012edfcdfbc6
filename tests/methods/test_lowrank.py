"""The trained probe on a planted task."""

import numpy as np
import pytest
import torch

from predact.methods import counts, lowrank, probing
from predact.methods.probing import OFFSETS
from predact.models.passages import Passages


def chains(texts, seed):
    """Every token is a function of the one before; where a text begins is drawn."""
    follows = 5 + np.random.default_rng(9).permutation(20)
    rows = [[start] for start in np.random.default_rng(seed).integers(5, 25, texts).tolist()]
    for row in rows:
        while len(row) < 30:
            row.append(int(follows[row[-1] - 5]))
    return Passages(rows, [1] * texts, list(range(texts)))


@pytest.fixture(scope="module")
def trained(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    probes = lowrank.train(model, 307, chains(200, 0), chains(32, 1), [0, 2], rank=20)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items()), "the model is not changed"
    return probes


def test_what_the_token_tells_is_learnt(model, trained):
    test = chains(40, 2)
    single = counts.unigram(np.array(chains(200, 0).sequences).ravel(), 307)
    found = {}
    for place, offset, groups, logits, wanted in lowrank.read(model, test, [0, 2], trained):
        judged = probing.judged(logits, wanted)[:, 0]
        assert len(groups) == len(judged) == 40 * (30 - OFFSETS) and logits.shape[1] == 307
        found[place, offset] = judged[:, 2].mean(), counts.judge_unigram(single, wanted[:, 0].numpy())[:, 2].mean()
    assert list(found) == [(place, offset) for place in (0, 1) for offset in range(1, OFFSETS + 1)]
    assert all(nll < alone / 2 for nll, alone in found.values())


def test_the_epoch_that_is_best_on_what_is_held_out_is_kept(monkeypatch, model):
    losses, seen = iter([[3.0], [2.0], [2.5], [1.0]]), []

    def held_out(model, probes, *_):
        seen.append(probes[0].out.clone())
        return next(losses)

    monkeypatch.setattr(lowrank, "_held_out", held_out)
    probe = lowrank.train(model, 307, chains(40, 0), chains(8, 1), [1], rank=2)[0]
    assert len(seen) == 3, "stopped where it got no better"
    assert torch.equal(probe.out, seen[1]) and not torch.equal(probe.out, seen[2])
