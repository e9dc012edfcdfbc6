"""Models of a pair finetuned on corpora: how each run went and what the best one scores, kept in the store.

Weights are kept beyond their scores only if that is asked for: there is a model of them for each corpus and order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from predact import store
from predact.errors import UserError
from predact.models import finetuning, loading, scoring, tokens
from predact.models.finetuning import FULL, LORA, Run, Settings
from predact.models.pairs import Model, Pair
from predact.texts import corpora
from predact.texts.corpora import Corpus

AUTO = "auto"
LARGE = 200_000_000  # parameters: larger models train adapters; full finetuning takes 20 bytes each
BEFORE, AFTER = "before", "after"
_ORDER = 1_000_000  # between the seeds of two orders
_HELD_OUT = "held out"


def finetune_pair(
    root: Path,
    pair: Pair,
    texts: Sequence[Corpus],
    settings: Settings,
    orders: int = 1,
    seed: int = 0,
    keep_weights: bool = False,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Finetune every model of a pair on every corpus, and score it on documents held out, before and after.

    The search for a learning rate is done with the first order of the documents; the other orders use the best one.

    Args:
        root: of the store. Each model and corpus is stored as soon as it is done.
        pair: the models.
        texts: the corpora; `corpora.split` gives their training, validation and test documents.
        settings: how, the same for all; `method` may be `auto`: adapters for a Base of LARGE size.
        orders: number of orders of the training documents.
        seed: of the orders.
        keep_weights: whether the best weights are kept in the store.

    Returns:
        Two frames. Held-out documents, as `scoring.score_pair` returns them, with `when` (before, after) and `order`
        (0 before). And the validation documents along each run: corpus, category, model, order, rate, failed (it
        diverged), chosen (it is the best one), evaluation, tokens (learned from by then, as Base's tokenizer counts
        them), doc, bytes, nll (nats), world_nll.

    Raises:
        UserError: a setting is out of range, a corpus or the memory is too small.
    """
    settings = checked(pair, settings)
    if orders < 1:
        raise UserError(f"orders: expected a whole number above 0, not {orders}.")
    parts = {corpus.name: corpora.split(corpus) for corpus in texts}
    before = scoring.score_pair(root, pair, [each["test"] for each in parts.values()], context=settings.context)
    afters, curves = [before.copy() for _ in range(orders)], []
    places = [(step, name) for step in pair.models for name in parts]
    leads = {step: (tokens.pair_lead(pair, step), tokens.pair_window_lead(pair, step)) for step in pair.models}
    hows = [replace(settings, lead=leads[step][0], window_lead=leads[step][1]) for step, _ in places]
    for order, after in enumerate(afters):
        jobs = [Job(pair.models[step], parts[name], how) for (step, name), how in zip(places, hows, strict=True)]
        done, seen = finetune(root, jobs, seed + order * _ORDER, keep_weights), dict[str, np.ndarray]()
        for (step, name), (runs, held_out) in zip(places, done, strict=True):
            best = finetuning.best(runs)
            after.loc[(after.model == step) & (after.corpus == name), "nll"] = held_out
            learned = seen.setdefault(name, runs[0].tokens)  # as counted by Base, which comes first
            for run in runs:
                place = _curve(run, learned, parts[name]["validation"]).assign(model=step, order=order)
                curves.append(place.assign(chosen=run is best))
        hows = [replace(how, rates=[finetuning.best(runs).rate]) for how, (runs, _) in zip(hows, done, strict=True)]
    moments = [before.assign(when=BEFORE, order=0)]
    moments += [after.assign(when=AFTER, order=order) for order, after in enumerate(afters)]
    return pd.concat(moments, ignore_index=True), pd.concat(curves, ignore_index=True)


def checked(pair: Pair, settings: Settings) -> Settings:
    """Return settings with nothing left open: the method fits the size of the Base, rates are given.

    Raises:
        UserError: a setting is out of range.
    """
    methods = (AUTO, FULL, LORA)
    if settings.method not in methods:
        raise UserError(f"method: expected {', '.join(methods)}, not {settings.method!r}.")
    for name in ("updates", "batch", "context", "rank"):
        if getattr(settings, name) < 1:
            raise UserError(f"{name}: expected a whole number above 0, not {getattr(settings, name)}.")
    if not all(0 < rate < 1 for rate in settings.rates) or len(set(settings.rates)) < len(settings.rates):
        raise UserError(f"rates: expected learning rates between 0 and 1, each once, not {list(settings.rates)}.")
    if settings.method == AUTO:
        large = loading.parameters(pair.models["Base"]) >= LARGE
        settings = replace(settings, method=LORA if large else FULL)
    return replace(settings, rates=sorted(settings.rates) or list(Settings.rates))


