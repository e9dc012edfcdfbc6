"""C6: the frames of figures and tables, by hand; the rules; matching on the paper's own table."""

import numpy as np
import pandas as pd
import pytest

from predact.claims import paper, shared_ngrams
from predact.methods import diversity, ngrams
from predact.methods.ngrams import ACROSS, GENERATIONS, SHUFFLED
from predact.models.tokens import Per
from tests.made import shuffled, values, written


def commonest(**ends):
    """What `commonest_shares` returns, with the interval of the difference for n = 5, 10, 25, 50."""
    given = {5: (0.3, 0.2, 0.4), 10: (0.28, 0.2, 0.4), 25: (0.1, 0.05, 0.2), 50: (0.04, 0.01, 0.07)}
    given |= {int(n[1:]): each for n, each in ends.items()}
    rows = [(n, shared_ngrams.DIFFERENCE, *each) for n, each in given.items()]
    rows += [(n, model, 0.5, 0.4, 0.6) for n in given for model in ("Base", "RLHF")]
    return pd.DataFrame(rows, columns=["n", "model", "estimate", "low", "high"]).assign(prompts=40)


def shares(rlhf=(0.8, 0.7, 0.9), base=(0.2, 0.1, 0.3), null=0.3):
    """What `shares_by_length` returns, with numbers that judge nothing for another n and for the nulls of Base."""
    numbers = {("RLHF", GENERATIONS): rlhf, ("RLHF", ACROSS): (null,) * 3, ("RLHF", SHUFFLED): (0.1,) * 3}
    numbers |= {("Base", GENERATIONS): base, ("Base", ACROSS): (0.99,) * 3, ("SFT", GENERATIONS): (0, 0, 0)}
    rows = [(*key, 10, *each) for key, each in numbers.items()] + [(*key, 9, 0.4, 0.4, 0.4) for key in numbers]
    return pd.DataFrame(rows, columns=["model", "text", "n", "estimate", "low", "high"]).assign(prompts=40)


MISSING = (np.nan,) * 3


@pytest.mark.parametrize(
    ("given", "verdict", "least"),
    [
        ({}, "holds", 50),
        ({"n50": (0.01, 0, 0.02)}, "undecided", 50),
        ({"n50": (-0.01, -0.02, 0)}, "fails", 50),
        ({"n5": (-0.2, -0.3, -0.1), "n10": (-0.3, -0.7, 0.1)}, "fails", 5),
        ({"n50": MISSING}, "undecided", 25),
        ({"n50": MISSING, "n25": (-0.1, -0.2, -0.05)}, "fails", 25),
    ],
)
def test_the_papers_rule_asks_for_more_at_every_length(given, verdict, least):
    frame = commonest(**given)
    found = shared_ngrams.judge(frame, Per.TOKEN)
    row = frame[(frame.model == shared_ngrams.DIFFERENCE) & (frame.n == least)].iloc[0]
    assert (found.id, found.verdict, found.protocol, found.n, found.null) == ("C6", verdict, "paper", 40, None)
    assert (found.estimate, found.low, found.high) == (row.estimate, row.low, row.high)
    said = "; n = 50 not measured: too few long generations" if given.get("n50") is MISSING else ""
    assert found.unit == (
        f"share of RLHF's generations with their commonest {least}-gram less Base's, diversity matched{said}"
    )
    assert shared_ngrams.judge(shuffled(frame), Per.TOKEN) == found


@pytest.mark.parametrize(
    ("given", "ends", "verdict"),
    [
        ({}, {}, "holds"),
        ({"rlhf": (0.4, 0.35, 0.5), "base": (0.6, 0.5, 0.7)}, {}, "holds"),
        ({"null": 0.7}, {}, "undecided"),
        ({"null": 0.9}, {}, "fails"),
        ({}, {"n25": (0.1, 0, 0.2)}, "undecided"),
        ({}, {"n50": MISSING}, "undecided"),
        ({}, {"n5": (-0.1, -0.2, 0)}, "fails"),
    ],
)
def test_our_rule_asks_for_more_at_equal_p_and_more_than_chance(given, ends, verdict):
    given, ends = shares(**given), commonest(**ends)
    found = shared_ngrams.judge_beyond(ends, given, Per.TOKEN)
    assert (found.id, found.verdict, found.protocol) == ("C6", verdict, "book")
    assert found == shared_ngrams.judge_beyond(shuffled(ends), shuffled(given), Per.TOKEN)


