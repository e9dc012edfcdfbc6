"""Documents from outside: from a file, a folder of files, or a dataset on the hub."""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from itertools import chain, cycle, groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow
import yaml
from tqdm import tqdm

from predact import store
from predact.errors import UserError, in_line, near, quoted
from predact.remarks import remark

LENGTH = 2_000  # least characters of a document gathered from blocks of a text file
LONGEST = 20_000  # most characters of a document from the hub: books are cut
_APART = 1_000  # documents of a dataset from one seed to the next
_READERS = (".txt", ".jsonl", ".json", ".parquet")
COPIES = "the same as others but for white space at the ends"  # why some are left out
_RECORDS = "expected a JSON object in every line, or a JSON list of objects"

T = TypeVar("T")


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
    Documents that repeat another one up to white space at the ends are left out; a remark tells how many.

    Args:
        root: of the store.
        name: as `dataset` reads it.
        documents: how many are read.
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
    kept = distinct(found.text, str.strip)
    leave_out(parameter, name, "documents", len(found), {COPIES: len(found) - len(kept)})
    return kept


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


def existing(name: str, folder: Path = Path()) -> Path | None:
    """Return the file or folder of a name, relative to a folder; None if there is none, or none can have this name."""
    try:
        path = os.path.join(folder, os.path.expanduser(name))
    except ValueError:  # after a tilde, what no user is called
        return None
    return Path(path) if name and os.path.exists(path) else None


def readable(folder: Path) -> list[Path]:
    """Return the readable files in a folder and its subfolders, in the order of their names.

    Links to folders are not followed.

    Raises:
        UserError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"corpora: the folder {quoted(error.filename)} cannot be read ({error.strerror}).") from error

    found = (Path(here, name) for here, _, names in os.walk(folder, onerror=refuse) for name in names)
    return sorted(path for path in found if path.suffix in _READERS)


def of_path(path: Path, field: str = "text", parameter: str = "corpora") -> list[str]:
    """Return the documents of a file, or of all files of a folder in the order of their names.

    A .txt file is cut at blank lines and its blocks gathered into documents of at least 2,000 characters; .jsonl, .json
    and .parquet files have a document in a field of each record. Documents of white space only are left out, and those
    that repeat another one up to white space at the ends; a remark tells how many.

    Args:
        path: of the file or the folder.
        field: of the records.
        parameter: that names the path, for the message of an error.

    Raises:
        UserError: a file is not of these kinds, not UTF-8 or without the field, or there is no document.
    """
    paths = readable(path) if path.is_dir() else [path]
    found = list(chain.from_iterable(_read(each, field, parameter) for each in paths))
    texts = [text for text in found if text and text.strip()]
    if not texts:
        kinds = f" of {', '.join(_READERS)} files" if path.is_dir() else ""
        raise UserError(f"{parameter}: {quoted(path)} is empty{kinds}; at least one document is needed.")
    kept = distinct(texts, str.strip)
    counts = {"without text": len(found) - len(texts), COPIES: len(texts) - len(kept)}
    leave_out(parameter, str(path), "documents", len(found), counts)
    return kept


def distinct(things: Iterable[T], key: Callable[[T], Any]) -> list[T]:
    """Return the first of the things of each key, in their order."""
    first: dict[Any, T] = {}
    for thing in things:
        first.setdefault(key(thing), thing)
    return list(first.values())


def leave_out(parameter: str, source: str, things: str, count: int, counts: Mapping[str, int]) -> None:
    """Remark that some things of a source are left out.

    Args:
        parameter: that names the source.
        source: a name or a path.
        things: what it holds.
        count: how many.
        counts: how many of them are left out, by what they are.
    """
    why = ", ".join(f"{name}: {number:,}" for name, number in counts.items() if number)
    told = f"{sum(counts.values()):,} of {count:,} {things} of {quoted(source)} are left out ({why})"
    remark((source, things), f"{parameter}: {told}." if why else "")


def _read(path: Path, field: str, parameter: str) -> list[str | None]:
    """Return the documents of a file in its order; None where a record has none."""
    if path.suffix not in _READERS:
        kinds = ", ".join(_READERS)
        raise UserError(f"{parameter}: {quoted(path)} is not of a kind that can be read: {kinds}.")
    try:
        if not path.is_file():
            raise UserError(f"{parameter}: {quoted(path)} is no file, or a link that leads nowhere.")
        if path.suffix == ".txt":
            return [text for text in _gather(path.read_text(encoding="utf-8-sig")) if text.strip()]
        if path.suffix == ".parquet":
            return _column(path, field, parameter)
        return _field(path, field, parameter)
    except UnicodeDecodeError as error:
        raise UserError(
            f"{parameter}: {quoted(path)} is not UTF-8 text (byte {error.start}); convert it first."
        ) from error
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        why = in_line(" ".join(str(error).split()))
        raise UserError(f"{parameter}: {quoted(path)} cannot be read ({why}).") from error


def _gather(text: str) -> list[str]:
    """Cut a text at the first blank line after every `LENGTH` characters."""
    documents = [""]
    for piece in re.split(r"(\n\s*\n)", text):
        if len(documents[-1]) >= LENGTH and not piece.strip():
            documents.append("")
        else:
            documents[-1] += piece
    return documents


def _column(path: Path, field: str, parameter: str) -> list[str | None]:
    """Return a column of a Parquet file."""
    from pyarrow import parquet

    with path.open("rb") as opened, parquet.ParquetFile(opened) as file:  # opened: a path may be taken for a URI
        names = file.schema_arrow.names
        _check_field(path, field, names, parameter)
        texts = file.read([field]).column(field).to_pylist()
    places = ((f"{quoted(path)}, row {row}", text) for row, text in enumerate(texts, 1))
    return [_document(text, field, place, parameter) for place, text in places]


def _field(path: Path, field: str, parameter: str) -> list[str | None]:
    """Return a field of every record of a JSON or JSON Lines file."""
    found = list(_objects(path, parameter))
    if found:
        _check_field(path, field, sorted({key for _, record in found for key in record}), parameter)
    return [_document(record.get(field), field, place, parameter) for place, record in found]


def _objects(path: Path, parameter: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place in words, record) for each record of a JSON list, or of JSON Lines."""
    text = path.read_text(encoding="utf-8-sig")
    if text.lstrip().startswith("["):
        listed = _parsed(text, f"{quoted(path)}, read as a list", parameter, _RECORDS)
        numbered = ((f"{quoted(path)}, record {number}", each) for number, each in enumerate(listed, 1))
        return ((place, _object(each, place, parameter)) for place, each in numbered)
    return records(text.split("\n"), str(path), parameter, _RECORDS)


