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
from scipy.sparse import csr_array

from predact.errors import UserError

GAP = -1
_ROUNDS = 1  # of refinement; a second one adds about 1 % of pairs and 50 % of time
_WIDEST = 8  # times the longest sequence: an alignment with more columns is packed
_CODES = [byte for byte in range(1, 256) if byte not in b"><=- \r\n"]  # the 248 bytes that --text distinguishes
_SCALE = 2**20  # a pair outweighs any number of runs
_TRACE = 2**26  # bytes of the trace of a path; where it would be more, parts of it are made again

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
    chained = [parts[place] for place in chain]
    bounds = np.cumsum([0, *map(len, chained)])
    columns = _columns(np.concatenate(chained), bounds, words, _ROUNDS, _WIDEST * longest, _TRACE)
    result = np.full((len(rows), 1 + columns.max()), GAP, np.int64)
    for number, place in enumerate(chain):
        own = slice(bounds[number], bounds[number + 1])
        result[order[place], columns[own]] = known[chained[number]]
    return result


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
    return int((agreeing(alignment) - 1).sum()) // 2


def pairs_per_column(alignment: np.ndarray) -> float:
    """Identical pairs per column: `pairs` divided by the number of columns, 0 where there is none."""
    return pairs(alignment) / max(1, alignment.shape[1])


def companions(alignment: np.ndarray) -> np.ndarray:
    """Count, for each token, the other sequences with the same id in its column.

    Returns:
        Counts [G, longest]: row g holds those of the tokens of sequence g in their order, then -1.
    """
    lengths = (alignment != GAP).sum(1)
    result = np.full((len(alignment), lengths.max(initial=0)), -1)
    result[np.arange(result.shape[1]) < lengths[:, None]] = agreeing(alignment) - 1
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
    """For each token how many rows, its own included, have its id in its column: row by row, without the gaps."""
    rows, columns = np.nonzero(alignment != GAP)
    ids = alignment[rows, columns]
    _, inverse, counts = np.unique(columns * (1 + ids.max(initial=0)) + ids, return_inverse=True, return_counts=True)
    return counts[inverse]


def _chain(parts: list[np.ndarray], words: int) -> list[int]:
    """Order sequences for alignment: next is always the one that shares most bigrams, on average, with those before."""
    grams = [part[:-1].astype(np.int64) * words + part[1:] for part in parts]
    flat = np.unique(np.concatenate(grams), return_inverse=True)[1]
    row = np.repeat(np.arange(len(parts)), [len(each) for each in grams])
    holds = csr_array((np.ones(len(flat)), (row, flat)), (len(parts), flat.max(initial=-1) + 1))
    holds.data[:] = 1  # a bigram counts once
    counts, shared = holds.sum(1), holds[:, holds.sum(0) > 1]
    likeness = (shared @ shared.T).toarray() / np.minimum(counts[:, None], counts).clip(1)
    chain = [int(likeness.sum(0).argmax())]
    total = np.zeros(len(parts))
    for _ in parts[1:]:
        total += likeness[chain[-1]]
        total[chain[-1]] = -np.inf  # never again
        chain.append(int(total.argmax()))
    return chain


