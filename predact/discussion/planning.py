"""A small decision problem of the pocket world, solved exactly: what is a free choice of the next state worth?

An answer is written fact by fact. A state is what has been said; an action is to speak next about one of the facts that
were asked for, or to stop. What is then said about it, the true value or a false one, is the next state. The reward
comes at the end: the people's judgement of what is said (`human.content`). Values follow from Bellman's equation, from
the last states back to the first:

    V(s) = max over a of sum over s' of P(s' | s, a) V(s')        planned, under a model's own randomness P
    V(s) = max over s' of V(s')                                   with a free choice of the next state

The second is never below the first, as no mean is above the largest value (paper, section 5). P is a model's own: the
probability that it goes on with each value, and for a model that does not plan, with each fact.
"""

import json
import random
from collections.abc import Mapping, Sequence
from functools import cache
from os.path import commonprefix
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from predact import stats, store
from predact.models import loading, sampling, scoring, tokens
from predact.models.pairs import ENDS, Pair, frame_of
from predact.pocket import human, world
from predact.pocket.grammar import Word, Writer, compiled
from predact.pocket.human import Question

State = tuple[tuple[str, str], ...]  # facts and what was said of them, in order
OWN, PLANNED, FREE = "own way", "planned", "free choice"
ADDED = "what a free choice adds to planning"
FACTS, FALSE = 3, 2  # facts that a question asks for; false values on the menu beside the true one


class Problem(NamedTuple):
    """A decision problem that ends: every action leads to longer states, and a state without actions is an end."""

    chances: Mapping[Any, Mapping[str, Mapping[Any, float]]]  # of the next states, by state and action
    policy: Mapping[Any, Mapping[str, float]]  # probability of each action, by state, for who does not plan
    rewards: Mapping[Any, float]  # of stopping, by state


def solve(problem: Problem) -> dict[Any, dict[str, float]]:
    """Return the values of every state, from the last to the first: `OWN`, `PLANNED` and `FREE`.

    `OWN` follows the policy and stops only at an end; the other two may stop everywhere.
    """
    values: dict[Any, dict[str, float]] = {}
    for state in sorted(problem.rewards, key=len, reverse=True):
        stop, actions = problem.rewards[state], problem.chances.get(state)
        if not actions:
            values[state] = dict.fromkeys((OWN, PLANNED, FREE), stop)
            continue
        ahead = {
            kind: {act: sum(p * values[each][kind] for each, p in near.items()) for act, near in actions.items()}
            for kind in (OWN, PLANNED)
        }
        best = max(values[each][FREE] for near in actions.values() for each in near)
        values[state] = {
            OWN: sum(p * ahead[OWN][act] for act, p in problem.policy[state].items()),
            PLANNED: max(stop, *ahead[PLANNED].values()),
            FREE: max(stop, best),
        }
    return values


def questions(count: int) -> list[Question]:
    """Return the first test questions that ask for `FACTS` facts."""
    return [each for each in human.questions("test") if len(each.asks) == FACTS][:count]


def chances(root: Path, pair: Pair, step: str, asked: Sequence[Question]) -> pd.DataFrame:
    """How a model of a pair goes on in every state of every question.

    Args:
        root: of the store.
        pair: a pair of the pocket world.
        step: the model: Base is asked in the pair's frame, the others in their chat template.
        asked: questions that ask for `FACTS` facts each.

    Returns:
        question, said (the state, as JSON), fact, value, chance (that the model says this value, given that it speaks
        about the fact; among the true value and the `FALSE` false ones that it finds likeliest when nothing has been
        said yet), own (probability that it speaks about this fact next, among those not spoken about).
    """
    model = pair.models[step]
    inputs: dict[str, Any] = {"model": loading.key(model), "frame": frame_of(pair, step)}
    inputs |= {"questions": [each.id for each in asked], "false": FALSE}
    return store.frame(root, "planning", inputs, lambda: _chances(pair, step, asked))


