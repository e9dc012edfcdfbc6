"""Documents from outside: from a file, a folder of files, or a dataset on the hub."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import chain, cycle, groupby, islice
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from tqdm import tqdm

from predact import store
from predact.errors import UserError, near

LENGTH = 2_000  # least characters of a document gathered from blocks of a text file
LONGEST = 20_000  # most characters of a document from the hub: books are cut
_APART = 1_000  # documents of a dataset from one seed to the next
_READERS = {".txt": "text", ".jsonl": "json", ".json": "json", ".parquet": "parquet"}


@dataclass(frozen=True)
class Dataset:
    """A dataset on the hub: an entry of `corpora.yaml`.

    A document is a `field` of a record, or several, the turns of a conversation. `files` are read in place of a
    configuration. With `trees`, records are messages of conversations that branch, as those of OpenAssistant.
    """

    about: str
    category: str
    dataset: str
    licence: str
    config: str | None = None
    split: str = "train"
    field: str | list[str] = "text"
    revision: str | None = None
    files: str | None = None
    trees: bool = False


@cache
def _known() -> dict[str, Any]:
    return yaml.safe_load((files(__package__) / "corpora.yaml").read_text(encoding="utf-8"))


@cache
def datasets() -> dict[str, Dataset]:
    """Return the datasets known by name."""
    return {name: Dataset(**entry) for name, entry in _known()["datasets"].items()}


def sets() -> dict[str, list[str]]:
    """Return the names that stand for several datasets, and which."""
    return _known()["sets"]


def dataset(name: str) -> Dataset | None:
    """Return the dataset of a name, or of NAME@CONFIG (a month, a language) with this configuration; else None."""
    plain, at, config = name.partition("@")
    known = datasets().get(plain)
    return replace(known, config=config) if known and at and known.config else None if at else known


def of_dataset(root: Path, name: str, documents: int, seed: int = 0, parameter: str = "corpora") -> list[str]:
    """Return documents of a dataset on the hub, from the store if they are there.

    The commit of its revision is looked up once and kept in the store, so a book uses one version of the dataset.

    Args:
        root: of the store.
        name: as `dataset` reads it.
        documents: how many.
        seed: reading begins at record 1,000 * seed.
        parameter: that names the dataset, for the message of an error.

    Raises:
        UserError: the hub cannot be reached and the store does not have them, or the dataset ends before the first one.
    """
    about = dataset(name) or datasets()[name]
    place: dict[str, Any] = {"dataset": about.dataset, "config": about.config, "split": about.split}
    try:
        asked = {"dataset": about.dataset, "revision": about.revision}
        commit = store.frame(root, "commits", asked, lambda: _commit(about)).commit[0]
        place |= {"files": about.files} if about.files else {}
        place |= {"field": about.field, "commit": commit, "first": seed * _APART, "documents": documents}
        found = store.frame(root, "documents", place, lambda: _stream(about, commit, seed * _APART, documents))
    except UserError:
        raise
    except Exception as error:
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(
            f"{parameter}: {name!r}, the dataset {about.dataset} of the hub, cannot be fetched ({why}). Run this once "
            "where there is a network, or name files or folders of your own, or the texts that come with predact: "
            f"-p {parameter} pocket."
        ) from error
    if found.empty:
        raise UserError(f"seed: {name!r} has too few documents for seed {seed}; choose a smaller seed.")
    return found.text.tolist()


def _commit(about: Dataset) -> pd.DataFrame:
    from huggingface_hub import HfApi

    return pd.DataFrame({"commit": [HfApi().dataset_info(about.dataset, revision=about.revision, timeout=10).sha]})


def _stream(about: Dataset, commit: str, first: int, documents: int) -> pd.DataFrame:
    records = _streamed(about, commit).skip(first)
    texts = _threads(records) if about.trees else (_text(record, about.field) for record in records)
    written = islice((_cut(text) for text in texts if text and text.strip()), documents)
    bar = tqdm(written, total=documents, desc=about.dataset, unit="document", leave=False, disable=None)
    return pd.DataFrame({"text": list(bar)}, dtype=object)


def _streamed(about: Dataset, commit: str) -> Any:
    """The records of a dataset at a commit: those of its configuration, or of its files."""
    import datasets

    datasets.logging.set_verbosity(datasets.logging.CRITICAL)
    if about.files is None:
        return datasets.load_dataset(about.dataset, about.config, split=about.split, revision=commit, streaming=True)
    kind = "parquet" if about.files.endswith(".parquet") else "json"
    place = f"hf://datasets/{about.dataset}@{commit}/{about.files}"
    return datasets.load_dataset(kind, data_files=place, split="train", streaming=True)


def _text(record: dict[str, Any], field: str | list[str]) -> str | None:
    """The document of a record: a field of text, or turns (texts, or records with a text `value`) as a conversation."""
    found = record[field] if isinstance(field, str) else [record[name] for name in field]
    if found is None or isinstance(found, str):
        return found
    turns = [turn["value"] if isinstance(turn, dict) else turn for turn in found]
    return _conversation(turns) if all(turns) else None


def _conversation(turns: Iterable[str]) -> str:
    """Write turns, the first of them a person's, in the notation of HH-RLHF."""
    return "".join(f"\n\n{who}: {turn}" for who, turn in zip(cycle(("Human", "Assistant")), turns, strict=False))


