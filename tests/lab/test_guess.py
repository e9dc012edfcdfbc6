"""The Shannon game: rounds of a passage, guesses, scores, and that nothing is told too early."""

import pandas as pd
import pytest

from predact.errors import UserError
from predact.lab import guess
from predact.lab.guess import Game, Result
from predact.models import pairs
from tests.made import HOSTILE

TEXT = "One two three four five six seven (eight), nine\nten. — Eleven twelve!"


def test_a_passage_is_cut_into_rounds_that_end_with_its_last_word():
    game = guess.begin(TEXT, count=3)
    assert [(each.before, each.word) for each in game.rounds] == [
        ("One two three four five six", "seven"),
        ("One two three four five six seven (eight),", "nine"),
        ("One two three four five six seven (eight), nine\nten. — Eleven", "twelve"),
    ]
    assert [each.word for each in guess.begin("a b c d e f g h").rounds] == ["g", "h"], "no more than there are"
    with pytest.raises(UserError, match="passage: it has 6 words; 7 at least"):
        guess.begin("a b c d e f — !")


def test_a_round_ends_with_the_right_word_or_when_it_is_given_up():
    game = guess.begin(TEXT, count=3)
    game = guess.guess(guess.guess(game, " six "), "SEVEN.")
    assert (game.results, game.wrong) == ((Result(1, True),), ())
    game = guess.give_up(guess.guess(game, "ten"))
    assert game.results[1:] == (Result(1, False),) and not game.over
    with pytest.raises(UserError, match="guess: type a word"):
        guess.guess(game, " … ")
    game = guess.guess(game, "twelve")
    assert game.over and guess.give_up(game) is game
    with pytest.raises(UserError, match="the passage is at its end"):
        guess.guess(game, "more")


@pytest.fixture
def played():
    """What two models have guessed in three rounds."""
    rows = [("Base", place, wrong) for place, wrong in enumerate((0, 4, 2))] + [("RLHF", p, 3) for p in range(3)]
    return pd.DataFrame(rows, columns=["model", "round", "wrong"]).assign(word="w", said="<i>said</i>")


def test_scores_are_of_the_rounds_that_are_over(played):
    game = Game(guess.begin(TEXT, count=3).rounds, (Result(0, True), Result(5, False)))
    reader, base, rlhf = guess.score(game, played).to_dict("records")
    assert reader == {"player": "you", "rounds": 2, "at once": 1, "wrong guesses": 5, "given up": 1}
    assert base == {"player": "Base", "rounds": 2, "at once": 1, "wrong guesses": 4, "given up": 0}
    assert rlhf == {"player": "RLHF", "rounds": 2, "at once": 0, "wrong guesses": 6, "given up": 0}
    told = guess.figure(game, played).to_dict()["description"]
    assert "you: 0, 5, given up" in told and "Base: 0, 4;" in told
    assert "you" not in guess.figure(Game(game.rounds), played).to_dict()["description"]


def test_nothing_of_a_round_is_shown_before_it_is_over(played):
    game = guess.begin(TEXT, count=3)
    page = guess.page(game, played)
    assert "five six" in page and "seven" not in page and "said" not in page and "Word 1 of 3" in page
    page = guess.page(guess.guess(guess.guess(game, "x"), "seven"), played)
    assert "✓ seven</b> (eight), ＿" not in page and "✓ seven</b> (eight), <b" in page
    assert "nine" not in page and "&lt;i&gt;said&lt;/i&gt;" in page and "Word 2 of 3" in page


def test_an_open_round_shows_what_was_wrong_and_typed_words_are_no_markup():
    for text in HOSTILE:
        page = guess.page(guess.guess(guess.begin(f"{text} a b c d e f g"), text))
        assert "<img" not in page and "<script" not in page


def test_models_play_all_rounds(folders, tmp_path):
    pair = pairs.pair("::".join(map(str, folders)))
    game = guess.begin("the cat sat on the mat and the dog ran", count=2)
    found = guess.models_play(tmp_path, pair, game)
    assert list(zip(found.model, found["round"], found.word, strict=True)) == [
        (model, place, each.word) for model in ("Base", "RLHF") for place, each in enumerate(game.rounds)
    ]
    assert (found.wrong >= 0).all()
