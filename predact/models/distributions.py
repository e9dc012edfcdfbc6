"""How next-token distributions spread their probability over the vocabulary: mass curve, entropy, support.

For the probabilities p_1 >= p_2 >= ... >= p_V of one position, in nats where it matters:

    mass(k)    = p_1 + ... + p_k                  the mass curve
    entropy    = -sum p_i log p_i
    support(t) = number of i with p_i > t         t one of THRESHOLDS

On a CPU, rows are sorted by a radix sort of the bits of a float: 20 us for 3,000 tokens on one core, 0.8 ms for
128,000, where numpy's sort takes 32 us and 3 ms.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numba import njit
from torch import Tensor

from predact import store
from predact.models import loading, scoring, tokens
from predact.models.pairs import Model, Pair
from predact.models.passages import GOLD, OWN, Passages, gold_passages, own_passages
from predact.texts.corpora import Corpus

NEGLIGIBLE = 1e-8  # the paper's threshold
THRESHOLDS = (1e-4, 1e-6, NEGLIGIBLE, 1e-10, 1e-12)
_THREADS = ThreadPoolExecutor()
EXACT = 1024  # every rank up to here is kept, then a grid of eight ranks to each doubling
SUPPORTS = [f"{each:.0e}" for each in THRESHOLDS]  # columns of support


class Summary(NamedTuple):
    """Measures of n positions: mass [n, ranks], entropy [n] in nats, support [n, thresholds]."""

    mass: np.ndarray
    entropy: np.ndarray
    support: np.ndarray


def ranks(vocabulary: int) -> np.ndarray:
    """The k at which the mass curve is kept: 1, 2, ..., 1,024, then on a logarithmic grid up to the vocabulary."""
    doublings = max(0.0, np.log2(vocabulary / EXACT))
    grid = np.round(EXACT * 2 ** np.arange(0, doublings, 1 / 8)).astype(int)
    return np.unique(np.concatenate([np.arange(1, min(EXACT, vocabulary) + 1), grid[grid <= vocabulary], [vocabulary]]))


def summarize(logits: Tensor, at: np.ndarray | None = None) -> Summary:
    """Measure the distributions of float32 logits [n, V], the mass at the ranks `at`; running sums are in float64."""
    at = ranks(logits.shape[1]) if at is None else at
    parts = (_summarize(part, at) for part in logits.split(max(1, scoring.CACHED // logits.shape[1])))
    return Summary(*map(np.concatenate, zip(*parts, strict=True)))


def entropies(logits: Tensor) -> np.ndarray:
    """Return the entropy alone [n], in nats, of the distributions of float32 logits [n, V]: nothing need be sorted."""
    return np.concatenate([_entropies(part) for part in logits.split(max(1, scoring.CACHED // logits.shape[1]))])


def _entropies(logits: Tensor) -> np.ndarray:
    down = logits - logits.amax(1, keepdim=True)
    p = down.exp()
    total = p.sum(1, dtype=torch.float64)
    return (total.log() - p.mul_(down).sum(1, dtype=torch.float64) / total).cpu().numpy()


def _summarize(logits: Tensor, at: np.ndarray) -> Summary:
    down = _ascending(logits.amax(1, keepdim=True) - logits)  # nats below the likeliest token
    p = (-down).exp_()
    upto = _cumulated(p, np.append(at, p.shape[1]))
    total = upto[:, -1:]
    log_total = total.log()
    entropy = log_total[:, 0] + p.mul_(down).sum(1) / total[:, 0]
    depths = -torch.tensor(THRESHOLDS, dtype=torch.float64, device=logits.device).log() - log_total
    support = torch.searchsorted(down, depths.float())
    return Summary((upto[:, :-1] / total).cpu().numpy(), entropy.cpu().numpy(), support.cpu().numpy())


def _cumulated(p: Tensor, at: np.ndarray) -> Tensor:
    """Running sums in float64 of the first k columns, for each k of `at`, which begins with a run 1, 2, ..."""
    head = int((at == np.arange(1, len(at) + 1)).sum())
    sums = p[:, :head].cumsum(1, dtype=torch.float64)
    blocks = p[:, head:].split(np.diff(at[head - 1 :]).tolist(), dim=1)
    tail = [block.sum(1, keepdim=True).double() for block in blocks]
    return torch.cat([sums, torch.cat([sums[:, -1:], *tail], 1).cumsum(1)[:, 1:]], 1)


def _ascending(rows: Tensor) -> Tensor:
    """Sort each row of numbers, none of them below 0."""
    if rows.device.type != "cpu":
        return rows.sort(1).values
    parts = rows.chunk(torch.get_num_threads())
    for _ in _THREADS.map(_radix_sort, (part.numpy().view(np.uint32) for part in parts)):
        pass
    return rows


@njit(cache=True, nogil=True)
def _radix_sort(rows: np.ndarray) -> None:
    """Sort each row in place, by the lowest 11 bits, then by the next 11, then by the highest 10."""
    other = np.empty(rows.shape[1], np.uint32)
    for row in rows:
        places = np.zeros((3, 2048), np.int64)  # where the next number with these bits goes
        for bits in row:
            places[0, bits & 2047] += 1
            places[1, (bits >> 11) & 2047] += 1
            places[2, bits >> 22] += 1
        for each in places:
            first = 0
            for digit in range(2048):
                each[digit], first = first, first + each[digit]
        for bits in row:
            other[places[0, bits & 2047]] = bits
            places[0, bits & 2047] += 1
        for bits in other:
            row[places[1, (bits >> 11) & 2047]] = bits
            places[1, (bits >> 11) & 2047] += 1
        for bits in row:
            other[places[2, bits >> 22]] = bits
            places[2, bits >> 22] += 1
        row[:] = other


@dataclass(frozen=True)
class Measured:
    """One model on one kind of text: columns by position, and the mass curve summed over each group's positions."""

    positions: pd.DataFrame  # group, position, nll, rank, top1, entropy, and support at each threshold
    mass: np.ndarray  # [groups, ranks]
    ranks: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of measured positions of each group."""
        return np.bincount(self.positions.group, minlength=len(self.mass))

    def mass_of(self, k: int) -> np.ndarray:
        """Mass of the k most probable tokens, summed over each group's positions."""
        return self.mass[:, np.searchsorted(self.ranks, k)]

    def above(self, threshold: float) -> np.ndarray:
        """Number of tokens above a threshold, summed over each group's positions."""
        return np.bincount(self.positions.group, self.positions[f"{threshold:.0e}"], len(self.mass))