def _chances(pair: Pair, step: str, asked: Sequence[Question]) -> pd.DataFrame:
    """Rows of `chances`."""
    menus = _menus(pair, step, asked)
    here = [(each, state) for each in asked for state in _states(each, menus) if len(state) < FACTS]
    own = _shares(
        pair, step, [(each, [begun(each, state, fact) for fact in _left(each, state)]) for each, state in here]
    )
    acts = [
        (each, state, fact, p)
        for (each, state), ps in zip(here, own, strict=True)
        for fact, p in zip(_left(each, state), ps, strict=True)
    ]
    texts = [(each, [said(each, (*state, (fact, v))) for v in menus[each.id, fact]]) for each, state, fact, _ in acts]
    rows = [
        (each.id, json.dumps(state), fact, value, chance, p)
        for (each, state, fact, p), found in zip(acts, _shares(pair, step, texts), strict=True)
        for value, chance in zip(menus[each.id, fact], found, strict=True)
    ]
    return pd.DataFrame(rows, columns=["question", "said", "fact", "value", "chance", "own"])


def _menus(pair: Pair, step: str, asked: Sequence[Question]) -> dict[tuple[str, str], list[str]]:
    """By question and fact: the true value, and the false ones that the model finds likeliest as its first words."""
    facts = [(each, fact, values_of(each, fact)) for each in asked for fact in each.asks]
    texts = [(each, [said(each, ((fact, value),)) for value in values]) for each, fact, values in facts]
    menus = {}
    for (each, fact, values), share in zip(facts, _shares(pair, step, texts), strict=True):
        true = str(each.entity.facts[fact])
        false = [values[at] for at in np.argsort(-share, kind="stable") if values[at] != true]
        menus[each.id, fact] = [true, *false[:FALSE]]
    return menus


def _shares(pair: Pair, step: str, todo: Sequence[tuple[Question, Sequence[str]]]) -> list[np.ndarray]:
    """Probabilities of some texts as a model's answer to each question, if it is known to write one of them.

    They are those of the tokens that follow what all texts of the question begin with.
    """
    model, tokenizer = loading.loaded(pair.models[step])
    frame = frame_of(pair, step)
    space = " " if frame else ""  # in the frame an answer begins with a space
    sequences, given = [], []
    starts = sampling.ask_all(tokenizer, [question.prompt for question, _ in todo], frame)
    for start, (_, texts) in zip(starts, todo, strict=True):
        each = [start + ids for ids in tokens.encode(tokenizer, [space + text for text in texts])]
        sequences += each
        given += [len(commonprefix(each))] * len(each)
    again = tokens.pair_window_lead(pair, step)
    nll = scoring.score_ids(model, sequences, given, len(tokenizer), again).nll.astype(float)
    ends = np.cumsum([len(ids) - at for ids, at in zip(sequences, given, strict=True)])
    log_p = -np.array([part.sum() for part in np.split(nll, ends[:-1])])
    parts = np.split(log_p, np.cumsum([len(texts) for _, texts in todo])[:-1])
    return [np.exp(part - np.logaddexp.reduce(part)) for part in parts]


def values_of(question: Question, fact: str) -> list[str]:
    """What the world says of this fact, of any entity of the kind that is asked about."""
    return sorted({str(each.facts[fact]) for each in world.entities()[world.QUESTIONS[question.kind]["kind"]]})


def _left(question: Question, state: State) -> list[str]:
    """Facts asked for that have not been spoken about."""
    return [fact for fact in question.asks if fact not in dict(state)]


def _states(question: Question, menus: Mapping[tuple[str, str], Sequence[str]]) -> list[State]:
    """All states of a question, the shorter ones first."""
    found: list[State] = [()]
    for state in found:  # grows while it is walked along
        found += [(*state, (fact, value)) for fact in _left(question, state) for value in menus[question.id, fact]]
    return found


class _First(random.Random):
    """Draws the first of everything."""

    def random(self) -> float:
        """Return the least number."""
        return 0.0


