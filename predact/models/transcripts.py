"""Pairs of which only generations are known: texts from files, cut into words, in place of sampled tokens."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from predact import store
from predact.errors import UserError, in_line, quoted
from predact.models.pairs import Model, Pair
from predact.remarks import remark
from predact.texts import generations, sources
from predact.texts.generations import Generation
from predact.texts.prompts import Prompt

CATEGORY = "prompts"  # of all prompts of a file
TAKEN = "Generations are read from files and cut into words: where a text speaks of tokens, words are meant."
LEFT_OUT = "What needs the models' weights was left out."
_COLUMNS = ["prompt", "words"]


class Texts(NamedTuple):
    """Generations as ids of words: a frame like that of `sampling.sample_pair`, the word of each id, the prompts."""

    written: pd.DataFrame
    words: list[str]
    prompts: dict[str, str]
    notes: list[str]  # what was left out or merged, each a sentence

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids, exactly as in the file."""
        return "".join(self.words[each] for each in ids)


def prompts(pair: Pair, limit: int = 0) -> list[Prompt]:
    """Return the prompts that all models of a pair have answered, numbered in the order of Base's file.

    Args:
        pair: of files of generations.
        limit: the first ones, this many; 0: all.

    Raises:
        UserError: a file cannot be read (`generations.read`), a model is not in it, or there is no such prompt.
    """
    return _numbered(_shared(pair)[0])[: limit or None]


def count(pair: Pair, most: int, limit: int = 0) -> int:
    """Return how many generations of each prompt and model are taken: equally many of all. Remark on what is not.

    Args:
        pair: of files of generations.
        most: how many are taken at most.
        limit: as in `prompts`, with the same errors.
    """
    frame, notes = _shared(pair)
    asked = {prompt.text for prompt in _numbered(frame)[: limit or None]}
    sizes = frame[frame.prompt.isin(asked)].groupby(["model", "prompt"]).size()
    found = min(most, int(sizes.min()))
    if found < sizes.max():
        notes = [*notes, f"Of up to {sizes.max():,} generations of a prompt, {found:,} were drawn at random."]
    remark("written", " ".join([TAKEN, LEFT_OUT, *notes]))
    return found


def texts(root: Path, pair: Pair, asked: Sequence[Prompt], number: int, seed: int, steps: Sequence[str]) -> Texts:
    """Return generations of the models of a pair, cut into words; these are kept in the store.

    Args:
        root: of the store.
        pair: of files of generations.
        asked: some of its `prompts`.
        number: generations of a prompt by a model, drawn at random where there are more.
        seed: of the drawing.
        steps: whose.

    Returns:
        model, category, prompt (id), sample (place in the file), ids. The ids are those of all models together.
    """
    parts = [_words(root, model).assign(model=step) for step, model in pair.models.items()]
    frame = pd.concat(parts, ignore_index=True)
    frame["ids"], words = generations.numbered(frame.words)
    frame["sample"] = frame.groupby(["model", "prompt"]).cumcount()
    ids = {prompt.text: prompt.id for prompt in asked}
    frame = generations.drawn(frame[frame.prompt.isin(ids) & frame.model.isin(list(steps))], number, seed)
    frame = frame.assign(
        model=pd.Categorical(frame.model, list(steps)),
        prompt=pd.Categorical(frame.prompt.map(ids), list(ids.values())),
        category=CATEGORY,
    )
    frame = frame.sort_values(["model", "prompt"], kind="stable").astype({"model": str, "prompt": str})
    written = frame[["model", "category", "prompt", "sample", "ids"]].reset_index(drop=True)
    return Texts(written, words, {id: text for text, id in ids.items()}, [])


def _words(root: Path, model: Model) -> pd.DataFrame:
    """Generations of a model, from the store if they are there: prompt, words."""
    path = _file(model)

    def cut() -> pd.DataFrame:
        found = pd.DataFrame([(each.prompt, generations.words(each.text)) for each in _own(model)], columns=_COLUMNS)
        generations.refuse_long(found.words, path)
        return found

    return store.frame(root, "words", {"file": store.checksum(path), "writer": model.writer}, cut)


def _shared(pair: Pair) -> tuple[pd.DataFrame, list[str]]:
    """Model and prompt of each generation, of the prompts that all models have; and what is to be told of the files."""
    rows = [(step, each.prompt) for step, model in pair.models.items() for each in _own(model)]
    frame, left = generations.shared(pd.DataFrame(rows, columns=["model", "prompt"]))
    if frame.empty:
        raise UserError(f"file: no prompt has two generations by each of {_listed(list(pair.models))}, as is needed.")
    notes = [note for path in dict.fromkeys(map(_file, pair.models.values())) for note in _read(path)[1]]
    return frame, [*notes, *left]


def _numbered(frame: pd.DataFrame) -> list[Prompt]:
    return [Prompt(str(number), CATEGORY, text) for number, text in enumerate(frame.prompt.unique(), 1)]


def _own(model: Model) -> list[Generation]:
    """The generations of a model in its file."""
    path = _file(model)
    found = _read(path)[0]
    names = list(dict.fromkeys(each.model for each in found))
    if model.writer is None and len(names) > 1:
        raise UserError(f"file: {quoted(path)} holds several models, {_listed(names)}; name one as FILE:MODEL.")
    if model.writer not in (None, *names):
        told = f"has no generations by the model {quoted(model.writer)}, but by {_listed(names)}"
        raise UserError(f"file: {quoted(path)} {told}; name its models: --base FILE:MODEL --rlhf FILE:MODEL.")
    own = [each for each in found if model.writer in (None, each.model)]
    if not any(each.text.strip() for each in own):
        raise UserError(f"file: the generations by {quoted(own[0].model)} in {quoted(path)} hold no text.")
    return own


def _listed(names: Sequence[str]) -> str:
    return in_line(", ".join(names))


def _file(model: Model) -> Path:
    return sources.existing(model.source) or Path(model.source)


def _read(path: Path) -> tuple[list[Generation], list[str]]:
    return _parsed(path, store.checksum(path)) if path.is_file() else generations.read(path)


@lru_cache
def _parsed(path: Path, _: str) -> tuple[list[Generation], list[str]]:
    """The generations of a file, read once as long as its content stays the same."""
    return generations.read(path)
