"""C6: the frames of the figure and the table, by hand; the rule."""

import numpy as np
import pandas as pd
import pytest

from predact.claims import shared_ngrams
from predact.methods import ngrams
from predact.methods.ngrams import ACROSS, GENERATIONS, SHUFFLED
from tests.made import values, written


def shares(rlhf=(0.8, 0.7, 0.9), base=(0.2, 0.1, 0.3), null=0.3):
    """What `ngrams.by_length` returns, with numbers that judge nothing for another n and for the nulls of Base."""
    numbers = {("RLHF", GENERATIONS): rlhf, ("RLHF", ACROSS): (null,) * 3, ("RLHF", SHUFFLED): (0.1,) * 3}
    numbers |= {("Base", GENERATIONS): base, ("Base", ACROSS): (0.99,) * 3, ("SFT", GENERATIONS): (0, 0, 0)}
    rows = [(*key, 10, *each) for key, each in numbers.items()] + [(*key, 9, 0.4, 0.4, 0.4) for key in numbers]
    return pd.DataFrame(rows, columns=["model", "text", "n", "estimate", "low", "high"]).assign(prompts=40)


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({}, "holds"),
        ({"rlhf": (0.8, 0.51, 0.9), "base": (0.2, 0.1, 0.49), "null": 0.5}, "holds"),
        ({"rlhf": (0.4, 0.35, 0.5)}, "fails"),
        ({"base": (0.6, 0.5, 0.7)}, "fails"),
        ({"null": 0.9}, "fails"),
        ({"rlhf": (0.6, 0.5, 0.7)}, "undecided"),
        ({"base": (0.4, 0.3, 0.5)}, "undecided"),
        ({"null": 0.7}, "undecided"),
    ],
)
def test_sameness_needs_most_of_rlhf_not_of_base_and_more_than_chance(given, verdict):
    assert shared_ngrams.judge(shares(**given)).verdict == verdict


def test_sameness_gives_the_share_of_rlhf_beside_its_higher_null_and_names_that_of_base():
    found = shared_ngrams.judge(shares())
    assert (found.id, found.estimate, found.low, found.high, found.null) == ("C6", 0.8, 0.7, 0.9, 0.3)
    assert found.n == 40
    assert found.unit == "share of RLHF's generations with their commonest 10-gram (Base's 0.200)"
    assert shared_ngrams.judge(shares(null=0.05)).null == 0.1


def test_the_frame_of_the_figure_by_hand():
    first, second = [[1, 2, 3], [1, 2, 4], [1, 5], [6]], [[7, 8], [8, 7], [9], []]
    found = shared_ngrams.shares_by_length(written({"a": first, "b": second}), longest=3)
    assert found.columns.tolist() == ["model", "text", "n", "estimate", "low", "high", "unit", "prompts"]
    assert found.text.unique().tolist() == [ngrams.GENERATIONS, ngrams.ACROSS, ngrams.SHUFFLED]
    own = found[found.text == ngrams.GENERATIONS]
    assert own.n.tolist() == [1, 2, 3] and own.estimate.tolist() == [(0.75 + 0.5) / 2, (0.5 + 0.25) / 2, 0.25 / 2]
    assert own.low.tolist() == [0.5, 0.25, 0] and own.high.tolist() == [0.75, 0.5, 0.25]
    assert set(found.prompts) == {2} and set(found.unit) == {shared_ngrams.UNIT}
    null = found[found.text == ngrams.ACROSS]
    assert null.estimate.iloc[0] == 0.5, "no token is in both prompts, and a draw has one generation of each"
    alone = found[found.text == ngrams.SHUFFLED]
    assert alone.estimate.iloc[0] == own.estimate.iloc[0], "shuffling leaves single tokens where they are"


def test_models_are_measured_apart_and_the_same_seed_gives_the_same_frame():
    draw = np.random.default_rng(0)
    texts = {prompt: draw.integers(0, 9, (6, 30)) for prompt in "abcd"}
    both = pd.concat(
        [written(texts), written({prompt: [[1] * 30] * 6 for prompt in "abcd"}, "RLHF")], ignore_index=True
    )
    found = shared_ngrams.shares_by_length(both, 5)
    pd.testing.assert_frame_equal(found, shared_ngrams.shares_by_length(both, 5))
    other = shared_ngrams.shares_by_length(both, 5, seed=1)
    changed = set(found.text[found.estimate != other.estimate])
    assert changed == {ngrams.ACROSS, ngrams.SHUFFLED}, "the seed is that of the nulls"
    assert found[found.model == "RLHF"].estimate.tolist() == [1] * 15
    pd.testing.assert_frame_equal(found[found.model == "Base"], shared_ngrams.shares_by_length(written(texts), 5))


def test_the_table_names_the_ngram_and_who_contains_it():
    made = pd.concat(
        [written({"a": [[5], [1, 2, 3], [0, 1, 2]]}), written({"a": [[4, 4], [4], [2]], "b": [[1], []]}, "RLHF")],
        ignore_index=True,
    )
    decode = {"Base": lambda ids: "-".join(map(str, ids)), "RLHF": lambda ids: "+".join(map(str, ids))}
    found = shared_ngrams.commonest_table(made, decode, n=2)
    assert found.drop(columns=["category", "n"]).to_numpy().tolist() == [
        ["Base", "a", "1-2", 2 / 3, 2, [1, 2]],
        ["RLHF", "a", "4+4", 1 / 3, 1, [0]],
        ["RLHF", "b", "", 0, 0, []],
    ]
    assert found.columns.tolist() == ["model", "category", "prompt", "n", "text", "share", "count", "samples"]


def test_its_rung_is_the_share_with_the_commonest_long_ngram():
    written = pd.DataFrame(
        {"prompt": prompt, "model": model, "ids": [1] * 12 if sample < held else [sample] * 3}
        for model, held in zip(("Base", "SFT", "RLHF"), (1, 2, 4), strict=True)
        for prompt in ("p", "q")
        for sample in range(4)
    )
    rung = shared_ngrams.rung(written)
    assert values(rung).tolist() == [0.25, 0.5, 1] and rung.claim == "C6" and rung.strata[0].shape == (2, 3, 2)
