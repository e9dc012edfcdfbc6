"""Figures of the discussion that are drawn from frames made by hand."""

import numpy as np
import pandas as pd
import vl_convert

from predact.claims.verdict import Rung
from predact.discussion import judged, ladder, planning
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


def test_errors_are_drawn_with_the_formula_and_without_the_difference():
    rows = [
        (model, "q", [0], [True] * good + [False], False)
        for model, good in (("Base", 1), ("RLHF", 3))
        for _ in range(4)
    ]
    made = pd.DataFrame(rows, columns=["model", "prompt", "ids", "facts", "right"])
    frame = judged.right_by_length(pd.concat([made, made.assign(prompt="p")]), least=1)
    spec = discussion_figures.right_by_length(frame).to_dict()
    assert spec["width"] == "container" and "RLHF, measured, 4 facts: 0.000 (0.000 to 0.000)" in spec["description"]
    (shown,) = (rows for rows in spec["datasets"].values() if "length" in rows[0])
    assert {row["text"] for row in shown} == {judged.MEASURED, judged.INDEPENDENT} and len(shown) == 2 * (2 + 4)
    svg = vl_convert.vegalite_to_svg(spec | {"width": 500})
    assert "^ℓ, independent" in svg and ">100%<" in svg


def test_sameness_is_drawn_for_both_kinds_of_answers():
    keys = [
        (measure, model, kept)
        for measure in (judged.SHARED, judged.UNIQUE)
        for model in ("Base", "RLHF", judged.GAP)
        for kept in (judged.ALL, judged.RIGHT)
    ]
    frame = pd.DataFrame(keys, columns=["measure", "model", "kept"]).assign(prompts=9)
    frame = frame.assign(estimate=range(20, 32), low=range(18, 30), high=range(22, 34))
    spec = discussion_figures.sameness(frame).to_dict()
    assert "RLHF, right answers: 23.0 (21.0 to 25.0)" in spec["description"] and judged.GAP not in spec["description"]
    svg = vl_convert.vegalite_to_svg(spec | {"width": 500})
    assert all(f">{text}<" in svg for text in (judged.ALL, judged.RIGHT, "Base", "RLHF"))


def test_worth_is_drawn_with_every_question():
    kinds = (planning.OWN, planning.PLANNED, planning.FREE)
    rows = [
        (model, f"q{at}", kind, at / 10 + place)
        for model in ("Base", "RLHF")
        for at in range(5)
        for place, kind in enumerate(kinds)
    ]
    each = pd.DataFrame(rows, columns=["model", "question", "kind", "value"])
    spec = discussion_figures.worth(each, planning.mean_worth(each)).to_dict()
    assert f"Base, {planning.FREE}: 2.200" in spec["description"] and planning.ADDED in spec["description"]
    svg = vl_convert.vegalite_to_svg(spec | {"width": 500})
    assert all(f">{kind}<" in svg for kind in kinds) and planning.ADDED not in svg
    assert svg.count("; question: q") == 2 * 15
