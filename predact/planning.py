"""Crossed probes (claim C9): what the states of each model tell of tokens to come, in the text of each author.

The paper finds that RLHF's states tell more. So they might because RLHF's text is easier. Here both models read the
texts of both, and gold text; what each probe gains over counts of the same text is compared between readers.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from predact import collapse, completions, counts, loading, lowrank, probing, stats, store
from predact.collapse import GOLD, Passages
from predact.corpora import Corpus
from predact.errors import UserError
from predact.models import Model, Pair
from predact.probing import MEASURES, OFFSETS

AFFINE, LOW_RANK, SHUFFLED = "affine probe", "low-rank probe", "labels shuffled"
UNIGRAM, BIGRAM, SKIP = "unigram", "bigram (sees the token before)", "skip-gram"
GAINED, BITS = "bits gained over the skip-gram", "bits per token"
MODELS = ("Base", "RLHF")
AHEAD = 2  # the first offset that counts as several positions ahead


def split(passages: Passages, positions: int, limit: int, seed: int = 0) -> tuple[Passages, Passages, Passages]:
    """Part texts by their prompts (or documents): three eighths to train on, one to choose by, a half to test.

    Args:
        passages: all texts.
        positions: to train on, at least, where there are as many; a quarter of it to choose by, and to test.
        limit: tokens that a model can read; the rest of a text is cut off.
        seed: of the parting, and of the order in which texts are taken until there are enough.

    Raises:
        UserError: a part would be empty.
    """
    draw, groups = np.random.default_rng(seed), np.array(passages.groups)
    eights = [np.random.default_rng([seed, block]).permutation(8) for block in range(max(groups, default=0) // 8 + 1)]
    part = np.concatenate(eights)[groups]  # of every eight prompts, in the same way for every author
    length = np.array([min(len(each), limit) for each in passages.sequences])
    room = np.maximum(length - np.array(passages.given) - OFFSETS + 1, 0)
    order = draw.permutation(len(room))
    chosen = []
    for parts, wanted in (((0, 1, 2), positions), ((3,), positions // 4), ((4, 5, 6, 7), positions // 4)):
        mine = order[np.isin(part[order], parts) & (room[order] > 0)]
        before = np.cumsum(room[mine]) - room[mine]
        chosen.append(np.sort(mine[before < wanted]))
    if not all(map(len, chosen)):
        raise UserError(
            "prompts_limit, documents: probes need eight prompts and eight documents with some tokens each."
        )
    return tuple(
        replace(
            passages,
            sequences=[passages.sequences[place][:limit] for place in places],
            given=[passages.given[place] for place in places],
            groups=[passages.groups[place] for place in places],
        )
        for places in chosen
    )  # type: ignore[return-value]


def measure(
    root: Path,
    model: Model,
    passages: Passages,
    layers: Sequence[int],
    trained: Sequence[int],
    positions: int,
    rank: int,
    seed: int = 0,
) -> pd.DataFrame:
    """Fit and test probes of one model on one author's texts, from the store if they are there.

    Args:
        root: of the store.
        model: the reader.
        passages: the texts.
        layers: of the affine probe; see `probing.moments`.
        trained: layers of the low-rank probe, which is trained on half of the positions.
        positions: to train on; see `split`.
        rank: of the low-rank probe.
        seed: of all that is drawn.

    Returns:
        source (a probe or a baseline), layer (-1 for baselines), offset, group, count (positions), and the sums of
        top-1, top-5 and nll (nats).
    """
    content = store.digest([passages.sequences, passages.given, passages.groups])
    inputs: dict[str, Any] = {"model": loading.fingerprint(model), "dtype": model.dtype, "seed": seed, "rank": rank}
    inputs |= {"passages": content, "layers": list(layers), "trained": list(trained), "positions": positions}
    return store.frame(
        root, "probes", inputs, lambda: _measure(model, passages, layers, trained, positions, rank, seed)
    )


def _measure(
    model: Model,
    passages: Passages,
    layers: Sequence[int],
    trained: Sequence[int],
    positions: int,
    rank: int,
    seed: int,
) -> pd.DataFrame:
    loaded, tokenizer = loading.loaded(model)
    size = len(tokenizer)
    train, choose, test = split(passages, positions, loading.context_limit(loaded) or 10**9, seed)
    sums: dict[tuple[str, int, int], np.ndarray] = {}

    def add(source: str, layer: int, offset: int, groups: np.ndarray, each: np.ndarray) -> None:
        total = sums.setdefault((source, layer, offset), np.zeros((max(passages.groups) + 1, 1 + len(MEASURES))))
        np.add.at(total, groups, np.column_stack([np.ones(len(each)), each]))

    probes = [probing.fit(found) for found in probing.moments(loaded, train, layers, seed)]
    factors = probing.calibrate(loaded, size, choose, layers, probes)
    for place, target, groups, logits, wanted in probing.read(loaded, size, test, layers, probes):
        judged = probing.judged(logits * factors[place, target - 1], wanted)
        for column in range(judged.shape[1]):
            source, offset = (AFFINE, target) if target else (SHUFFLED, column + 1)
            add(source, layers[place], offset, groups, judged[:, column])
    if trained:
        half = split(passages, positions // 2, loading.context_limit(loaded) or 10**9, seed)[0]
        low = lowrank.train(loaded, size, half, choose, trained, rank, seed)
        for place, offset, groups, logits, wanted in lowrank.read(loaded, test, trained, low):
            add(LOW_RANK, trained[place], offset, groups, probing.judged(logits, wanted)[:, 0])
    _count(train, test, size, add)
    rows = [
        pd.DataFrame(total, columns=["count", *MEASURES])
        .assign(source=source, layer=layer, offset=offset)
        .reset_index(names="group")
        for (source, layer, offset), total in sums.items()
    ]
    frame = pd.concat(rows, ignore_index=True)
    return frame[frame["count"] > 0].reset_index(drop=True)


def _count(train: Passages, test: Passages, size: int, add: Any) -> None:
    """Judge the baselines at the positions that the probes are tested at."""
    (seen, _), (asked, groups) = (_windows(part) for part in (train, test))
    single = counts.unigram(seen[:, 1], size)  # every token once, though windows overlap
    after = counts.fit(seen[:, 0], seen[:, 1], single)
    for k in range(1, OFFSETS + 1):
        skip = counts.fit(seen[:, 0], seen[:, k], single)
        add(UNIGRAM, -1, k, groups, counts.judge_unigram(single, asked[:, k]))
        add(BIGRAM, -1, k, groups, counts.judge(after, asked[:, k - 1], asked[:, k]))
        add(SKIP, -1, k, groups, counts.judge(skip, asked[:, 0], asked[:, k]))


def _windows(passages: Passages) -> tuple[np.ndarray, np.ndarray]:
    """The token at each position that serves and the `OFFSETS` after it [n, 1 + OFFSETS], and its group [n]."""
    parts = [
        np.lib.stride_tricks.sliding_window_view(np.array(sequence[given - 1 :]), 1 + OFFSETS)
        for sequence, given in zip(passages.sequences, passages.given, strict=True)
    ]
    return np.concatenate(parts), np.repeat(passages.groups, [len(part) for part in parts])


def spread(pair: Pair, count: int = 5) -> list[int]:
    """Return so many layers of a pair's models, evenly spread from the embeddings to the last one."""
    deepest = min(loading.depth(pair.models[step]) for step in MODELS)
    return sorted({round(place) for place in np.linspace(0, deepest, count)})


