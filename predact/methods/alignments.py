"""Alignments of a pair's generations and of nulls, kept in the store.

Three kinds of text are aligned for every model and prompt: its generations, and the two nulls of `ngrams`. The two
halves of the generations are also aligned separately, so that the order of anchor spans can be tested on held-out
generations.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from predact import store
from predact.errors import UserError
from predact.methods import alignment, ngrams
from predact.methods.ngrams import ACROSS, GENERATIONS, SHUFFLED

TEXTS = (GENERATIONS, ACROSS, SHUFFLED)
HALVES = ("first, third, ... generation", "second, fourth, ... generation")
ENGINES: dict[str, Callable[[Sequence], np.ndarray]] = {"native": alignment.align, "mafft": alignment.mafft}


def align_pair(root: Path, written: pd.DataFrame, engine: str = "native", seed: int = 0) -> pd.DataFrame:
    """Align generations and nulls of every model and prompt, a shard for each, or take them from the store.

    Args:
        root: of the store.
        written: generations, as `sampling.sample_pair` returns them.
        engine: ``native`` or ``mafft``.
        seed: of the nulls.

    Returns:
        A row per text: model, category, prompt (of other prompts: the number of a draw), text (`TEXTS` and `HALVES`),
        row, ids, columns (of each id, in the alignment).

    Raises:
        UserError: the engine is unknown, or MAFFT is absent.
    """
    if engine not in ENGINES:
        raise UserError(f"engine: expected {' or '.join(ENGINES)}, not {engine!r}.")
    version = alignment.mafft_version() if engine == "mafft" else None
    parts = []
    for model, part in written.groupby("model", sort=False):
        found = ngrams.samples(part, seed)
        names = part.groupby("prompt", sort=False).category.first()
        units = [
            {text: found[text][place] for text in TEXTS} | {HALVES[0]: own[::2], HALVES[1]: own[1::2]}
            for place, own in enumerate(found[GENERATIONS])
        ]
        ids = [[np.asarray(ids).tolist() for rows in unit.values() for ids in rows] for unit in units]
        inputs: dict[str, Any] = {"engine": engine, "version": version, "texts": store.digest(ids), "seed": seed}
        keys = dict(zip(names.index.astype(str), units, strict=True))

        def aligned(key: str, keys: dict = keys) -> pd.DataFrame:
            return pd.concat([_aligned(engine, text, rows, key) for text, rows in keys[key].items()])

        made = store.shards(root, "alignments", inputs, list(keys), aligned)
        parts.append(made.assign(model=model, category=made.prompt.map(names)))
    return pd.concat(parts, ignore_index=True)[["model", "category", "prompt", "text", "row", "ids", "columns"]]


def _aligned(engine: str, text: str, rows: list, prompt: str) -> pd.DataFrame:
    found = ENGINES[engine](rows)
    columns = [np.flatnonzero(line != alignment.GAP) for line in found]
    place = {"prompt": prompt, "text": text, "row": range(len(rows))}
    return pd.DataFrame(place | {"ids": [np.asarray(ids, dtype=np.int64) for ids in rows], "columns": columns})


def matrix(part: pd.DataFrame) -> np.ndarray:
    """The alignment of one model, prompt and text, from its rows of `align_pair`: ids [G, columns]."""
    width = 1 + max((int(each.max()) for each in part["columns"] if len(each)), default=-1)
    result = np.full((len(part), width), alignment.GAP, dtype=np.int64)
    for row, (columns, ids) in enumerate(zip(part["columns"], part.ids, strict=True)):
        result[row, columns] = ids
    return result


def alignment_units(aligned: pd.DataFrame, texts: Sequence[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """Iterate over ((model, text, prompt), rows) for these kinds of text."""
    return iter(aligned[aligned.text.isin(texts)].groupby(["model", "text", "prompt"], sort=False))
