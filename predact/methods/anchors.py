"""Anchor spans: passages that many generations for a prompt share word for word (claim C7).

They are read off an alignment: the paper's (`indexed`) off one of characters, ours (`spans`) off one of token ids.
Whether ours have one order is measured on the texts: in an alignment, nothing can be out of order.
"""

from collections import defaultdict
from collections.abc import Sequence
from os.path import commonprefix
from typing import NamedTuple

import numpy as np
from numba import njit

from predact.errors import UserError
from predact.methods import overlap
from predact.methods.alignment import GAP

SHARE, LENGTH = 0.25, 5  # of the generations, and in tokens: what makes a passage an anchor span
PAPER_SHARE, PAPER_LENGTH, PAPER_MOST = 0.2, 30, 6  # the paper's: of the generations, in characters, per prompt

Ids = Sequence[int] | np.ndarray


class Order(NamedTuple):
    """Of the pairs of anchor spans within generations: the number in the common order, and of all."""

    agreeing: int
    pairs: int


class Indexed(NamedTuple):
    """A passage at one index (column) of an alignment, and where each generation has it."""

    column: int  # of its first character
    text: str
    places: np.ndarray  # [G] of its first character in each generation; -1: not there


def indexed(
    texts: Sequence[str],
    columns: Sequence[np.ndarray],
    share: float = PAPER_SHARE,
    length: int = PAPER_LENGTH,
    most: int = PAPER_MOST,
) -> list[Indexed]:
    """Find the anchor spans of aligned generations by the paper's protocol, in the order of the alignment.

    A span is a passage of at least `length` characters that begins at the same index (column) of the alignment in at
    least ``share * G`` generations; the same passage at two indices is two spans. They are picked one by one: the one
    in most generations, among these the longest (then the first). After each pick the rest is counted again, without
    what overlaps a picked span in its generation. (Paper, appendix on anchor spans; Figures 1 and 8 to 12.)

    Args:
        texts: of the G generations.
        columns: for each, the column of each of its characters.
        share: of the generations, two at least.
        length: in characters.
        most: spans picked, at most.

    Raises:
        UserError: the share or the length is out of its range.
    """
    _check(share, length)
    enough = least(share, len(texts))
    held: dict[tuple[int, str], dict[int, int]] = defaultdict(dict)  # (index, first characters): places by generation
    for row, (text, where) in enumerate(zip(texts, columns, strict=True)):
        for place, column in enumerate(where[: max(0, len(text) - length + 1)].tolist()):
            held[column, text[place : place + length]][row] = place
    room = [np.arange(len(text), 0, -1) for text in texts]  # from each place on, characters that no picked span has
    found: list[Indexed] = []
    while len(found) < most:
        held = {key: _free(places, room, length) for key, places in held.items() if len(places) >= enough}
        often = max(map(len, held.values()), default=0)
        if often < enough:
            break
        longest = {
            key: commonprefix([texts[row][place : place + room[row][place]] for row, place in places.items()])
            for key, places in held.items()
            if len(places) == often
        }
        key = min(longest, key=lambda key: (-len(longest[key]), key))
        found.append(Indexed(key[0], longest[key], np.full(len(texts), -1)))
        for row, place in held[key].items():
            found[-1].places[row], end = place, place + len(longest[key])
            room[row][:place] = np.minimum(room[row][:place], np.arange(place, 0, -1))
            room[row][place:end] = 0
    return sorted(found, key=lambda span: (span.column, span.text))


def _free(places: dict[int, int], room: list[np.ndarray], length: int) -> dict[int, int]:
    """Those of some passages of `length` characters that overlap no picked span."""
    return {row: place for row, place in places.items() if room[row][place] >= length}


def inside(found: Sequence[Indexed], texts: Sequence[str], points: int = overlap.POINTS) -> np.ndarray:
    """Proportion of generations that are inside a span, along the text (paper, Figure 14).

    Point i is the mean over generations of the share of the i-th of `points` equal parts of the text that lies inside
    one of the spans found. An empty generation is inside none.

    Returns:
        Proportions [points].
    """
    total = np.zeros(points)
    for row, text in enumerate(texts):
        flags = np.zeros(len(text))
        for span in found:
            if span.places[row] >= 0:
                flags[span.places[row] :][: len(span.text)] = 1
        total += overlap.resampled(flags, points)
    return total / max(1, len(texts))


def least(share: float, generations: int) -> int:
    """The number of generations that a span must be in: a share of them, two at least."""
    return max(2, int(np.ceil(share * generations - 1e-9)))


def _check(share: float, length: int) -> None:
    if not 0 < share <= 1:
        raise UserError(f"share: expected a number above 0 and at most 1, not {share}.")
    if length < 2:
        raise UserError(f"length: expected a whole number above 1, not {length}.")


