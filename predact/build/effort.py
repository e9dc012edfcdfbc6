"""How much there is to do for a book, and how fast a model does it here."""

import ast
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from predact.build import execute
from predact.discussion.nudging import COUNTS
from predact.models import sampling, scoring
from predact.models.pairs import Pair
from predact.pocket import world
from predact.texts import corpora, prompts

_SECONDS = 5  # of each of the two measurements
_TOKENS, _BYTES = 500, 4.5  # of a document, at most; bytes of a token: what the texts will be is not known yet
_RUNS = 1.5  # finetuning runs for a search of the learning rate, about
_BACKWARD = 3  # passes that a token learned from takes, as long as one that is scored
_WIDTH = 32  # tokens that are written at a time to see how fast


class Work(NamedTuple):
    """Tokens that the whole book scores, samples at most, and learns from, by all models together."""

    scored: int
    sampled: int
    learned: int


class Rates(NamedTuple):
    """Tokens that a model scores and samples in a second."""

    scored: float
    sampled: float


def defaults(project: Path) -> dict[str, dict[str, Any]]:
    """Return the defaults of each notebook's parameters, by the notebook's name."""
    return {
        path.stem: {name: ast.literal_eval(each.default) for name, each in execute.parameters(path).items()}
        for path in execute.find(project)
    }


def work(pair: Pair, given: Mapping[str, Mapping[str, Any]]) -> Work:
    """Count the tokens of a book: documents are taken for as long as is usual, generations for as long as they may be.

    Args:
        pair: the models.
        given: parameters of the notebooks, as `defaults` returns them.
    """
    reading, collapse, writing, planning, discussion = (
        next(values for name, values in given.items() if name.startswith(number))
        for number in ("02", "03", "04", "06", "07")
    )
    kinds, steps = sum(len(corpora.GROUPS.get(name, [name])) for name in pair.corpora), len(pair.models)
    asked = len(prompts.select(pair.prompts))
    own = asked * collapse["measured"] * collapse["max_new_tokens"]
    beginnings = (kinds + len(collapse["unseen"]) + 1) * collapse["prefixes"] * collapse["completion_tokens"]
    scored = steps * kinds * reading["documents"] * _TOKENS  # chapter 2
    scored += 2 * (kinds * collapse["documents"] * _TOKENS + own) + steps * (steps + 1) * beginnings  # chapter 3
    scored += 2 * 3 * 3 * planning["positions"]  # chapter 6: two readers, three authors; to fit, to calibrate, to test
    sampled = 2 * asked * writing["generations"] * writing["max_new_tokens"] + steps * beginnings
    near = asked * discussion["nudged"] * discussion["window"]  # chapter 7: tokens read of answers and after nudges
    scored += 2 * (len(COUNTS) + steps) * near + (steps - 2) * (kinds * discussion["documents"] * _TOKENS + own)
    sampled += len(COUNTS) * near + (steps - 2) * asked * discussion["generations"] * discussion["max_new_tokens"]
    runs = _RUNS + reading["orders"] - 1
    learned = steps * kinds * runs * reading["updates"] * reading["batch"] / _BYTES
    return Work(scored, sampled, int(learned))


def measure(model: Any, tokenizer: Any, frame: str) -> Rates:
    """Score and sample for some seconds each, and return how fast it went."""
    texts = [world.document("stories", "test", place).text for place in range(8)]
    turn = sampling.ask(tokenizer, "What makes a good story?", frame)
    settings = sampling.Settings(generations=100, max_new_tokens=_WIDTH)
    room = sampling.room_after(model, len(turn), "frame: a prompt")
    numbers = sampling.uniforms(0, [str(place) for place in range(100)], settings, room)

    def scored() -> int:
        return len(scoring.score(model, tokenizer, texts))

    def sampled() -> int:
        return sum(len(each.ids) for each in sampling.sample(model, tokenizer, [turn], numbers, settings))

    return Rates(_rate(scored), _rate(sampled))


def seconds(work: Work, rates: Rates) -> float:
    """How long a book takes: scoring, sampling and finetuning; a token learned from counts as three that are scored."""
    return (work.scored + _BACKWARD * work.learned) / rates.scored + work.sampled / rates.sampled


def _rate(run: Callable[[], int]) -> float:
    """Tokens that are done in a second, after one run to warm up."""
    run()
    start, tokens = time.perf_counter(), 0
    while time.perf_counter() - start < _SECONDS:
        tokens += run()
    return tokens / (time.perf_counter() - start)
