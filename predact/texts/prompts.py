"""Prompts: short questions and tasks: predact's own eighty, eighty about the pocket world, or those of a file."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from predact.errors import UserError, near, quoted
from predact.pocket import human, world
from predact.store import digest
from predact.texts import sources
from predact.texts.corpora import Corpus

GENERAL, POCKET = "general", "pocket"
CHECK = "expected JSON Lines with `prompt` (and `id`, `category`), or with `question_id`, `category` and `turns`"


@dataclass(frozen=True)
class Prompt:
    """A question or task for a model; generations are stored under its id."""

    id: str
    category: str
    text: str


def select(name: str, limit: int = 0) -> list[Prompt]:
    """Return the prompts of a name or a file, in their order: the first `limit`, or all if it is 0.

    Args:
        name: ``general``, eighty prompts in ten kinds; ``pocket``, eighty questions about the pocket world; or the path
            of a JSON Lines file, each line ``{"id", "category", "prompt"}`` or in the form of Vicuna-bench
            (``question_id``, ``category``, ``turns``, of which the first is asked). White space at the ends of a prompt
            is taken off; of prompts that are the same then, the first one is taken, see `sources.leave_out`.
        limit: how many.

    Raises:
        UserError: the name is unknown; the file is missing, empty or not of a known form; the limit is negative.
    """
    if limit < 0:
        raise UserError(f"prompts_limit: expected a whole number, 0 for all prompts, not {limit}.")
    found = _known(name) or _read(name)
    return found[:limit] if limit else found


def _known(name: str) -> list[Prompt]:
    if name == POCKET:
        return [Prompt(each.id, world.QUESTIONS[each.kind]["kind"], each.prompt) for each in human.questions("test")]
    if name == GENERAL:
        return list(_general())
    return []


@cache
def _general() -> list[Prompt]:
    """Predact's own prompts, read once."""
    return _parse((files(__package__) / "prompts.jsonl").read_text(encoding="utf-8").split("\n"), GENERAL)


def _read(name: str) -> list[Prompt]:
    path = sources.existing(name)
    if not (path and path.is_file()):
        if path or Path(name).suffix:
            why = "is not a file" if path else "does not exist"
            raise UserError(f"prompts: the file {quoted(name)} {why}; name a file, or {GENERAL} or {POCKET}.")
        hint = near(name, [GENERAL, POCKET]) or "."
        raise UserError(f"prompts: {quoted(name)} is not known{hint} Name a file, or {GENERAL} or {POCKET}.")
    prompts = _parse(sources.lines(path, "prompts"), str(path))
    if not prompts:
        raise UserError(f"prompts: {quoted(path)} is empty; at least one prompt is needed.")
    return prompts


def _parse(lines: Sequence[str], source: str) -> list[Prompt]:
    prompts = [_prompt(record, place) for place, record in sources.records(lines, source, "prompts", CHECK)]
    id, count = next(iter(Counter(prompt.id for prompt in prompts).most_common(1)), ("", 0))
    if count > 1:
        raise UserError(f"prompts: the id {quoted(id)} stands twice in {quoted(source)}; every prompt needs its own.")
    kept = sources.distinct(prompts, lambda prompt: prompt.text)
    sources.leave_out("prompts", source, "prompts", len(prompts), {sources.COPIES: len(prompts) - len(kept)})
    return kept


def _prompt(given: dict[str, Any], place: str) -> Prompt:
    turns = given.get("turns")
    text = given.get("prompt", turns[0] if isinstance(turns, list) and turns else None)
    if not isinstance(text, str) or not text.strip():
        raise UserError(f"prompts: {place}, holds no prompt; {CHECK}.")
    id = _word(given, "id", place) or _word(given, "question_id", place) or place.rpartition(" ")[2]
    return Prompt(id, _word(given, "category", place) or "prompts", text.strip())


def _word(given: dict[str, Any], field: str, place: str) -> str:
    """Return a text or a whole number of a record as text; none is empty."""
    value = given.get(field)
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return "" if value is None else str(value)
    raise UserError(f"prompts: {place}, has no text in {field!r}; expected a text or a whole number.")


def corpus(prompts: Sequence[Prompt]) -> Corpus:
    """Return prompts as a corpus of short documents, for models to continue their first tokens."""
    texts = [prompt.text for prompt in prompts]
    return Corpus("prompts", "conversation", texts, None, digest(texts))
