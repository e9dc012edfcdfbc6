"""Multiple alignment of token ids from any vocabulary, and measures of agreement (claim C8).

Only identical ids in one column count. The native engine adds one sequence after the other, the most similar first,
then removes each one and adds it again. Each step is an exact dynamic program that maximises the number of identical
pairs. MAFFT has only 248 symbols; agreement is still measured on the ids, so different ids that share a symbol never
agree.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence

import numpy as np
from numba import njit

from predact.errors import UserError

GAP = -1
_ROUNDS = 1  # of refinement; a second one adds about 1 % of pairs and 50 % of time
_WIDEST = 8  # times the longest sequence: an alignment with more columns is packed
_CODES = [byte for byte in range(1, 256) if byte not in b"><=- \r\n"]  # the 248 bytes that --text distinguishes
_SCALE = 2**20  # a pair outweighs any number of runs

Ids = Sequence[int] | np.ndarray


def align(sequences: Sequence[Ids]) -> np.ndarray:
    """Align sequences globally so that many identical ids share columns: a high sum of `pairs`.

    The order of the sequences changes only the order of the rows (equal sequences may swap rows).

    Args:
        sequences: G sequences of ids (none below 0), some of them maybe empty.

    Returns:
        Ids [G, columns], `GAP` where a row has none. No column has only gaps; a row without its gaps is the sequence.

    Raises:
        UserError: an id is below 0.
    """
    rows = _rows(sequences)
    order = sorted(range(len(rows)), key=lambda place: rows[place].tolist())  # independent of the order given
    known, flat = np.unique(np.concatenate([np.empty(0, np.int64), *(rows[place] for place in order)]), False, True)
    parts = np.split(flat.astype(np.int32), np.cumsum([len(rows[place]) for place in order])[:-1]) if order else []
    longest, words = max(map(len, parts), default=0), len(known)
    if longest == 0:
        return np.empty((len(rows), 0), np.int64)
    chain = _chain(parts, words)
    table, widest = np.empty((0, 0), np.int32), _WIDEST * longest
    for number, place in enumerate(chain * (1 + _ROUNDS)):
        others = table[int(number >= len(rows)) :]  # in refinement, the first row is removed and appended again
        table = _added(others[:, (others != GAP).any(0)], parts[place], words)
        if table.shape[1] > widest:
            table = _packed(table)
            widest = max(widest, 2 * table.shape[1])
    return np.append(known, GAP)[_packed(table)][np.argsort([order[place] for place in chain])]


def mafft(sequences: Sequence[Ids]) -> np.ndarray:
    """Align sequences with the default strategy of MAFFT (Katoh & Standley 2013), ``mafft --text``.

    The 247 ids that most sequences contain get a symbol each, all others share one more. Takes and returns what `align`
    does: the ids themselves, not the symbols.

    Raises:
        UserError: MAFFT is absent or fails, or an id is below 0.
    """
    if shutil.which("mafft") is None:
        raise UserError("mafft: no such program on the PATH; install it, or use the native engine (needs nothing).")
    rows = _rows(sequences)
    full = [place for place, row in enumerate(rows) if len(row)]
    if len(full) < 2:  # MAFFT needs two
        return align(sequences)
    known, shared = np.unique(np.concatenate([np.unique(row) for row in rows]), return_counts=True)
    symbols = np.full(len(known), _CODES[-1], np.uint8)
    common = np.argsort(-shared, kind="stable")[: len(_CODES) - 1]
    symbols[common] = _CODES[: len(common)]
    shown = {place: symbols[np.searchsorted(known, rows[place])].tobytes() for place in full}
    fasta = b"".join(b">%d\n%s\n" % each for each in shown.items())
    environment = os.environ | {"LC_ALL": "C"}  # bytes, not characters
    ran = subprocess.run(["mafft", "--text", "--quiet", "-"], input=fasta, capture_output=True, env=environment)
    records = [record.partition(b"\n") for record in ran.stdout.split(b">")[1:]]
    lines = {int(name): text.replace(b"\n", b"") for name, _, text in records}
    if {place: line.replace(b"-", b"") for place, line in lines.items()} != shown:
        reason = " ".join(ran.stderr.decode(errors="replace").split())[-200:] or f"exit status {ran.returncode}"
        raise UserError(f"mafft: it failed to align the sequences ({reason}); use the native engine.")
    result = np.full((len(rows), len(lines[full[0]])), GAP, np.int64)
    for place, line in lines.items():
        result[place, np.frombuffer(line, np.uint8) != ord("-")] = rows[place]
    return result[:, (result != GAP).any(0)]


def mafft_version() -> str | None:
    """Return the version of the MAFFT on the PATH, or None if there is none."""
    if shutil.which("mafft") is None:
        return None
    ran = subprocess.run(["mafft", "--version"], capture_output=True, text=True, errors="replace")
    return (ran.stdout + ran.stderr).strip() or "unknown"


def pairs(alignment: np.ndarray) -> int:
    """Sum of pairs: Σ over columns and ids of c·(c − 1)/2, c the number of rows with that id in that column."""
    return int((agreeing(alignment)[alignment != GAP] - 1).sum()) // 2


def pairs_per_column(alignment: np.ndarray) -> float:
    """Identical pairs per column: `pairs` divided by the number of columns, 0 where there is none."""
    return pairs(alignment) / max(1, alignment.shape[1])


def companions(alignment: np.ndarray) -> np.ndarray:
    """Count, for each token, the other sequences with the same id in its column.

    Returns:
        Counts [G, longest]: row g holds those of the tokens of sequence g in their order, then -1.
    """
    held = alignment != GAP
    lengths = held.sum(1)
    result = np.full((len(alignment), lengths.max(initial=0)), -1)
    result[np.arange(result.shape[1]) < lengths[:, None]] = agreeing(alignment)[held] - 1
    return result


def aligned(alignment: np.ndarray, others: int = 5) -> np.ndarray:
    """Tell for each token whether it has at least `others` `companions`; False after the end of a sequence."""
    return companions(alignment) >= max(0, others)


def share_aligned(alignment: np.ndarray, others: int = 5) -> float:
    """Share of all tokens that are `aligned`; 0 if there are no tokens."""
    return float(aligned(alignment, others).sum() / max(1, (alignment != GAP).sum()))


def aligned_along(alignment: np.ndarray, others: Sequence[int] = (5,), bins: int = 100) -> np.ndarray:
    """How many generations are aligned with at least m others, for each m in `others`, by relative position.

    Token t of a generation of L tokens lies in bin floor(bins·t / L). A generation adds to a bin the share of its
    tokens there that are `aligned`. To a bin without any of its tokens, it adds the share of the nearest bin with some
    (the earlier of two). An empty generation adds nothing.

    Returns:
        Numbers of generations [len(others), bins].
    """
    lengths = (alignment != GAP).sum(1)
    flags = companions(alignment) >= np.array(others)[:, None, None]
    result = np.zeros((len(others), bins))
    for place in np.flatnonzero(lengths):
        length = lengths[place]
        filled, first = np.unique(bins * np.arange(length) // length, return_index=True)
        means = np.add.reduceat(flags[:, place, :length].astype(float), first, 1) / np.diff([*first, length])
        result += means[:, np.abs(np.arange(bins)[:, None] - filled).argmin(1)]
    return result


def _rows(sequences: Sequence[Ids]) -> list[np.ndarray]:
    rows = [np.asarray(each, dtype=np.int64) for each in sequences]
    if any((row < 0).any() for row in rows):
        raise UserError("sequences: expected token ids, none below 0.")
    return rows


def agreeing(alignment: np.ndarray) -> np.ndarray:
    """For each cell how many rows, itself included, have its id in its column: [G, columns]; undefined for gaps."""
    _, dense = np.unique(alignment, return_inverse=True)
    cells = dense.reshape(alignment.shape) * alignment.shape[1] + np.arange(alignment.shape[1])
    _, inverse, counts = np.unique(cells, return_inverse=True, return_counts=True)
    return counts[inverse].reshape(alignment.shape)


def _chain(parts: list[np.ndarray], words: int) -> list[int]:
    """Order sequences for alignment: next is always the one that shares most bigrams, on average, with those before."""
    grams = [part[:-1].astype(np.int64) * words + part[1:] for part in parts]
    flat = np.unique(np.concatenate(grams), return_inverse=True)[1]
    holds = np.zeros((len(parts), flat.max(initial=-1) + 1), dtype=bool)
    holds[np.repeat(np.arange(len(parts)), [len(each) for each in grams]), flat] = True
    counts, dense = holds.sum(1), holds[:, holds.sum(0) > 1].astype(np.float32)
    likeness = (dense @ dense.T).astype(float) / np.minimum(counts[:, None], counts).clip(1)
    chain = [int(likeness.sum(0).argmax())]
    for _ in parts[1:]:
        likeness[:, chain[-1]] = -np.inf  # never again
        chain.append(int(likeness[chain].sum(0).argmax()))
    return chain


def _added(table: np.ndarray, part: np.ndarray, words: int) -> np.ndarray:
    """Align one more sequence, as the last row; it gets columns of its own for tokens that match nothing."""
    occurs = np.zeros(words + 1, dtype=bool)  # the last for gaps
    occurs[part] = True
    some = np.flatnonzero(occurs[table].any(0))
    places = np.argsort(part, kind="stable")
    bounds = np.searchsorted(part[places], np.arange(words + 1))
    matches = _path(np.ascontiguousarray(table.T[some]), len(part), bounds, places)
    a, b = some[matches >= 0], matches[matches >= 0]
    before = np.searchsorted(b, np.arange(len(part)))  # matches before a token
    columns = np.arange(len(part)) - before + np.append(a, table.shape[1])[before]  # of the tokens
    result = np.full((len(table) + 1, table.shape[1] + len(part) - len(a)), GAP, np.int32)
    result[:-1, np.delete(np.arange(result.shape[1]), np.delete(columns, b))] = table
    result[-1, columns] = part
    return result


@njit(cache=True)
def _packed(table: np.ndarray) -> np.ndarray:
    """Use the fewest columns: move tokens as far left as those before them allow; those that agree move together."""
    result = np.full(table.shape, -1, np.int32)
    last, done = np.full(len(table), -1), np.zeros(len(table), np.bool_)
    for column in table.T:
        done[:] = column < 0
        for row in range(len(table)):
            if not done[row]:
                same = np.flatnonzero(column == column[row])
                place = last[same].max() + 1
                for other in same:
                    result[other, place], last[other], done[other] = column[row], place, True
    return result[:, : last.max() + 1].copy()


@njit(cache=True)
def _path(table: np.ndarray, width: int, bounds: np.ndarray, places: np.ndarray) -> np.ndarray:
    """For each column its match in a sequence, or -1: the most identical pairs; among ties, the fewest runs of matches.

    `table` is [columns, rows]; id w occurs in the sequence at ``places[bounds[w] : bounds[w + 1]]``.
    """
    trace = np.zeros((len(table) + 1, width + 1), np.uint8)  # 1: follows a match, 2: match is best, 4: left is best
    gain = np.zeros(width, np.int64)
    matched, best = np.full(width + 1, -(2**60)), np.zeros(width + 1, np.int64)
    for row in range(1, len(table) + 1):
        gain[:] = times = 0
        for other, word in enumerate(table[row - 1]):
            times += _SCALE
            if other + 1 == table.shape[1] or table[row - 1, other + 1] != word:
                for place in places[bounds[word] : bounds[word + 1] if word >= 0 else 0]:
                    gain[place] += times
                times = 0
        corner, corner_matched, beside = best[0], matched[0], 0
        for column in range(1, width + 1):
            above, above_matched = best[column], matched[column]
            value, step, match = max(above, beside), 4 * (beside > above), -(2**60)
            if gain[column - 1] > 0:
                match = gain[column - 1] + max(corner_matched, corner - 1)
                step += (corner_matched >= corner - 1) + 2 * (match >= value)
                value = max(value, match)
            matched[column], best[column], beside, trace[row, column] = match, value, value, step
            corner, corner_matched = above, above_matched
    partners = np.full(len(table), -1)
    row, column, forced = len(table), width, 0
    while row > 0 and column > 0:
        step = trace[row, column]
        if forced or step & 2:
            row, column, forced = row - 1, column - 1, step & 1
            partners[row] = column
        elif step & 4:
            column -= 1
        else:
            row -= 1
    return partners
