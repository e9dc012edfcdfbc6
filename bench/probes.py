"""Ridge probes of every layer and offset from streamed moments, against scikit-learn's Ridge for each of them.

python bench/probes.py [pair] [positions] [store]
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from rows import need, record, timed

from predact.methods import probing
from predact.methods.probes import split
from predact.models import loading, pairs, sampling
from predact.models.passages import own_passages
from predact.texts import prompts


def main(pair="pocket", positions="40000", store="_build/store"):
    need("scikit-learn", find_spec("sklearn"))
    found = pairs.pair(pair)
    written = sampling.sample_pair(
        Path(store), found, prompts.select(found.prompts), sampling.Settings(), steps=["RLHF"]
    )
    model, _ = loading.loaded(found.models["RLHF"])
    layers = list(range(model.config.get_text_config().num_hidden_layers + 1))
    texts = split(own_passages(written, 10**9), int(positions), int(positions) // 4, loading.context_limit(model))[0]
    _, passed = timed(lambda: [None for _ in probing.states(model, texts, layers)])
    sums, streamed = timed(probing.moments, model, texts, layers)
    probes, fitted = timed(lambda: [probing.fit(each) for each in sums])
    (states, targets), _ = timed(in_memory, model, texts, layers)
    ridges(states[:1], targets[:1], probes, 1)  # warm
    same, once = timed(ridges, states, targets, probes, 1)
    _, each = timed(ridges, states, targets, probes, len(probing.PENALTIES))
    far = max(np.abs(other - probe.weight[offset].T.numpy()).max() for other, probe, offset in same)
    work = f"{sums[0].count} positions, {len(layers)} layers, {probing.OFFSETS} offsets, {found.name} RLHF"
    work += f"; without the model's pass, {passed:.1f} s for both"
    ours, peer = streamed - passed + fitted, "scikit-learn Ridge(solver='cholesky') for each layer and offset"
    told = f"{work}; choosing among {len(probing.PENALTIES)} penalties"
    rows = [{"name": "probes", "peer": peer, "unit": "s", "work": told, "theirs": each, "ratio": each / ours}]
    rows.append({"name": "probes-one-penalty", "peer": peer, "unit": "s", "work": f"{work}; one given penalty"})
    rows[1] |= {"theirs": once, "ratio": once / ours}
    rows = [row | {"ours": ours} for row in rows]
    numbers = {"ours": far, "theirs": 0.0, "ratio": 1.0, "work": work}
    rows.append({"name": "probes-agreement", "peer": peer, "unit": "largest difference of a weight"} | numbers)
    record(rows)


def in_memory(model, texts, layers):
    """All states and targets, as scikit-learn wants them."""
    states, targets = [[] for _ in layers], [[] for _ in range(probing.OFFSETS)]
    for held, last, row, column, _ in probing.states(model, texts, layers):
        for part, state in zip(states, held, strict=True):
            part.append(state[row, column].double().numpy())
        for k, part in enumerate(targets):
            part.append(last[row, column + k].double().numpy())
    return [np.concatenate(part) for part in states], [np.concatenate(part) for part in targets]


def ridges(states, targets, probes, penalties):
    from sklearn.linear_model import Ridge

    return [
        (Ridge(alpha=float(probe.penalty[k]) * 2.0**number, solver="cholesky").fit(x, y).coef_, probe, k)
        for x, probe in zip(states, probes, strict=False)
        for k, y in enumerate(targets)
        for number in range(penalties)
    ]


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main(*sys.argv[1:])
