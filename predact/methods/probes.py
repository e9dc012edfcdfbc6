"""Probes of a pair's models, fitted and tested on texts of any author, kept in the store.

A probe is fitted on some prompts (or documents) and tested on others. It is judged at the same positions as what counts
of the same text tell. Only sums by prompt are kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from predact import stats, store
from predact.errors import UserError
from predact.methods import counts, lowrank, probing
from predact.methods.probing import MEASURES, OFFSETS
from predact.models import loading, tokens
from predact.models.pairs import ENDS, Model, Pair
from predact.models.passages import GOLD, Passages, gold_passages, own_passages
from predact.models.tokens import Per
from predact.texts.corpora import Corpus

AFFINE, LOW_RANK, SHUFFLED = "affine probe", "low-rank probe", "labels shuffled"
UNIGRAM, BIGRAM, SKIP = "unigram", "bigram (sees the token before)", "skip-gram"
Parts = tuple[Passages, Passages, Passages]
GAINED, TOKEN_BITS = "bits gained over the skip-gram", "bits per token"


@dataclass(frozen=True)
class Design:
    """What is probed, and on how much text."""

    layers: Sequence[int]  # of the affine probe; see `probing.moments`
    trained: Sequence[int] = ()  # of the low-rank probe, which is trained on half of the positions
    positions: int = 40_000  # training positions per author; see `split`
    tested: int = 10_000  # test positions per author
    rank: int = 16  # of the low-rank probe
    seed: int = 0  # of all random choices


def split(passages: Passages, positions: int, tested: int, limit: int | None, seed: int = 0) -> Parts:
    """Split texts by prompt (or document): three eighths for training, one for validation, four for testing.

    Texts are taken until there are enough: one of each prompt in a drawn order, which is the same for every author,
    then a second one of each, and so on.

    Args:
        passages: all texts.
        positions: training positions, at least, if there are enough; a quarter as many to validate.
        tested: test positions, at least, if there are enough.
        limit: tokens that a model can read; the rest of a text is cut off.
        seed: of the split and the order.

    Raises:
        UserError: a part would be empty.
    """
    groups = np.array(passages.groups, dtype=int)
    blocks = max(groups, default=0) // 8 + 1
    eights = [np.random.default_rng([seed, block]).permutation(8) for block in range(blocks)]
    part = np.concatenate(eights)[groups]  # a random split of every eight prompts, the same for every author
    cut = replace(passages, sequences=[each[:limit] for each in passages.sequences])
    room = np.maximum(np.array([len(each) for each in cut.sequences]) - np.array(cut.given) - OFFSETS + 1, 0)
    turn = np.random.default_rng(seed).random(8 * blocks)[groups]
    order = np.lexsort((turn, pd.Series(groups).groupby(groups).cumcount()))
    chosen = []
    for parts, wanted in (((0, 1, 2), positions), ((3,), positions // 4), ((4, 5, 6, 7), tested)):
        mine = order[np.isin(part[order], parts) & (room[order] > 0)]
        before = np.cumsum(room[mine]) - room[mine]
        chosen.append(np.sort(mine[before < wanted]))
    if not all(map(len, chosen)):
        raise UserError(
            "prompts_limit, documents: probes need eight prompts and eight documents with some tokens each."
        )
    train, choose, test = map(cut.take, chosen)
    return train, choose, test


def fit_and_test(root: Path, model: Model, passages: Passages, design: Design) -> pd.DataFrame:
    """Fit and test probes of one model on one author's texts, from the store if they are there.

    Args:
        root: of the store.
        model: the reader.
        passages: the texts.
        design: what is probed.

    Returns:
        source (a probe or a baseline), layer (-1 for baselines), offset, group, count (positions), and the sums of
        top-1, top-5 and nll (nats).
    """
    return _probed(root, [(model, passages, design)])[0]


def _probed(root: Path, jobs: Sequence[tuple[Model, Passages, Design]]) -> list[pd.DataFrame]:
    """`fit_and_test` of several models, texts and designs, a shard for each."""
    inputs = [loading.key(model) | {"passages": read.digest} | asdict(design) for model, read, design in jobs]
    return store.shards(root, "probes", inputs, lambda places: (_fit_and_test(*jobs[place]) for place in places))


def _fit_and_test(model: Model, passages: Passages, design: Design) -> pd.DataFrame:
    loaded, tokenizer = loading.loaded(model)
    size, limit = len(tokenizer), loading.context_limit(loaded)
    train, choose, test = split(passages, design.positions, design.tested, limit, design.seed)
    sums: dict[tuple[str, int, int], np.ndarray] = {}

    def add(source: str, layer: int, offset: int, groups: np.ndarray, each: np.ndarray) -> None:
        total = sums.setdefault((source, layer, offset), np.zeros((max(passages.groups) + 1, 1 + len(MEASURES))))
        np.add.at(total, groups, np.column_stack([np.ones(len(each)), each]))

    for place, target, groups, logits, wanted in _affine(
        loaded, size, (train, choose, test), design.layers, design.seed
    ):
        judged = probing.judged(logits, wanted)
        for column in range(judged.shape[1]):
            source, offset = (AFFINE, target) if target else (SHUFFLED, column + 1)
            add(source, design.layers[place], offset, groups, judged[:, column])
    if design.trained:
        half = split(passages, design.positions // 2, design.tested, limit, design.seed)[0]
        low = lowrank.train(loaded, size, half, choose, design.trained, design.rank, design.seed)
        for place, offset, groups, logits, wanted in lowrank.read(loaded, test, design.trained, low):
            add(LOW_RANK, design.trained[place], offset, groups, probing.judged(logits, wanted)[:, 0])
    _count(train, test, size, add)
    rows = [
        pd.DataFrame(total, columns=["count", *MEASURES])
        .assign(source=source, layer=layer, offset=offset)
        .reset_index(names="group")
        for (source, layer, offset), total in sums.items()
    ]
    frame = pd.concat(rows, ignore_index=True)
    return frame[frame["count"] > 0].reset_index(drop=True)


def _affine(
    model: Any, size: int, parts: Parts, layers: Sequence[int], seed: int
) -> Iterator[tuple[int, int, np.ndarray, Tensor, Tensor]]:
    """Fit affine probes, calibrate them, and yield their predictions on the test texts, as `probing.read` does."""
    train, choose, test = parts
    probes = [probing.fit(found) for found in probing.moments(model, train, layers, seed)]
    factors = probing.calibrate(model, size, choose, layers, probes)
    for place, target, groups, logits, wanted in probing.read(model, size, test, layers, probes):
        yield place, target, groups, logits * factors[place, target - 1], wanted


def _count(train: Passages, test: Passages, size: int, add: Any) -> None:
    """Evaluate the baselines at the positions at which the probes are tested."""
    (seen, _), (asked, groups) = (_windows(part) for part in (train, test))
    single = counts.unigram(seen[:, 1], size)  # every token once, though windows overlap
    after = counts.fit(seen[:, 0], seen[:, 1], single)
    for k in range(1, OFFSETS + 1):
        skip = counts.fit(seen[:, 0], seen[:, k], single)
        add(UNIGRAM, -1, k, groups, counts.judge_unigram(single, asked[:, k]))
        add(BIGRAM, -1, k, groups, counts.judge(after, asked[:, k - 1], asked[:, k]))
        add(SKIP, -1, k, groups, counts.judge(skip, asked[:, 0], asked[:, k]))


def _windows(passages: Passages) -> tuple[np.ndarray, np.ndarray]:
    """Return each usable position's token and the `OFFSETS` tokens after it [n, 1 + OFFSETS], and its group [n]."""
    parts = [
        np.lib.stride_tricks.sliding_window_view(np.array(sequence[given - 1 :]), 1 + OFFSETS)
        for sequence, given in zip(passages.sequences, passages.given, strict=True)
    ]
    return np.concatenate(parts), np.repeat(passages.groups, [len(part) for part in parts])


