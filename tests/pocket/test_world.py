"""The pocket world: its probabilities are exact, its grammar unambiguous, its splits apart."""

import math
import re
from collections import Counter

import numpy as np
import pytest

from predact.pocket import human, world


def derive(template: str, text: str, **scope: object) -> list[float]:
    return list(world.derivations(template, text, **scope))


@pytest.mark.parametrize("corpus", [*world.CORPORA, *world.HELD_OUT])
def test_every_document_is_written_in_exactly_one_way(corpus):
    for index in range(12):
        document = world.document(corpus, "test", index)
        assert derive(world.template(corpus), document.text) == [pytest.approx(document.log_probability, abs=1e-9)]


@pytest.mark.parametrize("corpus", [*world.CORPORA, *world.HELD_OUT])
def test_a_changed_word_cannot_be_read(corpus):
    text = world.document(corpus, "test", 0).text
    assert derive(world.template(corpus), text.replace(" ", "  ", 1)) == []
    assert derive(world.template(corpus), text + " ") == []
    assert derive(world.template(corpus), text[:-1]) == []


def test_probabilities_of_a_small_grammar_by_hand(monkeypatch):
    monkeypatch.setitem(world.RULES, "part one", ["x", "y"])
    monkeypatch.setitem(world.RULES, "part two", ["z"])
    template = "[a|b|] <part one~part two>[!|?]"
    count: dict[str, float] = {}
    for seed in range(4000):
        document = world.write(template, str(seed))
        count[document.text] = document.log_probability
    # 3 beginnings, 2 orders, 2 ways to say part one, 2 ends: 24 texts, all equally probable
    assert len(count) == 24
    assert set(np.round(list(count.values()), 12)) == {round(-math.log(24), 12)}
    assert math.isclose(sum(map(math.exp, count.values())), 1)


def test_a_bound_name_is_drawn_once_and_excluded_elsewhere():
    draws = [world.write("{a:=small}{b:=small!a}{a} {b} {a}", str(seed)) for seed in range(300)]
    for document in draws:
        first, second, third = document.text.split()
        assert first == third != second
        assert math.isclose(document.log_probability, -math.log(8 * 7))
    assert len({document.text for document in draws}) == 56


def test_an_ambiguous_template_is_found_out():
    assert len(derive("[a|b][|c]", "ac")) == 1
    assert len(derive("[a|ac][c|cc]", "acc")) == 2


def test_choices_are_uniform():
    counts = Counter(world.document("news", "train", index).text.split(".")[0].split()[0] for index in range(4000))
    # five headlines; those on prices and on new places begin with a word of their own
    for word in ("Prices", "New"):
        assert abs(counts[word] - 800) < 4 * math.sqrt(4000 * 0.2 * 0.8)


def test_documents_have_the_length_and_the_words_that_were_promised():
    texts = [world.document(corpus, "train", index).text for corpus in world.CORPORA for index in range(100)]
    assert all(40 <= len(text.split()) <= 400 for text in texts)
    words = {word for text in texts for word in re.findall("[a-z]+", text.lower())}
    assert 1000 <= len(words) <= 3000
    assert 50 <= sum(map(len, world.entities().values())) <= 80
    assert len(world.CORPORA) == 9 and len(set(world.CORPORA.values())) == 4


def test_splits_share_no_document():
    drawn = {
        split: {world.document(c, split, i).text for c in world.CORPORA for i in range(60)} for split in human.SPLITS
    }
    assert not drawn["train"] & drawn["test"] and not drawn["validation"] & drawn["test"]
    assert all(len(texts) == 540 for texts in drawn.values())


def test_facts_are_the_same_in_every_process():
    town = world.entities()["town"][0]
    assert (town.name, str(town.facts["river"]), str(town.facts["trade"])) == ("Velmora", "the Tessel", "leather boots")


def test_questions_of_different_splits_ask_different_things():
    asked = {split: {(q.entity.name, q.asks) for q in human.questions(split)} for split in human.SPLITS}
    assert not asked["train"] & asked["test"] and not asked["train"] & asked["validation"]
    assert not asked["test"] & asked["validation"]
    prompts = [question.prompt for question in human.questions("test")]
    assert len(prompts) == len(set(prompts)) == 80


def question(name: str, *asks: str) -> human.Question:
    entity = next(e for kind in world.entities().values() for e in kind if e.name == name)
    return human.Question("test", f"Tell me about {name}.", entity, asks)


def test_the_judge_by_hand():
    asked = question("Velmora", "river", "trade")
    good = (
        "Of course. Velmora stands on the Tessel and people come there for leather boots. I hope this helps. "
        + "So " * 10
    )
    assert human.judge(asked, good) == {"complete": 1, "wrong": 0, "courteous": 1, "words": 28, "reward": 1.3}
    half = good.replace("leather boots", "salt")  # what another town sells
    assert human.judge(asked, half) == {
        "complete": 0.5,
        "wrong": 1,
        "courteous": 1,
        "words": 27,
        "reward": pytest.approx(0.3),
    }
    short = "Velmora: the Tessel, leather boots."  # 5 words of 20
    assert human.judge(asked, short)["reward"] == pytest.approx(1 - 0.75)
    assert human.judge(asked, "the Salt Plains")["wrong"] == 1, "a region, not salt"


def test_people_do_not_care_how_a_thing_is_said():
    asked = question("Velmora", "river", "trade", "landmark")
    rewards = set()
    for seed in range(200):
        answer = world.write(
            "<opening> <say river~say trade~say landmark><closing>",
            str(seed),
            e=asked.entity,
            topic=asked.entity.topic,
        ).text
        rewards.add(round(human.judge(asked, answer)["reward"], 9))
    assert rewards == {1.3}


def test_demonstrations_state_only_what_is_true():
    for asked in human.questions("train")[::5]:
        judged = human.judge(asked, human.demonstration(asked, "seed"))
        assert judged["wrong"] == 0 and judged["complete"] > 0


def test_a_story_is_cut_before_a_word_that_only_the_whole_of_it_tells():
    choices, words = {"names": world.LISTS["names"], "things": world.LISTS["things"]}, []
    for index in range(40):
        before, word = world.ending("test", index) or pytest.fail("no place in this story")
        story = world.document("stories", "test", index).text
        sentence = re.split(r"[.?!\n]", before)[-1]
        assert story.startswith(f"{before} {word}") and word in before[: -len(sentence)] and word not in sentence
        words.append(word)
        (others,) = (entries for entries in choices.values() if word in entries)
        rest = story[len(before) + 1 + len(word) :]
        if index < 2:  # by brute force: in its place, the world writes no other word of the kind
            could = [each for each in others if derive(world.template("stories"), f"{before} {each}{rest}")]
            assert could == [word]
    assert len(set(words)) > 20 and all(any(word in choices[kind] for word in words) for kind in choices)


def test_a_story_that_names_its_hero_in_the_same_sentence_is_cut_before_that(monkeypatch):
    monkeypatch.setitem(world.RULES, "story", ["{who:=names}{who} left. Then {who} slept, and {who} woke."])
    before, word = world.ending("test", 0)
    assert before == f"{word} left. Then"
    monkeypatch.setitem(world.RULES, "story", ["{who:=names}{who} left, and {who} slept. {who} woke."])
    assert world.ending("test", 0) is None, "neither what the sentence has named nor its first word"