def crossed(
    root: Path,
    pair: Pair,
    written: pd.DataFrame,
    corpora: Sequence[Corpus],
    layers: Sequence[int],
    trained: Sequence[int] = (),
    positions: int = 40_000,
    rank: int = 16,
    seed: int = 0,
) -> pd.DataFrame:
    """Probe Base and RLHF as readers of what each of them has written, and of gold text.

    Readers whose tokenizer is another one than the author's are left out. The trained probe reads own text only.

    Args:
        root: of the store.
        pair: the models.
        written: generations of both, as `sampling.of_pair` returns them.
        corpora: gold text.
        layers: of the affine probe.
        trained: layers of the low-rank probe.
        positions: to train on, of each author.
        rank: of the low-rank probe.
        seed: of all that is drawn.

    Returns:
        The frames of `measure` with columns reader and author.
    """
    same = completions.same_tokenizer(pair)
    parts = []
    for reader in MODELS:
        gold = collapse.gold(loading.tokenizer(pair.models[reader]), corpora)
        authors = {
            each: collapse.own(written[written.model == each], 10**9) for each in MODELS if same or each == reader
        }
        for author, passages in (authors | {GOLD: gold}).items():
            own = trained if author == reader else ()
            found = measure(root, pair.models[reader], passages, layers, own, positions, rank, seed)
            parts.append(found.assign(reader=reader, author=author))
    return pd.concat(parts, ignore_index=True)


