"""Blueprints: which anchor spans each generation of a prompt contains, in which order, for figures to draw.

Every span is a slot. In a slot a generation is in one of three states: it has the span in its place, it has the span
elsewhere (out of the common order), or it has other text. By the paper's protocol no span can be elsewhere; start and
end of the text are slots too, and generations are bundled by the two spans between which they flow.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from predact.methods import alignment, alignments, anchors
from predact.methods.ngrams import GENERATIONS

IN_PLACE, ELSEWHERE, OTHER = range(3)
STATES = ("in its place", "elsewhere", "other text")
START, END = "start of the text", "end of the text"
MOST = 12  # most spans shown per prompt: those with the most neighbouring tokens
_EXCERPT = 60  # characters

Decode = Callable[[list[int]], str]


class Blueprint(NamedTuple):
    """What the figures draw: tidy frames, each with the columns prompt and model."""

    nodes: pd.DataFrame  # slot, state, top, count, held, text, length, contained (in how many), ends
    ribbons: pd.DataFrame  # slot to the next, begin, stop, source, target, kind, top, bottom, count, held, who, example
    texts: pd.DataFrame  # row, text, places (where each span begins, in characters; -1: nowhere)


def blueprint(
    aligned: pd.DataFrame,
    decode: Mapping[str, Decode],
    share: float = anchors.SHARE,
    length: int = anchors.LENGTH,
    most: int = MOST,
) -> Blueprint:
    """Lay out the anchor spans of generations as slots with nodes, and the generations as ribbons between them.

    Args:
        aligned: what `alignments.align_pair` returns, or some prompts of it.
        decode: for each model, what turns its ids into text.
        share: see `anchors.spans`.
        length: see `anchors.spans`.
        most: spans per prompt, at most; those with the most neighbouring tokens are kept.

    Returns:
        Frames of nodes, ribbons and texts. Slots of spans count from 1; 0 is the beginning. `top` and `bottom` are in
        generations: how many lie above in the slot. `held` says for each span of the prompt how many of the node's or
        ribbon's generations contain it. A ribbon leads from slot `begin` to slot `stop`, here always the next one.
    """
    made: list[tuple[pd.DataFrame, ...]] = []
    own = aligned[aligned.text == GENERATIONS]
    for (prompt, model), part in own.groupby(["prompt", "model"], sort=False):
        found = anchors.spans(alignments.matrix(part), share, length)
        frames = _laid(found, list(part.ids), decode[str(model)], most)
        made.append(tuple(frame.assign(prompt=str(prompt), model=str(model)) for frame in frames))
    return _joined(made)


class Grid(NamedTuple):
    """Blueprints for many thresholds, each one that differs once; the first is that which a prompt begins with."""

    drawn: dict[str, Blueprint]  # by name; a prompt is in the first ones, as many as it has
    names: dict[str, list[list[str]]]  # for each prompt, by share, then by length, the name of its blueprint
    first: dict[str, tuple[int, int] | None]  # the share and length, by place, that it begins with; None: no spans


def grid(
    aligned: pd.DataFrame,
    decode: Mapping[str, Decode],
    shares: Sequence[float],
    lengths: Sequence[int],
    length: int = anchors.LENGTH,
    most: int = MOST,
) -> Grid:
    """Lay out anchor spans as `blueprint` does, for each of several shares and lengths.

    A prompt begins with the largest share at which one of its models has a span of at least `length` tokens; if there
    is none at any share, with the largest share and then the largest length at which there is one.

    Args:
        aligned: see `blueprint`.
        decode: see `blueprint`.
        shares: see `anchors.spans`, ascending.
        lengths: see `anchors.spans`, ascending; one is `length`.
        length: see above.
        most: see `blueprint`.
    """
    layouts: dict[str, list[tuple[pd.DataFrame, ...]]] = {}
    names: dict[str, list[list[str]]] = {}
    first: dict[str, tuple[int, int] | None] = {}
    begin = list(lengths).index(length)
    own = aligned[aligned.text == GENERATIONS]
    for prompt, unit in own.groupby("prompt", sort=False):
        parts = {str(model): part for model, part in unit.groupby("model", sort=False)}
        found = _all_spans(parts, shares, lengths)
        some = [place for place, each in found.items() if any(each.values())]
        start = max(some, key=lambda place: (place[1] == begin, place), default=None)
        first[str(prompt)], names[str(prompt)] = start, [[""] * len(lengths) for _ in shares]
        known: dict[tuple, str] = {}
        for place in [*([start] if start else []), *found]:
            spans = found[place]
            key = tuple(tuple(span.tobytes() for span in each) for each in spans.values())
            if key not in known:
                known[key] = str(len(known))
                for model, part in parts.items():
                    frames = _laid(spans[model], list(part.ids), decode[model], most)
                    layouts.setdefault(known[key], []).append(
                        tuple(frame.assign(prompt=str(prompt), model=model) for frame in frames)
                    )
            names[str(prompt)][place[0]][place[1]] = known[key]
    return Grid({name: _joined(made) for name, made in layouts.items()}, names, first)


def _all_spans(
    parts: Mapping[str, pd.DataFrame], shares: Sequence[float], lengths: Sequence[int]
) -> dict[tuple[int, int], dict[str, list[np.ndarray]]]:
    """The anchor spans of each model of a prompt, by the places of a share and of a length."""
    made = {model: alignments.matrix(part) for model, part in parts.items()}
    known: dict[tuple[str, int, int], list[np.ndarray]] = {}
    found: dict[tuple[int, int], dict[str, list[np.ndarray]]] = {}
    for row, share in enumerate(shares):
        for column, length in enumerate(lengths):
            here = found[row, column] = {}
            for model, rows in made.items():
                key = (model, anchors.least(share, len(rows)), length)
                if key not in known:
                    known[key] = anchors.spans(rows, share, length)
                here[model] = known[key]
    return found


def _laid(
    found: list[np.ndarray], texts: list, word: Decode, most: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Nodes, ribbons and texts of the spans of one model and prompt, of those with the most neighbouring tokens."""
    places = anchors.starts(found, texts)
    weight = (places >= 0).sum(1) * np.array([len(span) - 1 for span in found], dtype=int)
    chosen = np.sort(np.argsort(-weight, kind="stable")[:most])
    found, places = [found[each] for each in chosen], places[chosen]
    told, state = [word(span.tolist()) for span in found], states(found, places)
    nodes = _nodes(found, places, state, told)
    return nodes, _ribbons(found, places, state, texts, word), _texts(places, told, texts, word)


