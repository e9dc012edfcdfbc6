"""Modes by hand and against other orders, and the effective number where it is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predact.errors import UserError
from predact.methods import modes

ATOMS = "Why don't scientists trust atoms? Because they make up everything."
FIELD = "Why did the scarecrow win an award? Because he was outstanding in his field."


def cut(*texts):
    return [text.split() for text in texts]


def test_texts_that_are_nearly_the_same_are_one_mode():
    texts = cut(FIELD, ATOMS, ATOMS.upper(), ATOMS.replace("Because they", "They"), "no", ATOMS)
    assert modes.modes(texts).tolist() == [1, 0, 0, 0, 2, 0]
    assert modes.modes(texts, alike=0.9).tolist() == [1, 0, 0, 2, 3, 0], "one word less is another text then"


@pytest.mark.parametrize("alike", [math.nan, -0.1, 1.1])
def test_what_no_index_can_reach_is_refused(alike):
    with pytest.raises(UserError, match=r"^alike: expected a number from 0 to 1, not "):
        modes.modes([["a"], ["b"]], alike)


def test_likeness_is_the_jaccard_index():
    sets = [{1, 2, 3, 4}, {3, 4, 5, 6}, {7}]
    assert (
        modes.likeness(sets).round(9).tolist() == np.array([[1, 1 / 3, 0], [1 / 3, 1, 0], [0, 0, 1]]).round(9).tolist()
    )


def test_a_chain_of_small_changes_is_not_one_mode():
    """Each of these is like the next one; single linkage would put the first and the last together."""
    chain = [[f"w{at}" for at in range(start, start + 20)] for start in range(0, 40, 4)]
    found = modes.modes(chain)
    assert found[0] != found[-1] and 1 < found.max() + 1 < len(chain)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=6), min_size=1, max_size=8), st.randoms())
def test_the_order_of_texts_does_not_matter_and_the_largest_mode_is_first(texts, random):
    order = list(range(len(texts)))
    random.shuffle(order)
    found, other = modes.modes(texts), modes.modes([texts[place] for place in order])
    together = found[:, None] == found
    assert np.array_equal(together[np.ix_(order, order)], other[:, None] == other)
    assert (np.diff(np.bincount(found)) <= 0).all()


def test_equal_texts_are_counted_and_white_space_at_the_ends_is_no_part():
    assert modes.counts(["b", "a ", "a", "c", "\nb", "a"]) == {"a": 3, "b": 2, "c": 1}
    assert list(modes.counts(["b", "a"])) == ["a", "b"], "of equally common ones the first by letters"


def test_the_effective_number_of_one_mode_is_one():
    assert tuple(vars(modes.effective(np.zeros(9, int))).values()) == (1, 1, 1)


@pytest.mark.parametrize(("power", "answers", "size"), [(0, 10, 100), (1, 100, 1000)])
def test_the_effective_number_is_that_of_the_source(power, answers, size):
    shares = 1 / np.arange(1, answers + 1) ** power
    shares /= shares.sum()
    true, draw = np.exp(-(shares * np.log(shares)).sum()), np.random.default_rng(0)
    found = [modes.effective(modes.ranked(draw.choice(answers, size, p=shares)), 200) for _ in range(40)]
    assert np.mean([each.estimate for each in found]) == pytest.approx(true, rel=0.02)
    assert np.mean([each.low <= true <= each.high for each in found]) >= 0.9


def test_coverage_by_hand():
    assert modes.coverage(np.array([0, 0, 1, 2])) == 0.5 and modes.coverage(np.arange(4)) == 0
