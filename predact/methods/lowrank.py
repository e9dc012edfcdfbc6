"""A trained probe: a low-rank map from a hidden state to the vocabulary, for each offset, stopped early."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from predact.methods import probing
from predact.methods.probing import OFFSETS
from predact.models.passages import Passages

EPOCHS, RATE = 8, 1e-2
_TEXTS = 32  # texts that are sorted by length at a time


class LowRank(torch.nn.Module):
    """Logits [OFFSETS, n, V] = (x / scale) A_k B_k + b_k, for every offset k at once."""

    def __init__(self, hidden: int, rank: int, vocabulary: int, scale: float) -> None:
        """Begin with small random A, and B and b zero: every token equally likely."""
        super().__init__()
        self.scale = scale
        self.into = torch.nn.Parameter(torch.randn(OFFSETS, hidden, rank) / hidden**0.5)
        self.out = torch.nn.Parameter(torch.zeros(OFFSETS, rank, vocabulary))
        self.bias = torch.nn.Parameter(torch.zeros(OFFSETS, 1, vocabulary))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits for states [n, H]."""
        return torch.baddbmm(self.bias, (x / self.scale) @ self.into, self.out)


def train(
    model: Any, vocabulary: int, passages: Passages, held_out: Passages, layers: Sequence[int], rank: int, seed: int = 0
) -> list[LowRank]:
    """Train a probe for each layer with AdamW on streamed states; keep the epoch that is best on texts held out.

    A probe is trained, and afterwards is, where its layer is.

    Args:
        model: whose states are read; it is not changed.
        vocabulary: number of ids.
        passages: to train on.
        held_out: to stop by, of other prompts.
        layers: as in `probing.moments`.
        rank: of the map.
        seed: of the beginning and of the order.
    """
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    first, hidden = next(_batches(model, held_out, layers))[0], model.config.get_text_config().hidden_size
    scales = [float(state.square().mean().sqrt()) for state in first]
    probes = [LowRank(hidden, rank, vocabulary, scale).to(x.device) for scale, x in zip(scales, first, strict=True)]
    steps = [torch.optim.AdamW(probe.parameters(), lr=RATE) for probe in probes]
    best, kept = [np.inf] * len(layers), [probe.state_dict() for probe in probes]
    for _ in range(EPOCHS):
        for states, wanted in _batches(model, passages, layers, draw):
            for probe, step, x in zip(probes, steps, states, strict=True):
                step.zero_grad()
                _loss(probe(x), wanted).backward()
                step.step()
        losses = _held_out(model, probes, held_out, layers)
        for place, loss in enumerate(losses):
            if loss < best[place]:
                best[place] = loss
                kept[place] = {name: value.clone() for name, value in probes[place].state_dict().items()}
        if all(loss > least for loss, least in zip(losses, best, strict=True)):
            break
    for probe, state in zip(probes, kept, strict=True):
        probe.load_state_dict(state)
    return probes


@torch.no_grad()
def read(
    model: Any, passages: Passages, layers: Sequence[int], probes: Sequence[LowRank]
) -> Iterator[tuple[int, int, np.ndarray, Tensor, Tensor]]:
    """Read the probes out, as `probing.read` does."""
    for states, _, row, column, (_, ids, groups) in probing.states(model, passages, layers):
        for place, (state, probe) in enumerate(zip(states, probes, strict=True)):
            logits = probe(state[row, column].float())
            for offset in range(1, OFFSETS + 1):
                wanted = ids[row, column + offset][:, None].to(logits.device)
                yield place, offset, groups[row], logits[offset - 1], wanted


def _batches(
    model: Any, passages: Passages, layers: Sequence[int], draw: np.random.Generator | None = None
) -> Iterator[tuple[list[Tensor], Tensor]]:
    """States [n, H] of the layers, and the tokens that came [OFFSETS, n]; in random order with `draw`."""
    order = np.arange(len(passages.sequences)) if draw is None else draw.permutation(len(passages.sequences))
    for start in range(0, len(order), _TEXTS):
        some = passages.take(order[start : start + _TEXTS])
        for states, _, row, column, (_, ids, _) in probing.states(model, some, layers, quiet=True):
            wanted = torch.stack([ids[row, column + k] for k in range(1, OFFSETS + 1)])
            yield [state[row, column].float() for state in states], wanted


def _loss(logits: Tensor, wanted: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten().to(logits.device))


@torch.no_grad()
def _held_out(model: Any, probes: Sequence[LowRank], passages: Passages, layers: Sequence[int]) -> list[float]:
    sums, count = np.zeros(len(layers)), 0
    for states, wanted in _batches(model, passages, layers):
        sums += [float(_loss(probe(x), wanted)) * wanted.numel() for probe, x in zip(probes, states, strict=True)]
        count += wanted.numel()
    return (sums / max(count, 1)).tolist()