def of_paper(
    characters: pd.DataFrame,
    share: float = anchors.PAPER_SHARE,
    length: int = anchors.PAPER_LENGTH,
    most: int = anchors.PAPER_MOST,
) -> Blueprint:
    """Lay out the anchor spans of the paper's protocol: start, spans and end as nodes, generations flowing between.

    A generation flows from each span that it contains to the next one that it contains; what it does not contain it
    passes below. (Paper, Figures 1 and 8 to 12.)

    Args:
        characters: what `alignments.align_characters` returns, or some prompts of it.
        share: see `anchors.indexed`.
        length: see `anchors.indexed`.
        most: see `anchors.indexed`.

    Returns:
        As `blueprint` does. The start is slot 0, the end the last one: nodes with `ends` true. A flow between two nodes
        is a ribbon from each slot to the next; these agree in `begin` and `stop`.
    """
    made: list[tuple[pd.DataFrame, ...]] = []
    own = characters[characters.text == GENERATIONS]
    for (prompt, model), part in own.groupby(["prompt", "model"], sort=False):
        texts = [alignments.text_of(ids) for ids in part.ids]
        found = anchors.indexed(texts, list(part["columns"]), share, length, most)
        places = np.array([span.places for span in found], dtype=int).reshape(len(found), len(texts))
        at = pd.DataFrame({"row": range(len(texts)), "text": texts, "places": places.T.tolist()})
        frames = (_indexed_nodes(found, places), _flows(found, places, texts), at)
        made.append(tuple(frame.assign(prompt=str(prompt), model=str(model)) for frame in frames))
    return _joined(made)


def _joined(made: list[tuple[pd.DataFrame, ...]]) -> Blueprint:
    return Blueprint(*(pd.concat(frames, ignore_index=True) for frames in zip(*made, strict=True)))


def _indexed_nodes(found: list[anchors.Indexed], places: np.ndarray) -> pd.DataFrame:
    held, count = places >= 0, places.shape[1]
    end = {"state": IN_PLACE, "top": 0, "count": count, "held": held.sum(1).tolist(), "length": 0, "contained": count}
    rows = [end | {"slot": 0, "text": START, "ends": True}]
    for slot, (span, inside) in enumerate(zip(found, held, strict=True)):
        count = int(inside.sum())
        row = {"slot": slot + 1, "state": IN_PLACE, "top": 0, "count": count, "held": (held & inside).sum(1).tolist()}
        rows.append(row | {"text": span.text, "length": len(span.text), "contained": count, "ends": False})
    return pd.DataFrame([*rows, end | {"slot": len(found) + 1, "text": END, "ends": True}])


