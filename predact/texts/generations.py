"""Generations written anywhere: the files in which people have them, and texts cut into words."""

import csv
import gzip
import hashlib
import io
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import regex

from predact.errors import UserError

EXPECTED = 'expected JSON Lines with {"prompt": "...", "generation": "..."}'
ALONE = "texts"  # the model of a file that names none
PROMPT = ("prompt", "question", "instruction", "messages", "custom_id")  # fields that hold it; the first one is taken
TEXT = ("generation", "completion", "response", "output")  # fields that hold a text, or a list of texts
SEVERAL = tuple(f"{name}s" for name in TEXT)
LONGEST = 20_000  # words of a generation
_FILE = re.compile(r"(.+?\.(?:jsonl|json|csv|tsv)(?:\.gz)?)(?::(.+))?", re.IGNORECASE | re.DOTALL)
_BOUNDARY = regex.compile(r"(?V1w)\b")  # w: the word boundaries of Unicode (UAX 29), not those of \w


class Generation(NamedTuple):
    """A text, what it answers, and who wrote it."""

    prompt: str
    text: str
    model: str


def words(text: str) -> list[str]:
    """Cut a text into words, each with the white space before it; joined they are the text.

    Words are those of Unicode (UAX 29): marks, joiners and apostrophes do not end one. Scripts that write no spaces
    have no words by that rule: Chinese, Thai, Lao, Khmer, Burmese are cut into characters, each with its marks.
    """
    found: list[str] = []
    space = ""
    for piece in _BOUNDARY.split(text):
        if piece.isspace():
            space += piece
        elif piece:
            found.append(space + piece)
            space = ""
    return [*found, space] if space else found


def numbered(texts: Iterable[Sequence[str]]) -> tuple[list[list[int]], list[str]]:
    """Number the words of texts in the order in which they appear; return the ids of each text, each id's word."""
    known: dict[str, int] = {}
    return [[known.setdefault(word, len(known)) for word in each] for each in texts], list(known)


def refuse_long(texts: Iterable[Sequence], path: Path) -> None:
    """Raise UserError if one of the texts of a file has more than `LONGEST` words: to align it would take for ever."""
    longest = max(map(len, texts), default=0)
    if longest > LONGEST:
        raise UserError(
            f"file: a generation in {str(path)!r} has {longest:,} words, {LONGEST:,} at most: cut it, "
            "or give its parts as generations of prompts of their own."
        )


def named(word: str) -> tuple[str, str | None] | None:
    """Return the file and the model (or None) that ``FILE`` or ``FILE:MODEL`` names; None if it names no such file."""
    found = _FILE.fullmatch(word)
    return (found[1], found[2]) if found else None


def shared(frame: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Keep the prompts of which every model has two generations or more: a single one has nothing to share.

    Args:
        frame: model, prompt, and more, of each generation.

    Returns:
        The rows that stay, maybe none, and what was left out: a sentence, or none.
    """
    sizes = frame.groupby(["prompt", "model"], sort=False).size().unstack(fill_value=0)
    kept = sizes.index[(sizes >= 2).all(axis=1)]
    left = len(sizes) - len(kept)
    told = f"{left:,} prompt{'s' * (left > 1)} without two generations by each model left out."
    return frame[frame.prompt.isin(kept)], [told] if left else []


def drawn(frame: pd.DataFrame, count: int, seed: int = 0) -> pd.DataFrame:
    """Draw equally many generations of each prompt and model at random, and leave them in their order.

    Which are drawn of a prompt does not depend on other prompts and models.

    Args:
        frame: model, prompt, sample (number), and more, of each generation.
        count: generations of a prompt by a model.
        seed: of the drawing.
    """
    places: Sequence[tuple] = list(frame[["model", "prompt", "sample"]].itertuples(index=False, name=None))
    lots = [hashlib.sha256(json.dumps([seed, *map(str, place)]).encode()).hexdigest() for place in places]
    rank = frame.assign(lot=lots).groupby(["model", "prompt"]).lot.rank(method="first")
    return frame[rank <= count]


def read(path: Path) -> tuple[list[Generation], list[str]]:
    """Read the generations of a file: JSON Lines, JSON or CSV, of any of them also what gzip made.

    A record holds a prompt and a text, or several (`TEXT`, `SEVERAL`); or a conversation, `messages`, whose last turn
    is the text; or `choices`, as an API returns them, also within `response`, as in an OpenAI batch file. It may name
    its model. White space around a prompt does not count.

    Returns:
        The generations, and what was done to them: notes for the reader, each a sentence.

    Raises:
        UserError: the file is missing, empty, of another kind or broken, or a record lacks its prompt or text. The
            message names the file, the record, and the fields that were found.
    """
    if not path.is_file():
        raise UserError(f"file: {str(path)!r} is not a file; {EXPECTED}.")
    found: list[Generation] = []
    failed, raw = 0, set()
    for place, record in _records(path):
        if isinstance(record, dict) and record.get("custom_id") is not None and record.get("error") is not None:
            failed += 1  # the API could not answer this request
            continue
        prompt = _prompt(record, place)
        raw.add(prompt)
        found += [Generation(prompt.strip(), text, _model(record, place)) for text in _texts(record, place)]
    if not found:
        raise UserError(f"file: {str(path)!r} is empty; {EXPECTED}.")
    merged = len(raw) - len({prompt.strip() for prompt in raw})
    notes = [f"{failed:,} failed request{'s' * (failed > 1)} of the batch left out."] if failed else []
    notes += [f"{merged:,} prompts differ from others in white space at their ends only: taken for the same."] * (
        merged > 0
    )
    return found, notes


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield (place in words, record) of a file."""
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if path.suffix == ".gz" else data
        text = data.decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        kind = "UTF-8 text" if isinstance(error, UnicodeDecodeError) else "a file"
        raise UserError(f"file: {str(path)!r} cannot be read as {kind} ({error.__class__.__name__}).") from error
    kind = Path(path.name.removesuffix(".gz")).suffix.lower()
    if kind in (".csv", ".tsv"):
        yield from _rows(path, text, "\t" if kind == ".tsv" else ",")
    elif kind == ".json" and text.lstrip().startswith("["):
        whole = _parsed(text, f"{str(path)!r}")
        yield from ((f"{str(path)!r}, record {number}", record) for number, record in enumerate(whole, 1))
    else:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                place = f"{str(path)!r}, line {number}"
                yield place, _parsed(line, place)


def _rows(path: Path, text: str, mark: str) -> Iterator[tuple[str, dict]]:
    csv.field_size_limit(sys.maxsize)
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=mark, strict=True)
    try:
        for row in rows:
            place = f"{str(path)!r}, line {rows.line_num}"
            if None in row:
                raise UserError(f"file: {place}, has more cells than the first line; put texts with commas in quotes.")
            yield place, row
    except csv.Error as error:
        raise UserError(f"file: {str(path)!r}, at or after line {rows.line_num}, is not CSV ({error}).") from error


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"file: {place}, is not JSON; {EXPECTED}.") from error