def _threads(messages: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Yield the English trees of messages as conversations: after each message the first of the answers to it.

    Messages of a tree stand together, each after the one that it answers.
    """
    for _, tree in groupby(messages, key=lambda message: message["message_tree_id"]):
        thread, last = list[str](), None
        for message in tree:
            if message["parent_id"] == last and message["lang"] == "en":
                thread.append(message["text"])
                last = message["message_id"]
        yield _conversation(thread)


def _cut(text: str) -> str:
    """The beginning of a text, at most LONGEST characters, up to the end of a word."""
    return text if len(text) <= LONGEST else text[:LONGEST].rpartition(" ")[0] or text[:LONGEST]


def readable(folder: Path) -> list[Path]:
    """Return the readable files in a folder and its subfolders, in the order of their names."""
    return sorted(each for each in folder.rglob("*") if each.suffix in _READERS)


def of_path(path: Path, field: str = "text") -> list[str]:
    """Return the documents of a file, or of all files of a folder in the order of their names.

    A .txt file is cut at blank lines and its blocks gathered into documents of at least 2,000 characters; .jsonl, .json
    and .parquet files have a document in a field of each record. Documents of white space only are left out.

    Raises:
        UserError: a file is not of these kinds, not UTF-8 or without the field, or there is no document.
    """
    paths = readable(path) if path.is_dir() else [path]
    texts = [text for text in chain.from_iterable(_read(each, field) for each in paths) if text.strip()]
    if not texts:
        kinds = f" of {', '.join(_READERS)} files" if path.is_dir() else ""
        raise UserError(f"corpora: '{path}' is empty{kinds}; a corpus needs at least one document.")
    return texts


def _read(path: Path, field: str) -> list[str]:
    """Return the documents of a file in its order."""
    if path.suffix not in _READERS:
        raise UserError(f"corpora: '{path}' is not of a kind that can be read: {', '.join(_READERS)}.")
    if path.stat().st_size == 0:
        return []
    try:
        if path.suffix == ".txt":
            return _gather(path.read_text(encoding="utf-8-sig"))
        return _records(path, _READERS[path.suffix], field)
    except UnicodeDecodeError as error:
        raise UserError(f"corpora: '{path}' is not UTF-8 text (byte {error.start}); convert it first.") from error
    except (OSError, ValueError) as error:
        raise UserError(f"corpora: '{path}' cannot be read ({str(error).splitlines()[0]}).") from error


def _gather(text: str) -> list[str]:
    """Cut a text at the first blank line after every `LENGTH` characters."""
    documents = [""]
    for piece in re.split(r"(\n\s*\n)", text):
        if len(documents[-1]) >= LENGTH and not piece.strip():
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


def lines(path: Path, parameter: str) -> list[str]:
    """Return the lines of a UTF-8 file.

    Raises:
        UserError: it cannot be read; the message names the parameter that it was given for.
    """
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{parameter}: '{path}' cannot be read as UTF-8 text ({error.__class__.__name__}).") from error


def records(found: Iterable[str], source: str, parameter: str, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place in words, record) for each line that is not blank; a record that is not an object is empty.

    Raises:
        UserError: a line is not JSON; the message ends with what was expected.
    """
    for number, line in enumerate(found, 1):
        if not line.strip():
            continue
        place = f"'{source}', line {number}"
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UserError(f"{parameter}: {place}, is not JSON; {expected}.") from error
        yield place, record if isinstance(record, dict) else {}
