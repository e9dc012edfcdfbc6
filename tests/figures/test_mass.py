"""Figures of C3: what is left to all others, and lines that are told apart."""

import re

import pytest

from predact.claims import paper
from predact.figures import mass as charts
from tests.figures.made import ALL, NASTY, PAIR, TEXTS, drawn, first, mass, points, written


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[::-1], (NASTY, "gold text")])
@pytest.mark.parametrize("name", ["mass_curves", "by_position", "first_masses"])
def test_gold_text_is_drawn_through_and_all_else_is_dashed(name, texts):
    (dash,) = [each["encoding"]["strokeDash"] for each in written(ALL[name](texts=texts))["layer"][1:2]]
    patterns = dict(zip(dash["scale"]["domain"], dash["scale"]["range"], strict=True))
    gaps = {text: pattern[1] for text, pattern in patterns.items()}
    assert set(gaps) == set(texts) and all((gap == 0) == (text == "gold text") for text, gap in gaps.items())


def test_what_is_left_to_all_others_parts_curves_that_meet_near_one():
    def gap(state):
        at = {}
        for label, _, y in points(drawn(chart, mass=state)):
            if re.search(r"k \(tokens\): 300\b", label):
                at[re.search(r"model: (\w+)", label)[1]] = y
        return abs(at["Base"] - at["RLHF"])

    chart = charts.mass_curves(mass(PAIR, TEXTS[:1]))
    assert gap("mass") < 1 and gap("rest") > 30


def test_no_mass_left_is_not_drawn_on_a_logarithmic_axis():
    frame = mass(PAIR)
    everywhere, left = (points(drawn(charts.mass_curves(frame), mass=state)) for state in ("mass", "rest"))
    assert len(everywhere) == len(frame) and len(left) == (frame.estimate < 1).sum() < len(frame)


def test_the_rest_is_told_with_its_interval_where_three_digits_would_say_one():
    (row,) = [
        row
        for data in charts.mass_curves(mass(PAIR, TEXTS[:1])).to_dict()["datasets"].values()
        for row in data
        if row["model"] == "Base" and row["k"] == 300
    ]
    assert f"{row['estimate']:.2f}" == "1.00" and row["others"] == "0.0017 (0.0013 to 0.002)"


def test_the_papers_curves_are_thin_lines_with_the_dashes_of_their_text_and_hollow_marks_where_the_rule_looks():
    texts = ("gold text", "own generations", "greedy generations")
    chart = charts.first_masses(first(PAIR, texts), paper.values("16"))
    svg = drawn(chart)
    lines = re.findall(r'<path aria-label="k[^"]*" role="graphics-symbol" aria-roledescription="line mark"[^>]*>', svg)
    dashes = {
        (float(re.search(r'stroke-width="([\d.]+)"', each)[1]), re.search(r'dasharray="([^"]*)"', each)[1])
        for each in lines
    }
    assert dashes == {(width, dash) for width in (1.2, 2) for dash in ("1,0", "5,3", "2,3")}
    hollow = [label for label, _, _ in points(svg) if "paper: Llama 2 70B" in label]
    assert len(hollow) == 4 * 6, "Base and RLHF on gold, own and greedy text, at k = 1, 5, 10, 20"
    without = charts.first_masses(first(PAIR, texts[:2]), paper.values("16")).to_dict()["description"]
    assert "greedy" not in without and "Llama 2 70B Base on gold text 0.638 for k = 1" in without