@cache
def _told(question: Question, fact: str, value: str) -> tuple[str, str]:
    """A sentence that tells a fact in the world's first wording with words before the value: to the value, from it."""
    wording = next(each for each in world.rules()[f"fact {fact}"] if not each.startswith("{v}"))
    scope = {"v": Word(value), "e": question.entity, "topic": question.entity.facts["topic"]}
    writer = Writer(world.grammar(), _First(), tuple(scope.items()), capital=True)
    writer.sequence(compiled(f"{world.PROPS}{wording}."))
    place = writer.text.index(value)
    return writer.text[:place], writer.text[place:]


def said(question: Question, state: State) -> str:
    """The text of a state: a sentence for each fact."""
    return " ".join("".join(_told(question, fact, value)) for fact, value in state)


def begun(question: Question, state: State, fact: str) -> str:
    """The text of a state and the words that begin to speak about a fact."""
    return f"{said(question, state)} {_told(question, fact, str(question.entity.facts[fact]))[0]}".strip()


def problem(question: Question, rows: pd.DataFrame) -> Problem:
    """The decision problem of a question under a model: `rows` are its of `chances`."""
    found: dict[State, dict[str, dict[State, float]]] = {}
    policy: dict[State, dict[str, float]] = {}
    for now, fact, value, chance, own in rows[["said", "fact", "value", "chance", "own"]].to_numpy().tolist():
        state: State = tuple((spoken, word) for spoken, word in json.loads(now))
        found.setdefault(state, {}).setdefault(fact, {})[(*state, (fact, value))] = chance
        policy.setdefault(state, {})[fact] = own
    states = {(), *found, *(each for acts in found.values() for near in acts.values() for each in near)}
    return Problem(found, policy, {each: _judged(question, each) for each in states})


def _judged(question: Question, state: State) -> float:
    """The people's judgement of a state's content; that three sentences are short for an answer does not count."""
    parts = human.judge(question, said(question, state))
    return human.content(parts["complete"], parts["wrong"])


def worth(root: Path, pair: Pair, count: int) -> pd.DataFrame:
    """What each question is worth to Base and to RLHF before anything is said; exact, so without intervals.

    Args:
        root: of the store.
        pair: a pair of the pocket world.
        count: questions.

    Returns:
        model, question, kind (`OWN`, `PLANNED`, `FREE`), value (true reward).
    """
    asked, rows = questions(count), []
    for step in ENDS:
        known = chances(root, pair, step, asked)
        for each in asked:
            found = problem(each, known[known.question == each.id])
            place = {"model": step, "question": each.id}
            rows += [place | {"kind": kind, "value": value} for kind, value in solve(found)[()].items()]
    return pd.DataFrame(rows)


def mean_worth(each: pd.DataFrame) -> pd.DataFrame:
    """Means over questions of `worth`, and what a free choice adds to planning.

    Returns:
        model, kind (`OWN`, `PLANNED`, `FREE`, and `ADDED`), estimate, low, high (95 % bootstrap over
        questions), unit, questions.
    """
    kinds, rows = [OWN, PLANNED, FREE], []
    for model, part in each.groupby("model", sort=False):
        values = part.pivot(index="question", columns="kind", values="value")[kinds].to_numpy()
        values = np.column_stack([values, values[:, 2] - values[:, 1]])
        found = stats.interval(np.column_stack([values, np.ones(len(values))]), stats.means)
        axes = [("kind", [*kinds, ADDED])]
        rows.append(stats.tidy(found, axes, model=model, unit="true reward", questions=len(values)))
    return pd.concat(rows, ignore_index=True)


def worth_in_words(mean: pd.DataFrame) -> str:
    """Say what planning and a free choice add (Markdown). Takes what `mean_worth` returns."""
    said = []
    for model, part in mean.groupby("model", sort=False):
        rows = part.set_index("kind")
        own, planned, free = (f"{rows.estimate[kind]:.2f}" for kind in (OWN, PLANNED, FREE))
        added = f"{rows.estimate[ADDED]:.2f} [{rows.low[ADDED]:.2f}, {rows.high[ADDED]:.2f}]"
        said.append(
            f"**{model}** earns {own} in its own way and {planned} with the best plan under its own randomness; with a "
            f"free choice it would be {free}, **{added}** more than planned."
        )
    return " ".join(said).replace("-", "−")
