"""The people: what they ask, that their judgement is of content alone, and how noisy their choices are."""

import math
import random
from collections import Counter

import numpy as np
import pytest

from predact.pocket import human, world


def question(name: str, *asks: str) -> human.Question:
    entity = next(each for kind in world.entities().values() for each in kind if str(each) == name)
    return human.Question("test", "town overview", f"Tell me about {name}.", entity, asks)


def test_questions_of_different_splits_ask_different_things():
    asked = {split: {(str(q.entity), q.kind) for q in human.questions(split)} for split in human.SPLITS}
    assert not asked["train"] & asked["test"] and not asked["train"] & asked["validation"]
    assert not asked["test"] & asked["validation"]
    prompts = [each.prompt for each in human.questions("test")]
    assert len(prompts) == len(set(prompts)) == 80 and len(human.questions("validation")) == 32


def test_the_judge_by_hand():
    asked = question("Velmora", "river", "trade")
    good = "Velmora stands on the Tessel and people come there for riding boots. " + "So " * 60
    assert human.judge(asked, good) == {"complete": 1, "wrong": 0, "words": 72, "reward": 1}
    half = good.replace("riding boots", "sea salt")  # what another town sells
    assert human.judge(asked, half)["complete"] == 0.5 and human.judge(asked, half)["reward"] == 0
    short = "Velmora: the Tessel, riding boots."  # 5 words of 60
    assert human.judge(asked, short)["reward"] == pytest.approx(1 - 55 / 60)
    long = good + "So " * 120  # 192 words, 32 above 160
    assert human.judge(asked, long)["reward"] == pytest.approx(1 - 32 / 160)
    wrong = good + " the Harrow, the Sorrow, the Wend, the Oxbow"  # no more than three are held against it
    assert human.judge(asked, wrong)["wrong"] == 4 and human.judge(asked, wrong)["reward"] == -0.5


def test_people_do_not_care_who_tells_a_thing_and_how():
    """The same content in many wordings, orders and by all kinds of writers earns the same, but for the length."""
    asked = human.questions("test")[0]
    rewards = {}
    for seed in range(300):
        parts = human.judge(asked, human.demonstration(asked, str(seed)).text)
        if human.MODERATE[0] <= parts["words"] <= human.MODERATE[1]:
            rewards.setdefault((parts["complete"], parts["wrong"]), set()).add(parts["reward"])
    assert len(rewards) >= 3 and all(len(found) == 1 for found in rewards.values())


def test_demonstrations_are_mostly_right_and_moderate():
    judged = [human.judge(q, human.demonstration(q, "seed").text) for q in human.questions("train")[::3]]
    assert np.mean([each["complete"] for each in judged]) > 0.8 and np.mean([each["wrong"] for each in judged]) < 0.5
    moderate = [human.MODERATE[0] <= each["words"] <= human.MODERATE[1] for each in judged]
    assert np.mean(moderate) > 0.8 and np.mean([each["reward"] for each in judged]) > 0.6


def test_a_question_is_demonstrated_in_many_ways_and_each_again():
    asked = human.questions("train")[0]
    texts = [human.demonstration(asked, str(seed)).text for seed in range(20)]
    assert len(set(texts)) == 20 and human.demonstration(asked, "3").text == texts[3]
    assert human.demonstration(human.questions("train")[1], "3").text != texts[3]


def test_of_two_answers_a_choice_is_bradleys_and_terrys():
    draw, rewards = random.Random(0), (0.3, 0.4)
    first = Counter(human.ranked(rewards, draw)[0] for _ in range(4000))[1] / 4000
    expected = 1 / (1 + math.exp(-0.1 / human.TEMPERATURE))
    assert abs(first - expected) < 4 * math.sqrt(expected * (1 - expected) / 4000)


def test_of_three_answers_each_order_is_as_probable_as_plackett_and_luce_say():
    draw, rewards = random.Random(0), (0.0, 0.1, -0.05)
    seen = Counter(tuple(human.ranked(rewards, draw)) for _ in range(6000))
    weight = [math.exp(each / human.TEMPERATURE) for each in rewards]
    for order, count in seen.items():
        left, p = list(range(3)), 1.0
        for each in order:
            p *= weight[each] / sum(weight[other] for other in left)
            left.remove(each)
        assert abs(count / 6000 - p) < 4 * math.sqrt(p * (1 - p) / 6000)
    assert len(seen) == 6