Conditions = dict[tuple[str, str], Measured]  # by (model, kind of text)


def measure_distributions(
    root: Path, model: Model, passages: Passages, positions: int, seed: int = 0, window_lead: list[int] | None = None
) -> Measured:
    """Measure a model's distributions at positions of passages drawn by the seed, from the store if they are there.

    Scores and distributions come from one pass over the logits.

    Args:
        root: of the store.
        model: the model.
        passages: what it reads.
        positions: how many (all if there are fewer); models whose tokenizers agree get the same positions.
        seed: of the random choice.
        window_lead: ids that stand before later windows; by default the tokenizer's own BOS.
    """
    own = tokens.window_lead(loading.tokenizer(model)) if window_lead is None else window_lead
    return _measured(root, [(model, passages, own)], positions, seed)[0]


def _measured(
    root: Path, jobs: Sequence[tuple[Model, Passages, list[int]]], positions: int, seed: int
) -> list[Measured]:
    """`measure_distributions` of several models, passages and `window_lead`s, a shard for each."""
    drawn = {"positions": positions, "seed": seed, "thresholds": list(THRESHOLDS)}
    inputs = [
        loading.key(model)
        | {"passages": passages.digest}
        | drawn
        | scoring.later_windows(model, map(len, passages.sequences), window_lead)
        for model, passages, window_lead in jobs
    ]

    def compute(places: list[int]) -> Iterator[dict[str, Tensor]]:
        return (_measure_distributions(*jobs[place], positions, seed) for place in places)

    return list(map(_unpacked, store.shards(root, "spread", inputs, compute, kept=store.TENSORS)))


def _unpacked(kept: dict[str, Tensor]) -> Measured:
    frame = pd.DataFrame({name: kept[name].numpy() for name in ("group", "position", "nll", "rank", "top1", "entropy")})
    support = pd.DataFrame(kept["support"].numpy(), columns=SUPPORTS)
    return Measured(frame.join(support), kept["mass"].numpy(), kept["ranks"].numpy())


