"""C8: curves of alignments, against the functions for one alignment and by hand; the rules; the paper's own curves."""

import re

import numpy as np
import pandas as pd
import pytest

from predact.claims import backbone, paper
from predact.claims.backbone import LEAST_OTHERS
from predact.methods import alignment, alignments, ngrams, overlap
from predact.methods.alignments import TEXTS
from predact.methods.ngrams import ACROSS, GENERATIONS, SHUFFLED
from tests.made import values, written

SHAPE = [60, 45, 30, 30, 30, 30, 30, 30, 40, 50]  # RLHF in tenths of the text: mean 37.5, middle 30


def curves(rlhf=(SHAPE, SHAPE), base=10, null=20, others=5):
    """What `backbone.curves` returns for prompts with these numbers in each tenth; 0 for other numbers of others."""
    numbers = {("RLHF", GENERATIONS): rlhf, ("Base", GENERATIONS): base, ("Base", ACROSS): 99}
    numbers |= {("RLHF", ACROSS): null, ("RLHF", SHUFFLED): 5}
    found = {key: np.zeros((len(rlhf), len(backbone.LEAST_OTHERS), 100)) for key in numbers}
    for key, each in numbers.items():
        tenths = np.broadcast_to(np.array(each, float), (len(rlhf), 10))
        found[key][:, backbone.LEAST_OTHERS.index(others)] = np.repeat(tenths, 10, axis=1) + np.tile([-1, 1], 50)
    return found


def shaped(**tenths):
    """RLHF of two prompts, with other numbers in some tenths of the second."""
    second = [tenths.get(f"t{tenth}", each) for tenth, each in enumerate(SHAPE)]
    return SHAPE, second


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({}, "holds"),
        ({"base": [59, 44, 29, 29, 29, 29, 29, 29, 39, 49], "null": 37}, "holds"),
        ({"base": [59, 44, 29, 29, 29, 30, 29, 29, 39, 49]}, "fails"),
        ({"rlhf": ([30] * 9 + [50],) * 2}, "fails"),
        ({"rlhf": ([50] + [30] * 9,) * 2}, "fails"),
        ({"null": 37.5}, "fails"),
        ({"rlhf": shaped(t4=9)}, "undecided"),
        ({"rlhf": shaped(t0=29)}, "undecided"),
        ({"rlhf": shaped(t9=29)}, "undecided"),
        ({"rlhf": shaped(t1=40), "null": 37.2}, "undecided"),
    ],
)
def test_alignment_needs_more_than_base_all_along_most_at_the_ends_and_more_than_chance(given, verdict):
    assert backbone.judge_beyond(curves(**given))[1].verdict == verdict


def test_alignment_judges_thirteen_cases():
    cases, _ = backbone.judge_beyond(curves((SHAPE, [each + 8 for each in SHAPE])))
    assert cases.columns.tolist() == ["case", "estimate", "low", "high"]
    tenths = [f"{low} to {low + 10} %, minus Base's" for low in range(0, 100, 10)]
    rest = ["first tenth, minus the middle", "last tenth, minus the middle", "all along, minus the higher null"]
    assert cases.case.tolist() == tenths + rest
    assert cases.estimate.tolist() == [each + 4 - 10 for each in SHAPE] + [30, 20, 37.5 + 4 - 20]
    assert (cases.high - cases.low).tolist() == [8] * 10 + [0, 0, 8]


def test_alignment_gives_the_mean_of_rlhf_beside_its_higher_null_and_names_that_of_base():
    _, found = backbone.judge_beyond(curves((SHAPE, [each + 8 for each in SHAPE], SHAPE)))
    assert (found.id, found.verdict, found.n, found.protocol) == ("C8", "holds", 3, "book")
    assert found.estimate == pytest.approx(37.5 + 8 / 3) and (found.low, found.high) == (37.5, 45.5)
    assert found.null == 20 and backbone.judge_beyond(curves(null=3))[1].null == 5
    assert found.unit == "of 100 RLHF generations aligned with at least 5 others (Base's 10.0)"


def test_alignment_with_other_numbers_of_others():
    found = backbone.judge_beyond(curves(others=20), others=20)[1]
    assert found.verdict == "holds" and found.estimate == 37.5 and "at least 20 others" in found.unit
    assert backbone.judge_beyond(curves(others=20))[1].verdict == "fails"


