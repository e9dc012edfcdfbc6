"""The native alignment against MAFFT, one prompt after the other: of ids of generations and both nulls, of characters.

Characters (`overlap`) are those of one prompt's generations, at most 100 texts of 1,500 characters.

python bench/alignment.py [prompts] [a pair, whose RLHF writes; or a file for `predact blueprint`] [store]
"""

import sys
from pathlib import Path

import numpy as np
from rows import need, record, timed

from predact.build import standalone
from predact.methods import alignment, ngrams, overlap
from predact.models import loading, pairs, sampling
from predact.texts import prompts

ENGINES = (alignment.align, alignment.mafft)


def main(limit="3", source="pocket", store="_build/store"):
    need("MAFFT", alignment.mafft_version())
    written, decode = generations(source, store)
    samples = ngrams.samples(written)
    alignment.align([[1, 2], [2]])  # compile
    rows, peer = [], f"MAFFT {alignment.mafft_version()}, --text, default strategy"
    for text, all_groups in samples.items():
        groups = all_groups[: int(limit)]
        each = np.array([[measured(engine, group) for engine in ENGINES] for group in groups])
        seconds, pairs, per_column, share = np.median(each, axis=0).T
        faster, higher = np.median(each[:, 1, 0] / each[:, 0, 0]), np.median(each[:, 0, 1] / each[:, 1, 1])
        tokens = np.mean([len(ids) for group in groups for ids in group])
        work = f"{text}: medians over {len(groups)} prompts of {len(groups[0])} texts ({tokens:.0f} tokens), {source}"
        score = f"{work}; identical pairs per column {per_column[0]:.4g} and {per_column[1]:.4g}, "
        score += f"tokens aligned with 5 others {share[0]:.3f} and {share[1]:.3f}"
        name = "" if text == ngrams.GENERATIONS else f"-{text.split()[-1]}"
        numbers = {"ours": seconds[0], "theirs": seconds[1], "ratio": faster, "work": work}
        rows.append({"name": f"alignment{name}", "peer": peer, "unit": "s"} | numbers)
        numbers = {"ours": pairs[0], "theirs": pairs[1], "ratio": higher, "work": score}
        rows.append({"name": f"alignment-score{name}", "peer": peer, "unit": "identical pairs"} | numbers)
    record([*rows, *of_characters([decode(list(ids)) for ids in samples[ngrams.GENERATIONS][0]], source, peer)])


def of_characters(texts, source, peer):
    texts = [[ord(each) for each in text[:1500]] for text in texts[:100]]
    (ours, seconds), (theirs, peers_seconds) = (timed(engine, texts) for engine in ENGINES)
    work = f"characters of {len(texts)} texts ({np.mean([len(text) for text in texts]):.0f} on average), {source}"
    numbers = {"ours": seconds, "theirs": peers_seconds, "ratio": peers_seconds / seconds, "work": work}
    curves = [overlap.resampled(overlap.matching(made)).mean() for made in (ours, theirs)]
    score = {"ours": curves[0], "theirs": curves[1], "ratio": curves[0] / curves[1], "work": work}
    rows = [{"name": "overlap", "peer": peer, "unit": "s"} | numbers]
    return [*rows, {"name": "overlap-score", "peer": peer, "unit": "proportion of pairs that match"} | score]


def generations(source, store):
    """Generations, and what turns their ids into text."""
    if Path(source).is_file():
        texts = standalone.read(Path(source))
        return texts.written, texts.decode
    pair = pairs.pair(source)
    asked = prompts.select(pair.prompts)
    written = sampling.sample_pair(Path(store), pair, asked, sampling.Settings(), steps=["RLHF"])
    return written, loading.tokenizer(pair.models["RLHF"]).decode


def measured(engine, group):
    made, seconds = timed(engine, group)
    return seconds, alignment.pairs(made), alignment.pairs_per_column(made), alignment.share_aligned(made)


if __name__ == "__main__":
    main(*sys.argv[1:])