def _measure_distributions(
    model: Model, passages: Passages, window_lead: list[int], positions: int, seed: int
) -> dict[str, Tensor]:
    loaded, tokenizer = loading.loaded(model)
    lengths = np.array([len(each) for each in passages.sequences]) - np.array(passages.given)
    chosen = np.sort(np.random.default_rng(seed).permutation(lengths.sum())[:positions])
    row = np.full(lengths.sum(), -1)
    row[chosen] = np.arange(len(chosen))
    group = np.repeat(np.array(passages.groups), lengths)[chosen]
    at = ranks(len(tokenizer))
    mass, top1 = np.zeros((max(passages.groups) + 1, len(at))), np.zeros(len(chosen), np.float32)
    entropy, support = np.zeros(len(chosen), np.float32), np.zeros((len(chosen), len(THRESHOLDS)), np.int32)

    def observe(places: np.ndarray, logits: Tensor) -> None:
        rows = row[places]
        wanted = rows >= 0
        if wanted.any():
            found = summarize(logits[torch.from_numpy(wanted).to(logits.device)])
            rows = rows[wanted]
            top1[rows], entropy[rows], support[rows] = found.mass[:, 0], found.entropy, found.support
            mass[:] += (group[rows] == np.arange(len(mass))[:, None]) @ found.mass

    read = passages.sequences, passages.given, len(tokenizer), window_lead
    scores = scoring.score_ids(loaded, *read, observe=observe)
    position = (np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths))[chosen]
    arrays = {"group": group, "position": position, "nll": scores.nll[chosen], "rank": scores.rank[chosen]}
    arrays |= {"top1": top1, "entropy": entropy, "support": support, "mass": mass, "ranks": at}
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


def measure_pair(
    root: Path,
    pair: Pair,
    corpora: Sequence[Corpus],
    generations: pd.DataFrame,
    positions: int = 20_000,
    each: int = 20,
    seed: int = 0,
) -> Conditions:
    """Measure the models of `generations` on gold text and on what they have written.

    Args:
        root: of the store.
        pair: the models.
        corpora: gold text.
        generations: what `sampling.sample_pair` returns.
        positions: measured for each model and kind of text.
        each: generations per prompt, at most, from which positions are drawn.
        seed: of the random choice.
    """
    jobs: dict[tuple[str, str], tuple[Model, Passages, list[int]]] = {}
    for step in generations.model.unique():
        model, written = pair.models[step], generations[generations.model == step]
        gold = gold_passages(loading.tokenizer(model), corpora, tokens.pair_lead(pair, step))
        again = tokens.pair_window_lead(pair, step)
        jobs |= {(step, GOLD): (model, gold, again), (step, OWN): (model, own_passages(written, each), again)}
    return dict(zip(jobs, _measured(root, list(jobs.values()), positions, seed), strict=True))


def paired(
    conditions: Conditions,
    text: str,
    sums: Callable[[Measured], np.ndarray],
    models: Sequence[str] = ("Base", "RLHF"),
) -> np.ndarray:
    """Return sums of a measure over each group and numbers of positions, model by model: [groups, 2 · models]."""
    return side_by_side([conditions[model, text] for model in models], sums)


def side_by_side(measured: Sequence[Measured], sums: Callable[[Measured], np.ndarray]) -> np.ndarray:
    """Return sums of a measure over each group and numbers of positions, one by one: [groups, 2 · measured]."""
    columns = [pd.DataFrame({"sum": sums(each), "count": each.counts}) for each in measured]
    return pd.concat(columns, axis=1).fillna(0).to_numpy(float)


def each_condition(conditions: Conditions) -> Iterator[tuple[dict[str, Any], Measured]]:
    """Yield the measurements, each with its model and kind of text as columns of a frame."""
    for (model, text), measured in conditions.items():
        yield {"model": model, "text": text}, measured


def sums_by_group(positions: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Sums by group of columns, and the number of positions: [groups, columns and 1]."""
    grouped = positions.groupby("group")
    return np.column_stack([grouped[columns].sum(), grouped.size()]).astype(float)
