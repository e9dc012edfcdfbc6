"""Scoring, with mass curve, entropy and support on the way, against lm-evaluation-harness on the same windows.

python bench/scoring.py [pair] [documents of each corpus] [corpus or file ...]

Documents longer than a window are left out there: beyond it the harness moves on without overlap and without a prefix
token; predact by half a window, every one of which begins with the BOS (`prefix_every_window`). What that comes to is
measured in windows so short that documents have several.
"""

import contextlib
import os
import sys
from importlib.util import find_spec

import numpy as np
from overhead import measured
from rows import need, record, timed

from predact.models import loading, pairs
from predact.models.passages import gold_passages
from predact.models.scoring import score
from predact.models.tokens import encode, prefix_token
from predact.texts import corpora

CONTEXT, ROUNDS = 1024, 3
SHORT = 64  # positions of the windows that most documents have several of
SHARE = 0.15  # of the positions are measured, too: the book measures 20,000 of 130,000
SIZES = (1, 4, 16)  # batches that the harness may choose from
TOLERANCE = 1e-4  # nats a token


def rolling(harness, texts):
    """The harness's log-likelihood of each text, its bars and messages kept quiet."""
    from lm_eval.api.instance import Instance

    requests = [Instance("loglikelihood_rolling", {}, (text,), 0) for text in texts]
    with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing), contextlib.redirect_stdout(nothing):
        return harness.loglikelihood_rolling(requests, disable_tqdm=True)


def later(model, tokenizer, texts, context, totals):
    """Mean nll of what stands after the first window: ours, ours without BOS before a window, and the harness's.

    Both score the first window alike, so the harness's is the rest of its `totals`.
    """
    ours, bare = (score(model, tokenizer, texts, context=context, window_lead=lead) for lead in (None, []))
    rest = ours.position >= context
    theirs = (-sum(totals) - ours.nll[~rest].astype(float).sum()) / rest.sum()
    return float(ours.nll[rest].mean()), float(bare.nll[rest].mean()), float(theirs), int(rest.sum())


def main(pair="pocket", documents="100", *names):
    need("lm-eval", find_spec("lm_eval"))
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = loading.load(pairs.pair(pair).models["Base"], "cpu")
    selected = corpora.select(names or ["pocket"], int(documents))
    whole = [text for corpus in selected for text in corpus.texts]
    texts = [text for text, ids in zip(whole, encode(tokenizer, whole), strict=True) if 0 < len(ids) <= CONTEXT]
    passages = gold_passages(tokenizer, [corpora.Corpus("all", "kind", texts, None, "")])
    lengths = [len(ids) - 1 for ids in passages.sequences]
    chosen = np.random.default_rng(0).random(sum(lengths)) < SHARE
    same = {"pretrained": model, "tokenizer": tokenizer, "prefix_token_id": prefix_token(tokenizer)}
    peers = {size: HFLM(**same, batch_size=size, max_length=CONTEXT) for size in SIZES}
    trial = {size: timed(rolling, peers[size], texts[:16])[1] for size in SIZES}
    size = min(trial, key=trial.get)
    rounds = []
    for _ in range(ROUNDS):
        theirs, slow = timed(rolling, peers[size], texts)
        ours, fast = timed(measured, model, passages, tokenizer, chosen)
        rounds.append((fast, slow))
    fast, slow = np.median(rounds, axis=0)
    tokens = sum(lengths)
    sums = np.add.reduceat(ours.nll.astype(np.float64), np.cumsum([0, *lengths[:-1]]))
    context = min(SHORT, loading.context_limit(model) or SHORT)
    totals = rolling(HFLM(**same, batch_size=size, max_length=context), texts)
    after, bare, rest, count = later(model, tokenizer, texts, context, totals)
    furthest = float(np.max(np.abs(sums + np.array(theirs)) / lengths))
    work = f"{tokens} tokens of {len(texts)} documents, {pair} Base, float32, cpu, median of {ROUNDS} rounds"
    peer = (
        f"lm-evaluation-harness, hf backend, loglikelihood_rolling, {size} windows in a batch (the fastest of {SIZES})"
    )
    rate = {"unit": "tokens/s", "ours": tokens / fast, "theirs": tokens / slow, "ratio": slow / fast}
    agreement = {"unit": "nats a token", "ours": furthest, "theirs": TOLERANCE}
    agreement |= {"ratio": TOLERANCE / max(furthest, 1e-12)}
    measures = f"ours with mass curve, entropy and support of {chosen.sum()} positions"
    record(
        [
            {"name": "scoring", "peer": peer, **rate, "work": f"{work}; {measures}"},
            {"name": "scoring-agreement", "peer": f"largest difference from {peer}, against what is allowed"}
            | agreement
            | {"work": work},
            {"name": "scoring-later-windows", "peer": "lm-evaluation-harness, loglikelihood_rolling"}
            | {"unit": "nats a token", "ours": after, "theirs": rest, "ratio": rest / after}
            | {"work": f"{count} tokens after the first window of {context}; ours without BOS before each {bare:.4f}"},
        ]
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
