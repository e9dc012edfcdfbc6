"""The rules that judge claims: what holds, fails and stays undecided, and which numbers a verdict gives."""

import numpy as np
import pandas as pd
import pytest

from predact.claims import backbone, prediction, shared_ngrams, skeleton
from predact.errors import UserError
from predact.methods.ngrams import ACROSS, GENERATIONS, SHUFFLED


def documents(nll, tokens=20, same=True):
    """What scoring returns for `nll` {corpus: {model: one number per document}}."""
    parts = [
        pd.DataFrame({"doc": range(len(each)), "nll": each, "bytes": 90, "tokens": tokens, "world_nll": np.nan}).assign(
            corpus=corpus, category="file", model=model
        )
        for corpus, models in nll.items()
        for model, each in models.items()
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame.attrs["same_tokenizer"] = same
    return frame


def test_the_estimate_is_the_geometric_mean_of_the_corpora():
    nll = {
        "one": {"Base": [10, 20], "SFT": [0, 0], "RLHF": [14, 24]},  # exp(8 / 40)
        "two": {"Base": [30, 30], "SFT": [0, 0], "RLHF": [46, 46]},  # exp(32 / 40)
    }
    frame, verdict = prediction.judge(documents(nll), "a pair")
    assert verdict.estimate == pytest.approx(np.exp((0.2 + 0.8) / 2))
    assert (verdict.low, verdict.high) == pytest.approx((verdict.estimate, verdict.estimate))
    assert (verdict.id, verdict.verdict, verdict.n, verdict.pair) == ("C1", "holds", 4, "a pair")
    assert verdict.unit == "perplexity ratio"
    assert set(frame.corpus) == {"one", "two", "mean"}


def test_one_corpus_without_an_increase_is_enough_to_fail():
    better = {"one": {"Base": [10, 20], "RLHF": [14, 24]}, "two": {"Base": [30, 30], "RLHF": [20, 21]}}
    unsure = {"one": {"Base": [10, 20], "RLHF": [14, 24]}, "two": {"Base": [30, 30], "RLHF": [20, 41]}}
    assert prediction.judge(documents(better), "")[1].verdict == "fails"
    assert prediction.judge(documents(unsure), "")[1].verdict == "undecided"


def test_a_model_against_itself_is_exactly_one_and_fails():
    nll = np.random.default_rng(0).gamma(3, 17.3, size=(3, 37))
    same = {f"corpus {n}": {"Base": each, "SFT": each * 1.1, "RLHF": each} for n, each in enumerate(nll)}
    frame, verdict = prediction.judge(documents(same, tokens=23), "")
    assert (verdict.estimate, verdict.low, verdict.high, verdict.verdict) == (1.0, 1.0, 1.0, "fails")
    rlhf = frame[(frame.model == "RLHF") & (frame.unit == "perplexity ratio")]
    assert (rlhf[["estimate", "low", "high"]] == 1.0).all(axis=None)


def test_different_tokenizers_are_compared_by_bytes():
    one = {"one": {"Base": [10.0, 20.0], "RLHF": [19.0, 29.0]}}
    verdict = prediction.judge(documents(one, same=False), "")[1]
    assert verdict.unit == "byte perplexity ratio"
    assert verdict.estimate == pytest.approx(np.exp(18 / 180))


def test_one_document_gives_no_verdict():
    with pytest.raises(UserError, match="documents: .*'two'"):
        prediction.judge(documents({"one": {"Base": [1, 2]}, "two": {"Base": [1]}}), "")


def shares(rlhf=(0.8, 0.7, 0.9), base=(0.2, 0.1, 0.3), null=0.3):
    """What `ngrams.by_length` returns, with numbers that judge nothing for another n and for the nulls of Base."""
    numbers = {("RLHF", GENERATIONS): rlhf, ("RLHF", ACROSS): (null,) * 3, ("RLHF", SHUFFLED): (0.1,) * 3}
    numbers |= {("Base", GENERATIONS): base, ("Base", ACROSS): (0.99,) * 3, ("SFT", GENERATIONS): (0, 0, 0)}
    rows = [(*key, 10, *each) for key, each in numbers.items()] + [(*key, 9, 0.4, 0.4, 0.4) for key in numbers]
    return pd.DataFrame(rows, columns=["model", "text", "n", "estimate", "low", "high"]).assign(prompts=40)


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({}, "holds"),
        ({"rlhf": (0.8, 0.51, 0.9), "base": (0.2, 0.1, 0.49), "null": 0.5}, "holds"),
        ({"rlhf": (0.4, 0.35, 0.5)}, "fails"),
        ({"base": (0.6, 0.5, 0.7)}, "fails"),
        ({"null": 0.9}, "fails"),
        ({"rlhf": (0.6, 0.5, 0.7)}, "undecided"),
        ({"base": (0.4, 0.3, 0.5)}, "undecided"),
        ({"null": 0.7}, "undecided"),
    ],
)
def test_sameness_needs_most_of_rlhf_not_of_base_and_more_than_chance(given, verdict):
    assert shared_ngrams.judge(shares(**given), "").verdict == verdict


