"""A counter-measure without training: Base and RLHF mixed, token by token, and what that does to the trade-off.

The mixture with weight w adds the logits of both models, (1 - w) Base + w RLHF: up to a constant the logarithm of
Base^(1 - w) RLHF^w. It predicts documents with that, and answers with that (Base reads the question in its frame, RLHF
in its template, both what has been written so far). At w = 0 it is Base, at w = 1 RLHF.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from predact import collapse, loading, sampling, scoring, store
from predact.corpora import Corpus
from predact.models import Pair
from predact.pocket import human, world
from predact.pocket.recipe import SCALES

WEIGHTS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
_RECORD = SCALES["full"].record  # answers to each question and documents of each corpus: as runs were recorded


class Caches:
    """What a mixture remembers of the rows of a batch: a cache for each of its models, and each row's weight."""

    def __init__(self, each: Sequence[Any], weights: Tensor) -> None:
        """Take an empty cache for each model, and the weight of the second model in each row [rows, 1, 1]."""
        self.each, self.weights = each, weights

    def reorder_cache(self, rows: Tensor) -> None:
        """Keep these rows of all."""
        for cache in self.each:
            cache.reorder_cache(rows)
        self.weights = self.weights[rows]


class Mixture(NamedTuple):
    """Two models that are called like one."""

    models: tuple[Any, Any]

    def __call__(self, input_ids: Any, past_key_values: Caches, **options: Any) -> SimpleNamespace:
        """Logits of both, added; `input_ids` are the same for both, or a tuple of what each reads."""
        read = input_ids if isinstance(input_ids, tuple) else (input_ids, input_ids)
        first, second = (
            model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
            for model, ids, cache in zip(self.models, read, past_key_values.each, strict=True)
        )
        return SimpleNamespace(logits=torch.lerp(first, second, past_key_values.weights))


@torch.inference_mode()
def answer(
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
    from predact import cache

    empty = [cache.empty(model) for model in mixture.models]
    caches = Caches(empty, torch.tensor(weights, dtype=torch.float32)[:, None, None])
    first = mixture(tuple(map(torch.tensor, prompts)), caches).logits[:, -1, : len(tokenizer)].float()
    stops = sorted(set().union(*(sampling.stop_ids(model, tokenizer) for model in mixture.models)))
    return sampling.continued(mixture, caches, first, torch.from_numpy(numbers), settings, torch.tensor(stops))


def acting(root: Path, pair: Pair, weights: Sequence[float] = WEIGHTS, samples: int = _RECORD.samples) -> pd.DataFrame:
    """Answers of mixtures to the validation questions, sampled from the whole distribution, with their true reward.

    Args:
        root: of the store.
        pair: the pocket pair, or one with other models of the same world.
        weights: of RLHF.
        samples: answers to each question.

    Returns:
        A row per answer: weight, question, ids, nll (nats, under the mixture), reward, text.
    """
    settings = sampling.Settings(samples, top_p=1.0, max_new_tokens=160)
    known = {question.id: question for question in human.questions("validation")}
    decode = loading.tokenizer(pair.models["Base"]).decode
    inputs = _inputs(pair) | {
        "frame": pair.frame,
        "weights": list(weights),
        "samples": samples,
        "questions": list(known),
    }
    frame = store.frame(root, "mixture", inputs, lambda: _answers(pair, weights, settings))
    order = frame.question.map({name: place for place, name in enumerate(known)})  # that of the recorded rewards
    frame = frame.assign(order=order).sort_values(["weight", "order"], kind="stable", ignore_index=True)
    frame["text"] = frame.ids.map(decode)
    judged = [human.judge(known[str(row.question)], str(row.text))["reward"] for row in frame.itertuples()]
    return frame.assign(reward=judged)[["weight", "question", "ids", "nll", "reward", "text"]]


def _inputs(pair: Pair) -> dict[str, Any]:
    return {step: [loading.fingerprint(pair.models[step]), pair.models[step].dtype] for step in ("Base", "RLHF")}


def _answers(pair: Pair, weights: Sequence[float], settings: sampling.Settings) -> pd.DataFrame:
    """Rows weight, question, ids, nll; questions whose prompts are equally long are answered together, by all mixtures.

    A question's random numbers are the same for all weights.
    """
    (base, tokenizer), (rlhf, chat) = (loading.load(pair.models[step]) for step in ("Base", "RLHF"))
    asked = [
        (each.id, sampling.ask(tokenizer, each.prompt, pair.frame), sampling.ask(chat, each.prompt, None))
        for each in human.questions("validation")
    ]
    rows = []
    for _, group in groupby(
        tqdm(sorted(asked, key=_lengths), desc="mixtures", leave=False, disable=None), key=_lengths
    ):
        each = [(weight, *row, number) for row in group for weight in weights for number in range(settings.generations)]
        mixed, names, first, second, samples = map(list, zip(*each, strict=True))
        keys = [f"{name}/{number}" for name, number in zip(names, samples, strict=True)]
        numbers = sampling.uniforms(0, keys, settings, settings.max_new_tokens)
        made = answer(Mixture((base, rlhf)), tokenizer, (first, second), mixed, numbers, settings)
        told = zip(mixed, names, made, strict=True)
        rows += [(weight, name, one.ids, -sum(one.log_probabilities)) for weight, name, one in told]
    return pd.DataFrame(rows, columns=["weight", "question", "ids", "nll"])


def _lengths(asked: tuple[str, list[int], list[int]]) -> tuple[int, int]:
    return len(asked[1]), len(asked[2])


def predicting(
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
        passages = collapse.gold(tokenizer, [Corpus(corpus, "", [each.text for each in drawn], None, "")])
        lengths = [len(ids) - given for ids, given in zip(passages.sequences, passages.given, strict=True)]
        targets = torch.tensor([token for ids in passages.sequences for token in ids[1:]])
        first, second = (_logits(model, tokenizer, passages, sum(lengths)) for model, _ in loaded)
        for weight in weights:
            nll = torch.nn.functional.cross_entropy(torch.lerp(first, second, weight), targets, reduction="none")
            for doc, (each, sums) in enumerate(zip(drawn, nll.split(lengths), strict=True)):
                row = {"nll": float(sums.double().sum()), "floor": -each.log_probability}
                yield {"weight": weight, "corpus": corpus, "doc": doc, **row, "bytes": len(each.text.encode())}


def _logits(model: Any, tokenizer: Any, passages: collapse.Passages, count: int) -> Tensor:
    """Logits [count, V] for every scored token of passages."""
    kept = torch.zeros(count, len(tokenizer))

    def observe(places: np.ndarray, logits: Tensor) -> None:
        kept[torch.from_numpy(places)] = logits.cpu()

    scoring.score_ids(model, passages.sequences, passages.given, len(tokenizer), observe=observe)
    return kept
