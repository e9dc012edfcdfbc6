r"""Conversations between people and an assistant, and which of two replies a person preferred: data of real language.

A file holds one comparison a line, ``{"chosen": ..., "rejected": ...}``: two conversations that differ in the last
reply, each written as ``\n\nHuman: ... \n\nAssistant: ...`` (Bai et al. 2022).
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from predact.errors import UserError
from predact.texts import sources

HUB = "Anthropic/hh-rlhf"
HELPFUL = ("helpful-base", "helpful-online", "helpful-rejection-sampled")
PARTS = {"held out": 0.05, "train": 1.0}  # a conversation's part, by where the hash of its first words falls
ROLES = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True)
class Chat:
    """A conversation that ends with a user's turn."""

    turns: tuple[tuple[str, str], ...]

    @property
    def messages(self) -> list[dict[str, str]]:
        """The turns, as chat templates take them."""
        return [{"role": role, "content": text} for role, text in self.turns]


@dataclass(frozen=True)
class Comparison:
    """Two replies to one conversation, of which a person preferred the first."""

    chat: Chat
    chosen: str
    rejected: str


def comparisons(paths: Iterable[Path], without: Iterable[str] = ()) -> list[Comparison]:
    """The comparisons of files (``.jsonl`` or ``.jsonl.gz``; none: those of the hub), each once.

    Args:
        paths: the files.
        without: first turns of conversations that must not be among them; white space and capitals do not count.

    Raises:
        UserError: a file is missing, is no JSON Lines file, or has no comparison; the hub cannot be reached.
    """
    unwanted = {_words(each) for each in without}
    found: dict[Comparison, None] = {}
    for record in _records(list(paths)):
        compared = comparison(record["chosen"], record["rejected"])
        if compared and _words(compared.chat.turns[0][1]) not in unwanted:
            found[compared] = None
    if not found:
        raise UserError("preferences: no conversation with two different replies was found.")
    return list(found)


def first_turns(paths: Iterable[Path]) -> list[str]:
    """The first turns of the conversations, or the prompts, of JSON Lines files: what must not be trained on.

    A record has ``turns``, a ``prompt``, or a ``text`` that begins with *User:* or *Human:*.

    Raises:
        UserError: a file cannot be read, or a record has none of these.
    """
    found = []
    for path in paths:
        for place, record in sources.records(sources.lines(path, "without"), str(path), "without", "turns or text"):
            text = (record.get("turns") or [None])[0] or record.get("prompt")
            if text is None and (
                begin := re.match(r"\s*(?:User|Human):(.*?)(?:\n\n\w+:|$)", str(record.get("text")), re.S)
            ):
                text = begin[1]
            if not isinstance(text, str):
                raise UserError(f"without: {place} has neither turns nor a prompt nor a conversation as text.")
            found.append(text)
    return found


def _records(paths: list[Path]) -> Iterator[dict[str, str]]:
    for path in paths:
        try:
            text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            for number, line in enumerate(text.decode().splitlines(), 1):
                record = json.loads(line)
                if not all(isinstance(record.get(key), str) for key in ("chosen", "rejected")):
                    raise UserError(f'preferences: line {number} of {path} has no texts "chosen" and "rejected".')
                yield record
        except (OSError, EOFError, ValueError, AttributeError) as error:
            raise UserError(f"preferences: {path} cannot be read as JSON Lines ({error}).") from error
    if not paths:
        yield from _of_hub()


def _of_hub() -> Iterator[dict[str, str]]:
    from datasets import load_dataset

    for name in HELPFUL:
        try:
            yield from load_dataset(HUB, data_dir=name, split="train")
        except Exception as error:
            reason = f"preferences: {HUB} cannot be read from the hub ({type(error).__name__})"
            raise UserError(f"{reason}; give files with --preferences.") from error


def comparison(chosen: str, rejected: str) -> Comparison | None:
    """Two conversations as one comparison; None if they differ before the last reply, or do not differ."""
    first, second = turns(chosen), turns(rejected)
    same = len(first) == len(second) and first[:-1] == second[:-1] and first != second
    if not same or len(first) < 2 or any(role != "assistant" or not text for role, text in (first[-1], second[-1])):
        return None
    return Comparison(Chat(tuple(first[:-1])), first[-1][1], second[-1][1])


def turns(text: str) -> list[tuple[str, str]]:
    """Role and text of each turn of a conversation; nothing if turns do not alternate from the user's first on."""
    parts = re.split(r"(?:^|\n\n)(Human|Assistant):", text)[1:]
    found = [(ROLES[role], said.strip()) for role, said in zip(parts[::2], parts[1::2], strict=True)]
    expected = ["user", "assistant"] * len(found)
    return found if [role for role, _ in found] == expected[: len(found)] else []


def part(chat: Chat) -> str:
    """The part of a conversation, *held out* or *train*: all that begin with the same words share it."""
    place = int(hashlib.sha256(_words(chat.turns[0][1]).encode()).hexdigest()[:8], 16) / 16**8
    return next(name for name, end in PARTS.items() if place < end)


def _words(text: str) -> str:
    return " ".join(text.lower().split())