@njit(cache=True, nogil=True)
def _columns(flat: np.ndarray, bounds: np.ndarray, words: int, rounds: int, widest: int, room: int) -> np.ndarray:
    """Align sequences one after the other, then remove each one and add it again, so many rounds; return columns.

    Sequence s is ``flat[bounds[s] : bounds[s + 1]]``; the column of every token is returned. Memory is linear in the
    tokens but for the trace of `_path`, which has `room` bytes or, of very long sequences, a little more.

    A column keeps its name while others come and go: only their `order` changes. Tokens are looked up by word, where
    `slots` tells the place of each.
    """
    size, total = len(bounds) - 1, len(flat)
    slots, first = np.empty(total, np.int64), np.zeros(words + 2, np.int64)
    for word in flat:
        first[word + 2] += 1
    first = np.cumsum(first)
    for token, word in enumerate(flat):
        slots[token] = first[word + 1]
        first[word + 1] += 1
    at, order = np.full(total, -1), np.empty(0, np.int64)  # the name of the column of each slot; names in their order
    used, free = np.zeros(total, np.int64), np.arange(total)[::-1].copy()  # tokens of each column; names not in use
    spare = total
    for number in range(size * (1 + rounds)):
        begin, end = bounds[number % size], bounds[number % size + 1]
        own = slots[begin:end]
        if number >= size:
            for slot in own:
                used[at[slot]] -= 1
                if used[at[slot]] == 0:
                    free[spare] = at[slot]
                    spare += 1
                at[slot] = -1
            order = order[used[order] > 0]
        part = flat[begin:end]
        distinct = np.unique(part)
        shared, counts, starts = _profile(at, first, distinct, order)
        matches = _path(shared, counts, starts, np.searchsorted(distinct, part), len(distinct), room)
        order, spare = _merged(at, own, matches, order, free, spare)
        for slot in own:
            used[at[slot]] += 1
        if len(order) > widest:
            columns, width = _packed(flat, _ranks(at, slots, order), bounds, words, len(order))
            at[slots], order = columns, np.arange(width)
            used[:] = 0
            for column in columns:
                if column >= 0:
                    used[column] += 1
            spare = total - width
            free[:spare] = np.arange(width, total)[::-1]
            widest = max(widest, 2 * width)
    return _packed(flat, _ranks(at, slots, order), bounds, words, len(order))[0]