def test_our_row_gives_the_share_of_rlhf_beside_its_higher_null_and_names_that_of_base():
    found = shared_ngrams.judge_beyond(commonest(), shares(), Per.TOKEN)
    assert (found.estimate, found.low, found.high, found.null, found.n) == (0.8, 0.7, 0.9, 0.3, 40)
    assert found.unit == "share of RLHF's generations with their commonest 10-gram (Base's 0.200), equal p"
    assert shared_ngrams.judge_beyond(commonest(), shares(null=0.05), Per.TOKEN).null == 0.1


def test_without_one_tokenizer_or_without_texts_there_is_nothing_to_judge():
    for found in (
        shared_ngrams.judge(commonest(), Per.BYTE),
        shared_ngrams.judge_beyond(commonest(), shares(), Per.BYTE),
    ):
        assert (found.verdict, found.estimate) == ("undecided", None)
    nothing = commonest(n5=MISSING, n10=MISSING, n25=MISSING, n50=MISSING)
    for found in (shared_ngrams.judge(nothing, Per.TOKEN), shared_ngrams.judge_beyond(nothing, shares(), Per.TOKEN)):
        assert (found.verdict, found.estimate) == ("undecided", None)
        assert found.unit.endswith(": not measured, for that takes two generations of 5 tokens of each prompt")


def long(size, *starts):
    """Generations of `size` tokens that count up from their starts."""
    return [list(range(start, start + size)) for start in starts]


def test_the_commonest_ngrams_by_hand():
    base = written({"a": long(60, 0, 0, 1000, 2000), "b": long(60, 0, 100, 1000, 2000)})
    rlhf = written({"b": long(12, 0, 0, 0, 0), "a": long(12, 0, 0, 0, 900)}, "RLHF")
    found = shared_ngrams.commonest_shares(pd.concat([base, rlhf], ignore_index=True)).set_index(["n", "model"])
    assert sorted(set(found.index.get_level_values("n"))) == [5, 10, 25, 50] and set(found.prompts) == {2}
    for n in (5, 10):
        assert found.estimate[n].to_dict() == {"Base": 0.375, "RLHF": 0.875, shared_ngrams.DIFFERENCE: 0.5}
        row = found.loc[(n, shared_ngrams.DIFFERENCE)]
        assert (row.low, row.high) == (0.25, 0.75), "a: 3 of 4 against 2; b: 4 against 1"
    for n in (25, 50):
        assert found.estimate[n]["Base"] == 0.375, "two of four generations of a, one of b"
        assert found.loc[n].loc[["RLHF", shared_ngrams.DIFFERENCE], ["estimate", "low", "high"]].isna().all(axis=None)
    mixed = shared_ngrams.commonest_shares(shuffled(pd.concat([rlhf, base], ignore_index=True)))
    pd.testing.assert_frame_equal(mixed.set_index(["n", "model"]), found)


def test_a_length_is_measured_where_most_prompts_have_a_generation_of_it():
    few = {"a": long(25, 0, 100), "b": long(25, 0, 100), "c": [[], []]}
    frame = pd.concat([written(few), written(few, "RLHF")], ignore_index=True)
    found = shared_ngrams.commonest_shares(frame).set_index(["n", "model"]).estimate
    assert found[25].tolist() == [1 / 3, 1 / 3, 0] and found[50].isna().all()
    half = frame[frame.prompt != "b"]
    assert shared_ngrams.commonest_shares(half).set_index("n").loc[25].estimate.isna().all()


def test_a_single_generation_shares_nothing_and_nothing_is_judged():
    one = {"a": long(60, 0), "b": long(60, 0)}
    frame = pd.concat([written(one), written(one, "RLHF")], ignore_index=True)
    found = shared_ngrams.commonest_shares(frame)
    assert found.estimate.isna().all() and shared_ngrams.judge(found, Per.TOKEN).verdict == "undecided"
    lengths = shared_ngrams.shares_by_length(frame, 10)
    assert shared_ngrams.judge_beyond(found, lengths, Per.TOKEN).verdict == "undecided"


