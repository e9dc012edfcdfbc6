"""Diversity against sets of tuples and by hand; the p that matches."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predact.errors import UserError
from predact.methods import diversity
from tests.made import shuffled, written

NUCLEI = [0.6, 0.7, 0.8, 0.9, 1.0]


def brute(generations, n):
    found = [tuple(each[i : i + n]) for each in generations for i in range(len(each) - n + 1)]
    return 100 * len(set(found)) / len(found) if found else np.nan


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from([3, 2**31, 0]), max_size=12), max_size=6), st.integers(1, 8))
def test_percent_is_that_of_a_count_over_sets(generations, longest):
    wanted = [brute(generations, n) for n in range(1, longest + 1)]
    np.testing.assert_array_equal(diversity.percent_unique(generations, longest), wanted)


def test_percent_by_hand():
    generations = [[1, 2, 1, 2], [1, 2, 3], [4], []]
    found = diversity.percent_unique(generations)
    assert found.tolist()[:3] == [100 * 4 / 8, 100 * 3 / 5, 100 * 3 / 3] and found[3] == 100
    assert np.isnan(diversity.percent_unique(generations, 5)[4])
    assert np.isnan(diversity.percent_unique([[], []])).all() and np.isnan(diversity.percent_unique([])).all()


def test_the_table_is_a_mean_over_prompts_that_leaves_out_what_is_too_short():
    frame = pd.concat(
        [written({"a": [[1, 1, 1], [2, 2]], "b": [[1, 2], [3]], "c": [[], []]}), written({"a": [[7] * 5]}, "RLHF")]
    )
    found = diversity.unique_ngrams(frame, 3).set_index(["model", "n"])
    assert found.loc["Base"].estimate.tolist() == [(40 + 100) / 2, (100 * 2 / 3 + 100) / 2, 100]
    assert found.loc["Base"].prompts.tolist() == [2, 2, 1] and set(found.unit) == {diversity.UNIT}
    assert (found.loc[("Base", 1), "low"], found.loc[("Base", 1), "high"]) == (40, 100)
    assert found.loc["RLHF"].estimate.tolist() == [20, 25, 100 / 3] and found.loc["RLHF"].low.isna().all()
    empty = diversity.unique_ngrams(written({"a": [[], []]}), 2)
    assert empty.estimate.isna().all() and empty.prompts.tolist() == [0, 0]


def table(base, rlhf, top_p=0.9):
    rows = [("Base", p, n, value) for p, each in zip(NUCLEI, base, strict=True) for n, value in enumerate(each, 1)]
    rows += [("RLHF", top_p, n, value) for n, value in enumerate(rlhf, 1)]
    return pd.DataFrame(rows, columns=["model", "top_p", "n", "estimate"])


def test_the_nearest_of_the_candidates_is_chosen():
    given = table([[3, 28], [4, 40], [6, 59], [9, 82], [17, 95]], [4, 41])
    assert diversity.matched_top_p(given, 0.9, NUCLEI) == 0.7
    assert diversity.matched_top_p(shuffled(given), 0.9, NUCLEI[::-1]) == 0.7
    assert diversity.matched_top_p(given, 0.9, [0.8, 1.0]) == 0.8, "only what may be chosen"


def test_of_ties_the_lower_p_is_chosen_and_nothing_matches_empty_text():
    tied = table([[10, 20], [30, 40], [40, 50], [50, 60], [60, 70]], [20, 30])
    assert diversity.matched_top_p(tied, 0.9, NUCLEI) == 0.6
    with pytest.raises(UserError, match=r"^base_top_p: .* give a number\.$"):
        diversity.matched_top_p(table([[np.nan, np.nan]] * 5, [20, 30]), 0.9, NUCLEI)