def cross_probes(
    root: Path, pair: Pair, written: pd.DataFrame, corpora: Sequence[Corpus], design: Design
) -> pd.DataFrame:
    """Probe Base and RLHF as readers of what each of them has written, and of gold text.

    A reader is left out if its tokenizer differs from the author's. The low-rank probe reads a model's own text only.

    Args:
        root: of the store.
        pair: the models.
        written: generations of both, as `sampling.sample_pair` returns them.
        corpora: gold text; without any, only what the two have written is read.
        design: what is probed.

    Returns:
        The frames of `fit_and_test` with columns reader and author.
    """
    same = tokens.compared_per(pair) is Per.TOKEN
    jobs, names = [], []
    for reader in ENDS:
        authors = {each: own_passages(written[written.model == each], 10**9) for each in ENDS if same or each == reader}
        if corpora:
            lead = tokens.pair_lead(pair, reader)
            authors[GOLD] = gold_passages(loading.tokenizer(pair.models[reader]), corpora, lead)
        for author, passages in authors.items():
            mine = design if author == reader else replace(design, trained=())
            jobs.append((pair.models[reader], passages, mine))
            names.append({"reader": reader, "author": author})
    parts = [part.assign(**name) for part, name in zip(_probed(root, jobs), names, strict=True)]
    return pd.concat(parts, ignore_index=True)


