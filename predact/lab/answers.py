"""Answers of a laboratory: sampled a few at a time, kept by their settings, shown beside each other as HTML."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from predact import markup
from predact.methods.blueprint import Blueprint
from predact.models import sampling
from predact.models.sampling import Generation, Settings

BATCH = 4  # answers sampled together: after so many, a reader can stop
PROMPT = "own"  # id of the one prompt that a laboratory asks

Write = Callable[[np.ndarray], list[Generation]]  # random numbers [answers, tokens] to answers
Texts = Mapping[str, Sequence[str]]


class Answers:
    """Answers by settings: those that were sampled once are not sampled again, and more of them go on from there."""

    def __init__(self) -> None:
        """Keep nothing."""
        self._kept: dict[Hashable, list[Generation]] = {}

    def batches(
        self, writer: Hashable, question: str, settings: Settings, seed: int, room: int, write: Write
    ) -> Iterator[list[Generation]]:
        """Yield the answers there are: at first those that are kept, then after every batch, until there are enough.

        An answer depends on the question, the settings, the seed and its number, not on its batch. So two writers that
        are asked the same answer from the same random numbers.

        Args:
            writer: what tells apart who answers.
            question: what is asked.
            settings: how to sample, and how many answers.
            seed: of all random numbers.
            room: tokens that can be written, at most.
            write: samples answers.
        """
        kept = self._kept.setdefault((writer, question, replace(settings, generations=1), seed), [])
        yield kept[: settings.generations]
        while (done := len(kept)) < settings.generations:
            names = [f"{question}/{number}" for number in range(done, min(done + BATCH, settings.generations))]
            kept += write(sampling.uniforms(seed, names, settings, room))
            yield kept[: settings.generations]


def frame(found: Mapping[str, Sequence[Generation]]) -> pd.DataFrame:
    """Return the answers of each writer as `sampling.sample_pair` returns generations, without what is not read here.

    Returns:
        A row per answer: model, category, prompt (`PROMPT`), sample, ids.
    """
    rows = [
        {"model": name, "category": PROMPT, "prompt": PROMPT, "sample": place, "ids": np.array(each.ids, np.int64)}
        for name, made in found.items()
        for place, each in enumerate(made)
    ]
    return pd.DataFrame(rows, columns=["model", "category", "prompt", "sample", "ids"])


def page(texts: Texts, drawn: Blueprint | None = None) -> str:
    """Return the answers of each writer as HTML, beside each other where there is room; all text is escaped.

    Args:
        texts: the answers of each writer.
        drawn: what they share: passages in it are underlined and marked with the number of their anchor span.
    """
    writers = [
        {"name": name, "answers": [_parts(text, _spans(drawn, name, row)) for row, text in enumerate(each)]}
        for name, each in texts.items()
    ]
    return markup.render("answers.html", writers=writers)


def _spans(drawn: Blueprint | None, model: str, row: int) -> list[tuple[int, int, int]]:
    """The anchor spans in one answer: their number, where they begin and end, in characters."""
    if drawn is None:
        return []
    own: Any = drawn.texts[(drawn.texts.model == model) & (drawn.texts.row == row)]
    nodes = drawn.nodes[(drawn.nodes.model == model) & ~drawn.nodes.ends].drop_duplicates("slot").set_index("slot").text
    places = [place for each in own.places for place in each]
    return [(slot, place, place + len(nodes[slot])) for slot, place in enumerate(places, 1) if place >= 0]


def _parts(text: str, spans: list[tuple[int, int, int]]) -> list[tuple[str, int]]:
    """Cut a text where its spans begin and end: each part with the number of its span, 0 outside of all.

    Where two overlap, the first one ends where the other begins.
    """
    number = np.zeros(len(text) + 1, dtype=int)
    for slot, begin, end in sorted(spans, key=lambda span: span[1]):
        number[begin:end] = slot
    borders = [0, *(np.flatnonzero(np.diff(number[:-1])) + 1).tolist(), len(text)]
    return [(text[a:b], int(number[a])) for a, b in zip(borders[:-1], borders[1:], strict=True) if a < b]


def in_turn(streams: Mapping[str, Iterator[list[Generation]]]) -> Iterator[tuple[str, list[Generation]]]:
    """Yield what several writers have answered, a batch of each in turn, until all have done."""
    waiting = dict(streams)
    while waiting:
        for name, stream in list(waiting.items()):
            made = next(stream, None)
            if made is None:
                del waiting[name]
            else:
                yield name, made
