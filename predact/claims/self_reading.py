"""Completions of prefixes, and how well every model predicts what every author wrote (C5, the cross-model matrix).

An author (a model, or the gold text itself) continues the first tokens of documents. A scorer reads the prefix and
scores the continuation under its untruncated distribution. Self-perplexity is the case scorer = author.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from predact import stats, store
from predact.claims import materials
from predact.claims.materials import Work
from predact.claims.prediction import BITS
from predact.claims.verdict import Claim, Protocol, Rung, Verdict, all_above, conclude, only
from predact.errors import UserError
from predact.models import loading, sampling, scoring, tokens
from predact.models.pairs import Model, Pair
from predact.models.passages import GOLD
from predact.models.runs import Run
from predact.models.sampling import Settings
from predact.models.tokens import Per
from predact.texts import corpora, prompts
from predact.texts.corpora import Corpus

CLAIM = Claim(
    id="C5",
    claim="RLHF finds its own generations easier to predict than Base finds its own.",
    figure="Figure 5",
    chapter="03_collapse",
    work=lambda run: completions_work(run),
    rungs=lambda run: [rung(completions(run))],
    paper="pretraining, new, instruction, chat: Llama 2 7B, Base 3.72, 3.38, 3.85, 4.55, RLHF 1.47, 1.41, 1.24, 1.32; "
    "Tulu 70B against its Base on instructions 3.61 and 3.25",
)

PERPLEXITY, RATIO = "perplexity per token", "ratio to Base"
ALL, MEAN = "all", "mean"


@dataclass(frozen=True)
class Source:
    """Prefixes of one kind, in ids of the pair's Base, and the gold continuation of each."""

    name: str
    category: str
    prefixes: list[list[int]]
    gold: list[list[int]]


