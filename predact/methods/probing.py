"""Linear probes: how well hidden states predict the tokens to come (claim C9).

A probe is an affine map from the hidden state at layer l and position t to the last hidden space, fitted to the state
from which the model itself predicts the token at t + k, and read out by the model's own final norm and head (Pal et
al. 2023, "Future Lens"). Only sums are kept while texts stream by: `Moments`. One factorization of a layer's Gram
matrix serves every offset, every target and every penalty.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from predact.errors import UserError
from predact.models import loading, scoring
from predact.models.passages import Passages

OFFSETS = 8
MEASURES = ("top-1", "top-5", "nll")  # shares of positions, and nats
PENALTIES = 10.0 ** np.arange(-9, 3)  # in mean eigenvalues of the Gram matrix
_FACTORS = 2.0 ** np.arange(-5, 1.5, 0.5)  # of logits
_SOME = 8  # calibration uses every eighth position
_MEMORY = 2**26  # bytes of targets at a time


@dataclass
class Moments:
    """Sums over positions for one layer, in float64: all that a ridge regression needs.

    The targets are `OFFSETS` states, one for each offset, and last the first of them at another position (shuffled).
    """

    count: int
    x: Tensor  # [H]
    y: Tensor  # [(OFFSETS + 1) * H]
    xx: Tensor  # [H, H]
    xy: Tensor  # [H, (OFFSETS + 1) * H]
    yy: Tensor  # [OFFSETS + 1], squares


@dataclass(frozen=True)
class Probe:
    """Affine maps from one layer, for each offset and the shuffled target."""

    weight: Tensor  # [OFFSETS + 1, H, H]
    bias: Tensor  # [OFFSETS + 1, H]
    penalty: Tensor  # [OFFSETS + 1], chosen


def memory(hidden: int, layers: int) -> int:
    """Bytes that the moments of so many layers take: 8·layers·(OFFSETS + 2)·H²; for 4,096 and 32 layers 43 GB."""
    return 8 * layers * (OFFSETS + 2) * hidden**2


def moments(model: Any, passages: Passages, layers: Sequence[int], seed: int = 0) -> list[Moments]:
    """Stream texts through a model and accumulate the moments that the probes of some layers need.

    Args:
        model: a causal language model.
        passages: texts; a position serves if all `OFFSETS` tokens after it are there and are not given.
        layers: their numbers; 0 are the embeddings, the number of layers is the state before the final norm.
        seed: of the shuffled target.

    Raises:
        UserError: a layer that the model does not have.
    """
    draw = torch.Generator().manual_seed(seed)
    found: list[Moments] = []
    for held, last, row, column, _ in states(model, passages, layers):
        ahead = [last[row, column + k] for k in range(OFFSETS)]
        y = torch.stack([*ahead, ahead[0][torch.randperm(len(row), generator=draw)]], 1).double()
        for place, state in enumerate(held):
            x, y = state[row, column].double(), y.to(state.device)
            flat = y.flatten(1)
            sums = (x.sum(0), flat.sum(0), x.T @ x, x.T @ flat, y.square().sum((0, 2)))
            if len(found) == place:
                found.append(Moments(0, *map(torch.zeros_like, sums)))
            _add(found[place], len(x), sums)
    if not found:
        raise UserError(f"positions: no text has {OFFSETS} tokens after a position; give longer texts.")
    return found


def _add(found: Moments, count: int, sums: tuple[Tensor, ...]) -> None:
    found.count += count
    for total, each in zip((found.x, found.y, found.xx, found.xy, found.yy), sums, strict=True):
        total.add_(each)


def fit(found: Moments) -> Probe:
    """Ridge regression with an intercept; the penalty of each target minimises the generalised cross-validation error.

    With the centred Gram matrix X'X = V diag(s) V', W = V diag(1 / (s + p)) V'X'Y, and the error is
    (residual sum of squares / n) / (1 - (1 + Σ s / (s + p)) / n)² (Golub, Heath & Wahba 1979).
    """
    n, hidden = found.count, len(found.x)
    mean_x, mean_y = found.x / n, found.y / n
    values, vectors = torch.linalg.eigh(found.xx - n * torch.outer(mean_x, mean_x))
    values = values.clamp(min=0)
    turned = (vectors.T @ (found.xy - n * torch.outer(mean_x, mean_y))).view(hidden, OFFSETS + 1, hidden)
    squares = found.yy - n * mean_y.view(OFFSETS + 1, hidden).square().sum(1)
    penalties = torch.from_numpy(PENALTIES).to(values.device) * values.mean().clamp(min=torch.finfo(torch.float64).tiny)
    kept = values[:, None] + penalties  # [H, penalties]
    explained = turned.square().sum(2).T @ ((kept + penalties) / kept.square())
    freedom = 1 + (values[:, None] / kept).sum(0)
    error = (squares[:, None] - explained).clamp(min=0) / (1 - freedom / n).clamp(min=1e-9).square()
    penalty = penalties[error.argmin(1)]
    weight = torch.einsum("ij,jkh->kih", vectors, turned / (values[:, None] + penalty)[:, :, None])
    bias = mean_y.view(OFFSETS + 1, hidden) - torch.einsum("i,kih->kh", mean_x, weight)
    return Probe(weight, bias, penalty)


@torch.inference_mode()
def read(
    model: Any, vocabulary: int, passages: Passages, layers: Sequence[int], probes: Sequence[Probe], every: int = 1
) -> Iterator[tuple[int, int, np.ndarray, Tensor, Tensor]]:
    """Read probes out with the model's own final norm and head, at every position, or at every second, third, ... one.

    Yields:
        For chunks of positions: place of the layer, target (an offset from 1 on; 0: shuffled), group of each position,
        logits [positions, V], and the actual tokens: at that offset, or at all offsets if the target is shuffled.
    """
    norm = _final_norm(model)
    ready = [(probe.weight.float(), probe.bias.float()) for probe in probes]
    for held, _, row, column, (output, ids, groups) in states(model, passages, layers):
        row, column = row[::every], column[::every]
        ahead = torch.stack([ids[row, column + k] for k in range(1, OFFSETS + 1)], 1).to(model.device)
        for place, (state, (weight, bias)) in enumerate(zip(held, ready, strict=True)):
            x = state[row, column].float()
            for target in range(OFFSETS + 1):
                hidden = norm((x @ weight[target] + bias[target]).to(state.dtype))
                logits = scoring.logits(model, output, hidden)[:, :vocabulary]
                shuffled = target == OFFSETS
                wanted = ahead if shuffled else ahead[:, target : target + 1]
                yield place, 0 if shuffled else target + 1, groups[row], logits, wanted


def calibrate(
    model: Any, vocabulary: int, passages: Passages, layers: Sequence[int], probes: Sequence[Probe]
) -> np.ndarray:
    """Choose the inverse temperature of each probe's logits that gives the lowest nll on some texts.

    An uncertain linear map predicts an average of states. The final norm scales it up to the size of a state, so the
    head is overconfident. One factor for each layer and offset corrects that without changing any rank.

    Returns:
        Factors [layers, OFFSETS + 1]; the first offset stands first, the shuffled target last.
    """
    sums = np.zeros((len(layers), OFFSETS + 1, len(_FACTORS)))
    for place, target, _, logits, wanted in read(model, vocabulary, passages, layers, probes, _SOME):
        for number, factor in enumerate(_FACTORS):
            losses = (logits * factor).logsumexp(1, keepdim=True) - factor * logits.gather(1, wanted)
            sums[place, target - 1, number] += float(losses.sum())
    return _FACTORS[sums.argmin(2)]


def judged(logits: Tensor, wanted: Tensor) -> np.ndarray:
    """Top-1, top-5 (1 or 0) and nll (nats) of tokens [n, m] under logits [n, V]: [n, m, 3].

    A token is among the first five if fewer than five are likelier.
    """
    chosen, first = logits.gather(1, wanted), logits.topk(5, 1).values
    nll = logits.logsumexp(1, keepdim=True) - chosen
    return torch.stack([(chosen >= first[:, :1]).float(), (chosen >= first[:, 4:]).float(), nll], 2).cpu().numpy()


def states(
    model: Any, passages: Passages, layers: Sequence[int], quiet: bool = False
) -> Iterator[tuple[list[Tensor], Tensor, Tensor, Tensor, Any]]:
    """Yield, batch by batch, states [B, T, H] of layers and before the final norm, and the positions that serve.

    Each state is where its layer is; positions and ids are on the CPU.
    Padding stands on the right, where a causal model cannot see it, so no attention mask is needed.
    """
    body, norm, limit = scoring.body(model), _final_norm(model), loading.context_limit(model)
    depth = model.config.get_text_config().num_hidden_layers
    for layer in layers:
        if not 0 <= layer <= depth:
            raise UserError(f"layers, probe_layer: expected numbers from 0 to {depth}, not {layer}.")
    texts = [
        (sequence[:limit], given, group)
        for sequence, given, group in zip(passages.sequences, passages.given, passages.groups, strict=True)
        if len(sequence[:limit]) >= given + OFFSETS
    ]
    texts.sort(key=lambda each: -len(each[0]))
    room = min(4096, _MEMORY // (8 * (OFFSETS + 1) * model.config.get_text_config().hidden_size))  # positions
    with tqdm(total=len(texts), desc="probing", unit="text", leave=False, disable=quiet or None) as bar:
        while texts:
            size = max(1, room // len(texts[0][0]))
            batch, texts = texts[:size], texts[size:]
            ids = torch.zeros(len(batch), len(batch[0][0]), dtype=torch.long)
            for line, (sequence, _, _) in zip(ids, batch, strict=True):
                line[: len(sequence)] = torch.tensor(sequence)
            caught: list[Tensor] = []
            hook = norm.register_forward_pre_hook(lambda _, inputs, caught=caught: caught.append(inputs[0]))
            try:
                with torch.inference_mode():
                    output = body(input_ids=ids.to(model.device), use_cache=False, output_hidden_states=True)
            finally:
                hook.remove()
            last = caught[-1]
            held = [last if layer == depth else output.hidden_states[layer] for layer in layers]
            if any(each.shape != last.shape for each in held):
                raise UserError(
                    "layers, probe_layer: a model has several states at a layer; only its last can be probed."
                )
            spans = [range(given - 1, len(sequence) - OFFSETS) for sequence, given, _ in batch]
            row = torch.tensor([place for place, span in enumerate(spans) for _ in span])
            column = torch.tensor([t for span in spans for t in span])
            groups = np.array([group for _, _, group in batch])
            yield held, last, row, column, (replace(output, hidden_states=None), ids, groups)
            bar.update(len(batch))


@torch.inference_mode()
def _final_norm(model: Any) -> Any:
    """The last norm of a model: what stands between its layers and its head, so that its output is the body's."""
    body, found = scoring.body(model), dict[Any, Tensor]()
    norms = [each for name, each in body.named_children() if "norm" in name or name.startswith("ln")]
    hooks = [each.register_forward_hook(lambda norm, _, output: found.update({norm: output})) for each in norms]
    try:
        states = body(input_ids=torch.ones((1, 1), dtype=torch.long, device=model.device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    for norm, output in reversed(found.items()):
        if torch.equal(output, states.last_hidden_state):
            return norm
    raise UserError("pair: a model has no final norm that could be found, so its states cannot be read out.")
