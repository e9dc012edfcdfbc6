"""How a model's next-token distributions narrow, on gold text and on its own generations (claims C3 and C4).

Distributions are measured at positions drawn from all that a model is scored on; what they are compared by (mass
curve, entropy, support) stands in `spread`. Intervals resample documents of gold text, prompts of own generations.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from predact import stats, store
from predact.models import loading, scoring
from predact.models.distributions import THRESHOLDS, ranks, spread
from predact.models.pairs import Model, Pair
from predact.texts.corpora import Corpus

GOLD, OWN = TEXTS = "gold text", "own generations"
TOP1, ENTROPY = "probability of the likeliest token", "entropy, nats per token"
MASS, TOKENS = "probability mass", "tokens"
NAMES = [f"{each:.0e}" for each in THRESHOLDS]  # columns of support


@dataclass(frozen=True)
class Passages:
    """Texts as ids, how many of each are only given, and to which document or prompt (a number) each belongs."""

    sequences: list[list[int]]
    given: list[int]
    groups: list[int]

    def take(self, places: Iterable[int]) -> "Passages":
        """Return some of the texts, by their places."""
        chosen = [(self.sequences[place], self.given[place], self.groups[place]) for place in places]
        return Passages(*map(list, zip(*chosen, strict=True)) if chosen else ([], [], []))

    @property
    def digest(self) -> str:
        """What stands for all of it among the inputs of a stored result."""
        return store.digest([self.sequences, self.given, self.groups])


@dataclass(frozen=True)
class Measured:
    """One model on one kind of text: columns by position, and the mass curve summed over each group's positions."""

    positions: pd.DataFrame  # group, position, nll, top1, entropy, and a column of support for every threshold
    mass: np.ndarray  # [groups, ranks]
    ranks: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Positions measured of each group."""
        return np.bincount(self.positions.group, minlength=len(self.mass))

    def mass_of(self, k: int) -> np.ndarray:
        """Mass of the k most probable tokens, summed over each group's positions."""
        return self.mass[:, np.searchsorted(self.ranks, k)]

    def above(self, threshold: float) -> np.ndarray:
        """Number of tokens above a threshold, summed over each group's positions."""
        return np.bincount(self.positions.group, self.positions[f"{threshold:.0e}"], len(self.mass))


def gold(tokenizer: Any, corpora: Sequence[Corpus]) -> Passages:
    """The documents of corpora, each a group, after the prefix token."""
    lead = loading.lead(tokenizer)
    ids = loading.encode(tokenizer, list(chain.from_iterable(corpus.texts for corpus in corpora)))
    given = max(1, len(lead))  # where nothing stands before a document, its first token is not predicted
    return Passages([lead + each for each in ids], [given] * len(ids), list(range(len(ids))))


def own(generations: pd.DataFrame, each: int) -> Passages:
    """The first generations of every prompt, `each` of them; a prompt is a group.

    Args:
        generations: of one model, as `sampling.of_pair` returns them.
        each: how many.
    """
    numbered = generations.assign(group=pd.factorize(generations.prompt)[0])
    first = numbered[(numbered["sample"] < each) & (numbered.ids.map(len) > 0)]
    sequences = [np.concatenate(pair).tolist() for pair in zip(first.given, first.ids, strict=True)]
    return Passages(sequences, first.given.map(len).tolist(), first.group.tolist())


def measure(root: Path, model: Model, passages: Passages, positions: int, seed: int = 0) -> Measured:
    """Measure a model's distributions at positions of passages drawn by the seed, from the store if they are there.

    Scores and distributions come from one pass over the logits.

    Args:
        root: of the store.
        model: the model.
        passages: what it reads.
        positions: how many, all where there are fewer; the same positions for models that cut text alike.
        seed: of the drawing.
    """
    inputs: dict[str, Any] = {"model": loading.fingerprint(model), "dtype": model.dtype, "seed": seed}
    inputs |= {"passages": passages.digest, "positions": positions, "thresholds": list(THRESHOLDS)}
    kept = store.tensors(root, "spread", inputs, lambda: _measure(model, passages, positions, seed))
    frame = pd.DataFrame({name: kept[name].numpy() for name in ("group", "position", "nll", "top1", "entropy")})
    support = pd.DataFrame(kept["support"].numpy(), columns=NAMES)
    return Measured(frame.join(support), kept["mass"].numpy(), kept["ranks"].numpy())


def _measure(model: Model, passages: Passages, positions: int, seed: int) -> dict[str, Tensor]:
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
            found = spread(logits[torch.from_numpy(wanted).to(logits.device)])
            rows = rows[wanted]
            top1[rows], entropy[rows], support[rows] = found.mass[:, 0], found.entropy, found.support
            np.add.at(mass, group[rows], found.mass)

    nll = scoring.score_ids(loaded, passages.sequences, passages.given, len(tokenizer), observe=observe)
    position = (np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths))[chosen]
    arrays = {"group": group, "position": position, "nll": nll[chosen], "top1": top1, "entropy": entropy}
    arrays |= {"support": support, "mass": mass, "ranks": at}
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


Conditions = dict[tuple[str, str], Measured]  # by (model, kind of text)


