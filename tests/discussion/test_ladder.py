"""The ladder Base, SFT, RLHF: rungs by hand, places on the way, and rungs of real frames against plain sums."""

import numpy as np
import pandas as pd
import pytest
import vl_convert

from predact.claims.backbone import LEAST_OTHERS
from predact.discussion import ladder
from predact.discussion.ladder import CHANGE, PLACE, VALUE, Rung
from predact.figures import discussion as discussion_figures
from predact.methods.ngrams import GENERATIONS


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


def test_rungs_of_frames_against_plain_sums():
    draw = np.random.default_rng(2)
    rows = [
        {"corpus": corpus, "doc": doc, "model": model, "nll": draw.uniform(1, 9), "bytes": 3 + doc}
        for corpus in ("x", "y")
        for doc in range(4)
        for model in ladder.STEPS
    ]
    documents = pd.DataFrame(rows)
    found = ladder.climb([ladder.predicting(documents)]).estimate[:3]
    sums = documents.groupby(["model", "corpus"])[["nll", "bytes"]].sum()
    bits = (sums.nll / sums.bytes / np.log(2)).groupby("model").mean()
    assert found.tolist() == pytest.approx([bits[step] for step in ladder.STEPS])
    written = pd.DataFrame(
        {"prompt": prompt, "model": model, "ids": [1] * 12 if sample < held else [sample] * 3}
        for model, held in zip(ladder.STEPS, (1, 2, 4), strict=True)
        for prompt in ("p", "q")
        for sample in range(4)
    )
    counts = pd.DataFrame(
        {"prompt": prompt, "model": model, "text": GENERATIONS, "covered": 2 * place, "tokens": 10}
        for place, model in enumerate(ladder.STEPS)
        for prompt in ("p", "q")
    )
    curves = {
        (step, GENERATIONS): np.full((2, len(LEAST_OTHERS), 5), 7.0 + place) for place, step in enumerate(ladder.STEPS)
    }
    values = [ladder.climb([each]).estimate[:3].tolist() for each in ladder.sharing(written, counts, curves)]
    np.testing.assert_allclose(values, [[0.25, 0.5, 1], [0, 0.2, 0.4], [7, 8, 9]])


def test_the_figure_draws_every_rung_and_marks_what_lies_out():
    climbed = ladder.climb([rung([10, 4, 6]), rung([0, 1, 0.1], measure="far", claim="C6")])
    spec = discussion_figures.ladder(climbed).to_dict()
    assert spec["width"] == "container" and "C6  far 10.00 (10.00 to 10.00)" in spec["description"]
    svg = vl_convert.vegalite_to_svg(spec | {"width": 700})
    assert "▸" in svg and "10 → 4 → 6" in svg and ">Base<" in svg and ">RLHF<" in svg


def test_a_pair_without_sft_has_no_place_on_the_way():
    units = np.stack([np.tile([10.0, 6.0], (20, 1)), np.ones((20, 2))], 2)
    climbed = ladder.climb([Rung("C1", "something", [units])])
    assert climbed[["kind", "at"]].to_numpy().tolist() == [[VALUE, "Base"], [VALUE, "RLHF"], [CHANGE, "RLHF"]]
    assert climbed.estimate.tolist() == pytest.approx([10, 6, -4])
    assert "no model between" in ladder.who_did_it(climbed)
    assert "no model between" in vl_convert.vegalite_to_svg(discussion_figures.ladder(climbed).to_json())


def test_after_finetuning_orders_are_averaged_and_what_was_before_is_left_out():
    rows = [
        {"corpus": "one", "doc": doc, "model": model, "when": when, "order": order, "nll": nll * np.log(2), "bytes": 10}
        for doc in range(4)
        for model, nlls in (("Base", (9, 2, 4)), ("SFT", (9, 5, 5)), ("RLHF", (9, 4, 8)))
        for when, order, nll in zip(("before", "after", "after"), (0, 1, 2), nlls, strict=True)
    ]
    climbed = ladder.climb([ladder.relearning(pd.DataFrame(rows))])
    assert climbed.estimate[:3].tolist() == pytest.approx([0.3, 0.5, 0.6]) and set(climbed.claim) == {"C2"}
