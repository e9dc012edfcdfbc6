"""Forms of English words, which of them go together, and how probable they are."""

import itertools

import pytest

from predact.pocket import lexicon, world

NOUNS = ("role", "thing", "stuff", "idea", "place", "event")


@pytest.mark.parametrize(
    ("entry", "forms"),
    [
        ("walk", "walks walked walked walking"),
        ("drop", "drops dropped dropped dropping"),
        ("travel", "travels travelled travelled travelling"),
        ("open", "opens opened opened opening"),
        ("carry", "carries carried carried carrying"),
        ("obey", "obeys obeyed obeyed obeying"),
        ("bake", "bakes baked baked baking"),
        ("free", "frees freed freed freeing"),
        ("die", "dies died died dying"),
        ("wash", "washes washed washed washing"),
        ("go", "goes went gone going"),
        ("have", "has had had having"),
        ("wax", "waxes waxed waxed waxing"),
        ("quit", "quits quit quit quitting"),
        ("take", "takes took taken taking"),
    ],
)
def test_verbs(entry, forms):
    made = lexicon.conjugated(entry)
    assert [made[form] for form in "sdng"] == forms.split()


def test_only_the_first_word_of_a_deed_changes():
    made = lexicon.word("deed", "write letters").forms
    assert (made["s"], made["d"], made["g"]) == ("writes letters", "wrote letters", "writing letters")


def test_nouns_and_articles():
    assert [lexicon.plural(noun) for noun in ("box", "church", "day", "city", "hoe")] == [
        "boxes", "churches", "days", "cities", "hoes",
    ]  # fmt: skip
    told = ("apple", "hour", "uniform", "useful thing", "one-eyed cat", "honest man", "horse", "European", "umbrella")
    assert [lexicon.article(word).split()[0] for word in told] == ["an", "an", "a", "a", "a", "an", "a", "a", "an"]
    assert lexicon.word("role", "man/men").forms == {"a": "a man", "s": "men"}


@pytest.fixture
def two_groups(monkeypatch):
    """Two topics with a group each, which share a verb and a noun."""
    written = {
        "sea": {"things": [{"do": "mend, row", "thing": "net, boat", "look": "wet, old"}]},
        "farm": {"things": [{"do": "milk, mend", "thing": "cow, net", "look": "old, red"}]},
        "general": {"things": [{"do": "keep", "thing": "box", "look": "red"}]},
    }
    cached = (lexicon.topics, lexicon._plurals, lexicon._word, lexicon.groups, lexicon._weighed)
    for each in (*cached, lexicon.grouped):
        each.cache_clear()
    monkeypatch.setattr(lexicon, "topics", lambda: list(written))
    read = lexicon.data
    monkeypatch.setattr(lexicon, "data", lambda name: written.get(name.removeprefix("groups/")) or read(name))
    yield written
    monkeypatch.undo()
    for each in (*cached[1:], lexicon.grouped):
        each.cache_clear()


def test_a_noun_after_a_verb_by_hand(two_groups):
    """P(net | mend, sea): both groups have both words, at first or second place: 2/3 and 1/3 with a shift of 1 ... ."""
    first, second = (1 / (place + lexicon.SHIFT) for place in (1, 2))
    first, second = first / (first + second), second / (first + second)
    own, other = lexicon.MIX["topic"], lexicon.MIX["others"]
    at_sea, on_farm = own * first, other * second  # P(group | mend, sea), not yet divided by their sum
    expected = (at_sea * first + on_farm * second) / (at_sea + on_farm)
    plain = own * first + other * second
    stray = lexicon.STRAY
    (mend,) = [word for word in lexicon.grouped("do", "sea").words if word.text == "mend"]
    words = lexicon.grouped("thing", "sea", ("do", mend))
    (net,) = [word for word in words.words if word.text == "net"]
    assert words.probability(net) == pytest.approx((1 - stray) * expected + stray * plain)
    assert sum(map(words.probability, words.words)) == pytest.approx(1)
    assert {word.text for word in words.words} == {"net", "boat", "cow", "box"}
    (old,) = [word for word in lexicon.grouped("look", "sea").words if word.text == "old"]
    both = lexicon.grouped("thing", "sea", ("do", mend), ("look", old))
    at_sea, on_farm = own * first * second, other * second * first
    expected = (at_sea * first + on_farm * second) / (at_sea + on_farm)
    assert both.probability(net) == pytest.approx((1 - stray) * expected + stray * plain)


def test_a_topic_makes_its_words_likelier_and_no_word_impossible():
    at_sea, on_land = lexicon.grouped("thing", "sea"), lexicon.grouped("thing", "farm")
    assert set(at_sea.words) == set(on_land.words)
    boat = next(word for word in at_sea.words if word.text == "boat")
    assert at_sea.log(boat) > on_land.log(boat) + 1
    for words in (at_sea, on_land, lexicon.grouped("thing", None)):
        assert sum(map(words.probability, words.words)) == pytest.approx(1)
    assert len({word.text for word in at_sea.words}) == len(at_sea.words)


def test_every_word_has_its_forms():
    for kind in lexicon.kinds():
        for word in lexicon.words(kind, ()).words:
            assert word.text.strip() == word.text != "", kind
            assert kind not in lexicon.VERBS or set(word.forms) == {"", "s", "d", "n", "g"}
            assert kind not in lexicon.NOUNS or set(word.forms) == {"a", "s"}


@pytest.mark.parametrize("kinds", list(itertools.combinations(NOUNS, 2)))
def test_no_noun_stands_in_two_classes_that_a_verb_may_have(kinds):
    """Or *found the printer* would be written in two ways."""
    one, other = (
        {form for word in lexicon.grouped(kind, None).words for form in (word.text, word.forms.get("s", ""))} - {""}
        for kind in kinds
    )
    assert one & other == set()


def test_no_deed_is_a_verb_and_a_noun_that_stand_in_groups_too():
    """Or *mend the sails* would be written in two ways."""
    others = [f"<{rule}><tail>" for rule in ("act", "sight", "ponder", "travel", "stay", "attend")] + [
        "<meet> <whom><tail>"
    ]
    for deed in lexicon.grouped("deed", None).words:
        assert not any(list(world.grammar().derivations(rule, deed.text)) for rule in others), deed.text