def overlaps(rlhf=(SHAPE, SHAPE), base=10, null=20):
    """What `backbone.overlap_curves` returns for prompts with these percents in each tenth."""
    numbers = {("RLHF", GENERATIONS): rlhf, ("Base", GENERATIONS): base, ("RLHF", SHUFFLED): null}
    tenths = {key: np.broadcast_to(np.array(each, float) / 100, (len(rlhf), 10)) for key, each in numbers.items()}
    return {key: np.repeat(each, 10, axis=1) + np.tile([-0.01, 0.01], 50) for key, each in tenths.items()}


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({}, "holds"),
        ({"base": [59, 44, 29, 29, 29, 29, 29, 29, 39, 49], "null": 99}, "holds"),
        ({"base": [59, 44, 29, 29, 29, 30, 29, 29, 39, 49]}, "fails"),
        ({"rlhf": ([30] * 9 + [50],) * 2}, "fails"),
        ({"rlhf": ([50] + [30] * 9,) * 2}, "fails"),
        ({"rlhf": shaped(t4=9)}, "undecided"),
        ({"rlhf": shaped(t0=29)}, "undecided"),
        ({"rlhf": shaped(t9=29)}, "undecided"),
    ],
)
def test_by_the_papers_rule_overlap_is_above_bases_in_each_tenth_and_highest_at_the_ends(given, verdict):
    assert backbone.judge(overlaps(**given)).verdict == verdict


def test_the_papers_rule_gives_the_mean_overlap_and_its_twelve_cases():
    given = overlaps((SHAPE, [each + 8 for each in SHAPE]))
    found, cases = backbone.judge(given), backbone.overlap_cases(given)
    assert (found.id, found.n, found.protocol) == ("C8", 2, "paper")
    assert [found.estimate, found.low, found.high, found.null] == pytest.approx([0.415, 0.375, 0.455, 0.2])
    assert found.unit == "proportion of pairs that match, RLHF's mean along the text (Base's 0.100)"
    assert len(cases) == 12
    assert cases.estimate.tolist() == pytest.approx([(each + 4 - 10) / 100 for each in SHAPE] + [0.3, 0.2])


def test_overlap_curves_are_those_of_each_alignment_and_other_prompts_are_no_null(tmp_path, pair):
    decode = dict.fromkeys(("Base", "RLHF"), lambda ids: "".join("abcdefghij"[each] for each in ids))
    characters = alignments.align_characters(tmp_path, pair, decode)
    found = backbone.overlap_curves(characters)
    assert set(found) == {(model, text) for model in ("Base", "RLHF") for text in (GENERATIONS, SHUFFLED)}
    part = characters.query("model == 'RLHF' and prompt == 'b' and text == @GENERATIONS")
    expected = overlap.resampled(overlap.matching(alignments.matrix(part)))
    assert np.array_equal(found["RLHF", GENERATIONS][1], expected) and expected.any()


def test_means_along_the_text_are_smoothed_and_have_a_band():
    curves = {("RLHF", GENERATIONS): np.array([np.r_[0, 1, np.zeros(98)], np.zeros(100)])}
    plain, smooth = (backbone.mean_along(curves, "u", width) for width in (0, 2))
    assert plain.columns.tolist() == ["position", "model", "text", "unit", "prompts", "estimate", "low", "high"]
    assert plain.position.tolist() == [place + 0.5 for place in range(100)]
    assert plain.estimate[:3].tolist() == [0, 0.5, 0] and plain.high[1] == 1 and plain.low[1] == 0
    assert smooth.estimate.tolist() == pytest.approx(overlap.smoothed(plain.estimate.to_numpy()).tolist())
    assert smooth.estimate.max() < 0.2


def test_the_papers_curves_are_what_the_chapter_says_of_them():
    figure = paper.values("13")
    said = backbone.paper_pairs(figure).set_index("pair")
    assert said["at or below"].to_dict() == dict.fromkeys(said.index[:2], 0) | {
        "Tulu 2 7B": 3,
        "Tulu 2 70B": 11,
        "OLMo 7B": 84,
    }
    assert said["bands overlap"].tolist()[:4] == [1, 1, 69, 83] and (said.of == 100).all()
    curves = figure.set_index(["model", "x"]).value
    lower = curves["OLMo 7B Instruct"] <= curves["OLMo 7B Base"]
    assert lower[19:].all() and not lower[:10].any()
    first = paper.values("1").set_index(["model", "x"]).value
    assert (first - curves).abs().max() == pytest.approx(0.01, abs=0.0006), "two runs"
    conditions = figure.groupby("model").condition.first()
    assert conditions["Tulu 7B DPO"] == "p=0.7" and conditions["Tulu 70B DPO"] == "p=0.9"
    told = re.findall(r"0\.\d{3}", backbone.CLAIM.paper)
    means = first.groupby("model").mean()
    assert told == [f"{means[f'Llama 2 {size} {model}']:.3f}" for size in ("7B", "70B") for model in ("RLHF", "Base")]


