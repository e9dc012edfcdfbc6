"""Judged answers: what is stated, errors by length and sameness, on answers made by hand."""

import numpy as np
import pandas as pd
import pytest

from predact.claims import materials
from predact.discussion import judged
from predact.discussion.judged import (
    AFTER_RIGHT,
    AFTER_WRONG,
    ALL,
    GAP,
    INDEPENDENT,
    MEASURED,
    MORE,
    RIGHT,
    SHARED,
    UNIQUE,
)
from predact.errors import UserError
from predact.models import loading, runs
from predact.pocket import human

T, F = True, False


def made(facts, model="Base", prompts=4):
    """The same answers to each prompt."""
    rows = [(model, f"q{prompt}", [0], each, all(each)) for prompt in range(prompts) for each in facts]
    return pd.DataFrame(rows, columns=["model", "prompt", "ids", "facts", "right"])


def test_statements_are_found_in_their_order_and_judged():
    (asked,) = [each for each in human.questions("test") if each.id == "town origin/Lowenfeld/0"]
    facts = {name: str(value) for name, value in asked.entity.facts.items()}
    false = next(each for each in ("the Oxbow", "the Tessel") if each != facts["river"])
    text = f"Lowenfeld lies beside {false}. {facts['river']}! It was founded {facts['founded']}; {false.upper()}."
    told = [(false.lower(), F), (facts["river"].lower(), T), (facts["founded"].lower(), T)]
    assert human.statements(asked, text) == told  # each once; the town's own name states nothing
    parts = human.judge(asked, text)
    assert parts["wrong"] == 1 and parts["complete"] == pytest.approx(2 / 3)
    assert human.statements(asked, "Nothing at all.") == []


def test_right_by_length_by_hand():
    # of four answers, one states nothing, one is wrong at once, one at its third fact, one never
    frame = judged.right_by_length(made([[], [F, T], [T, T, F], [T, T, T]]), least=1)
    row = frame.set_index(["text", "length"]).estimate
    assert row[MEASURED].tolist() == pytest.approx([2 / 3, 2 / 3, 1 / 2])
    assert row[INDEPENDENT].tolist() == pytest.approx([2 / 3, 4 / 9, 8 / 27])
    assert row[MORE].tolist() == pytest.approx([0, 2 / 9, 1 / 2 - 8 / 27])
    assert frame.set_index(["text", "length"]).answers[MEASURED].tolist() == [12, 12, 8]
    assert (frame.low == frame.estimate).all() and (frame.high == frame.estimate).all()  # all prompts are alike


def test_errors_that_are_independent_follow_the_formula():
    draw = np.random.default_rng(0)
    rows = [made((draw.random((500, 4)) > 0.2).tolist(), prompts=1).assign(prompt=f"q{each}") for each in range(40)]
    frame = judged.right_by_length(pd.concat(rows))
    more = frame[(frame.text == MORE) & (frame.length > 1)]
    assert (more.low < 0).all() and (more.high > 0).all() and (more.high - more.low < 0.05).all()
    independent = frame[frame.text == INDEPENDENT]
    np.testing.assert_allclose(independent.estimate, 0.8 ** np.arange(1, 5), atol=0.01)


def test_rare_lengths_are_left_out():
    few = pd.concat([made([[T, T]], prompts=3), made([[T]], prompts=8)])  # two facts: in 3 of 8 prompts only
    assert set(judged.right_by_length(few, least=1).length) == {1}
    with pytest.raises(UserError, match="sample more"):
        judged.right_by_length(few)


def test_what_comes_after_an_error_by_hand():
    # after right ones only T, T of the first and F of the second; after a wrong one F, T of the second, F of the third
    after = judged.wrong_after(made([[T, T, T], [T, F, F, T], [F, F], [T], []])).set_index("before")
    assert after.estimate[AFTER_RIGHT] == pytest.approx(1 / 3) and after.facts[AFTER_RIGHT] == 4 * 3
    assert after.estimate[AFTER_WRONG] == pytest.approx(2 / 3) and after.facts[AFTER_WRONG] == 4 * 3
    assert set(judged.wrong_after(made([[T, T]])).before) == {AFTER_RIGHT}