def spans(alignment: np.ndarray, share: float = SHARE, length: int = LENGTH) -> list[np.ndarray]:
    """Find the anchor spans of aligned generations, in their common order.

    A span is a run of at least `length` ids that at least ``share * G`` generations contain contiguously, in the same
    columns of the alignment. Of all sequences of spans that follow one another, the one with the most pairs of
    neighbouring tokens is chosen: Σ over spans of (tokens - 1)·(generations). So a span ends where many generations
    leave it, and another may begin there. A passage that occurs at different places is one span, at the place where
    it has the most pairs.

    Args:
        alignment: ids [G, columns], as `alignment.align` returns them.
        share: of the generations, two at least.
        length: in tokens, two at least.

    Returns:
        The ids of each span; none is a part of another.

    Raises:
        UserError: the share or the length is out of its range.
    """
    _check(share, length)
    held = alignment != GAP
    flat = alignment[held]
    column = np.nonzero(held)[1]
    keys, node = np.unique(column * (flat.max(initial=0) + 1) + flat, return_inverse=True)  # sorted by column
    columns = keys // (flat.max(initial=0) + 1)
    ends = np.cumsum(held.sum(1))
    nodes, ids = (np.insert(each, ends, -1) for each in (node, flat))  # a mark ends each generation
    tokens = np.argsort(nodes, kind="stable")[len(ends) :]
    bounds = np.searchsorted(nodes[tokens], np.arange(len(keys) + 1))
    found = _chosen(nodes, tokens, bounds, columns, alignment.shape[1], least(share, len(alignment)), length)
    kept: dict[int, np.ndarray] = {}
    for place in sorted(range(len(found)), key=lambda place: -found[place][0]):
        _, first, size = found[place]
        span = ids[first : first + size]
        if not any(len(_places(*sorted((span, other), key=len))) for other in kept.values()):
            kept[place] = span
    return [kept[place] for place in sorted(kept, reverse=True)]


@njit(cache=True)
def _chosen(
    nodes: np.ndarray, tokens: np.ndarray, bounds: np.ndarray, columns: np.ndarray, width: int, least: int, length: int
) -> list[tuple[int, int, int]]:
    """Choose the best spans, last first: pairs of neighbours, place of one occurrence's first token, number of tokens.

    A node is an id in a column. `nodes` has the node of every token, in the order of the texts; node v is that of
    ``tokens[bounds[v] : bounds[v + 1]]``. This is a dynamic program over columns from left to right: `worth` is the
    value of the best choice before a column, and at each node all spans that begin there are tried.
    """
    follows = np.full(len(columns), -1)  # the node that follows a node in all texts, where it is one
    for node in range(len(columns)):
        after = nodes[tokens[bounds[node] : bounds[node + 1]] + 1]
        if after.min() == after.max():
            follows[node] = after[0]
    worth = np.zeros(width + 1, np.int64)
    first, sizes, starts = np.full(width + 1, -1), np.zeros(width + 1, np.int64), np.zeros(width + 1, np.int64)
    done = 0
    for node in range(len(columns) + 1):
        column = columns[node] if node < len(columns) else width
        while done < column:
            done += 1
            if worth[done] <= worth[done - 1]:
                worth[done], first[done] = worth[done - 1], -1
        if node == len(columns):
            break
        waiting = [(tokens[bounds[node] : bounds[node + 1]], 1, column)]
        while waiting:
            here, size, last = waiting.pop()
            while True:
                value = worth[column] + (size - 1) * len(here)
                if len(here) >= least and size >= length and value > worth[last + 1]:
                    worth[last + 1], first[last + 1], sizes[last + 1], starts[last + 1] = value, here[0], size, column
                only = follows[nodes[here[0] + size - 1]]
                if only < 0:
                    break
                size, last = size + 1, columns[only]
            after = nodes[here + size]
            sorted_by_next = np.argsort(after, kind="mergesort")
            begin = 0
            for stop in range(1, len(here) + 1):
                each = after[sorted_by_next[begin]]
                if stop == len(here) or after[sorted_by_next[stop]] != each:
                    if each >= 0 and stop - begin >= least:
                        waiting.append((here[sorted_by_next[begin:stop]], size + 1, columns[each]))
                    begin = stop
    found, end = [(0, 0, 0) for _ in range(0)], width
    while end > 0:
        if first[end] < 0:
            end -= 1
        else:
            found.append((worth[end] - worth[starts[end]], first[end], sizes[end]))
            end = starts[end]
    return found


def starts(found: Sequence[np.ndarray], generations: Sequence[Ids]) -> np.ndarray:
    """Find each span in each generation, verbatim: the place of its first token, -1 if the span is absent.

    If it occurs several times, the first place counts.

    Returns:
        Places [spans, G].
    """
    texts = [np.asarray(each, dtype=np.int64) for each in generations]
    places = [[_places(span, text)[:1] for text in texts] for span in found]
    return np.array([[each[0] if len(each) else -1 for each in row] for row in places]).reshape(len(found), len(texts))


@njit(cache=True)
def _places(span: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Where a text contains a span."""
    found = np.zeros(max(0, len(text) - len(span) + 1), np.bool_)
    for place in range(len(found)):
        same = 0
        while same < len(span) and text[place + same] == span[same]:
            same += 1
        found[place] = same == len(span)
    return np.flatnonzero(found)


def order(places: np.ndarray) -> Order:
    """Count the pairs of spans within generations, and those in the order of the spans.

    Args:
        places: as `starts` returns them. Spans in random order agree in half of the pairs.
    """
    both = (places[:, None] >= 0) & (places[None] >= 0) & np.triu(np.ones((len(places),) * 2, bool), 1)[..., None]
    return Order(int((both & (places[:, None] < places[None])).sum()), int(both.sum()))


def covered(found: Sequence[np.ndarray], places: np.ndarray, generations: Sequence[Ids]) -> int:
    """How many tokens of the generations lie in the spans that they contain, each token counted once."""
    total = 0
    for row, text in enumerate(generations):
        inside = np.zeros(len(text), dtype=bool)
        for span, place in zip(found, places[:, row], strict=True):
            if place >= 0:
                inside[place : place + len(span)] = True
        total += int(inside.sum())
    return total