class Job(NamedTuple):
    """A model, the parts of a corpus (`corpora.split`), and how the one learns from the other; the method is told."""

    model: Model
    parts: dict[str, Corpus]
    settings: Settings


class Finetuned(NamedTuple):
    """A job done: its runs, with weights only for the best and only where they were to be kept, and its result."""

    runs: list[Run]
    held_out: np.ndarray  # nll in nats of each document held out, under the best weights


def finetune(root: Path, jobs: Sequence[Job], seed: int, keep_weights: bool = False) -> list[Finetuned]:
    """Do jobs, from the store where they are there; each is stored as soon as it is done.

    Args:
        root: of the store.
        jobs: what is to be done.
        seed: of the order of the documents.
        keep_weights: whether the best weights are stored, too.
    """
    inputs = [_inputs(job, seed) | ({"weights": True} if keep_weights else {}) for job in jobs]

    def compute(places: list[int]) -> Iterator[dict[str, Tensor]]:
        return (_packed(*_finetuned(jobs[place], seed), keep_weights) for place in places)

    return list(map(_unpacked, store.shards(root, "finetuned", inputs, compute, kept=store.TENSORS)))


def _finetuned(job: Job, seed: int) -> Finetuned:
    (model, tokenizer), parts, how = loading.loaded(_trained(job)), job.parts, job.settings
    runs = finetuning.search(model, tokenizer, parts["train"].texts, parts["validation"].texts, how, seed)
    with finetuning.weights(model, how):
        finetuning.put(model, finetuning.best(runs).weights)
        scored = finetuning.score(model, tokenizer, parts["test"].texts, how)
    return Finetuned(runs, scoring.documents(scored, parts["test"].texts).nll.to_numpy())


def _trained(job: Job) -> Model:
    """The model as it is loaded: all weights are trained in float32, adapters beside weights of any dtype."""
    return replace(job.model, dtype="float32") if job.settings.method == FULL else job.model


def _inputs(job: Job, seed: int) -> dict[str, Any]:
    texts = {name: part.fingerprint for name, part in job.parts.items()}
    told = asdict(job.settings)
    again = told.pop("window_lead")
    return loading.key(_trained(job)) | {"seed": seed} | texts | told | _later_windows(job, again)


def _later_windows(job: Job, window_lead: list[int] | None) -> dict[str, list[int]]:
    tokenizer, how = loading.tokenizer(job.model), job.settings
    again = tokens.window_lead(tokenizer) if window_lead is None else window_lead
    ids = chain.from_iterable(tokens.encode(tokenizer, part.texts) for part in job.parts.values())
    return scoring.later_windows(job.model, (len(each) + 2 for each in ids), again, how.context)


def _packed(runs: Sequence[Run], held_out: np.ndarray, keep_weights: bool) -> dict[str, Tensor]:
    """A job done as named tensors: RATE/tokens and RATE/nll of each run, held out, weights/NAME of the best run."""
    weights = finetuning.best(runs).weights if keep_weights else {}
    found = {f"weights/{name}": value for name, value in weights.items()}
    for run in runs:
        found |= {f"{run.rate!r}/{name}": torch.from_numpy(getattr(run, name)) for name in ("tokens", "nll")}
    return found | {_HELD_OUT: torch.tensor(held_out)}


def _unpacked(kept: dict[str, Tensor]) -> Finetuned:
    rates = sorted({float(name.partition("/")[0]) for name in kept if name.endswith("/tokens")})
    runs = [Run(rate, kept[f"{rate!r}/tokens"].numpy(), kept[f"{rate!r}/nll"].numpy(), {}) for rate in rates]
    weights = {name.removeprefix("weights/"): value for name, value in kept.items() if name.startswith("weights/")}
    runs = [replace(run, weights=weights) if run is finetuning.best(runs) else run for run in runs]
    return Finetuned(runs, kept[_HELD_OUT].numpy())


def _curve(run: Run, tokens: np.ndarray, corpus: Corpus) -> pd.DataFrame:
    """A run as rows, one for each evaluation and validation document."""
    evaluations, documents = run.nll.shape
    rows: dict[str, Any] = {"corpus": corpus.name, "category": corpus.category, "rate": run.rate, "failed": run.failed}
    rows |= {"evaluation": np.repeat(np.arange(evaluations), documents)}
    rows |= {"tokens": np.repeat(tokens[:evaluations], documents), "doc": np.tile(np.arange(documents), evaluations)}
    rows |= {"nll": run.nll.ravel(), "bytes": np.tile([len(text.encode()) for text in corpus.texts], evaluations)}
    return pd.DataFrame(
        rows | {"world_nll": np.nan if corpus.world_nll is None else np.tile(corpus.world_nll, evaluations)}
    )