def cut_beginnings(tokenizer: Any, corpora: Sequence[Corpus], prefix: int, longest: int) -> list[Source]:
    """Cut documents after their first `prefix` tokens, or in the middle if that comes first.

    Args:
        tokenizer: of the pair's Base.
        corpora: the documents.
        prefix: tokens of a prefix, not counting the token (BOS) before a document.
        longest: maximum tokens of a gold continuation.

    Raises:
        UserError: the prefix is not positive.
    """
    if prefix < 1:
        raise UserError(f"prefix: expected a whole number above 0, not {prefix}.")
    lead = tokens.lead(tokenizer)
    found = []
    for corpus in corpora:
        ids = [each for each in tokens.encode(tokenizer, corpus.texts) if len(each) > 1]
        cuts = [min(prefix, len(each) // 2) for each in ids]
        prefixes = [lead + each[:cut] for each, cut in zip(ids, cuts, strict=True)]
        gold = [each[cut : cut + longest] for each, cut in zip(ids, cuts, strict=True)]
        found.append(Source(corpus.name, corpus.category, prefixes, gold))
    return found


def cross_reading(root: Path, pair: Pair, found: Sequence[Source], settings: Settings, seed: int = 0) -> pd.DataFrame:
    """Let every model of a pair continue every prefix once, and every model score every author.

    Args:
        root: of the store.
        pair: the models.
        found: what `cut_beginnings` returns.
        settings: how to sample; `generations` is ignored: there is one completion of each prefix.
        seed: of the run.

    Returns:
        scorer, author (the models, and `gold text`), category, source, prefix (its number), tokens (in the author's
        tokenizer), bytes, nll (nats).
    """
    settings = replace(settings, generations=1)
    given = list(chain.from_iterable(source.prefixes for source in found))
    places = pd.DataFrame(
        [(source.category, source.name, place) for source in found for place in range(len(source.prefixes))],
        columns=["category", "source", "prefix"],
    )
    written = {(GOLD, "Base"): (given, list(chain.from_iterable(source.gold for source in found)))}
    made = _completed(root, pair, [(step, source) for step in pair.models for source in found], settings, seed)
    for place, step in enumerate(pair.models):
        mine = pd.concat(made[place * len(found) : (place + 1) * len(found)])
        written[step, step] = list(mine.given), list(mine.ids)
    jobs = [(scorer, *author) for scorer in pair.models for author in written]
    crossed = _crossed(root, pair, [(scorer, step, *written[author, step]) for scorer, author, step in jobs])
    rows = [
        pd.concat([places, scores], axis=1).assign(scorer=scorer, author=author)
        for (scorer, author, _), scores in zip(jobs, crossed, strict=True)
    ]
    columns = ["scorer", "author", *places.columns, "tokens", "bytes", "nll"]
    return pd.concat(rows, ignore_index=True)[columns]


def complete(root: Path, pair: Pair, step: str, source: Source, settings: Settings, seed: int) -> pd.DataFrame:
    """Return one completion of every prefix of a source by one model, from the store if they are there.

    Returns:
        A row for each prefix, in their order: given (ids of the model's own tokenizer), and the fields of
        `sampling.Generation`.
    """
    return _completed(root, pair, [(step, source)], settings, seed)[0]


def _completed(
    root: Path, pair: Pair, jobs: Sequence[tuple[str, Source]], settings: Settings, seed: int
) -> list[pd.DataFrame]:
    """`complete` of several models and sources, a shard for each."""
    prefixes = [_translated(pair, "Base", step, source.prefixes) for step, source in jobs]
    inputs = [
        sampling.key(pair.models[step], settings, seed) | {"source": source.name, "prefixes": store.digest(given)}
        for (step, source), given in zip(jobs, prefixes, strict=True)
    ]

    def compute(places: list[int]) -> Iterator[pd.DataFrame]:
        for place in places:
            step, source = jobs[place]
            yield _written(pair.models[step], source.name, prefixes[place], settings, seed)

    return store.shards(root, "completions", inputs, compute)


def _written(model: Model, source: str, prefixes: list[list[int]], settings: Settings, seed: int) -> pd.DataFrame:
    loaded, tokenizer = loading.loaded(model)
    order = sorted(range(len(prefixes)), key=lambda place: len(prefixes[place]))
    made: dict[int, sampling.Generation] = {}
    for length, group in groupby(order, key=lambda place: len(prefixes[place])):
        places = list(group)
        room = sampling.room_after(loaded, length, f"prefix: a prefix of {source!r}")
        numbers = sampling.uniforms(seed, [f"{source}/{place}" for place in places], settings, room)
        sampled = sampling.sample(loaded, tokenizer, [prefixes[place] for place in places], numbers, settings)
        made |= dict(zip(places, sampled, strict=True))
    ordered = [made[place] for place in range(len(prefixes))]
    return pd.DataFrame({"given": prefixes, **sampling.columns(ordered)})


def _crossed(root: Path, pair: Pair, jobs: Sequence[tuple[str, str, Any, Any]]) -> list[pd.DataFrame]:
    """Tokens, bytes and nll under a scorer of texts in the ids of a step, each after its given ids; a shard a job."""
    texts = []
    for _, _, given, ids in jobs:
        begun = [list(map(int, each)) for each in given]
        texts.append((begun, [first + list(map(int, rest)) for first, rest in zip(begun, ids, strict=True)]))
    inputs = [
        loading.key(pair.models[scorer])
        | {"texts": store.digest(each), "cut by": loading.fingerprint(pair.models[step])}
        | _later_windows(pair, scorer, step, each[1])
        for (scorer, step, *_), each in zip(jobs, texts, strict=True)
    ]

    def compute(places: list[int]) -> Iterator[pd.DataFrame]:
        return (_scores(pair, *jobs[place][:2], *texts[place]) for place in places)

    return store.shards(root, "crossing", inputs, compute)


def _later_windows(pair: Pair, scorer: str, step: str, whole: list[list[int]]) -> dict[str, list[int]]:
    lengths = map(len, _translated(pair, step, scorer, whole))
    return scoring.later_windows(pair.models[scorer], lengths, tokens.pair_window_lead(pair, scorer))


def _scores(pair: Pair, scorer: str, step: str, begun: list[list[int]], whole: list[list[int]]) -> pd.DataFrame:
    """Tokens and bytes of what follows a beginning, in the ids of `step`, and its nll under the scorer."""
    loaded, tokenizer = loading.loaded(pair.models[scorer])
    again = tokens.pair_window_lead(pair, scorer)
    if tokens.difference(loading.tokenizer(pair.models[step]), tokenizer) is None:
        nll = _sums(loaded, len(tokenizer), whole, list(map(len, begun)), again)
    else:
        read = [_translated(pair, step, scorer, each) for each in (whole, begun)]
        sums = [_sums(loaded, len(tokenizer), each, [1] * len(each), again) for each in read]
        nll = sums[0] - sums[1]
    lengths = [len(all_of_it) - len(first) for all_of_it, first in zip(whole, begun, strict=True)]
    size = _bytes(pair, step, whole) - _bytes(pair, step, begun)
    return pd.DataFrame({"tokens": lengths, "bytes": size, "nll": nll})


def _sums(
    model: Any, vocabulary: int, sequences: list[list[int]], given: list[int], window_lead: list[int]
) -> np.ndarray:
    """Nll of each sequence after its given ids, summed in float64."""
    nll = scoring.score_ids(model, sequences, given, vocabulary, window_lead).nll.astype(np.float64)
    lengths = [len(each) - count for each, count in zip(sequences, given, strict=True)]
    return np.bincount(np.repeat(np.arange(len(sequences)), lengths), weights=nll, minlength=len(sequences))


def _bytes(pair: Pair, step: str, sequences: list[list[int]]) -> np.ndarray:
    return np.array([len(text.encode()) for text in _texts(pair, step, sequences)])


def _texts(pair: Pair, step: str, sequences: list[list[int]]) -> list[str]:
    """Texts of ids, without the token (BOS) before a document."""
    tokenizer = loading.tokenizer(pair.models[step])
    skip = len(tokens.lead(tokenizer))
    return [tokenizer.decode(each[skip:]) for each in sequences]


def _translated(pair: Pair, source: str, target: str, sequences: list[list[int]]) -> list[list[int]]:
    """Translate ids of one model into ids of another: unchanged if their tokenizers agree, else through the text."""
    tokenizer = loading.tokenizer(pair.models[target])
    if tokens.difference(loading.tokenizer(pair.models[source]), tokenizer) is None:
        return sequences
    return [tokens.lead(tokenizer) + ids for ids in tokens.encode(tokenizer, _texts(pair, source, sequences))]


def self_perplexity(scores: pd.DataFrame, per: Per) -> pd.DataFrame:
    """How well each model predicts its own completions: by source, by category and over all.

    With sums over a source's completions: perplexity per token exp(nll / tokens), bits per byte nll / (bytes ln 2), and
    the ratio of a model's perplexity (per byte if the tokenizers differ) to Base's on Base's own completions. Over
    several sources, these are averaged: bits arithmetically, the others geometrically.

    Args:
        scores: what `cross_reading` returns.
        per: see `tokens.compared_per`.

    Returns:
        category, source (`mean` over several), model, unit, estimate, low, high (95 % paired bootstrap over prefixes
        within sources), prefixes.
    """
    own = scores[scores.scorer == scores.author]
    models = list(own.scorer.unique())
    units = (PERPLEXITY, BITS, RATIO) if per is Per.TOKEN else (BITS, RATIO)
    rows = []
    for (category, source), parts in _groups(own):
        wide = [part.pivot(index="prefix", columns="scorer", values=["nll", "tokens", "bytes"]) for part in parts]
        sums = [each.reindex(columns=models, level=1).to_numpy(float) for each in wide]
        value = stats.stratified(sums, partial(_own_values, models=len(models), per=per))
        place = {"category": category, "source": source, "prefixes": sum(map(len, sums))}
        rows.append(stats.tidy(value, [("unit", units), ("model", models)], **place))
    return pd.concat(rows, ignore_index=True)


def _own_values(strata: Sequence[np.ndarray], models: int, per: Per) -> np.ndarray:
    """Turn totals of sources [..., 3 (nll, tokens, bytes) * models] into means over sources [..., units, models]."""
    totals = np.stack(strata).reshape(len(strata), *strata[0].shape[:-1], 3, models)
    nll, tokens, size = (totals[..., place, :] for place in range(3))
    each = nll / (tokens if per is Per.TOKEN else size)
    mean = each.mean(axis=0)
    values = [np.exp(mean)] * (per is Per.TOKEN) + [(nll / size).mean(axis=0) / np.log(2), np.exp(mean - mean[..., :1])]
    return np.stack(values, axis=-2)


def reading_matrix(scores: pd.DataFrame) -> pd.DataFrame:
    """Bits per byte that every scorer needs for every author, by category and over all: means over sources.

    Args:
        scores: what `cross_reading` returns.

    Returns:
        category (`all` first), scorer, author, estimate, low, high (95 % bootstrap over prefixes), unit, prefixes.
    """
    cells = scores[["scorer", "author"]].drop_duplicates()
    order = pd.MultiIndex.from_frame(cells)
    rows = []
    groups = [(category, parts) for (category, source), parts in _groups(scores) if source == MEAN]
    for category, parts in sorted(groups, key=lambda group: group[0] != ALL):
        wide = [part.pivot(index="prefix", columns=["scorer", "author"], values=["nll", "bytes"]) for part in parts]
        sums = [np.hstack([each["nll"][order], each["bytes"][order]]).astype(float) for each in wide]
        value = stats.stratified(sums, _bits)
        rows.append(cells.assign(category=category, **vars(value), unit=BITS, prefixes=sum(map(len, sums))))
    return pd.concat(rows, ignore_index=True)


def _bits(strata: Sequence[np.ndarray]) -> np.ndarray:
    """Turn totals of sources [..., nll of cells, bytes of cells] into mean bits per byte [..., cells]."""
    nll, size = np.split(np.stack(strata), 2, axis=-1)
    return (nll / size).mean(axis=0) / np.log(2)


def _groups(scores: pd.DataFrame) -> Iterator[tuple[tuple[Any, Any], list[pd.DataFrame]]]:
    """Yield each source, then the sources of each category together, then all."""
    by_source: dict[Any, pd.DataFrame] = dict(list(scores.groupby(["category", "source"], sort=False)))
    for place, part in by_source.items():
        yield place, [part]
    for category in scores.category.unique():
        yield (category, MEAN), [part for (kind, _), part in by_source.items() if kind == category]
    yield (ALL, MEAN), list(by_source.values())


def own_perplexity(generations: pd.DataFrame) -> pd.DataFrame:
    """Perplexity of generations under the untruncated model that wrote them, given the prompt: exp(-Σ log p / tokens).

    Args:
        generations: what `sampling.sample_pair` returns.

    Returns:
        model, generations, tokens, estimate, low, high (95 % bootstrap over prompts), prompts.
    """
    rows = []
    for model, part in generations.groupby("model", sort=False):
        each = part.assign(nll=-part.log_probabilities.map(lambda p: np.sum(p, dtype=float)), tokens=part.ids.map(len))
        sums = each.groupby("prompt")[["nll", "tokens"]].sum().to_numpy(float)
        value = stats.interval(sums, lambda totals: np.exp(totals[..., 0] / totals[..., 1]))
        count = {"generations": len(part), "tokens": int(each.tokens.sum())}
        rows.append({"model": model} | count | vars(value) | {"prompts": len(sums)})
    return pd.DataFrame(rows)


def judge(frame: pd.DataFrame) -> Verdict:
    """C5: is RLHF's perplexity on its own completions below Base's on its own, in every category?

    The measure is the ratio of the perplexities, RLHF / Base, a geometric mean over the sources of a category. The rule
    is that it lies below 1 in every category. The estimate is the mean over all sources.

    Args:
        frame: what `self_perplexity` returns.
    """
    ratio = _ratios(frame)
    return _below_one(ratio[(ratio.source == MEAN) & (ratio.category != ALL)], ratio, "paper")


def judge_beyond(frame: pd.DataFrame) -> Verdict:
    """C5, more strictly: as `judge`, but for every source of prefixes, the prompts and unseen texts among them."""
    ratio = _ratios(frame)
    return _below_one(ratio[ratio.source != MEAN], ratio, "book")


def _ratios(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[(frame.model == "RLHF") & (frame.unit == RATIO)]


def _below_one(each: pd.DataFrame, ratio: pd.DataFrame, protocol: Protocol) -> Verdict:
    said, mean = all_above(-each.high, -each.low, nothing=-1), only(ratio[ratio.category == ALL])
    return conclude(CLAIM, said, mean, "perplexity ratio", mean.prefixes, protocol=protocol)


def completions(run: Run) -> pd.DataFrame:
    """Completions of the first tokens of gold text and of prompts, scored by every model: see `cross_reading`."""
    told = run.settings
    kinds = corpora.select([*materials.collapse_names(run), *told.unseen], told.prefixes, run.seed, run.root)
    kinds.append(prompts.corpus(materials.questions(run)[: told.prefixes]))
    base = loading.tokenizer(run.pair.models["Base"])
    beginnings = cut_beginnings(base, kinds, told.prefix, told.completion_tokens)
    how = replace(told.sampling, max_new_tokens=told.completion_tokens)
    return cross_reading(run.root, run.pair, beginnings, how, run.seed)


def completions_work(run: Run) -> dict[str, Work]:
    """Tokens of `completions`."""
    kinds = len(corpora.expanded([*materials.collapse_names(run), *run.settings.unseen])) + 1
    beginnings, steps = kinds * run.settings.prefixes * run.settings.completion_tokens, len(run.pair.models)
    return {"completions": Work(scored=steps * (steps + 1) * beginnings, sampled=steps * beginnings)}


def rung(crossed: pd.DataFrame) -> Rung:
    """Nats per token of own completions, mean over sources. Takes what `cross_reading` returns."""
    own = crossed[crossed.scorer == crossed.author]
    strata = []
    for _, part in own.groupby("source", sort=False):
        wide, steps = part.pivot(index="prefix", columns="scorer", values=["nll", "tokens"]), list(part.scorer.unique())
        strata.append(np.stack([wide["nll"][steps], wide["tokens"][steps]], 2))
    return Rung(CLAIM.id, "nats per token of own completions", strata)
