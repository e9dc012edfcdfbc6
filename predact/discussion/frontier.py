"""The trade-off during training: recorded runs of RLHF in the pocket world, reward against loss of prediction.

Each run was evaluated at regular steps (`recipe.trajectory`). The true reward says how well the model acts; its bits
per byte above the world's entropy say how badly it predicts.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from predact import stats
from predact.methods import alignment, anchors
from predact.pocket import world
from predact.recipe.recipe import SCALES
from predact.recipe.trajectory import RANKS

Runs = Mapping[str, pd.DataFrame]
REWARD, EXCESS = "true reward", "bits per byte beyond the world's entropy"
SIGNS = {"kl": "KL to SFT, nats per answer", "entropy": "entropy, nats per token"}
SIGNS |= {"support": "tokens with p > 1e-8", "share10": "share of the commonest 10-gram"}
_RECORDED = SCALES["full"].record.documents  # of each corpus


@cache
def floor(documents: int = _RECORDED) -> pd.Series:
    """Entropy of the documents that runs were recorded on, in bits per byte, by corpus (the index)."""
    found = {}
    for corpus in world.CORPORA:
        drawn = [world.document(corpus, "validation", place) for place in range(documents)]
        bits = -sum(each.log_probability for each in drawn) / np.log(2)
        found[corpus] = bits / sum(len(each.text.encode()) for each in drawn)
    return pd.Series(found)


def paths(runs: Runs) -> pd.DataFrame:
    """Reward, prediction and signs of collapse of each run at each recorded step.

    Returns:
        run, step, reward, low, high (95 % bootstrap over questions), excess (mean over corpora of bits per byte above
        the world's entropy; no interval, as only means were recorded), and the keys of `SIGNS`.
    """
    parts = []
    for name, rows in runs.items():
        bits = rows[[f"bits/{corpus}" for corpus in floor().index]].to_numpy()
        spread = [stats.interval(np.column_stack([each, np.ones(len(each))]), stats.means) for each in rows.rewards]
        ends = {end: [float(getattr(each, end)[0]) for each in spread] for end in ("low", "high")}
        excess = (bits - floor().to_numpy()).mean(1)
        parts.append(rows[["step", "reward", *SIGNS]].assign(run=name, excess=excess, **ends))
    return pd.concat(parts, ignore_index=True)[["run", "step", "reward", "low", "high", "excess", *SIGNS]]


def signs(found: pd.DataFrame) -> pd.DataFrame:
    """Signs of collapse along the runs: run, step, measure, value, share (of the measure's largest in any run)."""
    told = found.melt(["run", "step"], list(SIGNS), "measure", "value").replace({"measure": SIGNS})
    return told.assign(share=told.value / told.groupby("measure").value.transform("max"))


def mass(runs: Runs) -> pd.DataFrame:
    """Mean mass of the k likeliest tokens along each run's own answers: run, step, k, mass."""
    rows = [
        {"run": name, "step": step, "k": k, "mass": float(value)}
        for name, steps in runs.items()
        for step, values in zip(steps.step, steps.mass, strict=True)
        for k, value in zip(RANKS, values, strict=True)
    ]
    return pd.DataFrame(rows)


def answers(runs: Runs, tokenizer: Any, layouts: Mapping[int, int]) -> pd.DataFrame:
    """Lay out some answers of each step as lines of text, with the passages that they share marked.

    A passage is marked if it is an anchor span (`anchors.spans`) of the recorded answers to the same question.

    Args:
        runs: recorded runs; their column `answers` holds texts.
        tokenizer: splits answers into tokens, which are aligned.
        layouts: for each width of a line, in characters, how many answers of a step are laid out.

    Returns:
        A row for each piece of a line: run, step, width, line (from 0; one is left free between answers), column
        (characters before it), text, marked.
    """
    rows = []
    for name, steps in runs.items():
        for step, texts in zip(steps.step, steps.answers, strict=True):
            marks = marked(list(texts), tokenizer)
            for width, shown in layouts.items():
                line = 0
                for text, inside in zip(texts[:shown], marks, strict=False):
                    for first, stop in wrapped(text, width):
                        place = {"run": name, "step": step, "width": width, "line": line}
                        rows += [place | piece for piece in _pieces(text, inside, first, stop)]
                        line += 1
                    line += 1
    return pd.DataFrame(rows)


def marked(texts: Sequence[str], tokenizer: Any) -> list[np.ndarray]:
    """For each text, tell which of its characters lie in an anchor span of the texts: [characters], bool."""
    cut = [tokenizer(text, add_special_tokens=False, return_offsets_mapping=True) for text in texts]
    ids = [np.array(each["input_ids"], dtype=np.int64) for each in cut]
    found = anchors.spans(alignment.align(ids))
    places = anchors.starts(found, ids)
    result = []
    for row, (text, each) in enumerate(zip(texts, cut, strict=True)):
        inside = np.zeros(len(text), dtype=bool)
        for span, place in zip(found, places[:, row], strict=True):
            if place >= 0:
                inside[each["offset_mapping"][place][0] : each["offset_mapping"][place + len(span) - 1][1]] = True
        result.append(inside)
    return result


def wrapped(text: str, width: int) -> list[tuple[int, int]]:
    """Wrap a text at white space into lines of at most `width` characters: start and end of each line."""
    lines: list[tuple[int, int]] = []
    for word in re.finditer(r"\S+", text):
        if lines and word.end() - lines[-1][0] <= width:
            lines[-1] = lines[-1][0], word.end()
        else:
            lines.append((word.start(), word.end()))
    return lines


def _pieces(text: str, inside: np.ndarray, first: int, stop: int) -> Iterator[dict[str, Any]]:
    """Split a line into pieces that are marked or unmarked throughout; strip them, but keep their columns."""
    turns = np.flatnonzero(np.diff(inside[first:stop].astype(int))) + 1
    for begin, end in pairwise([0, *turns.tolist(), stop - first]):
        said = text[first + begin : first + end]
        if said.strip():
            yield {
                "column": begin + len(said) - len(said.lstrip()),
                "text": said.strip(),
                "marked": bool(inside[first + begin]),
            }
