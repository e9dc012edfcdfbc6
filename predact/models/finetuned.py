"""Models of a pair finetuned on corpora, kept in the store: how each run went, its best weights, its scores."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from predact import store
from predact.errors import UserError
from predact.models import finetuning, loading, scoring
from predact.models.finetuning import FULL, LORA, Run, Settings
from predact.models.pairs import Model, Pair
from predact.texts import corpora
from predact.texts.corpora import Corpus

AUTO = "auto"
LARGE = 200_000_000  # parameters: larger models train adapters; full finetuning takes 20 bytes each
BEFORE, AFTER = "before", "after"
_ORDER = 1_000_000  # between the seeds of two orders


def finetune_pair(
    root: Path, pair: Pair, texts: Sequence[Corpus], settings: Settings, orders: int = 1, seed: int = 0
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
    afters, curves, tokens = [before.copy() for _ in range(orders)], [], dict[tuple[str, int], np.ndarray]()
    jobs = [(step, name) for step in pair.models for name in parts]
    for step, name in tqdm(jobs, desc="finetuning: models x corpora", leave=False, disable=None):
        model, part, how = pair.models[step], parts[name], settings
        for order, after in enumerate(afters):
            runs = finetune(root, model, part, how, seed + order * _ORDER)
            best = finetuning.best(runs)
            nll = held_out(root, model, part, how, seed + order * _ORDER, best)
            after.loc[(after.model == step) & (after.corpus == name), "nll"] = nll
            seen = tokens.setdefault((name, order), runs[0].tokens)  # as counted by Base, which comes first
            for run in runs:
                place = _curve(run, seen, part["validation"]).assign(model=step, order=order)
                curves.append(place.assign(chosen=run is best))
            how = replace(settings, rates=[best.rate]) if not order else how
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


def finetune(root: Path, model: Model, parts: dict[str, Corpus], settings: Settings, seed: int) -> list[Run]:
    """Return the runs of one model on one corpus (`finetuning.search`), from the store if they are there."""

    def compute() -> dict[str, Tensor]:
        texts = parts["train"].texts, parts["validation"].texts
        return _packed(finetuning.search(*_loaded(model, settings), *texts, settings, seed))

    return _unpacked(store.tensors(root, "finetuned", _inputs(model, parts, settings, seed), compute))


def held_out(
    root: Path, model: Model, parts: dict[str, Corpus], settings: Settings, seed: int, best: Run
) -> np.ndarray:
    """Return the nll in nats of each document held out under the weights of the best run, from the store if there."""
    inputs = _inputs(model, parts, settings, seed) | {"test": parts["test"].fingerprint}

    def compute() -> pd.DataFrame:
        loaded, tokenizer = _loaded(model, settings)
        with finetuning.weights(loaded, settings):
            finetuning.put(loaded, best.weights)
            scored = scoring.score(loaded, tokenizer, parts["test"].texts, context=settings.context)
        return scoring.documents(scored, parts["test"].texts)

    return store.frame(root, "finetuned-scores", inputs, compute).nll.to_numpy()


def _loaded(model: Model, settings: Settings) -> tuple[Any, Any]:
    return loading.loaded(replace(model, dtype="float32") if settings.method == FULL else model)


def _inputs(model: Model, parts: dict[str, Corpus], settings: Settings, seed: int) -> dict[str, Any]:
    texts = {name: parts[name].fingerprint for name in ("train", "validation")}
    return {"model": loading.fingerprint(model), "dtype": model.dtype, "seed": seed} | texts | asdict(settings)


def _packed(runs: Sequence[Run]) -> dict[str, Tensor]:
    """Runs as named tensors: RATE/tokens and RATE/nll of each, weights/NAME of the best one."""
    found = {f"weights/{name}": value for name, value in finetuning.best(runs).weights.items()}
    for run in runs:
        found |= {f"{run.rate!r}/{name}": torch.from_numpy(getattr(run, name)) for name in ("tokens", "nll")}
    return found


def _unpacked(kept: dict[str, Tensor]) -> list[Run]:
    rates = sorted({float(name.partition("/")[0]) for name in kept if not name.startswith("weights/")})
    runs = [Run(rate, kept[f"{rate!r}/tokens"].numpy(), kept[f"{rate!r}/nll"].numpy(), {}) for rate in rates]
    weights = {name.removeprefix("weights/"): value for name, value in kept.items() if name.startswith("weights/")}
    return [replace(run, weights=weights) if run is finetuning.best(runs) else run for run in runs]


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
