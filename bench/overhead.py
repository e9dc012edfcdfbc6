"""All measures in one pass against the bare forward pass on the same batches.

python bench/overhead.py [pair] [documents of each corpus] [positions]
"""

import sys

import numpy as np
import torch
from rows import record, timed

from predact.models import loading, memory, pairs, scoring
from predact.models.distributions import summarize
from predact.models.passages import gold_passages
from predact.models.tokens import window_lead
from predact.texts import corpora

ROUNDS = 3


@torch.inference_mode()
def bare(model, batches):
    """The forward pass with its logits, and nothing made of them."""
    for batch in batches:
        model(input_ids=batch, use_cache=False)


def padded(model, passages, context, lead):
    """The batches that scoring makes, as tensors."""
    for batch in scoring._batches(passages.sequences, passages.given, context, memory.positions(model), len(lead)):
        rows = [torch.tensor(window.read(passages.sequences, lead)) for window in batch]
        yield torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)


def measured(model, passages, tokenizer, chosen):
    """Nll and rank at all positions; mass curve, entropy and support of the chosen ones."""
    read = passages.sequences, passages.given, len(tokenizer), window_lead(tokenizer)

    def observe(places, logits):
        wanted = chosen[places]
        if wanted.any():
            summarize(logits[torch.from_numpy(wanted)])

    return scoring.score_ids(model, *read, observe=observe)


def main(pair="pocket", documents="100", positions="20000"):
    model, tokenizer = loading.load(pairs.pair(pair).models["Base"], "cpu")
    passages = gold_passages(tokenizer, corpora.select(["pocket"], int(documents)))
    total = sum(map(len, passages.sequences)) - len(passages.sequences)
    chosen = np.zeros(total, dtype=bool)
    chosen[np.random.default_rng(0).permutation(total)[: int(positions)]] = True
    batches = list(padded(model, passages, min(1024, loading.context_limit(model) or 1024), window_lead(tokenizer)))
    rounds = []
    for _ in range(ROUNDS):
        _, theirs = timed(bare, model, batches)
        _, ours = timed(measured, model, passages, tokenizer, chosen)
        rounds.append((ours, theirs))
    ours, theirs = np.median(rounds, axis=0)
    rate = {"unit": "tokens/s", "ours": total / ours, "theirs": total / theirs, "ratio": theirs / ours}
    work = f"{total} tokens, {chosen.sum()} positions measured, {pair} Base, cpu, median of {ROUNDS} rounds"
    record([{"name": "scoring-overhead", "peer": "the bare forward pass on the same batches", **rate, "work": work}])


if __name__ == "__main__":
    main(*sys.argv[1:])