def of_pair(
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
        generations: what `sampling.of_pair` returns.
        positions: drawn for each model and kind of text.
        each: generations of a prompt, at most, from which positions are drawn.
        seed: of the drawing.
    """
    found: Conditions = {}
    for step in generations.model.unique():
        model = pair.models[step]
        texts = {GOLD: gold(loading.tokenizer(model), corpora), OWN: own(generations[generations.model == step], each)}
        found |= {(step, text): measure(root, model, texts[text], positions, seed) for text in texts}
    return found


def paired(
    conditions: Conditions,
    text: str,
    sums: Callable[[Measured], np.ndarray],
    models: Sequence[str] = ("Base", "RLHF"),
) -> np.ndarray:
    """Sums of something over each group, model by model, each beside its number of positions: [groups, 2 · models]."""
    both = [conditions[model, text] for model in models]
    columns = [pd.DataFrame({"sum": sums(each), "count": each.counts}) for each in both]
    return pd.concat(columns, axis=1).fillna(0).to_numpy(float)


def mass_curves(conditions: Conditions, points: int = 48) -> pd.DataFrame:
    """Mean mass of the k most probable tokens, with its interval, at ranks spread evenly over the logarithm of k.

    Returns:
        model, text, k, estimate, low, high, unit.
    """
    rows = []
    for place, measured in _each(conditions):
        wanted = np.unique(np.geomspace(1, measured.ranks[-1], points).round())
        at = np.unique([np.abs(measured.ranks - k).argmin() for k in wanted])
        value = stats.interval(np.column_stack([measured.mass[:, at], measured.counts]), stats.means)
        rows.append(stats.tidy(value, [("k", measured.ranks[at])], **place, unit=MASS))
    return pd.concat(rows, ignore_index=True)


def by_position(conditions: Conditions, least: int = 100) -> pd.DataFrame:
    """Mean top-1 probability and entropy by position in the text, in bins of doubling width: 0, 1-2, 3-6, 7-14, ...

    Bins with fewer than `least` measured positions are left out.

    Returns:
        model, text, measure, first, last, estimate, low, high, unit.
    """
    rows = []
    for place, measured in _each(conditions):
        frame = measured.positions.assign(bin=np.log2(measured.positions.position + 1).astype(int))
        for number in sorted(frame.bin.unique()):
            part = frame[frame.bin == number]
            if len(part) < least:
                continue
            span = {"first": 2**number - 1, "last": 2 ** (number + 1) - 2}
            value = stats.interval(_sums(part, ["top1", "entropy"]), stats.means)
            told = stats.tidy(value, [("measure", [TOP1, ENTROPY])], **place, **span)
            rows.append(told.assign(unit=told.measure))
    return pd.concat(rows, ignore_index=True)


def support(conditions: Conditions, bins: int = 40) -> pd.DataFrame:
    """How the number of tokens above each threshold is distributed over positions, in bins of its logarithm.

    Returns:
        model, text, threshold, low_edge, high_edge, share (of the positions).
    """
    most = max(int(measured.ranks[-1]) for measured in conditions.values())
    edges = np.unique(np.geomspace(1, most + 1, bins + 1).round())
    rows = []
    for place, measured in _each(conditions):
        for threshold in NAMES:
            share = np.histogram(measured.positions[threshold].clip(lower=1), edges)[0] / len(measured.positions)
            columns = {"threshold": threshold, "low_edge": edges[:-1], "high_edge": edges[1:], "share": share}
            rows.append(pd.DataFrame(place | columns))
    return pd.concat(rows, ignore_index=True)


def mean_support(conditions: Conditions) -> pd.DataFrame:
    """Mean number of tokens above each threshold: model, text, threshold, estimate, low, high, unit."""
    rows = []
    for place, measured in _each(conditions):
        value = stats.interval(_sums(measured.positions, NAMES), stats.means)
        rows.append(stats.tidy(value, [("threshold", NAMES)], **place, unit=TOKENS))
    return pd.concat(rows, ignore_index=True)


def own_perplexity(generations: pd.DataFrame) -> pd.DataFrame:
    """Perplexity of generations under the untruncated model that wrote them, given the prompt: exp(-Σ log p / tokens).

    Args:
        generations: what `sampling.of_pair` returns.

    Returns:
        model, generations, tokens, estimate, low, high (95 % bootstrap over prompts), prompts.
    """
    rows = []
    for model, part in generations.groupby("model", sort=False):
        each = part.assign(nll=-part.log_probabilities.map(np.sum), tokens=part.ids.map(len))
        sums = each.groupby("prompt")[["nll", "tokens"]].sum().to_numpy(float)
        value = stats.interval(sums, lambda totals: np.exp(totals[..., 0] / totals[..., 1]))
        count = {"generations": len(part), "tokens": int(each.tokens.sum())}
        rows.append({"model": model} | count | vars(value) | {"prompts": len(sums)})
    return pd.DataFrame(rows)


def _each(conditions: Conditions) -> Iterator[tuple[dict[str, Any], Measured]]:
    for (model, text), measured in conditions.items():
        yield {"model": model, "text": text}, measured


def _sums(positions: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Sums by group of columns, and the number of positions: [groups, columns and 1]."""
    grouped = positions.groupby("group")
    return np.column_stack([grouped[columns].sum(), grouped.size()]).astype(float)