def _first(record: dict, names: Iterable[str]) -> str:
    """The first of some fields that a record has, or ``""``."""
    return next((name for name in names if record.get(name) is not None), "")


def _prompt(record: Any, place: str) -> str:
    name = _first(record, PROMPT) if isinstance(record, dict) else ""
    value = record[name] if name else None
    if isinstance(value, list):  # a conversation: all but the answer, if it ends in one
        turns = [_content(turn, place, name) for turn in value]
        answered = isinstance(value[-1], dict) and value[-1].get("role") == "assistant" if value else False
        asked = turns[:-1] if answered else turns
        value = "\n\n".join(asked) if all(isinstance(turn, str) for turn in asked) else None
    return _text(value, record, place, "prompt")


def _texts(record: dict, place: str) -> list[str]:
    holder: Any = record
    if isinstance(record.get("response"), dict):  # of an OpenAI batch
        holder = record["response"]
        holder = holder["body"] if isinstance(holder.get("body"), dict) else holder
    if isinstance(holder.get("choices"), list):
        found = [_choice(each) for each in holder["choices"]]
    elif name := _first(holder, (*TEXT, *SEVERAL)):
        found = holder[name] if isinstance(holder[name], list) else [holder[name]]
    else:
        turns: Any = record.get("messages")
        answered = isinstance(turns, list) and turns and isinstance(turns[-1], dict)
        found = [turns[-1].get("content")] if answered and turns[-1].get("role") == "assistant" else [None]
    return [_text(_content(each, place, "generation"), record, place, "generation") for each in found]


def _choice(choice: Any) -> Any:
    """The text or message of a choice that an API returned."""
    return choice.get("message", choice.get("text")) if isinstance(choice, dict) else choice


def _content(value: Any, place: str, field: str) -> Any:
    """The text of a message, whose content may come in parts; anything else as it is."""
    content = value.get("content", value.get("text", value.get("value"))) if isinstance(value, dict) else value
    if isinstance(content, list):
        parts = [_content(part, place, field) for part in content]
        content = "".join(parts) if all(isinstance(part, str) for part in parts) else None
    return content


def _model(record: dict, place: str) -> str:
    inner: Any = record
    while isinstance(inner, dict) and not inner.get("model"):  # of an OpenAI batch it stands within
        inner = inner.get("response") or inner.get("body")
    name: Any = inner.get("model") if isinstance(inner, dict) else None
    return _text(name, record, place, "model") if name else ALONE


def _text(value: Any, record: Any, place: str, field: str) -> str:
    """A value that must be a text that can be written."""
    if not isinstance(value, str):
        names = [ascii(name)[:40] for name in record][:20] if isinstance(record, dict) else []
        known = f"; found {', '.join(names)}" if names else ""
        raise UserError(f"file: {place}, has no text in the field {field!r}{known}; {EXPECTED}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        half = ascii(value[error.start])
        raise UserError(f"file: {place}, holds {half} in its {field}, half of a character; remove it.") from error
    return value