def _flows(found: list[anchors.Indexed], places: np.ndarray, texts: list[str]) -> pd.DataFrame:
    """Ribbons of the generations that contain one node, then another, from each slot to the next."""
    ends = np.ones((1, len(texts)), bool)
    passed = np.concatenate([ends, places >= 0, ends])
    slots, last = np.arange(len(passed))[:, None], len(passed) - 1
    before = np.maximum.accumulate(np.where(passed, slots, 0))
    after = np.minimum.accumulate(np.where(passed, slots, last)[::-1])[::-1]
    rows = []
    for slot in range(last):
        flows = sorted(set(zip(before[slot].tolist(), after[slot + 1].tolist(), strict=True)))
        groups = {flow: np.flatnonzero((before[slot] == flow[0]) & (after[slot + 1] == flow[1])) for flow in flows}
        top, bottom = _stacked(groups, slot), _stacked(groups, slot + 1)
        for (begin, stop), members in groups.items():
            row: dict[str, Any] = {"slot": slot, "begin": begin, "stop": stop, "count": len(members)}
            row |= {"source": OTHER if begin < slot else IN_PLACE, "target": OTHER if stop > slot + 1 else IN_PLACE}
            row |= {"kind": OTHER if (begin, stop) == (0, last) else IN_PLACE, "who": _numbers(members)}
            row |= {"top": top[begin, stop], "bottom": bottom[begin, stop]}
            first = int(members[0])
            here = places[begin - 1, first] + len(found[begin - 1].text) if begin else 0
            there = places[stop - 1, first] if stop < last else len(texts[first])
            row |= {"held": passed[1:-1, members].sum(1).tolist()}
            rows.append(row | {"example": shortened(texts[first][here:there], _EXCERPT)})
    return pd.DataFrame(rows)


def _stacked(groups: Mapping[tuple[int, int], np.ndarray], slot: int) -> dict[tuple[int, int], int]:
    """How many generations lie above each flow in a slot: flows that begin or end there first, then those that pass."""
    above, total = {}, 0
    for flow in sorted(groups, key=lambda flow: (slot not in flow, flow)):
        above[flow], total = total, total + len(groups[flow])
    return above


def states(found: Sequence[np.ndarray], places: np.ndarray) -> np.ndarray:
    """Tell whether each span is in its place, elsewhere or absent in each generation: [spans, G].

    The spans in their places are the subset with the most tokens that occurs in the common order in the generation.

    Args:
        found: ids of the spans, in the common order.
        places: where the generations contain them, as `anchors.starts` returns it.
    """
    result = np.where(places >= 0, ELSEWHERE, OTHER)
    sizes = [len(span) for span in found]
    for row in range(places.shape[1]):
        held = np.flatnonzero(places[:, row] >= 0).tolist()
        best: dict[int, tuple[int, list[int]]] = {}
        for span in held:
            before = [best[other] for other in held if other < span and places[other, row] < places[span, row]]
            tokens, chain = max(before, key=lambda each: each[0], default=(0, []))
            best[span] = tokens + sizes[span], [*chain, span]
        if best:
            result[max(best.values(), key=lambda each: each[0])[1], row] = IN_PLACE
    return result


def _nodes(found: list[np.ndarray], places: np.ndarray, state: np.ndarray, told: list[str]) -> pd.DataFrame:
    held = places >= 0
    rows = []
    for slot, span in enumerate(found):
        counts = np.bincount(state[slot], minlength=len(STATES))
        for each in range(len(STATES)):
            inside = state[slot] == each
            row: dict[str, Any] = {
                "slot": slot + 1,
                "state": each,
                "top": int(counts[:each].sum()),
                "count": int(counts[each]),
            }
            row |= {"held": (held & inside).sum(1).tolist(), "text": told[slot], "length": len(span)}
            rows.append(row | {"contained": int(held[slot].sum()), "ends": False})
    columns = ["slot", "state", "top", "count", "held", "text", "length", "contained", "ends"]
    kinds = dict.fromkeys(("slot", "state", "top", "count", "length", "contained"), int) | {"ends": bool}
    return pd.DataFrame(rows, columns=columns).astype(kinds)  # also if there are no rows


