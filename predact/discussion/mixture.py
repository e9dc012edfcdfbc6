"""A counter-measure without training: Base and RLHF mixed, token by token, and what that does to the trade-off.

The mixture with weight w adds the logits of both models, (1 - w) Base + w RLHF: up to a constant the logarithm of
Base^(1 - w) RLHF^w. It predicts documents with that, and answers with that (Base reads the question in its frame, RLHF
in its template, both what has been written so far). At w = 0 it is Base, at w = 1 RLHF.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from predact import stats, store
from predact.methods.ngrams import shares
from predact.models import loading, sampling, scoring
from predact.models.cache import empty
from predact.models.distributions import entropies
from predact.models.pairs import Pair
from predact.models.passages import Passages, gold_passages
from predact.models.tokens import window_lead
from predact.pocket import human, world
from predact.recipe.answers import text_of
from predact.recipe.recipe import SCALES
from predact.texts.corpora import Corpus

WEIGHTS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
_TOKENS = SCALES["full"].rlhf.tokens  # of an answer, at most
_RECORD = SCALES["full"].record  # answers to each question and documents of each corpus: as runs were recorded
_ROWS = 128  # answers whose logits are held at a time
MEASURES = ("excess", "share10", "entropy")


class Caches:
    """What a mixture remembers of the rows of a batch: a cache for each of its models, and each row's weight."""

    def __init__(self, each: Sequence[Any], weights: Tensor) -> None:
        """Take an empty cache for each model, and the weight of the second model in each row [rows, 1, 1]."""
        self.each, self.weights = each, weights

    def reorder_cache(self, rows: Tensor) -> None:
        """Keep only these rows, in every cache."""
        for cache in self.each:
            cache.reorder_cache(rows)
        self.weights = self.weights[rows]


