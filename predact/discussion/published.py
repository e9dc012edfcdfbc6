"""Published results: a folder for each pair with its verdicts, the summaries of its figures, and their provenance.

`pair.json` holds the provenance, `verdicts.json` and `figures.csv` the numbers, `texts.jsonl`, which need not be there,
some generations to read. A folder is read whole or refused.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, JsonValue, PositiveInt, ValidationError

from predact.claims import summary
from predact.claims.verdict import Protocol, Verdict, claims
from predact.errors import UserError
from predact.models.pairs import ENDS, slug

FOLDER = Path("book", "published", "pairs")
PAIR, VERDICTS, FIGURES = FILES = ("pair.json", "verdicts.json", "figures.csv")
TEXTS = "texts.jsonl"
SAID = ("holds", "fails", "undecided")
_STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)
Told = Annotated[str, Field(min_length=1)]


class Weights(BaseModel):
    """A model of a pair: how it is named, what identifies its weights, how many parameters it has."""

    model_config = _STRICT

    source: Told
    revision: str | None
    dtype: Told
    template: dict[str, JsonValue]  # arguments of its chat template
    fingerprint: Told
    parameters: PositiveInt


class Execution(BaseModel):
    """How a chapter was executed."""

    model_config = _STRICT

    scale: Told
    seed: int
    settings: dict[str, JsonValue]  # those that differ from the full scale
    versions: dict[str, Told] = Field(min_length=1)
    devices: list[Told] = Field(min_length=1)
    finished: datetime
    commit: str  # of predact; empty where it is not known


class Provenance(BaseModel):
    """Where the results of a pair come from: what `pair.json` holds."""

    model_config = _STRICT

    pair: Told
    models: dict[Told, Weights]  # by step, in the order of training
    chapters: dict[Told, Execution]
    files: dict[Told, Told] = {}  # SHA-256 of the others: so they are of one publication, unchanged


class Text(BaseModel):
    """A generation of a model."""

    model_config = _STRICT

    model: Told
    prompt: str
    generation: str


class Published(NamedTuple):
    """The published results of a pair."""

    provenance: Provenance
    verdicts: list[dict[str, Any]]  # rows of `Verdict`
    figures: pd.DataFrame  # see `summary.COLUMNS`
    texts: list[Text] = []  # only where they were asked for


def read_all(root: Path) -> list[Published]:
    """Return the results in the folders below `root`, by the names of the folders.

    Raises:
        UserError: one of them is not whole, see `read`.
    """
    return [read(folder) for folder in sorted(root.glob("*")) if folder.is_dir()]


def read(folder: Path) -> Published:
    """Return the results in a folder.

    Raises:
        UserError: a file is missing, damaged or changed, does not fit its schema, or tells what has no provenance.
    """
    try:
        names = [*FILES, TEXTS] if (folder / TEXTS).exists() else FILES
        return unpacked({name: (folder / name).read_bytes() for name in names}, folder.name)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: {_in_one_line(error)}; publish it again with `predact publish`.") from error


def packed(found: Published) -> dict[str, bytes]:
    """Return the files of results, by name, `pair.json` last.

    Raises:
        ValueError: they do not fit the schema, or have no provenance.
    """
    checked(found)
    rows = json.dumps(found.verdicts, indent=1, ensure_ascii=False) + "\n"
    files = {VERDICTS: rows.encode(), FIGURES: summary.as_csv(found.figures).encode()}
    if found.texts:
        files[TEXTS] = "".join(text.model_dump_json() + "\n" for text in found.texts).encode()
    told = found.provenance.model_copy(update={"files": {name: _checksum(files[name]) for name in files}})
    return files | {PAIR: (told.model_dump_json(indent=1) + "\n").encode()}


def unpacked(files: Mapping[str, bytes], name: str) -> Published:
    """Return the results that the files of a folder hold.

    Raises:
        ValueError: as `packed`; or a file is not the one that was published, or the folder has another name.
    """
    told = Provenance.model_validate_json(files[PAIR])
    names = sorted({*FILES[1:], *told.files})
    changed = [each for each in names if each not in files or told.files.get(each) != _checksum(files[each])]
    if changed:
        raise ValueError(f"{changed[0]} is not the file that {PAIR} was written with")
    if slug(told.pair) != name:
        raise ValueError(f"the folder of {told.pair!r} is called {slug(told.pair)}")
    rows, figures = json.loads(files[VERDICTS]), summary.from_csv(files[FIGURES].decode())
    lines = files[TEXTS].splitlines() if TEXTS in told.files else []
    return checked(Published(told, rows, figures, [Text.model_validate_json(line) for line in lines]))


def checked(found: Published) -> Published:
    """Return results as they are.

    Raises:
        ValueError: a verdict does not fit its schema, or something is about another pair or has no provenance.
    """
    told = found.provenance
    missing = [step for step in ENDS if step not in told.models]
    if missing:
        raise ValueError(f"{PAIR} does not say which model {missing[0]} is")
    _check_verdicts(found.verdicts, told.pair)
    if set(summary.check(found.figures).pair) - {told.pair}:
        raise ValueError(f"{FIGURES} is about another pair than {told.pair!r}")
    unknown = sorted({text.model for text in found.texts} - told.models.keys())
    if unknown:
        raise ValueError(f"{TEXTS} has texts of {unknown[0]!r}, which is no model of this pair")
    used = {claims()[row["id"]].chapter for row in found.verdicts}
    used |= {summary.FIGURES[each].chapter for each in found.figures.figure}
    unknown = sorted(used - told.chapters.keys())
    if unknown:
        raise ValueError(f"{PAIR} does not say how {unknown[0]} was executed")
    return found


def _check_verdicts(rows: Any, pair: str) -> None:
    names = [field.name for field in fields(Verdict)]
    if not isinstance(rows, list) or not all(isinstance(row, dict) and set(row) == set(names) for row in rows):
        raise ValueError(f"{VERDICTS}: expected a list of verdicts, each with {', '.join(names)}")
    for row in rows:
        broken = [rule for rule, holds in _rules(row, pair).items() if not holds]
        if broken:
            raise ValueError(f"{VERDICTS}: expected of {row['id']} {broken[0]}")
    if len({(row["id"], row["protocol"]) for row in rows}) < len(rows):
        raise ValueError(f"{VERDICTS}: expected one verdict on each claim by each rule")


def _rules(row: Mapping[str, Any], pair: str) -> dict[str, bool]:
    """What a verdict must be, and whether it is."""
    numbers = [row[name] for name in ("estimate", "low", "high")]
    none = row["verdict"] == "undecided" and numbers == [None] * 3
    return {
        "a claim that is known": row["id"] in claims(),
        "protocol paper or book": row["protocol"] in get_args(Protocol),
        "holds, fails or undecided": row["verdict"] in SAID,
        f"pair {pair}": row["pair"] == pair,
        "three finite numbers, or none if it is undecided": none
        or (all(map(_is_number, numbers)) and row["low"] <= row["high"]),
        "a null that is a finite number or none": row["null"] is None or _is_number(row["null"]),
        "n, a whole number": isinstance(row["n"], int) and row["n"] >= 0,
        "words": all(isinstance(row[name], str) and row[name] for name in ("claim", "unit", "scale")),
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _in_one_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{PAIR}: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    if isinstance(error, OSError):
        return f"{Path(error.filename or '').name} cannot be read ({error.strerror})"
    return str(error).splitlines()[0]
