"""Planning: the Bellman equations against every policy and every path, and a model's own chances against its logits."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
import torch

from predact.discussion import planning
from predact.discussion.planning import ADDED, FREE, OWN, PLANNED, Problem
from predact.models import loading, pairs, sampling, tokens
from predact.pocket import human


def drawn(seed, facts=2, values=2):
    """A problem of random chances and rewards: speak about each fact once, in any order."""
    draw, chances, policy, rewards, todo = np.random.default_rng(seed), {}, {}, {}, [()]
    for state in todo:
        rewards[state] = float(draw.normal())
        left = [fact for fact in "ABC"[:facts] if fact not in dict(state)]
        near = {fact: [(*state, (fact, str(value))) for value in range(values)] for fact in left}
        if left:
            chances[state] = {
                fact: dict(zip(each, draw.dirichlet(np.ones(values)), strict=True)) for fact, each in near.items()
            }
            policy[state] = dict(zip(left, draw.dirichlet(np.ones(len(left))), strict=True))
        todo += [each for some in near.values() for each in some]
    return Problem(chances, policy, rewards)


def followed(problem, act, state=()):
    """Expected reward of a rule that gives the probability of every action (None: stop), path by path."""
    total = 0.0
    for action, p in act(state).items():
        if action is None:
            total += p * problem.rewards[state]
        else:
            total += sum(p * q * followed(problem, act, each) for each, q in problem.chances[state][action].items())
    return total


@pytest.mark.parametrize("seed", range(5))
def test_values_are_those_of_the_best_of_all_policies(seed):
    problem = drawn(seed)
    states, ends = list(problem.chances), set(problem.rewards) - set(problem.chances)
    found = planning.solve(problem)[()]
    everything = itertools.product(*([None, *problem.chances[state]] for state in states))
    policies = [dict(zip(states, choice, strict=True)) for choice in everything]
    assert len(policies) == 3 * 2**4
    best = max(followed(problem, lambda state, told=told: {told.get(state): 1.0}) for told in policies)
    assert found[PLANNED] == pytest.approx(best, abs=1e-12)
    own = followed(problem, lambda state: {None: 1.0} if state in ends else problem.policy[state])
    assert found[OWN] == pytest.approx(own, abs=1e-12)
    assert found[FREE] == max(problem.rewards.values())  # every state can be chosen, and stopped in
    assert found[OWN] <= found[PLANNED] <= found[FREE]


def test_a_free_choice_is_never_worth_less():
    for seed in range(20):
        values = planning.solve(drawn(seed, 3, 3))
        assert all(
            each[OWN] <= each[PLANNED] + 1e-12 and each[PLANNED] <= each[FREE] + 1e-12 for each in values.values()
        )
    certain = drawn(0)._replace(rewards=dict.fromkeys(drawn(0).rewards, 0.25))  # nothing to gain: all the same
    assert all(each == pytest.approx(0.25) for each in planning.solve(certain)[()].values())


def test_a_step_by_hand():
    # say it: right (1) with 0.6, wrong (-1) with 0.4: worth 0.2; stopping is worth 0; choosing freely, 1
    say = {(("A", "right"),): 0.6, (("A", "wrong"),): 0.4}
    problem = Problem({(): {"A": say}}, {(): {"A": 1.0}}, {(): 0.0, (("A", "right"),): 1.0, (("A", "wrong"),): -1.0})
    assert planning.solve(problem)[()] == {OWN: pytest.approx(0.2), PLANNED: pytest.approx(0.2), FREE: 1.0}
    worse = problem._replace(chances={(): {"A": dict.fromkeys(say, 0.5)}}, rewards=problem.rewards | {(): 0.1})
    assert planning.solve(worse)[()] == {OWN: pytest.approx(0.0), PLANNED: 0.1, FREE: 1.0}  # better to be silent


@pytest.fixture(scope="module")
def solved(tmp_path_factory):
    root, pair, asked = tmp_path_factory.mktemp("store"), pairs.pair("pocket"), planning.questions(1)
    return pair, asked[0], {step: planning.chances(root, pair, step, asked) for step in ("Base", "RLHF")}, root


def test_texts_are_the_worlds_own(solved):
    _, asked, known, _ = solved
    state = tuple((fact, str(asked.entity.facts[fact])) for fact in asked.asks)
    told = planning.said(asked, state)
    assert human.judge(asked, told)["complete"] == 1 and human.judge(asked, told)["wrong"] == 0
    assert planning.said(asked, ()) == "" and planning.begun(asked, state[:1], asked.asks[1]).startswith(told[:10])
    for frame in known.values():
        menus = frame.groupby("fact").value.agg(set)
        assert all(str(asked.entity.facts[fact]) in menus[fact] and len(menus[fact]) == 3 for fact in asked.asks)
        assert frame.said.nunique() == 1 + 3 * 3 + 3 * 2 * 3 * 3
        assert np.allclose(frame.groupby(["said", "fact"]).chance.sum(), 1)
        assert np.allclose(frame.drop_duplicates(["said", "fact"]).groupby("said").own.sum(), 1)


@pytest.mark.parametrize("step", ["Base", "RLHF"])
def test_chances_are_the_models_own(solved, step):
    pair, asked, known, _ = solved
    model, tokenizer = loading.loaded(pair.models[step])
    given = sampling.ask(tokenizer, asked.prompt, pair.frame if step == "Base" else None)

    def log_p(text):
        ids = [*given, *tokens.encode(tokenizer, [(" " if step == "Base" else "") + text])[0]]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([ids])).logits[0, :-1, : len(tokenizer)].double().log_softmax(1)
        return float(logits[range(len(given) - 1, len(ids) - 1), ids[len(given) :]].sum())

    frame = known[step]
    state = max(frame.said.unique(), key=len)
    part = frame[frame.said == state]
    said = tuple(map(tuple, json.loads(state)))
    whole = [log_p(planning.said(asked, (*said, (row.fact, row.value)))) for row in part.itertuples()]
    expected = np.exp(whole - np.logaddexp.reduce(whole))  # what they begin with is in all of them
    np.testing.assert_allclose(part.chance, expected, atol=1e-4)
    first = frame[frame.said == "[]"].drop_duplicates("fact")
    whole = [log_p(planning.begun(asked, (), fact)) for fact in first.fact]
    np.testing.assert_allclose(first.own, np.exp(whole - np.logaddexp.reduce(whole)), atol=1e-4)


def test_worth_of_a_question(solved):
    pair, asked, known, root = solved
    each = planning.worth(root, pair, 1)
    assert each.groupby("model").value.apply(list).map(lambda row: row == sorted(row)).all()
    free = each[each.kind == FREE].value
    assert free.nunique() == 1  # the best text is the same, whoever might have written it
    problem = planning.problem(asked, known["Base"])
    assert len(problem.rewards) == 1 + 9 + 54 + 162
    assert planning.solve(problem)[()][OWN] == pytest.approx(each.value.iloc[0])


def test_means_are_paired():
    rows = [
        ("Base", f"q{at}", kind, value + at) for at in range(5) for kind, value in ((OWN, 0), (PLANNED, 1), (FREE, 3))
    ]
    mean = planning.mean_worth(pd.DataFrame(rows, columns=["model", "question", "kind", "value"])).set_index("kind")
    assert mean.estimate.to_dict() == {OWN: 2, PLANNED: 3, FREE: 5, ADDED: 2}
    assert mean.low[ADDED] == mean.high[ADDED] == 2 and mean.low[FREE] < 5 < mean.high[FREE]
    assert "earns 2.00 in its own way and 3.00" in planning.worth_in_words(mean.reset_index())