def lens(root: Path, model: Model, passages: Passages, design: Design, ahead: int = 4, texts: int = 6) -> pd.DataFrame:
    """Predict the next tokens of some texts with the affine probe of a design's last layer, fitted on other prompts.

    Args:
        root: of the store.
        model: the reader.
        passages: texts of one author.
        design: what is probed.
        ahead: the largest offset.
        texts: number of texts: the first one of each of the first test prompts.

    Returns:
        group (of the text), position, id, offset, seen (the likeliest token at this offset), p (its probability), hit
        (whether it is the actual token).
    """
    layer = design.layers[-1]
    drawn = {"positions": design.positions, "tested": design.tested, "seed": design.seed}
    inputs = loading.key(model) | {"passages": passages.digest, "layer": layer}
    inputs |= drawn | {"ahead": ahead, "texts": texts}

    def compute() -> pd.DataFrame:
        loaded, tokenizer = loading.loaded(model)
        limit = loading.context_limit(loaded)
        train, choose, test = split(passages, design.positions, design.tested, limit, design.seed)
        firsts = test.take(test.groups.index(group) for group in sorted(set(test.groups))[:texts])
        return _lens(loaded, len(tokenizer), (train, choose, firsts), layer, design.seed, ahead)

    return store.frame(root, "lens", inputs, compute)


def _lens(model: Any, size: int, parts: Parts, layer: int, seed: int, ahead: int) -> pd.DataFrame:
    texts, rows = parts[2], []
    for _, target, groups, logits, wanted in _affine(model, size, parts, [layer], seed):
        if 0 < target <= ahead:
            p, seen = logits.softmax(1).max(1)
            told = {"seen": seen.cpu(), "p": p.cpu(), "hit": (seen == wanted[:, 0]).cpu(), "offset": target}
            rows.append(pd.DataFrame({"group": groups} | told))
    frame = pd.concat(rows, ignore_index=True)
    position = frame.groupby(["group", "offset"]).cumcount()
    begins = dict(zip(texts.groups, zip(texts.sequences, texts.given, strict=True), strict=True))
    ids = [begins[group][0][begins[group][1] - 1 + at] for group, at in zip(frame.group, position, strict=True)]
    frame = frame.assign(position=position, id=ids)[["group", "position", "id", "seen", "p", "hit", "offset"]]
    return frame.sort_values(["group", "position", "offset"], ignore_index=True)


def probe_means(sums: pd.DataFrame) -> pd.DataFrame:
    """Means over positions, with intervals from resampling the test prompts (or documents).

    Returns:
        reader, author, source, layer, offset, measure (top-1, top-5, `TOKEN_BITS`, `GAINED`), estimate, low, high,
        prompts.
    """
    rows = []
    for (reader, author), part in sums.groupby(["reader", "author"], sort=False):
        part = part.assign(**{TOKEN_BITS: part.nll / np.log(2)})
        skip = part[part.source == SKIP].set_index(["group", "offset"])[TOKEN_BITS]
        base = skip.reindex(pd.MultiIndex.from_frame(part[["group", "offset"]])).to_numpy()
        part = part.assign(**{GAINED: base - part[TOKEN_BITS]})
        wide = part.pivot(
            index="group", columns=["source", "layer", "offset"], values=["top-1", "top-5", TOKEN_BITS, GAINED]
        )
        count = part.groupby("group")["count"].first().reindex(wide.index)
        value = stats.interval(np.column_stack([wide.to_numpy(float), count]), stats.means)
        table = wide.columns.to_frame(index=False).set_axis(["measure", "source", "layer", "offset"], axis=1)
        rows.append(table.assign(**vars(value), reader=str(reader), author=str(author), prompts=len(wide)))
    return pd.concat(rows, ignore_index=True)