@njit(cache=True, nogil=True)
def _ranks(at: np.ndarray, slots: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The place of the column of each token; -1 of tokens without one."""
    rank = np.full(len(at) + 1, -1)
    rank[order] = np.arange(len(order))
    return rank[at[slots]]


@njit(cache=True, nogil=True)
def _profile(
    at: np.ndarray, first: np.ndarray, distinct: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return which of some words stand in the columns: the number and count of each, by column.

    Those of the c-th column are from ``starts[c]`` to ``starts[c + 1]``.
    """
    count, rank = np.zeros(len(at), np.int64), np.empty(len(at), np.int64)
    rank[order] = np.arange(len(order))
    starts = np.zeros(len(order) + 2, np.int64)
    most = 0
    for word in distinct:
        most += first[word + 1] - first[word]
    found, names, kept = np.empty((2, most), np.int64), np.empty(most, np.int64), 0
    for name, word in enumerate(distinct):
        begin = kept
        for column in at[first[word] : first[word + 1]]:
            if column >= 0:
                if count[column] == 0:
                    found[0, kept], names[kept] = column, name
                    kept += 1
                count[column] += 1
        for place in range(begin, kept):
            column = found[0, place]
            found[0, place], found[1, place], count[column] = rank[column], count[column], 0
            starts[rank[column] + 2] += 1
    starts = np.cumsum(starts)
    shared, counts = np.empty(kept, np.int64), np.empty(kept, np.int64)
    for place in range(kept):
        here = starts[found[0, place] + 1]
        shared[here], counts[here] = names[place], found[1, place]
        starts[found[0, place] + 1] += 1
    return shared, counts, starts[: len(order) + 1]


@njit(cache=True, nogil=True)
def _merged(
    at: np.ndarray, own: np.ndarray, matches: np.ndarray, order: np.ndarray, free: np.ndarray, spare: int
) -> tuple[np.ndarray, int]:
    """Put a sequence into the columns that it matches; what matches nothing gets columns of its own before the next.

    Returns the new order of columns, and how many names are free.
    """
    merged, size, done = np.empty(len(order) + len(own), np.int64), 0, 0
    waiting = 0  # the first token without a column
    for place in range(len(own) + 1):
        if place < len(own) and matches[place] < 0:
            continue
        stop = matches[place] if place < len(own) else len(order)
        merged[size : size + stop - done] = order[done:stop]
        size, done = size + stop - done, stop
        for other in range(waiting, place):
            spare -= 1
            merged[size] = at[own[other]] = free[spare]
            size += 1
        if place < len(own):
            at[own[place]] = order[stop]
        waiting = place + 1
    return merged[:size], spare


@njit(cache=True, nogil=True)
def _packed(
    flat: np.ndarray, columns: np.ndarray, bounds: np.ndarray, words: int, width: int
) -> tuple[np.ndarray, int]:
    """Use the fewest columns: move tokens as far left as those before them allow; those that agree move together.

    Returns the new column of each token, and how many there are.
    """
    result = np.full(len(flat), -1)
    starts = np.zeros(width + 2, np.int64)
    for column in columns:
        if column >= 0:
            starts[column + 2] += 1
    starts = np.cumsum(starts)
    tokens, rows, row = np.empty(starts[-1], np.int64), np.empty(len(flat), np.int64), 0
    for token, column in enumerate(columns):
        while token >= bounds[row + 1]:
            row += 1
        rows[token] = row
        if column >= 0:
            tokens[starts[column + 1]] = token
            starts[column + 1] += 1
    last, place = np.full(len(bounds), -1), np.full(words, -1)
    for column in range(width):
        own = tokens[starts[column] : starts[column + 1]]
        for token in own:
            place[flat[token]] = max(place[flat[token]], last[rows[token]] + 1)
        for token in own:
            result[token] = last[rows[token]] = place[flat[token]]
        for token in own:
            place[flat[token]] = -1
    return result, last.max() + 1


@njit(cache=True, nogil=True)
def _path(
    shared: np.ndarray, counts: np.ndarray, starts: np.ndarray, names: np.ndarray, distinct: int, room: int
) -> np.ndarray:
    """For each token of a sequence the column that it matches, or -1.

    The most identical pairs are chosen; among ties, the fewest runs of matches. What stands in the columns is told as
    `_profile` returns it, the sequence by the numbers of its words. The trace is kept for some columns at a time; the
    scores at the first column of each such block are kept, and all but the last block are computed twice.
    """
    some = np.flatnonzero(np.diff(starts) > 0)
    width = len(names)
    places = np.argsort(names, kind="mergesort")
    bounds = np.zeros(distinct + 1, np.int64)
    for name in names:
        bounds[name + 1] += 1
    bounds = np.cumsum(bounds)
    block = max(1, room // (width + 1))
    if block < len(some):
        block = max(block, int(np.sqrt(16 * len(some))))  # a score takes 16 bytes, a step of the trace one
    blocks = max(1, -(-len(some) // block))
    kept = np.empty((blocks, 2, width + 1), np.int64)
    kept[0, 0], kept[0, 1] = -(2**60), 0
    trace = np.zeros((min(block, len(some)) + 1, width + 1), np.uint8)
    for number in range(blocks - 1):
        kept[number + 1] = kept[number]
        _swept(
            shared, counts, starts, some[number * block : (number + 1) * block], places, bounds, kept[number + 1], trace
        )
    matches = np.full(width, -1)
    column, forced = width, 0
    for number in range(blocks - 1, -1, -1):
        own = some[number * block : (number + 1) * block]
        _swept(shared, counts, starts, own, places, bounds, kept[number], trace)
        row = len(own)
        while row > 0 and column > 0:
            step = trace[row, column]
            if forced or step & 2:
                row, column, forced = row - 1, column - 1, step & 1
                matches[column] = own[row]
            elif step & 4:
                column -= 1
            else:
                row -= 1
    return matches


@njit(cache=True, nogil=True)
def _swept(
    shared: np.ndarray,
    counts: np.ndarray,
    starts: np.ndarray,
    some: np.ndarray,
    places: np.ndarray,
    bounds: np.ndarray,
    scores: np.ndarray,
    trace: np.ndarray,
) -> None:
    """Go through some columns: bring the scores, of paths that end in a match and of all, up to date, and the trace.

    A step of the trace tells by its bits: 1: it follows a match, 2: a match is best, 4: left is best.
    """
    width = len(places)
    gain = np.zeros(width, np.int64)
    matched, best = scores
    for row in range(1, len(some) + 1):
        gain[:] = 0
        for each in range(starts[some[row - 1]], starts[some[row - 1] + 1]):
            for place in places[bounds[shared[each]] : bounds[shared[each] + 1]]:
                gain[place] = _SCALE * counts[each]
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
