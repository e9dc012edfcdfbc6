"""C3: frames of the figures and the rule, of models that are everywhere the same."""

import numpy as np
import pytest

from predact.claims import mass
from predact.models.passages import GOLD, OWN
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
    table, verdict = mass.judge(conditions(*numbers), Per.TOKEN)
    at_ten = [mass + (1 - mass) * 9 / 63 for mass, _ in numbers]
    assert table.estimate.tolist() == pytest.approx([(at_ten[1] - at_ten[0]) * 1.005, (at_ten[3] - at_ten[2]) * 1.005])
    assert verdict.estimate == table.estimate.min() and verdict.verdict == said and verdict.n == 2
    each, open_one = mass.judge(conditions(*numbers), Per.BYTE)
    assert len(each) == 2 and (open_one.verdict, open_one.estimate) == ("undecided", None)
    assert "not compared, for the tokenizers differ" in open_one.unit


def test_the_frames_of_the_figures():
    made = conditions((0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4))
    curves = mass.mass_curves(made).set_index(["model", "text"]).loc[("Base", GOLD)]
    assert curves.k.iloc[0] == 1 and curves.k.iloc[-1] == 64 and curves.k.is_monotonic_increasing
    assert curves.estimate.iloc[0] == pytest.approx(0.4 * 1.005) and (curves.low <= curves.high).all()
    along = mass.certainty_by_position(made, least=2)
    top = along[(along.measure == mass.TOP1) & (along.model == "RLHF") & (along.text == OWN)]
    assert top["first"].tolist() == [0, 1, 3, 7, 15, 31] and top.estimate.tolist() == pytest.approx([0.8] * 6)
    assert mass.certainty_by_position(made, least=16)["first"].min() == 7, "bins with few positions are left out"


def test_its_rungs_are_means_over_positions_of_each_kind_of_text():
    gold, own = mass.rungs(conditions((0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4)))
    for rung, tops in ((gold, (0.4, 0.6)), (own, (0.5, 0.8))):
        (sums,) = rung.strata
        expected = [[noise * (top + (1 - top) * 9 / 63) for noise in (1, 1.01)] for top in tops]
        assert rung.claim == "C3" and np.allclose((sums[..., 0] / sums[..., 1]).T, expected)
    assert gold.measure.endswith(", gold text") and own.measure.endswith(", own generations")