def lens(
    root: Path,
    model: Model,
    passages: Passages,
    layer: int,
    positions: int,
    seed: int = 0,
    ahead: int = 4,
    texts: int = 6,
) -> pd.DataFrame:
    """Read some texts with the affine probe of one layer, fitted to texts of other prompts.

    Args:
        root: of the store.
        model: the reader.
        passages: texts of one author.
        layer: probed.
        positions: to train on; see `split`.
        seed: of all that is drawn.
        ahead: the largest offset.
        texts: how many are read: the first of each of the first prompts to test.

    Returns:
        group (of the text), position, id, offset, seen (the likeliest token so far ahead), p (its probability), hit (it
        came).
    """
    content = store.digest([passages.sequences, passages.given, passages.groups])
    inputs: dict[str, Any] = {"model": loading.fingerprint(model), "dtype": model.dtype, "seed": seed, "ahead": ahead}
    inputs |= {"passages": content, "layer": layer, "positions": positions, "texts": texts}
    return store.frame(root, "lens", inputs, lambda: _lens(model, passages, layer, positions, seed, ahead, texts))


def _lens(
    model: Model, passages: Passages, layer: int, positions: int, seed: int, ahead: int, texts: int
) -> pd.DataFrame:
    loaded, tokenizer = loading.loaded(model)
    train, choose, test = split(passages, positions, loading.context_limit(loaded) or 10**9, seed)
    probes = [probing.fit(probing.moments(loaded, train, [layer], seed)[0])]
    factors = probing.calibrate(loaded, len(tokenizer), choose, [layer], probes)
    rows = []
    for group in sorted(set(test.groups))[:texts]:
        place = test.groups.index(group)
        ids, first = test.sequences[place], test.given[place] - 1
        one = Passages([ids], [first + 1], [group])
        for _, target, _, logits, wanted in probing.read(loaded, len(tokenizer), one, [layer], probes):
            if 0 < target <= ahead:
                p, seen = (logits * factors[0, target - 1]).softmax(1).max(1)
                told = {"seen": seen.cpu(), "p": p.cpu(), "hit": (seen == wanted[:, 0]).cpu(), "offset": target}
                where = {"group": group, "position": np.arange(len(p)), "id": ids[first : first + len(p)]}
                rows.append(pd.DataFrame(where | told))
    return pd.concat(rows).sort_values(["group", "position", "offset"], ignore_index=True)


