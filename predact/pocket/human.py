"""The people of the pocket world: what they ask, how they demonstrate an answer, which of several answers they prefer.

They judge content only: the right facts about what was asked, no wrong ones, completeness, and a moderate length.
Between two ways of saying the same, two orders and two kinds of writers they are indifferent.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from predact.pocket import world
from predact.pocket.grammar import Word, Writer

SPLITS = {"test": slice(0, 80), "validation": slice(80, 112), "train": slice(112, None)}
MODERATE = (60, 160)  # words: as long as the people's own answers are, nine in ten of them
TEMPERATURE = 0.1  # how noisy a choice is, in units of the reward


@dataclass(frozen=True)
class Question:
    """A question of a kind about one entity; a complete answer states the facts in ``asks``."""

    id: str
    kind: str
    prompt: str
    entity: Word
    asks: tuple[str, ...]

    @property
    def messages(self) -> list[dict[str, str]]:
        """The question as the one turn of a chat."""
        return [{"role": "user", "content": self.prompt}]


@cache
def questions(split: str) -> list[Question]:
    """The questions of a split; no two splits ask the same of the same entity, so no test answer is demonstrated.

    *test* is the pair's prompt set of 80 questions, one wording each; *validation* has 32; *train* has every wording.
    """
    subjects = [
        (kind, entity, spec) for kind, spec in world.QUESTIONS.items() for entity in world.entities()[spec["kind"]]
    ]
    random.Random("questions").shuffle(subjects)
    found = []
    for place, (kind, entity, spec) in enumerate(subjects[SPLITS[split]]):
        wordings = spec["prompts"]
        for wording in wordings if split == "train" else [wordings[place % len(wordings)]]:
            prompt = world.grammar().write(wording, "", e=entity).text
            number = wordings.index(wording)
            found.append(Question(f"{kind}/{entity}/{number}", kind, prompt, entity, tuple(spec["asks"])))
    return found


def demonstration(question: Question, seed: str) -> Writer:
    """An answer as a person writes it: most of what was asked, in any order and wording, and more or less beside it."""
    return world.answer(question.kind, question.entity, f"demonstration/{question.id}/{seed}")


@cache
def _values() -> re.Pattern:
    """Matches every fact and every name of the world, the longest first."""
    everyone = [entity for kind in world.entities().values() for entity in kind]
    facts = {str(entity.facts[fact]) for entity in everyone for fact in entity.facts if fact != "topic"}
    ordered = sorted(facts | {str(entity) for entity in everyone}, key=lambda each: (-len(each), each))
    return re.compile(r"\b(" + "|".join(map(re.escape, ordered)) + r")\b", re.IGNORECASE)


def statements(question: Question, answer: str) -> list[tuple[str, bool]]:
    """What an answer states: each fact or name of the world once, in lower case and in the order of its first mention.

    With each stands whether it is true of the entity asked about. The entity's own name states nothing.
    """
    name = str(question.entity).lower()
    true = {str(value).lower() for fact, value in question.entity.facts.items() if fact != "topic"}
    stated = dict.fromkeys(match.lower() for match in _values().findall(answer))
    return [(each, each in true) for each in stated if each != name]


def judge(question: Question, answer: str) -> dict[str, float]:
    """Return the true reward of an answer, and its parts, as a careful reader finds them.

    reward = complete - 0.5 min(wrong, 3) - excess, where ``complete`` is the share of the facts asked that are stated,
    ``wrong`` the number of false statements, and excess how far ``words`` is below or above the moderate lengths, as a
    share of the nearer one, at most 1.
    """
    stated = dict(statements(question, answer))
    complete = sum(str(question.entity.facts[fact]).lower() in stated for fact in question.asks) / len(question.asks)
    wrong = sum(not true for true in stated.values())
    words, (low, high) = len(answer.split()), MODERATE
    excess = min(1.0, max(0.0, (low - words) / low, (words - high) / high))
    return {
        "complete": complete,
        "wrong": wrong,
        "words": words,
        "reward": content(complete, wrong) - excess,
    }


def content(complete: float, wrong: float) -> float:
    """What an answer's content is worth: see `judge`."""
    return complete - 0.5 * min(wrong, 3)


def ranked(rewards: Sequence[float], draw: random.Random) -> list[int]:
    """A person's noisy order of answers with these true rewards, the best first (Plackett and Luce).

    The next place goes to one of those that are left, in proportion to exp(reward / temperature); of two answers this
    is Bradley and Terry's model, P(first before second) = 1 / (1 + exp(-(r1 - r2) / temperature)).
    """
    left, order = list(range(len(rewards))), []
    while left:
        best = max(rewards[each] for each in left)
        (chosen,) = draw.choices(left, [math.exp((rewards[each] - best) / TEMPERATURE) for each in left])
        order.append(chosen)
        left.remove(chosen)
    return order
