"""Corpora: documents of one kind, drawn from the pocket world or read from a local file; what is held out of them."""

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from predact.errors import UserError, near
from predact.pocket import world
from predact.store import digest

POCKET = "pocket"  # stands for all corpora that the pocket models were trained on
KNOWN = world.CORPORA | world.HELD_OUT
_LENGTH = 2_000  # characters that the blocks of a text file are gathered to
_STRIDE = 1_000_000  # documents of the world between one seed and the next
PARTS = {"train": 0.7, "validation": 0.1, "test": 0.2}  # shares of the documents of a corpus


@dataclass(frozen=True, eq=False)
class Corpus:
    """Documents of one kind; `world_nll` is the nll of each in nats under the world that wrote it, where known."""

    name: str
    category: str
    texts: list[str]
    world_nll: np.ndarray | None
    fingerprint: str


def corpora() -> pd.DataFrame:
    """Return name and category of the corpora known by name."""
    return pd.DataFrame(KNOWN.items(), columns=["name", "category"])


def select(names: Sequence[str], documents: int = 100, seed: int = 0) -> list[Corpus]:
    """Return the corpora of a list of names and paths; `pocket` stands for all corpora of the pocket world.

    Raises:
        UserError: as `corpus`; or two of them have the same name.
    """
    expanded = list(chain.from_iterable(world.CORPORA if name == POCKET else [name] for name in names))
    selected = [corpus(name, documents, seed) for name in expanded]
    titles = [each.name for each in selected]
    for name in titles:
        if titles.count(name) > 1:
            raise UserError(f"corpora: {name!r} is named twice; every corpus needs a name of its own.")
    return selected


def corpus(name: str, documents: int = 100, seed: int = 0) -> Corpus:
    """Return the first documents of a corpus, in an order drawn by the seed.

    A .txt file is cut at blank lines and its blocks gathered into documents of at least 2,000 characters; .jsonl, .json
    and .parquet files have a document in each record's field `text`, or in another one: ``path:field``. Documents of
    nothing but white space are left out.

    Args:
        name: a known name (see `corpora`) or the path of a file, whose corpus has the file's name without its suffix.
        documents: how many, or all where there are fewer; a smaller number gives the first of a larger one.
        seed: of the order; the pocket world writes other documents for another seed.

    Raises:
        UserError: the name is unknown, or the file is missing, empty, not UTF-8 or without the field.
    """
    if documents < 1:
        raise UserError(f"documents: expected a whole number above 0, not {documents}.")
    if name in KNOWN:
        written = [world.document(name, "test", seed * _STRIDE + index) for index in range(documents)]
        texts = [document.text for document in written]
        nll = -np.array([document.log_probability for document in written])
        return Corpus(name, KNOWN[name], texts, nll, digest(texts))
    path, field = _locate(name)
    texts = [text for text in _read(path, field) if text.strip()]
    if not texts:
        raise UserError(f"corpora: '{path}' is empty; a corpus needs at least one document.")
    random.Random(seed).shuffle(texts)
    return Corpus(path.stem, "file", texts[:documents], None, digest(texts[:documents]))


def split(whole: Corpus) -> dict[str, Corpus]:
    """Part the documents of a corpus into PARTS, each by the SHA-256 of its words.

    So a document never changes sides as the corpus grows, and copies of it, also with other white space, are together.

    Raises:
        UserError: a part is left with too little: one document to train on, two for each of the others.
    """
    marks = [hashlib.sha256(" ".join(text.split()).encode()).digest() for text in whole.texts]
    place = np.array([int.from_bytes(mark[:8], "big") / 2**64 for mark in marks])
    ends = np.cumsum(list(PARTS.values()))
    parts = {}
    for name, low, high in zip(PARTS, [0, *ends], ends, strict=False):
        chosen = np.flatnonzero((place >= low) & (place < high))
        texts = [whole.texts[index] for index in chosen]
        if len(texts) < (1 if name == "train" else 2):
            raise UserError(
                f"corpora: '{whole.name}' is too small to finetune on: of its {len(whole.texts)} documents the "
                f"{name} part gets {len(texts)}. Give more documents (some twenty at least), or name other targets."
            )
        nll = None if whole.world_nll is None else whole.world_nll[chosen]
        parts[name] = Corpus(whole.name, whole.category, texts, nll, digest(texts))
    return parts


def _locate(name: str) -> tuple[Path, str]:
    """Split `path` or `path:field`, where there is such a file."""
    path, field = Path(name).expanduser(), "text"
    if not path.is_file() and ":" in name:
        front, _, field = name.rpartition(":")
        path = Path(front).expanduser()
    if path.is_file():
        return path, field
    if path.suffix or path.name != name:
        raise UserError(f"corpora: the file '{path}' does not exist; name a file, or a corpus of `predact corpora`.")
    hint = near(name, [*KNOWN, POCKET]) or "."
    raise UserError(f"corpora: {name!r} is not known{hint} Run `predact corpora`, or name a file.")


def _read(path: Path, field: str) -> list[str]:
    """Return the documents of a file in its order."""
    readers = {".txt": "text", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}
    if path.suffix not in readers:
        raise UserError(f"corpora: '{path}' is not of a kind that can be read: {', '.join(readers)}.")
    if path.stat().st_size == 0:
        return []
    try:
        if path.suffix == ".txt":
            return _gather(path.read_text(encoding="utf-8-sig"))
        return _records(path, readers[path.suffix], field)
    except UnicodeDecodeError as error:
        raise UserError(f"corpora: '{path}' is not UTF-8 text (byte {error.start}); convert it first.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"corpora: '{path}' cannot be read ({str(error).splitlines()[0]}).") from error


def _gather(text: str) -> list[str]:
    """Cut a text at the first blank line after every `_LENGTH` characters."""
    documents = [""]
    for piece in re.split(r"(\n\s*\n)", text):
        if len(documents[-1]) >= _LENGTH and not piece.strip():
            documents.append("")
        else:
            documents[-1] += piece
    return documents


def _records(path: Path, kind: str, field: str) -> list[str]:
    """Return a field of every record of a JSON, JSON Lines or Parquet file."""
    import datasets

    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    records = list(datasets.load_dataset(kind, data_files=str(path), split="train", streaming=True))
    fields = sorted({key for record in records for key in record})
    if field not in fields:
        hint = near(field, fields) or f"; it has {', '.join(fields)}."
        raise UserError(f"corpora: '{path}' has no field {field!r}{hint} Name another as {path.name}:FIELD.")
    texts = [record[field] for record in records if record[field] is not None]
    if not all(isinstance(text, str) for text in texts):
        raise UserError(f"corpora: the field {field!r} of '{path}' is not text; name another as {path.name}:FIELD.")
    return texts
