"""Sampling, scoring and finetuning on a machine that one busy process uses too, against the same ones alone.

python bench/shared_machine.py [pair] [generations] [documents of each corpus]
"""

import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rows import record, timed

from predact.models import finetuning, loading, pairs, sampling, scoring
from predact.texts import corpora, prompts

ROUNDS, UPDATES = 3, 4
BUSY = "while True: pass"


@contextmanager
def busy():
    """One process beside that never waits."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def stage(pair, generations, documents):
    """A little of what takes a book its time, as a function."""
    texts = [text for corpus in corpora.select(pair.corpora, documents) for text in corpus.texts]
    settings = sampling.Settings(generations, max_new_tokens=64)
    model, tokenizer = loading.loaded(pair.models["RLHF"])
    work = finetuning.plan_updates(tokenizer, texts, 4096, UPDATES, loading.context_limit(model) or 1024, 0)

    def run():
        with tempfile.TemporaryDirectory() as store:
            sampling.sample_pair(Path(store), pair, prompts.select(pair.prompts, 1), settings, steps=["RLHF"])
        scoring.score(model, tokenizer, texts)
        with finetuning.weights(model, finetuning.Settings()) as changed:
            for _ in finetuning.learn(model, changed, work, len(tokenizer), 3e-4):
                pass

    return run


def main(pair="pocket", generations="100", documents="5"):
    run = stage(pairs.pair(pair), int(generations), int(documents))
    run()  # warm up
    alone = np.median([timed(run)[1] for _ in range(ROUNDS)])
    with busy():
        beside = np.median([timed(run)[1] for _ in range(ROUNDS)])
    work = f"{generations} generations of a prompt, {documents} documents of each corpus scored, {UPDATES} updates "
    work += f"of a finetuning, {pair} RLHF, median of {ROUNDS} rounds; a third is the mark"
    numbers = {"unit": "s", "ours": beside, "theirs": alone, "ratio": alone / beside, "work": work}
    record([{"name": "shared-machine", "peer": "the same without a busy process beside it", **numbers}])


if __name__ == "__main__":
    main(*sys.argv[1:])
