"""n-gram shares against sets of tuples and by hand, and the nulls they are compared with."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predact.methods import ngrams
from tests.made import written

LARGE = [3, 2**31, 2**31 - 1, 0, 70_000]


def containing(generations, n):
    """How many generations contain each n-gram, by brute force."""
    sets = ({tuple(each[i : i + n]) for i in range(len(each) - n + 1)} for each in generations)
    return Counter(ngram for found in sets for ngram in found)


def brute(generations, longest):
    most = [max(containing(generations, n).values(), default=0) for n in range(1, longest + 1)]
    return np.array(most) / max(1, len(generations))


few = st.lists(st.lists(st.sampled_from(LARGE[:3]), max_size=12), max_size=6)


@settings(max_examples=300, deadline=None)
@given(few, st.integers(1, 20))
def test_shares_are_those_of_a_count_over_sets(generations, longest):
    assert ngrams.shares(generations, longest).tolist() == brute(generations, longest).tolist()


@settings(max_examples=200, deadline=None)
@given(few, st.integers(1, 6))
def test_the_most_shared_is_the_first_by_ids_of_those_that_most_contain(generations, n):
    ids, places = ngrams.most_shared(generations, n)
    counts = containing(generations, n)
    best = min(counts, key=lambda ngram: (-counts[ngram], ngram), default=())
    assert tuple(ids) == best
    assert places.tolist() == [i for i, each in enumerate(generations) if best and best in containing([each], n)]


@settings(max_examples=200, deadline=None)
@given(few, st.integers(1, 6))
def test_each_ngram_is_spread_over_the_generations_that_contain_it(generations, n):
    counts = containing(generations, n)
    assert ngrams.spread(generations, n).tolist() == [counts[ngram] for ngram in sorted(counts)]


@pytest.mark.parametrize(
    "generations",
    [
        [[7] * 60] * 5,
        [[7] * size for size in range(60)],
        [list(range(70))] * 5,
        [[*range(i, 70), *range(i)] for i in range(9)],
        [([1, 2, 3] * 30)[i : i + 60] for i in range(5)],
        [([1] * 40 + [2] * i + [1] * 40) for i in range(6)],
    ],
    ids=["one token", "one token, all lengths", "identical", "rotations", "periodic", "nearly one token"],
)
def test_shares_are_exact_where_texts_repeat(generations):
    assert ngrams.shares(generations).tolist() == brute(generations, 50).tolist()


def test_shares_are_exact_where_texts_share_passages():
    draw = np.random.default_rng(0)
    passages = [draw.integers(0, 500, size).tolist() for size in (5, 11, 32, 33, 49, 50, 64)]
    generations = [
        [token for part in draw.integers(0, 7, 3) for token in (*draw.integers(0, 500, 9).tolist(), *passages[part])]
        for _ in range(20)
    ]
    found = ngrams.shares(generations, 70)
    assert found.tolist() == brute(generations, 70).tolist() and len(set(found)) > 4


def test_shares_by_hand():
    generations = [[1, 2, 3, 4], [9, 1, 2, 3], [2, 3, 9], [5]]
    assert ngrams.shares(generations, 5).tolist() == [0.75, 0.75, 0.5, 0.25, 0]


def test_repeats_within_a_generation_count_once():
    assert ngrams.shares([[1, 2, 1, 2, 1, 2], [3, 4], [5, 6], [7, 8]], 3).tolist() == [0.25, 0.25, 0.25]


def test_no_ngram_reaches_from_one_generation_into_the_next():
    generations = [[1], [2], [1], [2], [1], [2]]
    assert ngrams.shares(generations, 2).tolist() == [0.5, 0]
    assert ngrams.most_shared(generations, 2)[0].size == 0


def test_generations_may_be_empty_and_count():
    assert ngrams.shares([[], [1, 2], [], [1]], 3).tolist() == [0.5, 0.25, 0]
    assert ngrams.shares([[], []], 2).tolist() == ngrams.shares([], 2).tolist() == [0, 0]
    assert [each.tolist() for each in ngrams.most_shared([[], []], 1)] == [[], []]


@settings(max_examples=50, deadline=None)
@given(few, st.permutations(range(5)), st.randoms(use_true_random=False))
def test_neither_order_nor_names_of_ids_matter(generations, names, random):
    renamed = [[LARGE[names[LARGE.index(token)]] for token in each] for each in generations]
    random.shuffle(renamed)
    assert ngrams.shares(renamed, 9).tolist() == ngrams.shares(generations, 9).tolist()


def test_the_null_of_shuffled_tokens_keeps_each_generation_s_tokens():
    generations = [list(range(50)), [], [4, 4, 2**31]]
    found = ngrams.shuffled(generations, 1)
    assert [sorted(each) for each in found] == generations[:2] + [[4, 4, 2**31]]
    assert found[0].tolist() != generations[0]
    assert (
        found[0].tolist() == ngrams.shuffled(generations, 1)[0].tolist() != ngrams.shuffled(generations, 2)[0].tolist()
    )


def test_an_empty_generation_from_the_store_is_shuffled_too():
    stored = np.array([], dtype=np.int64)
    stored.flags.writeable = False
    assert [each.tolist() for each in ngrams.shuffled([stored, [7]])] == [[], [7]]


@pytest.mark.parametrize(("prompts", "each", "size"), [(5, 8, 5), (9, 3, 3)])
def test_the_null_of_other_prompts_takes_one_generation_of_each(prompts, each, size):
    made = written({f"p{i}": [[i, j] for j in range(each)] for i in range(prompts)})
    draws = ngrams.across(made, 0)
    assert len(draws) == prompts
    for draw in draws:
        assert len(draw) == size == len({ids[0] for ids in draw})
    taken = Counter(tuple(ids) for draw in draws for ids in draw)
    if each >= prompts:
        assert max(taken.values()) == 1, "no generation is in two draws"
    assert {ids[0] for ids in taken} == set(range(prompts))
    assert np.array_equal(draws, ngrams.across(made, 0)) and not np.array_equal(draws, ngrams.across(made, 1))
