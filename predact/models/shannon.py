"""The Shannon game (Shannon 1951): how many wrong guesses does a model make before the right last word of a passage?

A model reads the passage as plain text, after the same token as all models of its pair; of a passage that is too long
the end, after its BOS. The wrong guesses of a token
are the tokens that the model thinks likelier; those of a word are the sum over its tokens, the right ones before being
given. What the model would say itself is the first word of its greedy continuation.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from string import punctuation
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from torch import Tensor

from predact import store
from predact.models import loading, sampling, scoring, tokens
from predact.models.pairs import Model, Pair
from predact.texts.endings import Ending

_SHARD = 50  # passages whose guesses are stored together
_WIDTH = 8  # tokens of a greedy continuation, and more where the right word has as many: enough for a word
MARKS = punctuation + "“”‘’…–—"  # around a word
_GREEDY = sampling.Settings(generations=1, top_p=1.0, top_k=1)


class _Round(NamedTuple):
    """Ids that a model reads, and ids of the right word."""

    given: list[int]
    right: list[int]


def play_pair(root: Path, pair: Pair, endings: Sequence[Ending], context: int = scoring.CONTEXT) -> pd.DataFrame:
    """Play the game with all models of a pair, from the store where it has been played.

    Args:
        root: of the store.
        pair: the models.
        endings: the passages.
        context: tokens that a model reads, at most: the last ones before the word.

    Returns:
        A row per model and passage: model, passage (its number), word (without marks around it), said (the first word
        of the greedy continuation), tokens (of the word), wrong (guesses before it), exact (whether `said` is the
        word), f1 (of the tokens of the two, see `token_f1`).
    """
    parts = [
        (step, start, endings[start : start + _SHARD])
        for step in pair.models
        for start in range(0, len(endings), _SHARD)
    ]
    keys = {step: loading.key(model) | {"lead": tokens.pair_lead(pair, step)} for step, model in pair.models.items()}
    inputs = [
        keys[step]
        | {"endings": store.digest([[each.before, each.word] for each in some]), "context": context}
        | _cut(pair, step, some, context)
        for step, _, some in parts
    ]

    def compute(places: list[int]) -> Iterator[pd.DataFrame]:
        for step, _, some in (parts[place] for place in places):
            leads = tokens.pair_lead(pair, step), tokens.pair_window_lead(pair, step)
            yield _play(pair.models[step], *leads, some, context)

    made = store.shards(root, "guesses", inputs, compute)
    placed = zip(made, parts, strict=True)
    frame = pd.concat([each.assign(model=step, passage=each.passage + start) for each, (step, start, _) in placed])
    return frame[["model", "passage", "word", "said", "tokens", "wrong", "exact", "f1"]].reset_index(drop=True)


def _cut(pair: Pair, step: str, endings: Sequence[Ending], context: int) -> dict[str, list[int]]:
    """What the key of a result tells of passages that are too long: what their ends are read after."""
    read = tokens.encode(loading.tokenizer(pair.models[step]), [each.text for each in endings])
    around = len(tokens.pair_lead(pair, step)) + _WIDTH + 1
    lengths = [around + len(ids) for ids in read]
    return scoring.later_windows(pair.models[step], lengths, tokens.pair_window_lead(pair, step), context)


def _play(
    model: Model, lead: list[int], window_lead: list[int], endings: Sequence[Ending], context: int
) -> pd.DataFrame:
    loaded, tokenizer = loading.loaded(model)
    room = min(context, loading.context_limit(loaded) or context) - _WIDTH
    rounds = [_round(tokenizer, lead, window_lead, each, room) for each in endings]
    wrong, likeliest = _guesses(loaded, tokenizer, rounds, window_lead, context)
    said = _said(loaded, tokenizer, rounds, likeliest)
    words = [each.word.strip(MARKS) for each in endings]
    told, right = (tokens.encode(tokenizer, [f" {word}" for word in each]) for each in (said, words))
    return pd.DataFrame(
        {
            "passage": range(len(rounds)),
            "word": words,
            "said": said,
            "tokens": [len(each.right) for each in rounds],
            "wrong": wrong,
            "exact": [one == word for one, word in zip(said, words, strict=True)],
            "f1": [token_f1(*both) for both in zip(told, right, strict=True)],
        }
    )


def _round(tokenizer: Any, lead: list[int], window_lead: list[int], ending: Ending, room: int) -> _Round:
    """Cut the ids of a whole passage where they begin to differ from those of the passage without its last word."""
    whole, before = tokens.encode(tokenizer, [ending.text, ending.before])
    first = next((place for place, (a, b) in enumerate(zip(whole, before, strict=False)) if a != b), len(before))
    right, given = whole[first:], lead + whole[:first]
    fits = max(1, room - len(right))
    if len(given) > fits:
        given = [*window_lead[: fits - 1], *given[len(window_lead) - fits :]]
    return _Round(given, right)


def _guesses(
    model: Any, tokenizer: Any, rounds: Sequence[_Round], window_lead: list[int], context: int
) -> tuple[list[int], list[list[int]]]:
    """Of each round the wrong guesses, and the likeliest token at each place of the right word and at the next place.

    To see the next place, one more id is read after the word.
    """
    sequences = [each.given + each.right + each.right[-1:] for each in rounds]
    lengths = [len(each.right) + 1 for each in rounds]
    likeliest = np.zeros(sum(lengths), int)

    def observe(places: np.ndarray, logits: Tensor) -> None:
        likeliest[places] = logits.argmax(1).cpu().numpy()

    given = [len(each.given) for each in rounds]
    read = sequences, given, len(tokenizer), window_lead
    ranks = scoring.score_ids(model, *read, context=context, observe=observe).rank
    ends = np.cumsum(lengths)[:-1]
    wrong = [int(each[:-1].sum()) for each in np.split(ranks, ends)]
    return wrong, [each.tolist() for each in np.split(likeliest, ends)]


def _said(model: Any, tokenizer: Any, rounds: Sequence[_Round], likeliest: Sequence[list[int]]) -> list[str]:
    """The word that a model says in each round: the first of its greedy continuation.

    Where the likeliest tokens are those of the right word, and the next one begins another, this is known; only
    elsewhere the model has to go on by itself. Equally long ids are continued together.
    """
    words, sizes = [""] * len(rounds), dict[int, tuple[int, int]]()
    for place, (one, guessed) in enumerate(zip(rounds, likeliest, strict=True)):
        words[place] = _first_word(tokenizer, one.given, guessed)
        if guessed[:-1] != one.right or words[place] != _first_word(tokenizer, one.given, one.right):
            sizes[place] = len(one.given), max(_WIDTH, len(one.right) + 1)
    for (_, width), group in groupby(sorted(sizes, key=lambda place: sizes[place]), key=lambda place: sizes[place]):
        places = list(group)
        given, numbers = [rounds[place].given for place in places], np.zeros((len(places), width))
        for place, made in zip(places, sampling.sample(model, tokenizer, given, numbers, _GREEDY), strict=True):
            words[place] = _first_word(tokenizer, rounds[place].given, made.ids)
    return words


def _first_word(tokenizer: Any, given: list[int], ids: list[int]) -> str:
    """The first word that ids add to the given ones, without the marks around it."""
    plain = {"skip_special_tokens": True, "clean_up_tokenization_spaces": False}
    whole, before = (tokenizer.decode(each, **plain) for each in (given + ids, given))
    added = whole[len(before) :].split()
    return added[0].strip(MARKS) if added else ""


def token_f1(said: Sequence[int], right: Sequence[int]) -> float:
    """F1 of two words as bags of tokens: 2 * shared / (tokens of one + tokens of the other); 0 if one is empty."""
    shared = (Counter(said) & Counter(right)).total()
    return 2 * shared / (len(said) + len(right)) if said and right else 0.0
