"""C4: frames of the figures and the rule, of models that are everywhere the same."""

from dataclasses import replace

import numpy as np
import pytest

from predact.claims import support
from predact.models.passages import GOLD, OWN
from predact.models.tokens import Per
from tests.made import conditions, shuffled


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([(0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4)], "holds"),
        ([(0.4, 5), (0.4, 5), (0.5, 5), (0.8, 4)], "fails"),
        ([(0.4, 5), (0.3, 6), (0.5, 5), (0.8, 6)], "fails"),
        ([(0.4, 5), (0.3, 4), (0.5, 5), (0.8, 4)], "fails"),
    ],
)
def test_the_rule(numbers, said):
    points, verdict = support.judge(conditions(*numbers), Per.TOKEN)
    gold, rlhf_gold, own, rlhf_own = (np.round(each * np.array([10, 10.1])).mean() / 64 * 100 for _, each in numbers)
    assert points.text.tolist() == [GOLD, OWN]
    assert points.estimate.tolist() == pytest.approx([rlhf_gold - gold, own - rlhf_own])
    assert verdict.estimate == points.estimate.min() and (verdict.verdict, verdict.n) == (said, 2)
    assert ("less of" if verdict.estimate == points.estimate[1] != points.estimate[0] else "more of") in verdict.unit
    each, open_one = support.judge(conditions(*numbers), Per.BYTE)
    assert len(each) == 2 and (open_one.verdict, open_one.estimate) == ("undecided", None)
    assert "not compared, for the tokenizers differ" in open_one.unit


def test_it_is_open_where_prompts_disagree():
    made = conditions((0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4))
    made["RLHF", OWN].positions.loc[lambda frame: frame.group == 0, "1e-08"] = 64
    points, verdict = support.judge(made, Per.TOKEN)
    assert verdict.verdict == "undecided" and points.low[1] < 0 < points.high[1]


def test_the_frames_of_the_figures():
    made = conditions((0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4))
    shares = support.support_histograms(made)
    assert shares.groupby(["model", "text", "threshold"]).share.sum().to_numpy() == pytest.approx(np.ones(20))
    inside = shares[(shares.model == "Base") & (shares.text == GOLD) & (shares.share > 0)]
    assert (inside.low_edge <= 64).all()
    percent = support.shares(made).set_index(["model", "text"])
    assert percent.estimate["RLHF", GOLD] == pytest.approx(100 * 60.5 / 64) and set(percent.unit) == {support.PERCENT}
    means = support.mean_support(made).set_index(["model", "text", "threshold"])
    assert means.estimate["RLHF", GOLD, "1e-08"] == pytest.approx(60.5) and set(means.n) == {2}


def test_its_rungs_are_means_over_positions_of_each_kind_of_text():
    gold, own = support.rungs(conditions((0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4)))
    for rung, tokens in ((gold, (5, 6)), (own, (5, 4))):
        (sums,) = rung.strata
        expected = [np.round(each * np.array([10, 10.1])).tolist() for each in tokens]
        assert rung.claim == "C4" and (sums[..., 0] / sums[..., 1]).T.tolist() == expected
    assert gold.measure.endswith(", gold text") and own.measure.endswith(", own generations")


@pytest.mark.parametrize("seed", range(3))
def test_the_rule_knows_no_order_of_positions_or_conditions(seed):
    made = conditions((0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4))
    other = {
        place: replace(each, positions=shuffled(each.positions, seed)) for place, each in reversed(list(made.items()))
    }
    assert support.judge(other, Per.TOKEN)[1] == support.judge(made, Per.TOKEN)[1]
