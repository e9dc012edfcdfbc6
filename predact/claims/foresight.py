"""C9: linear probes of RLHF's hidden states predict more of the tokens to come."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from predact import stats, store
from predact.claims import materials
from predact.claims.materials import Work
from predact.claims.verdict import Claim, Verdict, all_above, conclude, only, unmeasured
from predact.errors import UserError
from predact.methods import counts, lowrank, probing
from predact.methods.probing import MEASURES, OFFSETS
from predact.models import loading, tokens
from predact.models.pairs import ENDS, Model, Pair
from predact.models.passages import GOLD, Passages, gold_passages, own_passages
from predact.models.runs import Run
from predact.models.tokens import Per
from predact.texts.corpora import Corpus

CLAIM = Claim(
    id="C9",
    claim="RLHF hidden states tell more of the tokens several positions ahead.",
    figure="Probing",
    chapter="06_planning",
    work=lambda run: crossed_work(run),
)

AFFINE, LOW_RANK, SHUFFLED = "affine probe", "low-rank probe", "labels shuffled"
UNIGRAM, BIGRAM, SKIP = "unigram", "bigram (sees the token before)", "skip-gram"
Parts = tuple[Passages, Passages, Passages]
GAINED, TOKEN_BITS = "bits gained over the skip-gram", "bits per token"
AHEAD = 2  # the smallest offset that counts as "several positions ahead"
PAPERS, OF_RLHF, OF_BASE = (
    "RLHF reading RLHF, minus Base reading Base",
    "RLHF's text: RLHF reading, minus Base reading",
    "Base's text: Base reading, minus RLHF reading",
)
LARGER = "the second minus the third: is RLHF's advantage at home the larger one?"
INTERACTION = "the second plus the third, the interaction: has each the advantage at home?"
CONTRASTS = [PAPERS, OF_RLHF, OF_BASE, LARGER, INTERACTION]


@dataclass(frozen=True)
class Design:
    """What is probed, and on how much text."""

    layers: Sequence[int]  # of the affine probe; see `probing.moments`
    trained: Sequence[int] = ()  # of the low-rank probe, which is trained on half of the positions
    positions: int = 40_000  # training positions per author; see `split`
    rank: int = 16  # of the low-rank probe
    seed: int = 0  # of all random choices


def split(passages: Passages, positions: int, limit: int | None, seed: int = 0) -> Parts:
    """Split texts by prompt (or document): three eighths for training, one for validation, four for testing.

    Args:
        passages: all texts.
        positions: training positions, at least, if there are enough; a quarter as many to validate and to test.
        limit: tokens that a model can read; the rest of a text is cut off.
        seed: of the split, and of the order in which texts are taken until there are enough.

    Raises:
        UserError: a part would be empty.
    """
    draw, groups = np.random.default_rng(seed), np.array(passages.groups)
    eights = [np.random.default_rng([seed, block]).permutation(8) for block in range(max(groups, default=0) // 8 + 1)]
    part = np.concatenate(eights)[groups]  # a random split of every eight prompts, the same for every author
    cut = replace(passages, sequences=[each[:limit] for each in passages.sequences])
    room = np.maximum(np.array([len(each) for each in cut.sequences]) - np.array(cut.given) - OFFSETS + 1, 0)
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
    train, choose, test = split(passages, design.positions, limit, design.seed)
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
        half = split(passages, design.positions // 2, limit, design.seed)[0]
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


def evenly_spaced_layers(pair: Pair, count: int = 5) -> list[int]:
    """Return `count` layers of a pair's models, evenly spaced from the embeddings to the last layer."""
    deepest = min(loading.depth(pair.models[step]) for step in ENDS)
    return sorted({round(place) for place in np.linspace(0, deepest, count)})


