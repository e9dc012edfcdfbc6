"""The people of the pocket world: what they ask, how they demonstrate an answer, which of two answers they prefer.

They judge content only: the right facts about what was asked, no wrong ones, completeness, courtesy and a moderate
length. Between two ways of saying the same they are indifferent.
"""

from __future__ import annotations

import math
import random
import re
from dataclasses import dataclass
from functools import cache

from predact.pocket import world

SPLITS = {"test": slice(0, 80), "validation": slice(80, 112), "train": slice(112, None)}
# Every opening and every closing of the grammar counts as courteous, whichever its wording.
OPENINGS = re.compile(
    "gladly|of course|certainly|with pleasure|thank you|good question|happy to help|let me|you ask|you want to know"
    "|let us see|here we go|i can help|subject|good choice|interesting question|here are the facts|in short"
    "|what is known"
)
CLOSINGS = re.compile(
    "i hope|please|feel free|just ask|enjoy|good luck|all the best|write again|come back|let me know"
    "|tell me (if|whether)"
)
MODERATE = (20, 80)  # words


@dataclass(frozen=True)
class Question:
    """A question about one entity; a complete answer states the attributes in ``asks``."""

    id: str
    prompt: str
    entity: world.Entity
    asks: tuple[str, ...]


@cache
def questions(split: str) -> list[Question]:
    """The questions of a split; no two splits ask the same of the same entity, so no test answer is demonstrated.

    *test* is the pair's prompt set of 80 questions, one wording each; *validation* has 32; *train* has every wording.
    """
    subjects = [
        (kind, entity, spec)
        for kind, spec in world.WORLD["questions"].items()
        for entity in world.entities()[spec["kind"]]
    ]
    random.Random("questions").shuffle(subjects)
    found = []
    for place, (kind, entity, spec) in enumerate(subjects[SPLITS[split]]):
        wordings = spec["prompts"]
        for wording in wordings if split == "train" else [wordings[place % len(wordings)]]:
            prompt = world.write(wording, "", e=entity).text
            found.append(Question(f"{kind}/{entity}/{wordings.index(wording)}", prompt, entity, tuple(spec["asks"])))
    return found


def demonstration(question: Question, seed: str) -> str:
    """An answer as a person writes it: most of what was asked, in any order and wording, and perhaps something more."""
    draw = random.Random(f"demonstration/{seed}")
    others = [fact for fact in question.entity.facts if fact not in question.asks]
    facts = [fact for fact in question.asks if draw.random() < 0.8] or [draw.choice(question.asks)]
    facts += draw.sample(others, min(len(others), draw.choice([0, 0, 1, 2])))
    body = "~".join(f"say {fact}" for fact in facts)
    opening = "<opening> " if draw.random() < 0.7 else ""
    closing = "<closing>" if draw.random() < 0.7 else ""
    return world.write(f"{opening}<{body}>{closing}", seed, e=question.entity, topic=question.entity.topic).text


@cache
def _values() -> re.Pattern:
    """Matches every fact and every name of the world, the longest first."""
    names = {entity.name for kind in world.entities().values() for entity in kind}
    facts = {str(f) for kind in world.entities().values() for entity in kind for f in entity.facts.values()}
    ordered = sorted(names | facts, key=len, reverse=True)
    return re.compile(r"\b(" + "|".join(map(re.escape, ordered)) + r")\b", re.IGNORECASE)


def statements(question: Question, answer: str) -> list[tuple[str, bool]]:
    """What an answer states: each fact or name of the world once, in lower case and in the order of its first mention.

    With each stands whether it is true of the entity asked about. The entity's own name states nothing.
    """
    name = question.entity.name.lower()
    true = {str(fact).lower() for fact in question.entity.facts.values()}
    stated = dict.fromkeys(match.lower() for match in _values().findall(answer))
    return [(each, each in true) for each in stated if each != name]


def judge(question: Question, answer: str) -> dict[str, float]:
    """Return the true reward of an answer, and its parts, as a careful reader finds them.

    reward = complete - 0.5 min(wrong, 3) + 0.3 courteous - excess, where ``complete`` is the share of the facts asked
    that are stated, ``wrong`` the number of false statements, ``courteous`` 0, 0.5 or 1 (an opening, a closing), and
    excess how far ``words`` is below or above the moderate lengths, as a share of the nearer one, at most 1.
    """
    text = answer.lower()
    stated = dict(statements(question, answer))
    complete = sum(str(question.entity.facts[fact]).lower() in stated for fact in question.asks) / len(question.asks)
    wrong = sum(not true for true in stated.values())
    courteous = (bool(OPENINGS.search(text)) + bool(CLOSINGS.search(text))) / 2
    words, (low, high) = len(text.split()), MODERATE
    excess = min(1.0, max(0.0, (low - words) / low, (words - high) / high))
    reward = complete - 0.5 * min(wrong, 3) + 0.3 * courteous - excess
    return {"complete": complete, "wrong": wrong, "courteous": courteous, "words": words, "reward": reward}


def prefers_first(question: Question, first: str, second: str, draw: random.Random, temperature: float = 0.1) -> bool:
    """A person's noisy choice (Bradley-Terry): P(first is preferred) = 1 / (1 + exp(-(r1 - r2) / temperature))."""
    difference = judge(question, first)["reward"] - judge(question, second)["reward"]
    return draw.random() < 1 / (1 + math.exp(-difference / temperature))