def answers(kinds, prompts=3):
    """Answers of both models to each prompt: ids and whether they are right."""
    rows = [
        (model, f"q{prompt}", ids, [T], right)
        for prompt in range(prompts)
        for model, each in kinds.items()
        for ids, right in each
    ]
    return pd.DataFrame(rows, columns=["model", "prompt", "ids", "facts", "right"])


def test_sameness_is_measured_on_as_many_answers():
    # Base: ten right answers, all different, and ten wrong ones, all the same; RLHF: four right ones, all the same
    same = list(range(1000, 1020))
    base = [(list(range(20 * at, 20 * at + 20)), T) for at in range(10)] + [(same, F)] * 10
    frame = judged.sameness(answers({"Base": base, "RLHF": [(same, T)] * 4}), draws=40)
    row = frame.set_index(["measure", "model", "kept"]).estimate
    assert row[SHARED, "Base", RIGHT] == pytest.approx(25)  # one of four
    assert row[SHARED, "RLHF", ALL] == row[SHARED, "RLHF", RIGHT] == pytest.approx(100)
    assert row[SHARED, GAP, RIGHT] == pytest.approx(75)
    assert row[UNIQUE, "Base", RIGHT] == pytest.approx(100) and row[UNIQUE, "RLHF", RIGHT] == pytest.approx(25)
    assert 25 < row[SHARED, "Base", ALL] < 100 and 25 < row[UNIQUE, "Base", ALL] < 100
    assert (frame.prompts == 3).all()


def test_prompts_without_right_answers_are_left_out():
    kinds = {"Base": [([1] * 12, T)] * 3, "RLHF": [([2] * 12, T)] * 3}
    bad = answers(kinds, 1).assign(prompt="bad", right=lambda each: each.model == "Base")
    assert (judged.sameness(pd.concat([answers(kinds), bad])).prompts == 3).all()
    with pytest.raises(UserError, match="right answers"):
        judged.sameness(bad)


def test_words_follow_the_gaps():
    same = list(range(20))
    differ = [(list(range(100 * at, 100 * at + 20)), T) for at in range(1, 9)]
    frame = answers({"Base": differ, "RLHF": [(same, T)] * 8})
    assert "not only quality" in judged.sameness_in_words(judged.sameness(frame), frame)
    alike = answers({"Base": [(same, T)] * 8, "RLHF": [(same, T)] * 8})
    assert judged.sameness_in_words(judged.sameness(alike), alike).count("no sure difference") == 2
    text = judged.errors_in_words(
        judged.right_by_length(made([[T, F, F]]), least=1), judged.wrong_after(made([[T, F, F]]))
    )
    assert "the first 3 facts are all right in 0.0 %" in text and "100.0 % [100.0, 100.0] after a wrong one" in text


def test_answers_of_a_run_are_judged_as_the_world_does(tmp_path):
    run = runs.run("pocket", "classroom", root=tmp_path, prompts_limit=2, generations=3, max_new_tokens=40)
    assert judged.world_run(run) is run
    frame = judged.answers(run)
    written = materials.generations(run)
    assert len(frame) == len(written) == 12
    known = {each.id: each for each in human.questions("test")}
    for row, each in zip(frame.itertuples(), written.itertuples(), strict=True):
        text = loading.tokenizer(run.pair.models[each.model]).decode(list(each.ids), skip_special_tokens=True)
        parts = human.judge(known[each.prompt], text)
        assert (row.model, row.prompt, row.facts.count(False)) == (each.model, each.prompt, parts["wrong"])
        assert row.right == (parts["wrong"] == 0 and parts["complete"] > 0)


def test_another_world_is_not_judged(tmp_path):
    prompts = tmp_path / "own.jsonl"
    prompts.write_text('{"id": "a", "category": "b", "prompt": "Who was Ada Brandt?"}\n')
    run = runs.run("pocket", "classroom", root=tmp_path, prompts=str(prompts))
    assert judged.world_run(run).settings.prompts == "" and judged.world_run(run).scale == "laptop"