def cross_probes(
    root: Path, pair: Pair, written: pd.DataFrame, corpora: Sequence[Corpus], design: Design
) -> pd.DataFrame:
    """Probe Base and RLHF as readers of what each of them has written, and of gold text.

    A reader is left out if its tokenizer differs from the author's. The low-rank probe reads a model's own text only.

    Args:
        root: of the store.
        pair: the models.
        written: generations of both, as `sampling.sample_pair` returns them.
        corpora: gold text.
        design: what is probed.

    Returns:
        The frames of `fit_and_test` with columns reader and author.
    """
    same = tokens.compared_per(pair) is Per.TOKEN
    jobs, names = [], []
    for reader in ENDS:
        gold = gold_passages(loading.tokenizer(pair.models[reader]), corpora, tokens.pair_lead(pair, reader))
        authors = {each: own_passages(written[written.model == each], 10**9) for each in ENDS if same or each == reader}
        for author, passages in (authors | {GOLD: gold}).items():
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
    layer, drawn = design.layers[-1], {"positions": design.positions, "seed": design.seed}
    inputs = loading.key(model) | {"passages": passages.digest, "layer": layer}
    inputs |= drawn | {"ahead": ahead, "texts": texts}

    def compute() -> pd.DataFrame:
        loaded, tokenizer = loading.loaded(model)
        train, choose, test = split(passages, design.positions, loading.context_limit(loaded), design.seed)
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


def contrasts(sums: pd.DataFrame) -> pd.DataFrame:
    """Compare readers by the affine probe's gain over the skip-gram, averaged over layers and offsets from AHEAD on.

    Returns:
        contrast, estimate (bits per token), low, high, prompts; no rows if a reader cannot read the other's text.
    """
    far = sums[(sums.offset >= AHEAD) & sums.source.isin([AFFINE, SKIP])].assign(bits=lambda each: each.nll / np.log(2))
    cells = {}
    for (reader, author), part in far.groupby(["reader", "author"]):
        means = part.groupby(["source", "group"])[["bits", "count"]].mean()  # same layers and offsets everywhere
        cells[reader, author] = means.loc[SKIP].bits - means.loc[AFFINE].bits, means.loc[SKIP]["count"]
    places = [(reader, author) for author in ENDS for reader in ENDS]
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


def objection_in_words(contrasts: pd.DataFrame) -> str:
    """Say what the crossed design implies for the objection that RLHF's text is merely easier (Markdown)."""
    if contrasts.empty:
        return "The two cut text into different tokens, so neither can read the other's: nothing tests the objection."
    rows = contrasts.set_index("contrast")
    own, second, third, larger = (rows.loc[name] for name in (PAPERS, OF_RLHF, OF_BASE, LARGER))
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


def judge(contrasts: pd.DataFrame) -> Verdict:
    """C9: do RLHF's states predict more of the tokens several places ahead, in RLHF's own text, than Base's do?

    The measure is the gain of an affine probe over skip-gram counts of the same text, in bits per token. The rule,
    `all_above` 0, covers the interaction of reader and author: RLHF's gain minus Base's on RLHF's text, less the same
    difference on Base's text. Text that is easier to predict is easier for both readers, so it cancels.

    Args:
        contrasts: what `contrasts` returns; without rows (the tokenizers differ) the claim stays undecided.
    """
    unit = "bits per token that RLHF's states tell more of RLHF's text, beyond Base's"
    if contrasts.empty:
        return unmeasured(CLAIM, unit)
    row = only(contrasts[contrasts.contrast == INTERACTION])
    said = all_above(pd.Series([row.low]), pd.Series([row.high]), nothing=0)
    return conclude(CLAIM, said, row, unit, row.prompts, 0.0)


def crossed(run: Run) -> pd.DataFrame:
    """Probe Base and RLHF as readers of what each has written, and of gold text: see `cross_probes`."""
    return cross_probes(run.root, run.pair, materials.generations(run), materials.texts(run), design(run))


def design(run: Run) -> Design:
    """What is probed in a run."""
    told = run.settings
    layers = told.layers or evenly_spaced_layers(run.pair)
    trained = told.trained or layers[len(layers) // 2 :][:1]
    return Design(layers, trained, told.probe_positions, told.probe_rank, run.seed)


def crossed_work(run: Run) -> dict[str, Work]:
    """Tokens of `crossed`: two readers, three authors; for fitting, calibrating and testing."""
    return materials.generations_work(run) | {"probes": Work(scored=2 * 3 * 3 * run.settings.probe_positions)}
