"""Guess: Shannon's game (1951) on a passage: who needs fewer guesses for the next word, the reader, Base or RLHF?"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from predact import markup
from predact.errors import UserError
from predact.figures import laboratory as figures
from predact.models import shannon
from predact.models.pairs import ENDS, Pair
from predact.models.runs import Run
from predact.texts import endings
from predact.texts.endings import Ending

ROUNDS = 8  # words of a passage that are guessed, at most
LONGEST = 60  # words of a passage that is drawn
FIRST = 6  # words that are shown before the first guess
READER = "you"
_SPLIT = re.compile(r"\S*\w")  # a word without the marks after it


class Result(NamedTuple):
    """A finished round: the reader's wrong guesses, and whether the right one came after them."""

    wrong: int
    hit: bool


class Game(NamedTuple):
    """Where a game stands: the rounds, the results of those that are over, the wrong guesses of the one that is not."""

    rounds: tuple[Ending, ...]
    results: tuple[Result, ...] = ()
    wrong: tuple[str, ...] = ()

    @property
    def over(self) -> bool:
        """Whether every word was guessed or shown."""
        return len(self.results) == len(self.rounds)


def passage(run: Run, number: int) -> str:
    """Return a passage of the kind that the last words of a run are taken from: its last `LONGEST` words.

    Raises:
        UserError: see `endings.select`.
    """
    found = endings.select(run.settings.last_words or run.pair.last_words, number + 1, run.seed, run.root)
    text = found[number % len(found)].text
    words = list(re.finditer(r"\S+", text))
    return text[words[-min(LONGEST, len(words))].start() :]


def begin(text: str, count: int = ROUNDS) -> Game:
    """Return a game on a passage: words spread evenly over it are guessed, the last word last.

    Raises:
        UserError: it has too few words.
    """
    words = [each for each in re.finditer(r"\S+", text) if _SPLIT.match(each.group())]
    if len(words) <= FIRST:
        raise UserError(f"passage: it has {len(words)} words; {FIRST + 1} at least are needed.")
    chosen = np.unique(np.linspace(FIRST, len(words) - 1, count).round().astype(int))
    cut = [(text[: words[place].start()].rstrip(), _SPLIT.match(words[place].group())) for place in chosen]
    return Game(tuple(Ending(before, word.group()) for before, word in cut if word))


def guess(game: Game, word: str) -> Game:
    """Return the game after a guess: the same round with one more wrong guess, or the next one. Case does not count.

    Raises:
        UserError: the guess is empty or the game is over.
    """
    if game.over:
        raise UserError("guess: the passage is at its end; begin another one.")
    if not _plain(word):
        raise UserError("guess: type a word.")
    if _plain(word) != _plain(game.rounds[len(game.results)].word):
        return game._replace(wrong=(*game.wrong, word.strip()))
    return game._replace(results=(*game.results, Result(len(game.wrong), True)), wrong=())


def give_up(game: Game) -> Game:
    """Return the game with the word of this round shown; when all is over it stays as it is."""
    return game if game.over else game._replace(results=(*game.results, Result(len(game.wrong), False)), wrong=())


def _plain(word: str) -> str:
    return word.strip().strip(shannon.MARKS).casefold()


def models_play(root: Path, pair: Pair, game: Game) -> pd.DataFrame:
    """Let the models of a pair guess all words of a game, see `shannon.play_pair`; kept in the store.

    Returns:
        A row per model of `ENDS` and round: model, round, word, said (the model's own guess), wrong (guesses before the
        right one; of a word of several tokens their sum).
    """
    found = shannon.play_pair(root, pair, game.rounds)
    played = found[found.model.isin(ENDS)].rename(columns={"passage": "round"})
    return played[["model", "round", "word", "said", "wrong"]].reset_index(drop=True)


def score(game: Game, played: pd.DataFrame) -> pd.DataFrame:
    """Count hits and wrong guesses of all players in the rounds that are over.

    Args:
        game: of the reader.
        played: what `models_play` returns.

    Returns:
        player, rounds, at once (words hit by the first guess), wrong guesses (in all rounds), given up.
    """
    done = len(game.results)
    rows = [_row(READER, [each.wrong for each in game.results], [each.hit for each in game.results])]
    for model, part in played[played["round"] < done].groupby("model", sort=False):
        rows.append(_row(str(model), part.wrong.tolist(), [True] * len(part)))
    return pd.DataFrame(rows)


def _row(player: str, wrong: Sequence[int], hit: Sequence[bool]) -> dict[str, object]:
    at_once = sum(each == 0 and right for each, right in zip(wrong, hit, strict=True))
    counts: dict[str, object] = {
        "rounds": len(wrong),
        "at once": at_once,
        "wrong guesses": sum(wrong),
        "given up": hit.count(False),
    }
    return {"player": player} | counts


def page(game: Game, played: pd.DataFrame | None = None) -> str:
    """Return the passage as far as it is known, the reader's guesses, and what the models guessed, as HTML; escaped.

    Args:
        game: where it stands.
        played: what `models_play` returns; nothing of a round is shown before it is over.
    """
    parts, shown, done = [], 0, len(game.results)
    for each, result in zip(game.rounds, game.results, strict=False):
        begin = len(each.before)
        gap = " " * (begin > 0)
        parts.append({"text": each.before[shown:] + gap, "word": each.word, "hit": result.hit, "wrong": result.wrong})
        shown = begin + len(gap) + len(each.word)
    rest = "" if game.over else game.rounds[done].before[shown:]
    last = None if played is None or not done else played[played["round"] == done - 1].to_dict("records")
    table = None if played is None or not done else score(game, played).to_dict("records")
    return markup.render(
        "guessing.html",
        parts=parts,
        rest=rest,
        over=game.over,
        wrong=game.wrong,
        last=last,
        table=table,
        done=done,
        rounds=len(game.rounds),
    )


def figure(game: Game, played: pd.DataFrame) -> alt.LayerChart:
    """Draw the wrong guesses of all players, word by word, of the rounds that are over.

    Args:
        game: of the reader; one in which nothing was played yet shows the models alone.
        played: what `models_play` returns.
    """
    models = played.assign(known=True)[["model", "round", "word", "wrong", "known"]]
    if not game.results:
        return figures.guesses(models)
    own = [
        {"model": READER, "round": place, "word": each.word, "wrong": result.wrong, "known": result.hit}
        for place, (each, result) in enumerate(zip(game.rounds, game.results, strict=False))
    ]
    return figures.guesses(pd.concat([models[models["round"] < len(own)], pd.DataFrame(own)], ignore_index=True))
