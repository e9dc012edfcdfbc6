"""C4: frames of the figures and the rule, of models that are everywhere the same."""

import numpy as np
import pytest

from predact.claims import support
from predact.models.passages import GOLD
from predact.models.tokens import Per
from tests.made import conditions


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([(0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4)], "holds"),
        ([(0.4, 5), (0.4, 5), (0.5, 5), (0.8, 4)], "fails"),
        ([(0.4, 5), (0.3, 6), (0.5, 5), (0.8, 6)], "fails"),
    ],
)
def test_the_rule(numbers, said):
    ratios, verdict = support.judge(conditions(*numbers), Per.TOKEN)
    tokens = [each for _, each in numbers]
    assert ratios.estimate.tolist() == pytest.approx([tokens[1] / tokens[0], tokens[2] / tokens[3]], rel=0.01)
    assert verdict.estimate == ratios.estimate.min() and verdict.verdict == said and verdict.n == 2
    each, open_one = support.judge(conditions(*numbers), Per.BYTE)
    assert len(each) == 2 and (open_one.verdict, open_one.estimate) == ("undecided", None)
    assert "not compared, for the tokenizers differ" in open_one.unit


def test_the_frames_of_the_figures():
    made = conditions((0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4))
    shares = support.support_histograms(made)
    assert shares.groupby(["model", "text", "threshold"]).share.sum().to_numpy() == pytest.approx(np.ones(20))
    inside = shares[(shares.model == "Base") & (shares.text == GOLD) & (shares.share > 0)]
    assert (inside.low_edge <= 64).all()
    means = support.mean_support(made).set_index(["model", "text", "threshold"])
    assert means.estimate["RLHF", GOLD, "1e-08"] == pytest.approx(60.5)


def test_its_rungs_are_means_over_positions_of_each_kind_of_text():
    gold, own = support.rungs(conditions((0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4)))
    for rung, tokens in ((gold, (5, 6)), (own, (5, 4))):
        (sums,) = rung.strata
        expected = [np.round(each * np.array([10, 10.1])).tolist() for each in tokens]
        assert rung.claim == "C4" and (sums[..., 0] / sums[..., 1]).T.tolist() == expected
    assert gold.measure.endswith(", gold text") and own.measure.endswith(", own generations")