@pytest.fixture
def pair():
    """Two models, three prompts, 3 to 5 generations of few ids, one of them empty."""
    draw = np.random.default_rng(0)
    sizes = {"a": [9, 0, 12], "b": [30, 20, 10, 25, 8], "c": [5, 5, 7, 6]}
    texts = [
        {prompt: [draw.integers(0, 9, size).tolist() for size in each] for prompt, each in sizes.items()}
        for _ in range(2)
    ]
    return pd.concat([written(texts[0]), written(texts[1], "RLHF")], ignore_index=True)


def test_curves_are_those_of_each_alignment_of_100_generations(tmp_path, pair):
    found = backbone.companion_curves(alignments.align_pair(tmp_path, pair), others=[1, 2], bins=20)
    assert set(found) == {(model, text) for model in ("Base", "RLHF") for text in TEXTS}
    samples = ngrams.samples(pair[pair.model == "RLHF"])
    for text in TEXTS:
        for place, rows in enumerate(samples[text]):
            expected = 100 / len(rows) * alignment.aligned_along(alignment.align(rows), [1, 2], 20)
            assert found["RLHF", text][place] == pytest.approx(expected)
    assert found["RLHF", GENERATIONS].shape == (3, 2, 20) and found["RLHF", GENERATIONS].any()


def test_curves_and_their_means_by_hand(tmp_path):
    texts = {"a": [[1, 2, 3, 4]] * 4, "b": [[1, 2, 5, 6], [1, 2, 7, 8], [9, 10, 11, 12], [13]]}
    found = backbone.companion_curves(alignments.align_pair(tmp_path, written(texts)))
    own = found["Base", GENERATIONS]
    assert own.shape == (2, len(LEAST_OTHERS), 100)
    assert (own[0, :3] == 100).all() and not own[:, 3:].any(), "each is aligned with three others"
    assert (own[1, 0, :38] == 50).all() and not own[1, 0, 38:].any() and not own[1, 1:].any(), "1, 2 in two of four"
    frame = backbone.mean_curves(found)
    assert frame.columns.tolist() == [
        *["others", "position", "model", "text", "unit", "prompts", "estimate", "low", "high"]
    ]
    frame = frame[frame.text == GENERATIONS]
    assert frame.position.tolist() == [percent + 0.5 for percent in range(100)] * len(LEAST_OTHERS)
    assert frame.others.tolist() == [m for m in LEAST_OTHERS for _ in range(100)]
    assert set(frame.prompts) == {2} and set(frame.unit) == {"generations of 100"}
    first = frame[frame.others == 1]
    assert first.estimate.tolist() == [75] * 38 + [50] * 62, "bin 37 is nearer to token 1 of 4 than to token 2"
    assert first.low.tolist() == [50] * 38 + [0] * 62 and (first.high == 100).all()
    assert (frame.estimate[frame.others.isin([2, 3])] == 50).all() and not frame.estimate[frame.others > 3].any()


def test_its_rung_is_the_mean_along_the_text():
    steps = ("Base", "SFT", "RLHF")
    found = {(step, text): np.full((2, len(LEAST_OTHERS), 5), 99.0) for step in steps for text in TEXTS}
    for place, step in enumerate(steps):
        found[step, GENERATIONS][:, LEAST_OTHERS.index(20)] = 7.0 + place
    rung = backbone.rung(found, others=20)
    assert values(rung).tolist() == [7, 8, 9] and rung.claim == "C8"
    assert rung.measure == "of 100 generations, aligned with at least 20 others"
    assert values(backbone.rung(found)).tolist() == [99, 99, 99]


def test_the_rule_knows_no_order_of_prompts_or_of_texts():
    found = curves(shaped(t4=35, t0=70))
    other = {key: each[::-1] for key, each in reversed(list(found.items()))}
    cases, verdict = backbone.judge_beyond(found)
    again, same = backbone.judge_beyond(other)
    assert same.verdict == verdict.verdict and (same.n, same.unit, same.null) == (verdict.n, verdict.unit, verdict.null)
    np.testing.assert_allclose(again[["estimate", "low", "high"]], cases[["estimate", "low", "high"]])
