"""How varied texts are, in the measures of ``pocket/targets.yaml``: of real corpora, of the world, of answers.

``python -m predact.recipe.variety FILE ...`` measures JSON Lines files with a field ``text``, one corpus each.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer
import yaml

from predact.methods import alignment, diversity, ngrams, overlap

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")  # letters, with apostrophes and hyphens inside; never a number
TOKEN = re.compile(r"\w+|[^\w\s]")  # words and marks, where there is no tokenizer
RANKS = (10, 3_000)  # between which the slope is fitted: neither function words nor what occurs once or twice
SHARE = 25_000  # words of each corpus for the slope and the forms, so that no corpus outweighs another
WINDOW = 100  # words of a document for its type/token ratio
SHARED = (5, 10, 25, 50)  # n of the commonest n-gram, as in the paper's Figure 7A


def targets() -> dict:
    """What the second edition of the pocket world is held to, and the same measures of real text."""
    return yaml.safe_load((files("predact.pocket") / "targets.yaml").read_text(encoding="utf-8"))


def words(text: str) -> list[str]:
    """The words of a text in lower case; numbers are none."""
    return WORD.findall(text.lower())


def sentence_lengths(text: str) -> list[int]:
    """Words of each sentence. A sentence ends with . ! or ? before white space, or with a line; none has no words."""
    sentences = re.split(r"(?<=[.!?])[\"”’)]*\s+|\n+", text)
    return [count for each in sentences if (count := len(words(each)))]


def type_token_ratio(text: str, window: int = WINDOW) -> float:
    """Different words among the first ``window`` words, as a share; NaN if there are fewer words."""
    first = words(text)[:window]
    return len(set(first)) / window if len(first) == window else np.nan


def zipf_slope(counts: Sequence[int], ranks: tuple[int, int] = RANKS) -> float:
    """Slope of log frequency on log rank by least squares, each rank weighted by 1/rank: evenly in log rank.

    Args:
        counts: occurrences of each word form, in any order.
        ranks: the first and the last rank used, from 1; fewer if there are fewer forms.
    """
    frequency = np.sort(np.asarray(counts, dtype=float))[::-1]
    rank = np.arange(ranks[0], min(ranks[1], len(frequency)) + 1)
    return float(np.polyfit(np.log(rank), np.log(frequency[rank - 1]), 1, w=rank**-0.5)[0])


def sample(corpora: Sequence[Sequence[str]], share: int = SHARE) -> Counter[str]:
    """How often each word form occurs in the first ``share`` words of each corpus, taken together."""
    return Counter(
        word for texts in corpora for word in islice((word for text in texts for word in words(text)), share)
    )


def of_documents(texts: Sequence[str]) -> pd.DataFrame:
    """Words, mean sentence length and type/token ratio of documents: mean, and the 5th, 50th and 95th percentile."""
    rows = [(len(words(text)), np.mean([*sentence_lengths(text)] or np.nan), type_token_ratio(text)) for text in texts]
    frame = pd.DataFrame(rows, columns=["words", "sentence", "type_token"])
    return frame.describe(percentiles=[0.05, 0.5, 0.95]).loc[["mean", "5%", "50%", "95%"]]


def plain_ids(texts: Sequence[str]) -> list[list[int]]:
    """Texts as numbers of their words and marks, where there is no tokenizer."""
    numbers: dict[str, int] = {}
    return [[numbers.setdefault(token, len(numbers)) for token in TOKEN.findall(text)] for text in texts]


def of_answers(
    texts: Sequence[str],
    ids: Sequence[ngrams.Ids] | None = None,
    align: Callable[[Sequence[ngrams.Ids]], np.ndarray] = alignment.mafft,
) -> dict[str, float]:
    """How alike the answers to one question are, in percent; the paper's measures (Table 4, Figures 7A and 13).

    Args:
        texts: the answers, 100 of them in the paper.
        ids: their tokens; words and marks if left out.
        align: engine that aligns the characters.

    Returns:
        unique1 ... unique4 (percent of unique n-grams), common5 ... common50 (answers that contain the commonest
        n-gram) and overlap (pairs of characters that match, mean along the alignment).
    """
    ids = plain_ids(texts) if ids is None else ids
    unique = diversity.percent_unique(ids)
    common = ngrams.shares(ids, max(SHARED))
    letters = [[ord(letter) for letter in text] for text in texts]
    matching = overlap.resampled(overlap.matching(align(letters))).mean()
    found = {f"unique{n}": value for n, value in enumerate(unique, 1)}
    found |= {f"common{n}": 100 * common[n - 1] for n in SHARED}
    return {name: float(value) for name, value in (found | {"overlap": 100 * matching}).items()}


def main(paths: Annotated[list[Path], typer.Argument(help="JSON Lines files with a field text.")]) -> None:
    """Print the measures of corpora: of the documents of each, and of a sample of all."""
    corpora = {path.stem: [json.loads(line)["text"] for line in path.open(encoding="utf-8")] for path in paths}
    print(pd.concat({name: of_documents(texts) for name, texts in corpora.items()}).round(3).to_string())
    counts = sample(list(corpora.values()))
    print(f"{counts.total()} words, {len(counts)} forms, slope {zipf_slope(list(counts.values())):.3f}")


if __name__ == "__main__":
    typer.run(main)