def _ribbons(found: list[np.ndarray], places: np.ndarray, state: np.ndarray, texts: list, word: Decode) -> pd.DataFrame:
    """Ribbons of all generations from the beginning (a slot with one node) through all slots to the end."""
    whole = np.full((1, len(texts)), OTHER)
    state = np.concatenate([whole, state, whole])
    rows = []
    for slot, (here, there) in enumerate(zip(state[:-1], state[1:], strict=True)):
        for source, target in np.ndindex(len(STATES), len(STATES)):
            inside = (here == source) & (there == target)
            if not inside.any():
                continue
            row = {"slot": slot, "begin": slot, "stop": slot + 1, "source": source, "target": target}
            row |= {"kind": _kind(source, target, slot == 0, slot == len(found)), "count": int(inside.sum())}
            row |= {"top": int(((here < source) | ((here == source) & (there < target))).sum())}
            row |= {"bottom": int(((there < target) | ((there == target) & (here < source))).sum())}
            row |= {"held": ((places >= 0) & inside).sum(1).tolist(), "who": _numbers(np.flatnonzero(inside))}
            rows.append(row | {"example": _between(slot, int(np.flatnonzero(inside)[0]), found, places, texts, word)})
    return pd.DataFrame(rows)


def _kind(source: int, target: int, begins: bool, ends: bool) -> int:
    """Of a ribbon: the state of its worse end; the beginning and the end of the text are no worse than any."""
    if begins and ends:
        return OTHER
    return max(IN_PLACE if begins else source, IN_PLACE if ends else target)


def _numbers(rows: np.ndarray, most: int = 6) -> str:
    """List the first numbers of some generations."""
    return ", ".join(map(str, rows[:most])) + (", …" if len(rows) > most else "")


def _between(slot: int, row: int, found: list, places: np.ndarray, texts: list, word: Decode) -> str:
    """The text of a generation from the last span before a slot's end to the next one, shortened."""
    text = texts[row]
    ends = [place + len(span) for span, place in zip(found[:slot], places[:slot, row], strict=True) if place >= 0]
    begin = max(ends, default=0)
    later = zip(found[slot:], places[slot:, row], strict=True)
    stops = [max(begin, place) for span, place in later if place >= 0 and place + len(span) > begin]
    stop = min(stops, default=len(text))
    return shortened(word(list(text[begin:stop])), _EXCERPT)


def _texts(places: np.ndarray, told: list[str], texts: list, word: Decode) -> pd.DataFrame:
    rows = []
    for row, ids in enumerate(texts):
        text, at = word(list(ids)), []
        for span, place in zip(told, places[:, row], strict=True):
            before = word(list(ids[:place])) if place >= 0 else ""
            if place >= 0 and not text.startswith(before + span):  # the span begins or ends within a character
                before = text[: text.find(span.strip("\ufffd"), len(before.rstrip("\ufffd")))]
            at.append(len(before) if place >= 0 else -1)
        rows.append({"row": row, "text": text, "places": at})
    return pd.DataFrame(rows)


def shortened(text: str, most: int) -> str:
    """Return a text in one line; if it has more than `most` characters, its middle is left out."""
    line = text.replace("\r", "").replace("\n", "↵")
    return line if len(line) <= most else f"{line[: most * 2 // 3 - 1].rstrip()} … {line[-(most // 3 - 2) :].lstrip()}"


def cells(aligned: pd.DataFrame, decode: Mapping[str, Decode]) -> pd.DataFrame:
    """The alignment of generations, token by token, for the viewer.

    Args:
        aligned: what `alignments.align_pair` returns, or some prompts of it.
        decode: for each model, what turns its ids into text.

    Returns:
        A row per generation: prompt, model, row, width (columns of the alignment), tokens (as text), columns, others
        (how many other generations have the same token in its column).
    """
    rows = []
    own = aligned[aligned.text == GENERATIONS]
    for (prompt, model), part in own.groupby(["prompt", "model"], sort=False):
        word, made = decode[str(model)], alignments.matrix(part)
        known = {int(each): word([int(each)]) for each in np.unique(made) if each != alignment.GAP}
        others = alignment.companions(made)
        for row, (ids, columns) in enumerate(zip(part.ids, part["columns"], strict=True)):
            place = {"prompt": prompt, "model": model, "row": row, "width": made.shape[1]}
            place |= {"tokens": [known[int(each)] for each in ids], "columns": np.asarray(columns).tolist()}
            rows.append(place | {"others": others[row, : len(ids)].tolist()})
    return pd.DataFrame(rows)