def measures(sums: pd.DataFrame) -> pd.DataFrame:
    """Means over positions with intervals: prompts (or documents) held out are resampled.

    Returns:
        reader, author, source, layer, offset, measure (top-1, top-5, `BITS`, `GAINED`), estimate, low, high, prompts.
    """
    rows = []
    for (reader, author), part in sums.groupby(["reader", "author"], sort=False):
        part = part.assign(**{BITS: part.nll / np.log(2)})
        skip = part[part.source == SKIP].set_index(["group", "offset"])[BITS]
        base = skip.reindex(pd.MultiIndex.from_frame(part[["group", "offset"]])).to_numpy()
        part = part.assign(**{GAINED: base - part[BITS]})
        wide = part.pivot(index="group", columns=["source", "layer", "offset"], values=["top-1", "top-5", BITS, GAINED])
        count = part.groupby("group")["count"].first().reindex(wide.index)
        value = stats.interval(np.column_stack([wide.to_numpy(float), count]), stats.means)
        table = wide.columns.to_frame(index=False).set_axis(["measure", "source", "layer", "offset"], axis=1)
        rows.append(table.assign(**vars(value), reader=str(reader), author=str(author), prompts=len(wide)))
    return pd.concat(rows, ignore_index=True)


def contrasts(sums: pd.DataFrame) -> pd.DataFrame:
    """Compare what the affine probe gains over the skip-gram, on the mean over layers and offsets from AHEAD on.

    Returns:
        contrast, estimate (bits per token), low, high, prompts; nothing where a reader cannot read the other's text.
    """
    far = sums[(sums.offset >= AHEAD) & sums.source.isin([AFFINE, SKIP])].assign(bits=lambda each: each.nll / np.log(2))
    cells = {}
    for (reader, author), part in far.groupby(["reader", "author"]):
        means = part.groupby(["source", "group"])[
            ["bits", "count"]
        ].mean()  # each group has the same layers and offsets
        cells[reader, author] = means.loc[SKIP].bits - means.loc[AFFINE].bits, means.loc[SKIP]["count"]
    places = [(reader, author) for author in MODELS for reader in MODELS]
    if not set(places) <= cells.keys():
        return pd.DataFrame(columns=["contrast", "estimate", "low", "high", "prompts"])
    columns = [column for place in places for column in cells[place]]
    table = pd.concat(columns, axis=1).dropna().to_numpy(float)  # prompts that were tested with both authors' texts

    def gained(totals: np.ndarray) -> np.ndarray:
        base, easy, hard, rlhf = (totals[..., 2 * n] / totals[..., 2 * n + 1] for n in range(4))
        second, third = rlhf - hard, base - easy
        return np.stack([rlhf - base, second, third, second - third, second + third], -1)

    value = stats.interval(table, gained)
    return pd.DataFrame({"contrast": CONTRASTS} | vars(value)).assign(prompts=len(table))


CONTRASTS = [
    "RLHF reading RLHF, minus Base reading Base",
    "RLHF's text: RLHF reading, minus Base reading",
    "Base's text: Base reading, minus RLHF reading",
    "the second minus the third: is RLHF's advantage at home the larger one?",
    "the second plus the third, the interaction: has each the advantage at home?",
]


def answer(contrasts: pd.DataFrame) -> str:
    """What the crossed design says about the objection that RLHF's text is merely easier, in plain words (Markdown)."""
    own, second, third, larger, _ = (row for _, row in contrasts.iterrows())
    said = [
        "RLHF's states tell more of RLHF's text than Base's tell of Base's"
        if own.low > 0
        else "RLHF's states do not surely tell more of RLHF's text than Base's tell of Base's"
    ]
    said[0] += f" ({own.estimate:+.2f} bits per token). This is the paper's comparison."
    if second.low > 0:
        said.append(
            "**The objection is not the whole story:** in the very same text, RLHF's, its states tell "
            f"{second.estimate:.2f} bits more than Base's do, so it is not the text alone."
        )
    else:
        less = "do not tell more" if second.high < 0 else "do not surely tell more"
        said.append(f"**The objection stands:** in the very same text, RLHF's, its states {less} than Base's.")
    if third.low > 0:
        size = "larger" if larger.low > 0 else "smaller" if larger.high < 0 else "no larger or smaller for sure"
        said.append(
            f"But Base has such an advantage at home too ({third.estimate:.2f} bits): being at home explains that each "
            f"reads its own text best. RLHF's advantage is {size}."
        )
    else:
        said.append("Base has no sure advantage in its own text, so being at home does not explain it.")
    return " ".join(said)
