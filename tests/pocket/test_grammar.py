"""The grammar: its probabilities are exact, and what it writes it reads back, on grammars done by hand."""

import math
from collections import Counter

import numpy as np
import pytest

from predact.pocket.grammar import Grammar, Word, Words

FRUIT = [Word("apple", {"a": "an apple", "s": "apples"}), Word("pear", {"a": "a pear", "s": "pears"})]
TOWN = Word("Rome", facts={"fruit": FRUIT[1]})


def toy(**rules: list[str]) -> Grammar:
    fruit, town = Words({FRUIT[0]: 3.0, FRUIT[1]: 1.0}), Words({TOWN: 1.0})
    return Grammar(rules, {"fruit": lambda state: fruit, "town": lambda state: town})


def texts(grammar: Grammar, template: str, draws: int = 2000, **scope: Word) -> dict[str, float]:
    """Every text that is drawn, with its log-probability; each is read back in one way, with the same."""
    found, count = {}, Counter[str]()
    for seed in range(draws):
        document = grammar.write(template, str(seed), **scope)
        found[document.text] = document.log_probability
        count[document.text] += 1
    for text, log in found.items():
        assert list(grammar.derivations(template, text, **scope)) == [pytest.approx(log, abs=1e-9)]
        share = math.exp(log)
        assert abs(count[text] - draws * share) <= 4 * math.sqrt(draws * share * (1 - share)) + 1, text
    return {text: math.exp(log) for text, log in found.items()}


def test_weights_of_alternatives_and_of_lines():
    assert texts(toy(), "[a^3|b]") == pytest.approx({"a": 0.75, "b": 0.25})
    assert texts(toy(word=["x^0.5", "y"]), "<word>") == pytest.approx({"x": 1 / 3, "y": 2 / 3})
    assert texts(toy(), "[|b][][c]") == pytest.approx({"[c]": 0.5, "b[c]": 0.5})


def test_words_have_weights_and_forms():
    assert texts(toy(), "<fruit.a>") == pytest.approx({"an apple": 0.75, "a pear": 0.25})
    assert texts(toy(), "<Fruit.s>!") == pytest.approx({"Apples!": 0.75, "Pears!": 0.25})


def test_a_variable_is_drawn_once_and_another_never_the_same():
    assert texts(toy(), "{x:=fruit}{x} {x.s} {X.a}") == pytest.approx(
        {"apple apples An apple": 0.75, "pear pears A pear": 0.25}
    )
    assert texts(toy(), "{x:=fruit}{y:=fruit!x}{x} {y}") == pytest.approx({"apple pear": 0.75, "pear apple": 0.25})
    assert texts(toy(), "{x:=e.fruit}{y:=fruit!e.fruit}{x} {y} {e.fruit.s}", e=TOWN) == {"pear apple pears": 1}


def test_a_fact_is_asked_for_only_after_its_owner_is_drawn():
    assert texts(toy(), "{e:=town}{e}{x:=e.fruit} {x}") == {"Rome pear": 1}
    with pytest.raises(ValueError, match="before it is drawn"):
        toy().write("{e:=town}{x:=e.fruit}{x}", "")


def test_repetitions_and_shuffles():
    grammar = toy(a=["x", "y"], b=["z"])
    found = texts(grammar, "<a*1-2>")
    assert found == pytest.approx({"x": 1 / 4, "y": 1 / 4} | dict.fromkeys(["x x", "x y", "y x", "y y"], 1 / 8))
    found = texts(grammar, "<a~b^3/1-2>")  # z first with 3/4
    once, twice = {"z": 3 / 8, "x": 1 / 16, "y": 1 / 16}, {"z x": 3 / 16, "z y": 3 / 16, "x z": 1 / 16, "y z": 1 / 16}
    assert found == pytest.approx(once | twice)
    assert texts(toy(a=["x\n"]), "<a*2>") == {"x\nx\n": 1}, "no space after the end of a line"


def test_forms_of_rules_and_names_of_rules():
    grammar = toy(many=["<fruit.@> and <fruit.s>"], both=["<fruit.@@>"])
    assert "apples and pears" in texts(grammar, "<many.s>")
    assert "apple" in texts(grammar, "<both.s>"), "the plural of the form s is the plain form"
    assert texts(toy(**{"of Rome": ["old"]}), "<of {e}>", e=TOWN) == {"old": 1}


def test_a_capital_reaches_what_is_written_first():
    grammar = toy(name=["Anna", "one [|two]"], sentence=["<Name>.", "<name>?"])
    assert set(texts(grammar, "<Sentence>")) == {"Anna.", "One .", "One two.", "Anna?", "One ?", "One two?"}
    assert list(grammar.derivations("<Name>", "anna")) == list(grammar.derivations("<Name>", "one ")) == []


def test_an_ambiguous_template_is_found_out():
    logs = list(toy().derivations("[a|ac][c|cc]", "acc"))
    assert np.exp(logs).sum() == pytest.approx(0.5) and len(logs) == 2
    assert list(toy().derivations("<fruit>", "plum")) == list(toy().derivations("<fruit>", "apples")) == []
