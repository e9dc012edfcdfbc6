"""Scores of whole corpora under the models of a pair, by token and by document, kept in the store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from predact import store
from predact.models import loading, scoring
from predact.models.pairs import Model, Pair
from predact.texts.corpora import Corpus

_SHARD = 100  # documents whose scores are stored together


def measure(root: Path, model: Model, corpus: Corpus, *, context: int = 1024, end: bool = False) -> pd.DataFrame:
    """Return the scores of one model on one corpus, as `scoring.score`, from the store where they are there.

    The model is loaded only when something is missing; the result is stored in shards of 100 documents.
    """
    inputs = {
        "model": loading.fingerprint(model),
        "dtype": model.dtype,
        "corpus": corpus.fingerprint,
        "context": context,
        "end": end,
    }

    def shard(start: str) -> pd.DataFrame:
        texts = corpus.texts[int(start) : int(start) + _SHARD]
        tokens = scoring.score(*loading.loaded(model), texts, context=context, end=end)
        return tokens.assign(doc=tokens.doc + np.int32(start))

    return store.shards(root, "scores", inputs, [str(start) for start in range(0, len(corpus.texts), _SHARD)], shard)


def pair_tokens(root: Path, pair: Pair, corpora: Sequence[Corpus], **settings: Any) -> pd.DataFrame:
    """Score all models of a pair on corpora.

    Args:
        root: of the store.
        pair: the models.
        corpora: the texts.
        **settings: `context` and `end`, as `scoring.score`.

    Returns:
        corpus, model (as in the pair: Base, ..., RLHF), doc, position, id, nll. Its attribute `same_tokenizer` says
        whether all models cut all these texts into the same tokens, so that tokens can be compared one by one.
    """
    jobs = [(step, corpus) for step in pair.models for corpus in corpora]
    bar = tqdm(jobs, desc="models x corpora", leave=False, disable=None)
    parts = {(corpus.name, step): measure(root, pair.models[step], corpus, **settings) for step, corpus in bar}
    frame = pd.concat([part.assign(corpus=name, model=step) for (name, step), part in parts.items()], ignore_index=True)
    frame.attrs["same_tokenizer"] = all(_same(part, parts[name, "Base"]) for (name, _), part in parts.items())
    return frame[["corpus", "model", "doc", "position", "id", "nll"]]


def pair_documents(root: Path, pair: Pair, corpora: Sequence[Corpus], **settings: Any) -> pd.DataFrame:
    """Sum the scores of all models of a pair by document.

    Args:
        root: of the store.
        pair: the models.
        corpora: the texts.
        **settings: `context` and `end`, as `scoring.score`.

    Returns:
        corpus, category, model, doc, bytes, words, tokens, nll (nats), world_nll (nats, NaN where the world is not
        known), and the attribute `same_tokenizer` of `pair_tokens`.
    """
    tokens = pair_tokens(root, pair, corpora, **settings)
    parts = []
    for corpus in corpora:
        scored = tokens[tokens.corpus == corpus.name]
        world = np.nan if corpus.world_nll is None else corpus.world_nll
        for step in pair.models:
            sums = scoring.documents(scored[scored.model == step], corpus.texts)
            parts.append(sums.assign(corpus=corpus.name, category=corpus.category, model=step, world_nll=world))
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs["same_tokenizer"] = tokens.attrs["same_tokenizer"]
    return frame[["corpus", "category", "model", "doc", "bytes", "words", "tokens", "nll", "world_nll"]]


def _same(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    columns = ["doc", "id"]
    return first[columns].equals(second[columns]) and bool((first.nll.isna() == second.nll.isna()).all())
