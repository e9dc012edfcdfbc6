"""Figures of the discussion that are drawn from frames made by hand."""

import numpy as np
import vl_convert

from predact.claims.verdict import Rung
from predact.discussion import ladder
from predact.figures import discussion as discussion_figures


def rung(values, units=40, noise=0.0, claim="C1", measure="something"):
    draw = np.random.default_rng(0)
    drawn = draw.normal(size=(units, 3))
    each = np.array(values) + noise * (drawn - drawn.mean(0))
    return Rung(claim, measure, [np.stack([each, np.ones((units, 3))], 2)])


def test_the_figure_draws_every_rung_and_marks_what_lies_out():
    climbed = ladder.climb([rung([10, 4, 6]), rung([0, 1, 0.1], measure="far", claim="C6")])
    spec = discussion_figures.ladder(climbed).to_dict()
    assert spec["width"] == "container" and "C6  far 10.00 (10.00 to 10.00)" in spec["description"]
    svg = vl_convert.vegalite_to_svg(spec | {"width": 700})
    assert "▸" in svg and "10 → 4 → 6" in svg and ">Base<" in svg and ">RLHF<" in svg
