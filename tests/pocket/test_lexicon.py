"""Forms of English words, and how probable they are."""

import pytest

from predact.pocket import lexicon


@pytest.mark.parametrize(
    ("entry", "forms"),
    [
        ("walk", "walks walked walked walking"),
        ("drop", "drops dropped dropped dropping"),
        ("travel+", "travels travelled travelled travelling"),
        ("open", "opens opened opened opening"),
        ("carry", "carries carried carried carrying"),
        ("obey", "obeys obeyed obeyed obeying"),
        ("bake", "bakes baked baked baking"),
        ("free", "frees freed freed freeing"),
        ("die", "dies died died dying"),
        ("wash", "washes washed washed washing"),
        ("go/went/gone", "goes went gone going"),
        ("have/had/had", "has had had having"),
        ("wax", "waxes waxed waxed waxing"),
        ("quit/quit/quit", "quits quit quit quitting"),
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


def test_a_topic_makes_its_words_likelier_and_no_word_impossible():
    at_sea, on_land = lexicon.words("thing", "sea"), lexicon.words("thing", "farm")
    assert set(at_sea.words) == set(on_land.words)
    boat = next(word for word in at_sea.words if word.text == "boat")
    assert at_sea.log(boat) > on_land.log(boat) + 1
    assert [at_sea.total, on_land.total] == pytest.approx([1, 1])
    assert len({word.text for word in at_sea.words}) == len(at_sea.words)


def test_every_word_has_its_forms():
    for kind in lexicon.kinds():
        for word in lexicon.words(kind, None).words:
            assert word.text.strip() == word.text != "", kind
            assert kind not in lexicon.VERBS or set(word.forms) == {"", "s", "d", "n", "g"}
            assert kind not in lexicon.NOUNS or set(word.forms) == {"a", "s"}


@pytest.mark.parametrize("kinds", [("thing", "role"), ("thing", "idea"), ("role", "idea"), ("idea", "event")])
def test_no_noun_stands_in_two_classes_that_a_verb_may_have(kinds):
    """Or *found the printer* would be written in two ways."""
    one, other = (
        {form for word in lexicon.words(kind, None).words for form in (word.text, word.forms["s"])} for kind in kinds
    )
    assert one & other == set()


def test_no_deed_is_a_verb_and_a_noun_that_stand_in_lists_too():
    """Or *mend the sails* would be written in two ways."""
    nouns = {
        verbs: {form for word in lexicon.words(kind, None).words for form in (word.text, word.forms["s"])}
        for verbs, kind in (("act", "thing"), ("meet", "role"), ("weigh", "idea"))
    }
    for deed in lexicon.words("deed", None).words:
        for verbs, known in nouns.items():
            for verb in lexicon.words(verbs, None).words:
                if deed.text.startswith(f"{verb.text} "):
                    rest = deed.text.removeprefix(f"{verb.text} ")
                    assert rest.removeprefix("the ").removeprefix("a ").removeprefix("an ") not in known, deed.text
