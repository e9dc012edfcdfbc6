"""The native alignment against MAFFT, one prompt after the other, on generations and on both nulls.

python bench/alignment.py [prompts] [a pair, whose RLHF writes; or a file for `predact blueprint`] [store]
"""

import sys
from pathlib import Path

import numpy as np
from rows import need, record, timed

from predact.build import standalone
from predact.methods import alignment, ngrams
from predact.models import pairs, sampling
from predact.texts import prompts

ENGINES = (alignment.align, alignment.mafft)


def main(limit="3", source="pocket", store="_build/store"):
    need("MAFFT", alignment.mafft_version())
    samples = ngrams.samples(generations(source, store))
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
    record(rows)


def generations(source, store):
    if Path(source).is_file():
        return standalone.read(Path(source)).written
    pair = pairs.pair(source)
    return sampling.sample_pair(Path(store), pair, prompts.select(pair.prompts), sampling.Settings(), steps=["RLHF"])


def measured(engine, group):
    made, seconds = timed(engine, group)
    return seconds, alignment.pairs(made), alignment.pairs_per_column(made), alignment.share_aligned(made)


if __name__ == "__main__":
    main(*sys.argv[1:])
