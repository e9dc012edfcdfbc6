"""Endings: passages with their last word split off, which follows from the whole passage: LAMBADA's, or the world's."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

from predact.errors import UserError, quoted
from predact.pocket import world
from predact.texts import corpora, sources

LAMBADA, POCKET = "lambada", "pocket"
_LAST = re.compile(r"(.*\S)\s+(\S*\w)\W*", re.DOTALL)


@dataclass(frozen=True)
class Ending:
    """A passage up to its last word, without the space between, and this word."""

    before: str
    word: str

    @property
    def text(self) -> str:
        """The whole passage."""
        return f"{self.before} {self.word}"


def select(name: str, passages: int, seed: int = 0, root: Path = corpora.STORE) -> list[Ending]:
    """Return passages, each with its last word split off; what stands after the word is left out.

    Args:
        name: ``lambada`` (Paperno et al. 2016); ``pocket``, stories of the world, see `world.ending`; or a file as
            `corpora.corpus` reads it, with a passage in each record.
        passages: how many, or all if there are fewer.
        seed: of the choice.
        root: of the store, where passages of the hub are kept.

    Raises:
        UserError: as `corpora.corpus`; or there is no passage of two words.
    """
    if name == POCKET:
        return list(islice(_stories(seed), passages))
    if sources.dataset(name):
        texts = sources.of_dataset(root, name, passages, seed, "last_words")
    else:
        texts = corpora.corpus(name, passages, seed, root, "last_words").texts
    found = [Ending(*parts.groups()) for text in texts if (parts := _LAST.fullmatch(text))]
    if not found:
        raise UserError(f"last_words: {quoted(name)} has no passage of two words or more.")
    sources.leave_out("last_words", name, "passages", len(texts), {"of a single word": len(texts) - len(found)})
    return found


def _stories(seed: int) -> Iterator[Ending]:
    for index in count(seed * corpora.STRIDE):
        if cut := world.ending("test", index):
            yield Ending(*cut)
