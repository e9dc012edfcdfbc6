"""Backbones: the alignments of a pair's generations and of chance, kept in the store, and what is measured on them.

Three kinds of text are aligned for every model and prompt: its generations, and the two nulls of `ngrams`. The two
halves of the generations are aligned apart too, so that the order of anchor spans can be tested on generations that had
no part in finding them.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from predact import stats, store
from predact.errors import UserError
from predact.methods import alignment, anchors, ngrams
from predact.methods.ngrams import ACROSS, GENERATIONS, SHUFFLED

TEXTS = (GENERATIONS, ACROSS, SHUFFLED)
HALVES = ("first, third, ... generation", "second, fourth, ... generation")
ENGINES: dict[str, Callable[[Sequence], np.ndarray]] = {"native": alignment.align, "mafft": alignment.mafft}
OTHERS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)  # least numbers of others that a token is aligned with
ALIGNED = "generations of 100"
COVERED, SPANS, ORDER = "share of tokens in anchor spans", "anchor spans per prompt", "share of pairs in common order"


def of_pair(root: Path, written: pd.DataFrame, engine: str = "native", seed: int = 0) -> pd.DataFrame:
    """Align generations and nulls of every model and prompt, a shard for each; from the store where they are there.

    Args:
        root: of the store.
        written: generations, as `sampling.of_pair` returns them.
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
    """The alignment of one model, prompt and text, from its rows of `of_pair`: ids [G, columns], as `align` has it."""
    width = 1 + max((int(each.max()) for each in part["columns"] if len(each)), default=-1)
    result = np.full((len(part), width), alignment.GAP, dtype=np.int64)
    for row, (columns, ids) in enumerate(zip(part["columns"], part.ids, strict=True)):
        result[row, columns] = ids
    return result


def curves(aligned: pd.DataFrame, others: Sequence[int] = OTHERS, bins: int = 100) -> dict[tuple[str, str], np.ndarray]:
    """Of 100 generations, how many are aligned with at least m others, along relative position: see `alignment.along`.

    Args:
        aligned: what `of_pair` returns.
        others: the numbers m.
        bins: of relative position.

    Returns:
        For each model and text [prompts, others, bins].
    """
    found: dict[tuple[str, str], list] = {}
    for (model, text, _), part in _units(aligned, TEXTS):
        each = 100 * alignment.along(matrix(part), others, bins) / len(part)
        found.setdefault((model, text), []).append(each)
    return {key: np.stack(each) for key, each in found.items()}


def along(found: dict[tuple[str, str], np.ndarray], others: Sequence[int] = OTHERS) -> pd.DataFrame:
    """Figure 1, bottom: means of `curves` over prompts, with intervals.

    Returns:
        model, text, others, position (middle of the bin, percent of the text), estimate, low, high, unit, prompts.
    """
    rows = []
    for (model, text), each in found.items():
        sums = np.column_stack([each.reshape(len(each), -1), np.ones(len(each))])
        value = stats.interval(sums, stats.means)
        position = 100 * (np.arange(each.shape[2]) + 0.5) / each.shape[2]
        axes = [("others", list(others)), ("position", position)]
        rows.append(stats.tidy(value, axes, model=model, text=text, unit=ALIGNED, prompts=len(each)))
    return pd.concat(rows, ignore_index=True)


def agreement(aligned: pd.DataFrame) -> pd.DataFrame:
    """How good alignments are: means over prompts of identical pairs per column, and of tokens aligned with 5 others.

    Args:
        aligned: what `of_pair` returns.

    Returns:
        model, text, pairs (sum of pairs), pairs per column, share aligned.
    """
    rows = []
    for (model, text, _), part in _units(aligned, TEXTS):
        made = matrix(part)
        row = {"model": model, "text": text, "pairs": alignment.pairs(made)}
        row |= {"pairs per column": alignment.pairs_per_column(made), "share aligned": alignment.share_aligned(made)}
        rows.append(row)
    return pd.DataFrame(rows).groupby(["model", "text"], sort=False).mean().reset_index()


def anchored(aligned: pd.DataFrame, share: float = anchors.SHARE, length: int = anchors.LENGTH) -> pd.DataFrame:
    """Count what anchor spans hold, and in how many pairs they keep their order, for every model, text and prompt.

    Args:
        aligned: what `of_pair` returns.
        share: see `anchors.spans`.
        length: see `anchors.spans`.

    Returns:
        model, text, prompt, spans, tokens, covered (tokens in spans), agreeing and pairs (see `anchors.order`);
        generations also as ``HALVES``: the spans of one half, found in the other.
    """
    rows = []
    for (model, prompt), unit in aligned.groupby(["model", "prompt"], sort=False):
        parts = {text: part for text, part in unit.groupby("text", sort=False)}
        for text, part in parts.items():
            other = HALVES[1 - HALVES.index(text)] if text in HALVES else text
            generations = list(parts[other].ids) if other in parts else []  # a single generation has no second half
            found = anchors.spans(matrix(part), share, length)
            places = anchors.starts(found, generations)
            row = {"model": model, "text": text, "prompt": prompt, "spans": len(found)}
            row |= {"tokens": sum(map(len, generations)), "covered": anchors.covered(found, places, generations)}
            rows.append(row | anchors.order(places)._asdict())
    return pd.DataFrame(rows)


def ordered(counts: pd.DataFrame) -> pd.DataFrame:
    """How much text lies in anchor spans, how many there are, and how often they keep their order, with intervals.

    The order of generations is measured on halves held out. Spans in an order of chance agree in half of the pairs.

    Args:
        counts: what `anchored` returns.

    Returns:
        measure (`COVERED`, `SPANS`, `ORDER`), model, text, estimate, low, high, unit, prompts; no row for the order
        where no generation has two spans.
    """
    rows = []
    halves = counts[counts.text.isin(HALVES)]
    kept = halves.groupby(["model", "prompt"], sort=False, as_index=False)[["agreeing", "pairs"]].sum()
    for (model, text), part in counts[counts.text.isin(TEXTS)].groupby(["model", "text"], sort=False):
        order = kept[kept.model == model] if text == GENERATIONS else part
        sums = {COVERED: part.loc[part.tokens > 0, ["covered", "tokens"]], SPANS: part[["spans"]].assign(one=1)}
        sums |= {ORDER: order.loc[order.pairs > 0, ["agreeing", "pairs"]]}
        for measure, each in sums.items():
            if len(each):
                value = stats.interval(each.to_numpy(float), lambda totals: totals[..., 0] / totals[..., 1])
                place = {"measure": measure, "model": model, "text": text}
                rows.append(place | vars(value) | {"unit": measure, "prompts": len(each)})
    return pd.DataFrame(rows)


def _units(aligned: pd.DataFrame, texts: Sequence[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    return iter(aligned[aligned.text.isin(texts)].groupby(["model", "text", "prompt"], sort=False))