def test_the_histogram_by_hand():
    shared = list(range(11))  # two 10-grams
    a = [shared] * 7 + [[*range(100, 110)]] * 2 + [[5]]
    b = [[0] * 30, *[[]] * 9]
    found = shared_ngrams.histogram(pd.concat([written({"a": a, "b": b}), written({"a": a, "b": a}, "RLHF")]))
    base = found[found.model == "Base"].set_index("x")
    assert base.index.tolist() == [f"{n}-{n + 10}" for n in range(0, 100, 10)]
    assert base.estimate[base.estimate > 0].to_dict() == {"60-70": 1.0, "10-20": 0.5, "0-10": 0.5}
    assert (base.low["60-70"], base.high["60-70"]) == (0, 2) and set(found.unit) == {"10-grams per prompt"}
    rlhf = found[found.model == "RLHF"].set_index("x")
    assert rlhf.estimate[rlhf.estimate > 0].to_dict() == {"60-70": 2.0, "10-20": 1.0}
    assert rlhf.low.equals(rlhf.high) and set(found.prompts) == {2}


@pytest.mark.parametrize(("containing", "of", "place"), [(1, 100, 0), (10, 100, 0), (11, 100, 1), (100, 100, 9)])
def test_bins_end_at_tens(containing, of, place):
    found = shared_ngrams.histogram(written({"a": [list(range(10))] * containing + [[]] * (of - containing)}))
    assert found.estimate.tolist() == [float(n == place) for n in range(10)]


def test_the_table_of_diversity_sets_the_papers_beside_ours():
    ours = pd.DataFrame({"model": "RLHF", "top_p": 0.9, "n": [1, 2, 3, 4], "estimate": [4.04, 17.0, 31.0, 40.0]})
    ours = pd.concat([ours, ours.assign(top_p=0.5)], ignore_index=True)
    values = paper.values("Table 4")
    found = shared_ngrams.diversity_table(ours.assign(low=1, high=20.26), values).set_index(["p", "model"])
    assert found.columns.tolist() == [f"{whose}n = {n}" for n in (1, 2, 3, 4) for whose in ("", "paper, ")]
    assert found.loc[(0.9, "RLHF"), "n = 1"] == "4.0 (1.0–20.3)" and found.loc[(0.6, "RLHF"), "n = 1"] == "–"
    assert found.filter(like="paper").loc[(0.7, "Base")].tolist() == [
        "4.2, 5.1",
        "17.3, 21.3",
        "30.7, 37.6",
        "39.8, 48.5",
    ]
    assert found.loc[(0.5, "RLHF"), "paper, n = 1"] == "–" and len(found) == 10 + 1
    mixed = shared_ngrams.diversity_table(shuffled(ours.assign(low=1, high=20.26)), shuffled(values))
    assert mixed.set_index(["p", "model"]).equals(found), "7B before 70B, in whatever order they come"
    single = shared_ngrams.diversity_table(ours.assign(low=np.nan, high=np.nan), values).set_index(["p", "model"])
    assert single.loc[(0.9, "RLHF"), "n = 1"] == "4.0", "one prompt has no interval"


def test_the_match_is_told_with_both_diversities_and_its_roughness():
    numbers = {("Base", 0.5): (8, 10), ("Base", 0.7): (20, 30), ("Base", 1.0): (40, 60), ("RLHF", 0.9): (20, 26)}
    rows = [(*place, n, value) for place, values in numbers.items() for n, value in enumerate(values, 1)]
    found = pd.DataFrame(rows, columns=["model", "top_p", "n", "estimate"])

    def told(p, rlhf=23):
        scaled = found.estimate.where(found.model == "Base", found.estimate * rlhf / 23)
        return shared_ngrams.told_match(found.assign(estimate=scaled), 0.9, p)

    whole = "Base is sampled at **p = 0.7**: 25.0 % of its n-grams are unique, of RLHF's at p = 0.9 23.0 %."
    assert told(0.7) == whole
    rough = "No p tried comes closer: the match is a rough one."
    assert told(0.5, 2.3).endswith(f"2.3 %. {rough}") and rough not in told(0.5, 12)
    assert told(1.0, 69).endswith(rough) and rough not in told(1.0, 46)
    assert "as the setting `base_top_p` says" in told(0.65)


