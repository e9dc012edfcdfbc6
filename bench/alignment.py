"""The native alignment against MAFFT: generations of the pocket RLHF model, one prompt after the other.

python bench/alignment.py [prompts] [pair] [store]
"""

import sys
from pathlib import Path

import numpy as np
from rows import record, timed

from predact import alignment, models, prompts, sampling


def main(limit="3", pair="pocket", store="_build/store"):
    found = models.pair(pair)
    asked = prompts.select(found.prompts, int(limit))
    frame = sampling.of_pair(Path(store), found, asked, sampling.Settings(), steps=["RLHF"])
    groups = [group.ids.tolist() for _, group in frame.groupby("prompt", sort=False)]
    alignment.align([[1, 2], [2]])  # compile
    measured = []
    for sequences in groups:
        for align in (alignment.align, alignment.mafft):
            made, seconds = timed(align, sequences)
            measured.append([seconds, alignment.pairs(made), alignment.pairs_per_column(made)])
    each = np.array(measured).reshape(len(groups), 2, 3)
    seconds, pairs, per_column = np.moveaxis(np.median(each, axis=0), 1, 0)
    faster, higher = np.median(each[:, 1, 0] / each[:, 0, 0]), np.median(each[:, 0, 1] / each[:, 1, 1])
    work = f"medians over {len(groups)} prompts of {len(groups[0])} generations ({frame.ids.map(len).mean():.0f} tokens"
    work += f" on average), {found.name} RLHF"
    score = f"{work}; identical pairs per column {per_column[0]:.4g} and {per_column[1]:.4g}"
    peer = f"MAFFT {alignment.mafft_version()}, --text, default strategy"
    time_row = {"unit": "s", "ours": seconds[0], "theirs": seconds[1], "ratio": faster, "work": work}
    score_row = {"unit": "identical pairs", "ours": pairs[0], "theirs": pairs[1], "ratio": higher, "work": score}
    record([{"name": "alignment", "peer": peer} | time_row, {"name": "alignment-score", "peer": peer} | score_row])


if __name__ == "__main__":
    main(*sys.argv[1:])