def test_sameness_gives_the_share_of_rlhf_beside_its_higher_null_and_names_that_of_base():
    found = shared_ngrams.judge(shares(), "a pair")
    assert (found.id, found.estimate, found.low, found.high, found.null) == ("C6", 0.8, 0.7, 0.9, 0.3)
    assert (found.n, found.pair) == (40, "a pair")
    assert found.unit == "share of RLHF's generations with their commonest 10-gram (Base's 0.200)"
    assert shared_ngrams.judge(shares(null=0.05), "").null == 0.1


def spans(rlhf=(0.6, 0.5, 0.7), base=(0.2, 0.1, 0.3), null=0.3, order=(0.97, 0.95, 0.99)):
    """What `backbone.ordered` returns; with an empty order RLHF has none, its nulls and Base have."""
    share, kept = skeleton.COVERED, skeleton.ORDER
    rows = [("RLHF", GENERATIONS, share, *rlhf), ("RLHF", ACROSS, share, *(null,) * 3)]
    rows += [("RLHF", SHUFFLED, share, 0, 0, 0), ("Base", GENERATIONS, share, *base), ("Base", ACROSS, share, 1, 1, 1)]
    rows += [("RLHF", GENERATIONS, skeleton.SPANS, 3, 2, 4), ("RLHF", ACROSS, kept, 0.5, 0.4, 0.6)]
    rows += [("Base", GENERATIONS, kept, 0.6, 0.5, 0.7)] + [("RLHF", GENERATIONS, kept, *order)] * bool(order)
    frame = pd.DataFrame(rows, columns=["model", "text", "measure", "estimate", "low", "high"])
    return frame.assign(prompts=np.where(frame.measure == kept, 30, 40))


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        ({}, "holds"),
        ({"rlhf": (0.6, 0.31, 0.7)}, "holds"),
        ({"base": (0.8, 0.7, 0.9)}, "fails"),
        ({"null": 0.7}, "fails"),
        ({"order": (0.8, 0.7, 0.9)}, "fails"),
        ({"base": (0.4, 0.3, 0.5)}, "undecided"),
        ({"base": (0.7, 0.6, 0.8)}, "undecided"),
        ({"null": 0.5}, "undecided"),
        ({"order": (0.95, 0.9, 0.99)}, "undecided"),
    ],
)
def test_a_skeleton_needs_more_spans_than_base_and_chance_and_one_order(given, verdict):
    assert skeleton.judge(spans(**given), "").verdict == verdict


def test_a_skeleton_gives_the_order_held_out_beside_a_half():
    found = skeleton.judge(spans(), "a pair")
    assert (found.id, found.estimate, found.low, found.high, found.null) == ("C7", 0.97, 0.95, 0.99, 0.5)
    assert (found.n, found.pair) == (30, "a pair")
    assert found.unit == "share of pairs of RLHF's anchor spans in the common order, held out"


def test_without_two_spans_anywhere_there_is_no_skeleton():
    frame = spans(order=())
    for each in (frame, frame[frame.measure != skeleton.ORDER]):
        found = skeleton.judge(each, "")
        assert (found.verdict, found.estimate, found.low, found.high, found.n) == ("fails", 0, 0, 0, 0)


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
    assert backbone.judge(curves(**given), "")[1].verdict == verdict


def test_alignment_judges_thirteen_cases():
    cases, _ = backbone.judge(curves((SHAPE, [each + 8 for each in SHAPE])), "")
    assert cases.columns.tolist() == ["case", "estimate", "low", "high"]
    tenths = [f"{low} to {low + 10} %, minus Base's" for low in range(0, 100, 10)]
    rest = ["first tenth, minus the middle", "last tenth, minus the middle", "all along, minus the higher null"]
    assert cases.case.tolist() == tenths + rest
    assert cases.estimate.tolist() == [each + 4 - 10 for each in SHAPE] + [30, 20, 37.5 + 4 - 20]
    assert (cases.high - cases.low).tolist() == [8] * 10 + [0, 0, 8]


def test_alignment_gives_the_mean_of_rlhf_beside_its_higher_null_and_names_that_of_base():
    _, found = backbone.judge(curves((SHAPE, [each + 8 for each in SHAPE], SHAPE)), "a pair")
    assert (found.id, found.verdict, found.n, found.pair) == ("C8", "holds", 3, "a pair")
    assert found.estimate == pytest.approx(37.5 + 8 / 3) and (found.low, found.high) == (37.5, 45.5)
    assert found.null == 20 and backbone.judge(curves(null=3), "")[1].null == 5
    assert found.unit == "of 100 RLHF generations aligned with at least 5 others (Base's 10.0)"


def test_alignment_with_other_numbers_of_others():
    found = backbone.judge(curves(others=20), "", others=20)[1]
    assert found.verdict == "holds" and found.estimate == 37.5 and "at least 20 others" in found.unit
    assert backbone.judge(curves(others=20), "")[1].verdict == "fails"
