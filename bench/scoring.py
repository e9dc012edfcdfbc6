"""Scoring against the plain way with `transformers`: one forward pass for each document.

python bench/scoring.py [pair] [documents of each corpus]
"""

import sys

import numpy as np
import torch
from rows import record, timed

from predact import corpora, loading, models, scoring

ROUNDS = 3
TOLERANCE = 1e-4  # nats a token, between two ways to the same number


@torch.inference_mode()
def one_by_one(model, tokenizer, texts):
    """Nll of every token, as a loop over documents gives it."""
    found = []
    for text in texts:
        ids = [loading.prefix_token(tokenizer), *tokenizer(text, add_special_tokens=False).input_ids]
        ids = torch.tensor([ids], device=model.device)
        logits = model(ids).logits[0, :-1]
        found.append(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").cpu().numpy())
    return np.concatenate(found)


def main(pair="pocket", documents="100"):
    selected = corpora.select(["pocket"], int(documents))
    texts = [text for corpus in selected for text in corpus.texts]
    model, tokenizer = loading.load(models.pair(pair).models["Base"])
    theirs, ours = one_by_one(model, tokenizer, texts[:9]), scoring.score(model, tokenizer, texts[:9])  # warm up
    rounds = []
    for _ in range(ROUNDS):
        theirs, slow = timed(one_by_one, model, tokenizer, texts)
        ours, fast = timed(scoring.score, model, tokenizer, texts)
        rounds.append((fast, slow))
    fast, slow = np.median(rounds, axis=0)
    furthest = float(np.abs(ours.nll - theirs).max())
    work = f"{len(ours)} tokens of {len(texts)} documents, {pair} Base, {model.device}, median of {ROUNDS} rounds"
    peer = "transformers, one document at a time"
    rate = {"unit": "tokens/s", "ours": len(ours) / fast, "theirs": len(ours) / slow, "ratio": slow / fast}
    agreement = {
        "unit": "nats a token",
        "ours": furthest,
        "theirs": TOLERANCE,
        "ratio": TOLERANCE / max(furthest, 1e-12),
    }
    record(
        [
            {"name": "scoring", "peer": peer, **rate, "work": work},
            {
                "name": "scoring-agreement",
                "peer": f"largest difference from {peer}, against what is allowed",
                **agreement,
                "work": work,
            },
        ]
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
