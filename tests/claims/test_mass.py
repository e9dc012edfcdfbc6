"""C3: frames of the figures and the rule, of models that are everywhere the same."""

from dataclasses import replace

import numpy as np
import pytest

from predact.claims import mass
from predact.models.passages import GOLD, OWN
from predact.models.tokens import Per
from tests.made import conditions, crossing, shuffled

NUMBERS = [(0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4)]


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (NUMBERS, "holds"),
        ([(0.4, 5), (0.4, 5), (0.5, 5), (0.8, 4)], "fails"),
        ([(0.4, 5), (0.3, 6), (0.5, 5), (0.8, 6)], "fails"),
    ],
)
def test_the_rule(numbers, said):
    table, verdict = mass.judge(conditions(*numbers), Per.TOKEN)
    gold, own = numbers[1][0] - numbers[0][0], numbers[3][0] - numbers[2][0]
    left = np.array([1 - (k - 1) / 63 for k in (1, 5, 10, 20)])  # the curves are straight, and meet at 1
    assert table.k.tolist() == [1, 5, 10, 20] * 2 and table.text.tolist() == [GOLD] * 4 + [OWN] * 4
    assert table.estimate.tolist() == pytest.approx([*(gold * left * 1.005), *(own * left * 1.005)])
    assert verdict.estimate == table.estimate.min() and (verdict.verdict, verdict.n) == (said, 2)
    assert verdict.protocol == "paper"
    each, open_one = mass.judge(conditions(*numbers), Per.BYTE)
    assert len(each) == 8 and (open_one.verdict, open_one.estimate) == ("undecided", None)
    assert "not compared, for the tokenizers differ" in open_one.unit


@pytest.mark.parametrize("text", [GOLD, OWN])
@pytest.mark.parametrize("k", mass.KS)
def test_one_of_the_eight_intervals_is_enough_to_fail(text, k):
    made = conditions(*NUMBERS)
    table, verdict = mass.judge(made | {("RLHF", text): crossing(made["RLHF", text], {k: 0.1})}, Per.TOKEN)
    assert verdict.verdict == "fails" and table.loc[table.estimate <= 0, ["text", "k"]].to_numpy().tolist() == [
        [text, k]
    ]
    other = crossing(made["RLHF", text], {2: 0.1, 30: 0.1})
    assert mass.judge(made | {("RLHF", text): other}, Per.TOKEN)[1].verdict == "holds", "the rule looks at four k"


def test_it_is_open_where_documents_disagree():
    made = conditions(*NUMBERS)
    made["RLHF", GOLD].mass[0] *= 0.6
    table, verdict = mass.judge(made, Per.TOKEN)
    assert verdict.verdict == "undecided" and (table[table.text == GOLD].high > 0).all()


def test_the_frames_of_the_figures():
    made = conditions((0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4))
    curves = mass.mass_curves(made).set_index(["model", "text"]).loc[("Base", GOLD)]
    assert curves.k.iloc[0] == 1 and curves.k.iloc[-1] == 64 and curves.k.is_monotonic_increasing
    assert curves.estimate.iloc[0] == pytest.approx(0.4 * 1.005) and (curves.low <= curves.high).all()
    begin = mass.first_masses(made).set_index(["model", "text", "k"]).estimate
    assert len(begin) == 4 * 20 and begin["RLHF", OWN, 20] == pytest.approx(1.005 * (0.8 + 0.2 * 19 / 63))
    assert mass.first_masses(made, 100).k.max() == 64, "no more than there are"
    along = mass.certainty_by_position(made, least=2)
    top = along[(along.measure == mass.TOP1) & (along.model == "RLHF") & (along.text == OWN)]
    assert (
        set(along.n) == {2}
        and top["first"].tolist() == [0, 1, 3, 7, 15, 31]
        and top.estimate.tolist() == pytest.approx([0.8] * 6)
    )
    assert mass.certainty_by_position(made, least=16)["first"].min() == 7, "bins with few positions are left out"


def test_its_rungs_are_means_over_positions_of_each_kind_of_text():
    gold, own = mass.rungs(conditions((0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4)))
    for rung, tops in ((gold, (0.4, 0.6)), (own, (0.5, 0.8))):
        (sums,) = rung.strata
        expected = [[noise * (top + (1 - top) * 9 / 63) for noise in (1, 1.01)] for top in tops]
        assert rung.claim == "C3" and np.allclose((sums[..., 0] / sums[..., 1]).T, expected)
    assert gold.measure.endswith(", gold text") and own.measure.endswith(", own generations")


@pytest.mark.parametrize("seed", range(3))
def test_the_rule_knows_no_order_of_positions_or_conditions(seed):
    made = conditions((0.4, 5), (0.6, 6), (0.5, 5), (0.8, 4))
    other = {
        place: replace(each, positions=shuffled(each.positions, seed)) for place, each in reversed(list(made.items()))
    }
    assert mass.judge(other, Per.TOKEN)[1] == mass.judge(made, Per.TOKEN)[1]