@pytest.mark.parametrize(("size", "chosen"), [("7B", 0.7), ("70B", 0.6)])
def test_the_rule_of_matching_on_the_papers_table(size, chosen):
    values = paper.values("Table 4")
    values = values[values.model.str.startswith(f"Llama 2 {size} ")]
    table = pd.DataFrame({"model": values.model.str.split().str[-1], "estimate": values.value})
    table = table.assign(top_p=values.condition.str[2:].astype(float))
    assert diversity.matched_top_p(shuffled(table), 0.9, [0.6, 0.7, 0.8, 0.9, 1.0]) == chosen


def test_the_frame_of_the_figure_by_hand():
    first, second = [[1, 2, 3], [1, 2, 4], [1, 5], [6]], [[7, 8], [8, 7], [9], []]
    found = shared_ngrams.shares_by_length(written({"a": first, "b": second}), longest=3)
    assert found.columns.tolist() == ["model", "text", "n", "estimate", "low", "high", "unit", "prompts"]
    assert found.text.unique().tolist() == [ngrams.GENERATIONS, ngrams.ACROSS, ngrams.SHUFFLED]
    own = found[found.text == ngrams.GENERATIONS]
    assert own.n.tolist() == [1, 2, 3] and own.estimate.tolist() == [(0.75 + 0.5) / 2, (0.5 + 0.25) / 2, 0.25 / 2]
    assert own.low.tolist() == [0.5, 0.25, 0] and own.high.tolist() == [0.75, 0.5, 0.25]
    assert set(found.prompts) == {2} and set(found.unit) == {shared_ngrams.UNIT}
    null = found[found.text == ngrams.ACROSS]
    assert null.estimate.iloc[0] == 0.5, "no token is in both prompts, and a draw has one generation of each"
    alone = found[found.text == ngrams.SHUFFLED]
    assert alone.estimate.iloc[0] == own.estimate.iloc[0], "shuffling leaves single tokens where they are"


def test_models_are_measured_apart_and_the_same_seed_gives_the_same_frame():
    draw = np.random.default_rng(0)
    texts = {prompt: draw.integers(0, 9, (6, 30)) for prompt in "abcd"}
    both = pd.concat(
        [written(texts), written({prompt: [[1] * 30] * 6 for prompt in "abcd"}, "RLHF")], ignore_index=True
    )
    found = shared_ngrams.shares_by_length(both, 5)
    pd.testing.assert_frame_equal(found, shared_ngrams.shares_by_length(both, 5))
    other = shared_ngrams.shares_by_length(both, 5, seed=1)
    changed = set(found.text[found.estimate != other.estimate])
    assert changed == {ngrams.ACROSS, ngrams.SHUFFLED}, "the seed is that of the nulls"
    assert found[found.model == "RLHF"].estimate.tolist() == [1] * 15
    pd.testing.assert_frame_equal(found[found.model == "Base"], shared_ngrams.shares_by_length(written(texts), 5))


def test_the_table_names_the_ngram_and_who_contains_it():
    made = pd.concat(
        [written({"a": [[5], [1, 2, 3], [0, 1, 2]]}), written({"a": [[4, 4], [4], [2]], "b": [[1], []]}, "RLHF")],
        ignore_index=True,
    )
    decode = {"Base": lambda ids: "-".join(map(str, ids)), "RLHF": lambda ids: "+".join(map(str, ids))}
    found = shared_ngrams.commonest_table(made, decode, n=2)
    assert found.drop(columns=["category", "n"]).to_numpy().tolist() == [
        ["Base", "a", "1-2", 2 / 3, 2, [1, 2]],
        ["RLHF", "a", "4+4", 1 / 3, 1, [0]],
        ["RLHF", "b", "", 0, 0, []],
    ]
    assert found.columns.tolist() == ["model", "category", "prompt", "n", "text", "share", "count", "samples"]


def test_its_rung_is_the_share_with_the_commonest_long_ngram():
    written = pd.DataFrame(
        {"prompt": prompt, "model": model, "ids": [1] * 12 if sample < held else [sample] * 3}
        for model, held in zip(("Base", "SFT", "RLHF"), (1, 2, 4), strict=True)
        for prompt in ("p", "q")
        for sample in range(4)
    )
    rung = shared_ngrams.rung(written)
    assert values(rung).tolist() == [0.25, 0.5, 1] and rung.claim == "C6" and rung.strata[0].shape == (2, 3, 2)