def _check_field(path: Path, field: str, fields: list[str], parameter: str) -> None:
    if field not in fields:
        hint = near(field, fields) or f"; it has {in_line(', '.join(fields)) or 'none'}."
        other = quoted(f"{path.name}:FIELD")
        raise UserError(f"{parameter}: {quoted(path)} has no field {quoted(field)}{hint} Name another as {other}.")


def _document(found: Any, field: str, place: str, parameter: str) -> str | None:
    if found is None or isinstance(found, str):
        return found
    raise UserError(f"{parameter}: {place}, has no text in the field {quoted(field)}; name another as 'FILE:FIELD'.")


def lines(path: Path, parameter: str) -> list[str]:
    """Return the lines of a UTF-8 file.

    Raises:
        UserError: it cannot be read; the message names the parameter that it was given for.
    """
    try:
        return path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        why = error.__class__.__name__
        raise UserError(f"{parameter}: {quoted(path)} cannot be read as UTF-8 text ({why}).") from error


def records(found: Iterable[str], source: str, parameter: str, expected: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place in words, record) for each line that is not blank; a record that is not an object is empty.

    Raises:
        UserError: a line is not JSON, or holds a half of a character; the message ends with what was expected.
    """
    for number, line in enumerate(found, 1):
        if line.strip():
            place = f"{quoted(source)}, line {number}"
            yield place, _object(_parsed(line, place, parameter, expected), place, parameter)


def _parsed(text: str, place: str, parameter: str, expected: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{parameter}: {place}, is not JSON; {expected}.") from error
    except RecursionError as error:
        raise _too_deep(place, parameter) from error


def _object(record: Any, place: str, parameter: str) -> dict[str, Any]:
    """Return a record if it is an object, else an empty one; refuse what UTF-8 cannot hold."""
    try:
        json.dumps(record, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[error.start])
        raise UserError(f"{parameter}: {place}, holds {half}, which is half of a character; remove it.") from error
    except RecursionError as error:
        raise _too_deep(place, parameter) from error
    return record if isinstance(record, dict) else {}


def _too_deep(place: str, parameter: str) -> UserError:
    return UserError(f"{parameter}: {place}, is nested too deeply to be read.")
