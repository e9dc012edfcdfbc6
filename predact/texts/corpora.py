"""Corpora: documents of one kind, from the pocket world, the hub or a file; their split for finetuning."""

import hashlib
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from predact.errors import UserError, near, quoted
from predact.pocket import world
from predact.store import digest
from predact.texts import sources

POCKET, PAPER = "pocket", "paper"  # all corpora that the pocket models were trained on; those of the paper's Table 2
WORLD = world.CORPORA | world.HELD_OUT
GROUPS = {POCKET: list(world.CORPORA), **sources.sets()}
STORE = Path("_build/store")
STRIDE = 1_000_000  # documents of the world from one seed to the next
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
    """Return name, category, the sets that it is in, configuration and origin of the corpora known by name."""
    rows = [(name, category, "", "the pocket world") for name, category in WORLD.items()]
    known = sources.datasets().items()
    rows += [(name, each.category, each.config or "", f"{each.about}. {each.licence}.") for name, each in known]
    frame = pd.DataFrame(rows, columns=["name", "category", "configuration", "origin"])
    within = [", ".join(group for group, names in GROUPS.items() if name in names) for name in frame.name]
    frame.insert(2, "sets", within)
    return frame


def select(names: Sequence[str], documents: int = 100, seed: int = 0, root: Path = STORE) -> list[Corpus]:
    """Return the corpora of a list of names and paths; a name of GROUPS stands for several.

    Raises:
        UserError: as `corpus`; or two of them have the same name.
    """
    selected = [corpus(name, documents, seed, root) for name in expanded(names)]
    titles = [each.name for each in selected]
    for name in titles:
        if titles.count(name) > 1:
            raise UserError(f"corpora: {name!r} is named twice; every corpus needs a name of its own.")
    return selected


def expanded(names: Sequence[str]) -> list[str]:
    """Return names, with those of GROUPS replaced by the corpora they stand for."""
    return list(chain.from_iterable(GROUPS.get(name, [name]) for name in names))


def corpus(name: str, documents: int = 100, seed: int = 0, root: Path = STORE, parameter: str = "corpora") -> Corpus:
    """Return the first documents of a corpus, in an order drawn by the seed.

    Args:
        name: a known name (see `corpora`); NAME@CONFIG, as in bbc@2024-06, for another configuration of a dataset; or
            the path of a file or a folder (see `sources.of_path`): the corpus has its name, without a suffix;
            ``path:field`` names another field of its records than ``text``.
        documents: how many (all if there are fewer); a smaller number gives the first ones of a larger number.
        seed: of the order; with another seed, the pocket world writes other documents, a dataset begins elsewhere.
        root: of the store, where documents of the hub are kept.
        parameter: that gives the name, for the message of an error.

    Raises:
        UserError: the name is unknown; the file is missing, empty, not UTF-8 or without the field; the hub is out of
            reach.
    """
    if documents < 1:
        raise UserError(f"documents: expected a whole number above 0, not {documents}.")
    if name in WORLD:
        written = [world.document(name, "test", seed * STRIDE + index) for index in range(documents)]
        nll = -np.array([document.log_probability for document in written])
        return _corpus(name, WORLD[name], [document.text for document in written], nll)
    if dataset := sources.dataset(name):
        return _corpus(name, dataset.category, sources.of_dataset(root, name, documents, seed, parameter))
    path, field = _locate(name, parameter)
    found = sources.of_path(path, field, parameter)
    random.Random(seed).shuffle(found)
    return _corpus(_title(path, parameter), "file", found[:documents])


def _title(path: Path, parameter: str) -> str:
    """The name of a file without its suffix, or of a folder, be it `.`."""
    title = Path(os.path.abspath(path)).name if path.is_dir() else path.stem
    try:
        title.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{parameter}: the name of {quoted(path)} is not UTF-8; give it another name.") from error
    return title


def _corpus(name: str, category: str, found: list[str], world_nll: np.ndarray | None = None) -> Corpus:
    return Corpus(name, category, found, world_nll, digest(found))


def split(whole: Corpus) -> dict[str, Corpus]:
    """Split the documents of a corpus into PARTS, by the SHA-256 of each document's words.

    So a document keeps its part as the corpus grows, and copies of it, also with other white space, share its part.

    Raises:
        UserError: a part has too few documents: training needs one, each other part two.
    """
    marks = [hashlib.sha256(" ".join(text.split()).encode()).digest() for text in whole.texts]
    place = np.array([int.from_bytes(mark[:8], "big") / 2**64 for mark in marks])
    ends = np.cumsum(list(PARTS.values()))
    parts = {}
    for name, low, high in zip(PARTS, [0, *ends], ends, strict=False):
        chosen = np.flatnonzero((place >= low) & (place < high))
        own = [whole.texts[index] for index in chosen]
        if len(own) < (1 if name == "train" else 2):
            raise UserError(
                f"corpora: '{whole.name}' is too small to finetune on: of its {len(whole.texts)} documents the "
                f"{name} part gets {len(own)}. Give more documents (some twenty at least), or name other targets."
            )
        nll = None if whole.world_nll is None else whole.world_nll[chosen]
        parts[name] = _corpus(whole.name, whole.category, own, nll)
    return parts


def _locate(name: str, parameter: str) -> tuple[Path, str]:
    """Split `path` or `path:field` of an existing file or folder into the two."""
    front, _, field = name.rpartition(":")
    for path, of_records in ((sources.existing(name), "text"), (sources.existing(front), field)):
        if path:
            return path, of_records
    if Path(name).suffix or Path(name).name != name:
        told = f"the file {quoted(front or name)} does not exist; name a file, or a corpus of `predact corpora`"
        raise UserError(f"{parameter}: {told}.")
    hint = near(name, [*WORLD, *sources.datasets(), *GROUPS]) or "."
    raise UserError(
        f"{parameter}: {quoted(name)} is not known{hint} Run `predact corpora`, or name a file or a folder."
    )
