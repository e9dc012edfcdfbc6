"""The ladder Base, SFT, RLHF: values, changes and places on the way, by hand."""

import numpy as np
import pytest
import vl_convert

from predact.claims.verdict import Rung
from predact.discussion import ladder
from predact.discussion.ladder import CHANGE, PLACE, VALUE
from predact.figures import discussion as discussion_figures


def rung(values, units=40, noise=0.0, claim="C1", measure="something"):
    draw = np.random.default_rng(0)
    drawn = draw.normal(size=(units, 3))
    each = np.array(values) + noise * (drawn - drawn.mean(0))
    return Rung(claim, measure, [np.stack([each, np.ones((units, 3))], 2)])


def test_values_changes_and_the_place_by_hand():
    climbed = ladder.climb([rung([10, 4, 6])])
    assert climbed[["kind", "at"]].to_numpy().tolist() == [
        [VALUE, "Base"],
        [VALUE, "SFT"],
        [VALUE, "RLHF"],
        [CHANGE, "SFT"],
        [CHANGE, "RLHF"],
        [PLACE, "SFT"],
    ]
    assert climbed.estimate.tolist() == pytest.approx([10, 4, 6, -6, 2, 1.5])
    assert climbed.low.tolist() == pytest.approx(climbed.high.tolist()), "without noise there is no interval"
    assert set(climbed.n) == {40}


def test_strata_count_alike_and_sums_are_weighted():
    first = np.array([[[2.0, 1], [2, 1], [2, 1]], [[8.0, 4], [4, 4], [2, 4]]])  # Base 10/5, SFT 6/5, RLHF 4/5
    second = np.full((3, 3, 2), 1.0)
    climbed = ladder.climb([Rung("C1", "m", [first, second])])
    assert climbed.estimate[:3].tolist() == pytest.approx([1.5, 1.1, 0.9])


def test_three_models_are_resampled_together():
    draw = np.random.default_rng(1)
    level = draw.normal(0, 5, (60, 1))
    each = np.concatenate([level, level + 1, level + 2], 1)
    climbed = ladder.climb([Rung("C1", "m", [np.stack([each, np.ones((60, 3))], 2)])])
    value, change = climbed[climbed.kind == VALUE].iloc[0], climbed[climbed.kind == CHANGE].iloc[0]
    assert value.high - value.low > 1 and change.high - change.low < 1e-9


def test_where_base_and_rlhf_are_the_same_there_is_no_way():
    place = ladder.climb([rung([1, 2, 1])]).iloc[-1]
    assert place.estimate == 0 and np.isfinite([place.low, place.high]).all()
    unsure = ladder.climb([rung([1, 2, 1.01], noise=1)]).iloc[-1]
    assert unsure.low < 0.5 < unsure.high


def test_the_answer_sorts_by_intervals():
    rungs = [
        rung([0, 9, 10], measure="a"),
        rung([0, 1, 10], measure="b", claim="C6"),
        rung([1, 2, 1.01], noise=1, measure="c"),
    ]
    said = ladder.who_did_it(ladder.climb(rungs))
    assert said == (
        "For the most part it was **SFT**: a (C1). For the most part it was **the reward**: b (C6). "
        "Which of the two it was cannot be said for sure: c (C1)."
    )


def test_a_pair_without_sft_has_no_place_on_the_way():
    units = np.stack([np.tile([10.0, 6.0], (20, 1)), np.ones((20, 2))], 2)
    climbed = ladder.climb([Rung("C1", "something", [units])])
    assert climbed[["kind", "at"]].to_numpy().tolist() == [[VALUE, "Base"], [VALUE, "RLHF"], [CHANGE, "RLHF"]]
    assert climbed.estimate.tolist() == pytest.approx([10, 6, -4])
    assert "no model between" in ladder.who_did_it(climbed)
    assert "no model between" in vl_convert.vegalite_to_svg(discussion_figures.ladder(climbed).to_json())