class Mixture(NamedTuple):
    """Two models with the interface of one."""

    models: tuple[Any, Any]

    def __call__(self, input_ids: Any, past_key_values: Caches, **options: Any) -> SimpleNamespace:
        """Logits of both, added where the first has them; `input_ids` are the same for both, or what each reads."""
        read = input_ids if isinstance(input_ids, tuple) else (input_ids, input_ids)
        first, second = (
            model(input_ids=ids.to(model.device), past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            for model, ids, cache in zip(self.models, read, past_key_values.each, strict=True)
        )
        return SimpleNamespace(logits=torch.lerp(first, second.to(first.device), past_key_values.weights))


@torch.inference_mode()
def sample_mixture(
    mixture: Mixture,
    tokenizer: Any,
    prompts: tuple[list, list],
    weights: Sequence[float],
    numbers: np.ndarray,
    settings: sampling.Settings,
) -> list[sampling.Generation]:
    """Sample an answer of a mixture for each row of `numbers`.

    Args:
        mixture: two models with one tokenizer.
        tokenizer: theirs.
        prompts: ids for each of the two models, a prompt for each row, all of a model equally long.
        weights: of the second model, for each row.
        numbers: of `sampling.uniforms`.
        settings: how to sample.
    """
    for model in mixture.models:
        sampling.verify(model, tokenizer)
    each, device = [empty(model) for model in mixture.models], mixture.models[0].device
    caches = Caches(each, torch.tensor(weights, dtype=torch.float32, device=device)[:, None, None])
    first = mixture(tuple(map(torch.tensor, prompts)), caches).logits[:, -1, : len(tokenizer)].float()
    stops = sorted(set().union(*(sampling.stop_ids(model, tokenizer) for model in mixture.models)))
    draws, ends = torch.from_numpy(numbers).to(device), torch.tensor(stops, device=device)
    return sampling.continued(mixture, caches, first, draws, settings, ends)


def mixture_answers(
    root: Path, pair: Pair, weights: Sequence[float] = WEIGHTS, samples: int = _RECORD.samples
) -> pd.DataFrame:
    """Answers of mixtures to the validation questions, with their true reward: measured as runs were recorded.

    They are sampled from the whole distribution and cut off after as many tokens as in training; an end counts as a
    token of the answer; entropy is that of the whole distribution at every token (`trajectory.recorder`).

    Args:
        root: of the store.
        pair: the pocket pair, or one with other models of the same world.
        weights: of RLHF.
        samples: answers to each question.

    Returns:
        A row per answer: weight, question, ids (with its end), entropy (nats, summed over the ids), reward, text.
    """
    settings = sampling.Settings(samples, top_p=1.0, max_new_tokens=_TOKENS)
    known = {question.id: question for question in human.questions("validation")}
    tokenizer, asked = loading.tokenizer(pair.models["Base"]), _asked(pair)
    inputs = _inputs(pair) | {"weights": list(weights), "samples": samples, "questions": store.digest(asked)}
    frame = store.frame(root, "mixture", inputs, lambda: _answers(pair, asked, weights, settings))
    order = frame.question.map({name: place for place, name in enumerate(known)})  # that of the recorded rewards
    frame = frame.assign(order=order).sort_values(["weight", "order"], kind="stable", ignore_index=True)
    frame["text"] = [text_of(tokenizer, ids) for ids in frame.ids]
    judged = [human.judge(known[str(row.question)], str(row.text))["reward"] for row in frame.itertuples()]
    return frame.assign(reward=judged)[["weight", "question", "ids", "entropy", "reward", "text"]]


def _inputs(pair: Pair) -> dict[str, Any]:
    return {step: loading.key(pair.models[step]) for step in ("Base", "RLHF")}


def _asked(pair: Pair) -> list[tuple[str, list[int], list[int]]]:
    """The validation questions: id, and what Base and RLHF are given."""
    tokenizer, chat = (loading.tokenizer(pair.models[step]) for step in ("Base", "RLHF"))
    names, texts = zip(*((each.id, each.prompt) for each in human.questions("validation")), strict=True)
    both = sampling.ask_all(tokenizer, texts, pair.frame), sampling.ask_all(chat, texts, None)
    return list(zip(names, *both, strict=True))


def _answers(pair: Pair, asked: Sequence[tuple], weights: Sequence[float], settings: sampling.Settings) -> pd.DataFrame:
    """Rows weight, question, ids, entropy; questions with prompts of one length are answered together, by all mixtures.

    A question's random numbers are the same for all weights.
    """
    (base, tokenizer), (rlhf, _) = (loading.load(pair.models[step]) for step in ("Base", "RLHF"))
    rows: list[tuple] = []
    for _, group in groupby(
        tqdm(sorted(asked, key=_lengths), desc="mixtures", leave=False, disable=None), key=_lengths
    ):
        each = [(weight, *row, number) for row in group for weight in weights for number in range(settings.generations)]
        mixed, names, first, second, samples = map(list, zip(*each, strict=True))
        keys = [f"{name}/{number}" for name, number in zip(names, samples, strict=True)]
        numbers = sampling.uniforms(0, keys, settings, settings.max_new_tokens)
        made = sample_mixture(Mixture((base, rlhf)), tokenizer, (first, second), mixed, numbers, settings)
        ids = [[*each.ids, tokenizer.eos_token_id] if each.finish == "stop" else each.ids for each in made]
        entropy = _entropies((base, rlhf), tokenizer, (first, second), ids, mixed)
        rows += zip(mixed, names, ids, entropy, strict=True)
    return pd.DataFrame(rows, columns=["weight", "question", "ids", "entropy"])


def _entropies(
    models: tuple[Any, Any], tokenizer: Any, prompts: tuple[list, list], answers: list[list[int]], weights: list[float]
) -> np.ndarray:
    """Entropy in nats of a mixture, summed over the tokens of each answer."""
    sums = np.zeros(len(answers))
    for start in range(0, len(answers), _ROWS):
        some = slice(start, start + _ROWS)
        lengths = list(map(len, answers[some]))
        first, second = (
            _logits(
                model,
                tokenizer,
                Passages(
                    [[*asked, *ids] for asked, ids in zip(given[some], answers[some], strict=True)],
                    list(map(len, given[some])),
                    list(range(len(lengths))),
                ),
                sum(lengths),
            )
            for model, given in zip(models, prompts, strict=True)
        )
        each = torch.tensor(weights[some], dtype=torch.float32).repeat_interleave(torch.tensor(lengths))
        found = entropies(torch.lerp(first, second, each[:, None]))
        sums[some] = np.bincount(np.repeat(np.arange(len(lengths)), lengths), found, len(lengths))
    return sums


def _lengths(asked: tuple[str, list[int], list[int]]) -> tuple[int, int]:
    return len(asked[1]), len(asked[2])


def mixture_documents(
    root: Path, pair: Pair, weights: Sequence[float] = WEIGHTS, documents: int = _RECORD.documents
) -> pd.DataFrame:
    """Nll of documents under mixtures, beside what the world itself needs.

    Returns:
        A row per weight and document: weight, corpus, doc, nll, floor (both nats), bytes.
    """
    inputs = _inputs(pair) | {"weights": list(weights), "documents": documents, "corpora": list(world.CORPORA)}
    return store.frame(root, "mixed-documents", inputs, lambda: pd.DataFrame(_documents(pair, weights, documents)))


def _documents(pair: Pair, weights: Sequence[float], documents: int) -> Iterator[dict[str, Any]]:
    loaded = [loading.load(pair.models[step]) for step in ("Base", "RLHF")]
    tokenizer = loaded[0][1]
    for corpus in tqdm(world.CORPORA, desc="mixing", unit="corpus", leave=False, disable=None):
        drawn = [world.document(corpus, "validation", place) for place in range(documents)]
        passages = gold_passages(tokenizer, [Corpus(corpus, "", [each.text for each in drawn], None, "")])
        ended = [[*ids, tokenizer.eos_token_id] for ids in passages.sequences]  # as the world's entropy counts the ends
        passages = replace(passages, sequences=ended)
        lengths = [len(ids) - given for ids, given in zip(passages.sequences, passages.given, strict=True)]
        targets = torch.tensor([token for ids in passages.sequences for token in ids[1:]])
        first, second = (_logits(model, tokenizer, passages, sum(lengths)) for model, _ in loaded)
        for weight in weights:
            nll = torch.nn.functional.cross_entropy(torch.lerp(first, second, weight), targets, reduction="none")
            for doc, (each, sums) in enumerate(zip(drawn, nll.split(lengths), strict=True)):
                row = {"nll": float(sums.double().sum()), "floor": -each.log_probability}
                yield {"weight": weight, "corpus": corpus, "doc": doc, **row, "bytes": len(each.text.encode())}


def _logits(model: Any, tokenizer: Any, passages: Passages, count: int) -> Tensor:
    """Logits [count, V] for every scored token of passages."""
    kept = torch.zeros(count, len(tokenizer))

    def observe(places: np.ndarray, logits: Tensor) -> None:
        kept[torch.from_numpy(places)] = logits.cpu()

    read = passages.sequences, passages.given, len(tokenizer), window_lead(tokenizer)
    scoring.score_ids(model, *read, observe=observe)
    return kept


def mixture_frontier(acted: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """Where mixtures stand: weight, measure (reward, excess, share10, entropy), estimate, low, high.

    Reward, share10 (of the answers to a question, those with the commonest 10-gram) and entropy (nats per token of own
    answers) with 95 % bootstrap over questions; excess (bits per byte beyond the world's entropy, mean over corpora)
    over documents.
    """
    rows = []
    for weight in predicted.weight.unique():
        value = stats.stratified(_strata(acted, predicted, weight), _measures)
        parts = {"estimate": value.estimate, "low": value.low, "high": value.high}
        rows.append(pd.DataFrame({"weight": weight, "measure": ["reward", *MEASURES], **parts}))
    return pd.concat(rows, ignore_index=True)


def with_ends(weights: Sequence[float]) -> list[float]:
    """Return weights in their order, with those of Base alone (0) and RLHF alone (1)."""
    return sorted({0.0, 1.0, *weights})


def of_base(mixed: pd.DataFrame) -> dict[str, float]:
    """Reward of Base (with low and high) and its excess: the mixture with weight 0.

    Args:
        mixed: what `mixture_frontier` returns.
    """
    base = mixed[mixed.weight == 0].set_index("measure")
    low, high = base.low["reward"], base.high["reward"]
    return {"reward": base.estimate["reward"], "low": low, "high": high, "excess": base.estimate["excess"]}


def _strata(acted: pd.DataFrame, predicted: pd.DataFrame, weight: float) -> list[np.ndarray]:
    """Sums by question [questions, 5] of a mixture, then by document [documents, 2] for each corpus."""
    answers = acted[acted.weight == weight].groupby("question", sort=False)
    sums = answers.agg(reward=("reward", "mean"), entropy=("entropy", "sum"))
    sums["tokens"] = answers.ids.agg(lambda ids: sum(map(len, ids)))
    sums["share10"] = answers.ids.agg(lambda ids: shares(list(ids), 10)[-1])
    questions = sums[["reward", "share10", "entropy", "tokens"]].assign(count=1).to_numpy(float)
    documents = predicted[predicted.weight == weight].assign(lost=lambda each: each.nll - each.floor)
    return [questions, *(part[["lost", "bytes"]].to_numpy(float) for _, part in documents.groupby("corpus"))]


def _measures(totals: Sequence[np.ndarray]) -> np.ndarray:
    """Totals of `_strata` to reward, excess, share10 and entropy [..., 4]."""
    questions, *corpora = totals
    reward, share10, entropy, tokens, count = np.moveaxis(questions[..., :5], -1, 0)
    excess = np.mean([each[..., 0] / each[..., 1] for each in corpora], axis=0) / np.log(2)
    return np.stack([reward / count, excess, share10 / count, entropy / tokens], -1)


def against_runs(
    acted: pd.DataFrame, predicted: pd.DataFrame, runs: Mapping[str, pd.DataFrame], paths: pd.DataFrame
) -> pd.DataFrame:
    """Compare mixtures with recorded runs, stopped where they first reach the same reward.

    Args:
        acted: what `mixture_answers` returns.
        predicted: what `mixture_documents` returns.
        runs: recorded, with rewards by question.
        paths: what `frontier.paths` returns of them.

    Returns:
        run, weight, reward, measure (of `MEASURES`), mixture, stopped, estimate (mixture - stopped), low, high (95 %
        bootstrap over questions, paired, and over documents; the measures of a run were recorded as means, which are
        not resampled). Only if the run reaches the reward after its first step.
    """
    rows = []
    for name, run in runs.items():
        path = paths[paths.run == name]
        rewards = np.array(run.rewards.tolist()).T
        for weight in predicted.weight.unique():
            questions, *documents = _strata(acted, predicted, weight)
            reward = questions[:, 0].mean()
            if not rewards[:, 0].mean() < reward <= rewards.mean(0).max():
                continue
            strata = [np.column_stack([questions, rewards]), *documents]
            value = stats.stratified(strata, partial(_difference, path=path))
            mixed, stopped = _beside([each.sum(0) for each in strata], path)
            ends = {"estimate": value.estimate, "low": value.low, "high": value.high}
            place = {"run": name, "weight": weight, "reward": reward, "measure": MEASURES}
            rows.append(pd.DataFrame(place | {"mixture": mixed, "stopped": stopped} | ends))
    empty = pd.DataFrame(
        columns=["run", "weight", "reward", "measure", "mixture", "stopped", "estimate", "low", "high"]
    )
    return pd.concat(rows, ignore_index=True) if rows else empty


def _difference(totals: Sequence[np.ndarray], path: pd.DataFrame) -> np.ndarray:
    mixed, stopped = _beside(totals, path)
    return mixed - stopped


def _beside(totals: Sequence[np.ndarray], path: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """`MEASURES` of a mixture, and of a run where it first earned the mixture's reward: [..., 3] each."""
    questions, known = totals[0], path[list(MEASURES)].to_numpy(float)
    reward, *mixed = np.moveaxis(_measures(totals), -1, 0)
    along = np.maximum.accumulate(questions[..., 5:] / questions[..., 4:5], axis=-1)
    pairs = zip(np.ravel(reward), along.reshape(-1, along.shape[-1]), strict=True)
    stopped = [[np.interp(at, rewards, column) for column in known.T] for at, rewards in pairs]
    return np.stack(mixed, -1), np.reshape(stopped, (*np.shape(reward), len(MEASURES)))


def mixtures_in_words(found: pd.DataFrame) -> str:
    """Say what mixtures lose at the reward of a recorded run (Markdown). Takes what `against_runs` returns."""
    lost = found[(found.measure == "excess") & (found.weight < 1)]
    said = []
    for weight, rows in lost.groupby("weight"):
        surely = (rows.high < 0).sum()
        reward, mixed = rows.reward.iloc[0], rows.mixture.iloc[0]
        said.append(
            f"The mixture with weight {weight:g} earns {reward:.2f} and loses **{mixed:.3f}** bits per byte; the runs, "
            f"when they first earned as much, had lost {rows.stopped.min():.3f} to {rows.stopped.max():.3f}. Surely "
            f"(95 %) it loses less than {surely} of {len(rows)}."
        )
    return " ".join(said) or "No mixture earns what a run earns after its beginning."


def near_rlhf_in_words(mixed: pd.DataFrame) -> str:
    """Say what the mixture nearest to RLHF loses and earns (Markdown). Takes what `mixture_frontier` returns.

    Bought back is the share of what RLHF loses more than Base; given up, the share of what it earns more than Base.
    """
    table = mixed.pivot(index="weight", columns="measure", values="estimate")
    weight = max(each for each in table.index if each < 1)
    base, near, rlhf = table[["excess", "reward"]].loc[[0.0, weight, 1.0]].to_numpy()
    back, up = 100 * (rlhf - near) / (rlhf - base)
    return (
        f"With {1 - weight:g} of Base in every token, RLHF buys back **{back:.0f} %** of what it has lost more than "
        f"Base (an excess of {near[0]:.3f} bits per byte instead of {rlhf[0]:.3f}; Base: {base[0]:.3f}), and gives up "
        f"**{up:.0f} %** of what it earns more (a reward of {near[1]:.2f} instead of {rlhf[1]:.2f}; Base: "
        f"{base[1]:.2f})."
    )
