"""Alignments of a pair's generations and of nulls, kept in the store: of tokens, and of characters as in the paper.

Three kinds of text are aligned for every model and prompt: its generations, and the two nulls of `ngrams`. Of tokens,
the two halves of the generations are also aligned separately, so that the order of anchor spans can be tested on
held-out generations.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from predact import store
from predact.errors import UserError
from predact.methods import alignment, ngrams
from predact.methods.ngrams import ACROSS, GENERATIONS, SHUFFLED

TEXTS = (GENERATIONS, ACROSS, SHUFFLED)
HALVES = ("first, third, ... generation", "second, fourth, ... generation")
ENGINES: dict[str, Callable[[Sequence], np.ndarray]] = {"native": alignment.align, "mafft": alignment.mafft}
Unit = tuple[Any, str, str, dict[str, list]]  # stored together: model, category, prompt, rows of ids by text


def align_pair(root: Path, written: pd.DataFrame, engine: str = "native", seed: int = 0) -> pd.DataFrame:
    """Align generations and nulls of every model and prompt, or take them from the store.

    The generations of a prompt are one shard, its nulls another; both are found by their ids. The nulls depend on the
    other prompts of a run, the generations do not: these are never aligned twice.

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
    return _made(root, list(_units(written, seed)), engine)


def align_here(written: pd.DataFrame, texts: Sequence[str], seed: int = 0, bar: bool = False) -> pd.DataFrame:
    """Align generations and nulls as `align_pair` does, by the native engine, without a store, on all cores.

    Args:
        written: generations, as `sampling.sample_pair` returns them.
        texts: kinds of text, of `TEXTS` and `HALVES`.
        seed: of the nulls.
        bar: whether to show a progress bar.
    """
    units = [
        ({"model": model, "category": category, "prompt": prompt}, text, rows)
        for model, category, prompt, own in _units(written, seed)
        for text, rows in own.items()
        if text in texts
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # what takes the time needs no interpreter
        made = pool.map(lambda unit: _aligned("native", *unit[1:]).assign(**unit[0]), units)
        parts = list(tqdm(made, "alignments", len(units), leave=False, disable=None if bar else True))
    return pd.concat(parts, ignore_index=True)[["model", "category", "prompt", "text", "row", "ids", "columns"]]


def align_characters(
    root: Path,
    written: pd.DataFrame,
    decode: Mapping[str, Callable[[list[int]], str]],
    engine: str = "native",
    seed: int = 0,
    nulls: bool = True,
) -> pd.DataFrame:
    """Align the texts of generations character by character, as the paper does; otherwise like `align_pair`.

    Args:
        root: of the store.
        written: generations, as `sampling.sample_pair` returns them.
        decode: for each model, what turns its ids into text.
        engine: ``native`` or ``mafft``.
        seed: of the nulls, which are drawn before their ids become text.
        nulls: whether the nulls are aligned too.

    Returns:
        What `align_pair` returns, without the halves; an id is the code point of a character (see `text_of`).
    """
    units = []
    for model, category, prompt, texts in _units(written, seed, halves=False):
        if nulls or GENERATIONS in texts:
            rows = {text: [_characters(decode[model](list(ids))) for ids in each] for text, each in texts.items()}
            units.append((model, category, prompt, rows))
    return _made(root, units, engine)


def paper_engine() -> str:
    """The engine that comes nearest to the paper on this machine: MAFFT where it is installed, else the native one."""
    return "mafft" if alignment.mafft_version() else "native"


def text_of(ids: np.ndarray) -> str:
    """The text of characters, from their code points."""
    return np.asarray(ids).astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


def _characters(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.int64)


def _made(root: Path, units: Sequence[Unit], engine: str) -> pd.DataFrame:
    if engine not in ENGINES:
        raise UserError(f"engine: expected {' or '.join(ENGINES)}, not {engine!r}.")
    version = alignment.mafft_version() if engine == "mafft" else None
    ids = [{text: [np.asarray(row).tolist() for row in rows] for text, rows in texts.items()} for *_, texts in units]
    inputs: list[dict[str, Any]] = [{"engine": engine, "version": version, "ids": store.digest(each)} for each in ids]

    def compute(places: list[int]) -> Iterator[pd.DataFrame]:
        for place in places:
            yield pd.concat([_aligned(engine, text, rows) for text, rows in units[place][-1].items()])

    made = store.shards(root, "alignments", inputs, compute)
    parts = [
        part.assign(model=model, category=category, prompt=prompt)
        for part, (model, category, prompt, _) in zip(made, units, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)[["model", "category", "prompt", "text", "row", "ids", "columns"]]


def _units(written: pd.DataFrame, seed: int, halves: bool = True) -> Iterator[Unit]:
    for model, part in written.groupby("model", sort=False):
        found, names = ngrams.samples(part, seed), part.groupby("prompt", sort=False).category.first()
        for place, (prompt, category) in enumerate(names.items()):
            own = found[GENERATIONS][place]
            parts = {HALVES[0]: own[::2], HALVES[1]: own[1::2]} if halves else {}
            yield model, category, str(prompt), {GENERATIONS: own} | parts
            yield model, category, str(prompt), {text: found[text][place] for text in (ACROSS, SHUFFLED)}


def _aligned(engine: str, text: str, rows: list) -> pd.DataFrame:
    found = ENGINES[engine](rows)
    columns = [np.flatnonzero(line != alignment.GAP) for line in found]
    place = {"text": text, "row": range(len(rows))}
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
