"""What finetuning leaves of the gap, and when a model is back: by hand, and against plain loops."""

import numpy as np
import pandas as pd
import pytest

from predact.claims import prediction, relearning
from predact.models.finetuned import AFTER, BEFORE
from predact.models.tokens import Per
from tests.made import held_out, learned, shuffled, values


@pytest.fixture
def random():
    draw = np.random.default_rng(0)
    base = draw.gamma(9, 2, (4, 7))
    return {"Base": base, "SFT": base + 3 - 2.5 * np.arange(4)[:, None], "RLHF": base + draw.gamma(2, 2, (4, 7))}


def test_the_gap_before_and_after_is_that_of_each_moment():
    frame = held_out({"one": {"Base": ([10, 20], [5, 5]), "RLHF": ([20, 30], [6, 5])}})
    found = relearning.before_and_after(frame, Per.TOKEN)
    ratio = found[(found.unit == "perplexity ratio") & (found.model == "RLHF")].set_index(["corpus", "when"]).estimate
    assert ratio["one", BEFORE] == pytest.approx(np.exp(20 / 100)) and ratio["one", AFTER] == pytest.approx(
        np.exp(0.01)
    )
    excess = (
        found[(found.unit == prediction.ABOVE_WORLD) & (found.corpus == "one")].set_index(["model", "when"]).estimate
    )
    assert excess["Base", AFTER] == pytest.approx((10 - 2) / 200 / np.log(2))
    assert excess["RLHF", BEFORE] == pytest.approx((50 - 2) / 200 / np.log(2))


def test_what_is_left_of_the_gap_by_hand():
    frame = held_out({"one": {"Base": ([10, 20], [5, 5]), "SFT": ([10, 20], [5, 4]), "RLHF": ([20, 30], [6, 9])}})
    found = relearning.remaining(frame).set_index("model")
    assert found.estimate["RLHF"] == pytest.approx(5 / 20)
    assert (found.low["RLHF"], found.high["RLHF"]) == pytest.approx((1 / 10, 4 / 10)), "one document twice"
    assert not np.isfinite(found.estimate["SFT"]), "no gap before"
    assert found.documents.tolist() == [2, 2]


def test_several_orders_are_averaged_and_the_interval_holds_those_of_each():
    one = held_out({"news": {"Base": ([10, 20], [5, 5]), "RLHF": ([20, 30], [6, 7])}})
    two = held_out({"news": {"Base": ([10, 20], [5, 6]), "RLHF": ([20, 30], [9, 9])}})
    both = pd.concat([one, two[two.when == AFTER].assign(order=1)], ignore_index=True)
    found, (first, second) = (
        relearning.remaining(both).iloc[0],
        (relearning.remaining(each).iloc[0] for each in (one, two)),
    )
    assert first.estimate == pytest.approx(3 / 20) and second.estimate == pytest.approx(7 / 20)
    assert found.estimate == pytest.approx(5 / 20)
    assert (found.low, found.high) == (first.low, second.high)
    gaps = [relearning.before_and_after(each, Per.TOKEN) for each in (both, one, two)]
    rlhf, first, second = (
        each[(each.unit == "perplexity ratio") & (each.model == "RLHF") & (each.corpus == "news")].set_index("when")
        for each in gaps
    )
    assert rlhf.estimate[AFTER] == pytest.approx(np.exp(5 / 100))
    assert (rlhf.low[AFTER], rlhf.high[AFTER]) == (first.low[AFTER], second.high[AFTER])
    assert (rlhf.loc[BEFORE, ["estimate", "low", "high"]] == first.loc[BEFORE, ["estimate", "low", "high"]]).all()


def test_curves_of_several_orders_are_averaged_as_far_as_all_of_them_went():
    first = learned({"Base": [[4, 4], [3, 3]], "RLHF": [[8, 8], [6, 6], [2, 2]]})
    second = learned({"Base": [[4, 4], [2, 2]], "RLHF": [[8, 8], [4, 4]]}, tokens=(0, 14, 30), order=1)
    both = pd.concat([first, second], ignore_index=True)
    found = relearning.learning_curves(both)
    rlhf = found[(found.model == "RLHF") & (found.unit == relearning.BITS)]
    assert rlhf.tokens.tolist() == [0, 12] and rlhf.estimate.tolist() == pytest.approx(
        [0.8 / np.log(2), 0.5 / np.log(2)]
    )
    assert np.isinf(relearning.recovered(both).estimate[0]) and relearning.recovered(both).learned[0] == 12
    assert len(relearning.tried(both)) == 2


def test_curves_are_means_over_documents(random):
    frame = learned(random, tokens=(0, 10, 30, 70), world=0.5)
    found = relearning.learning_curves(frame).set_index(["model", "unit", "tokens"])
    for model, nll in random.items():
        for place, tokens in enumerate((0, 10, 30, 70)):
            at = found.xs((model, tokens), level=("model", "tokens")).estimate
            assert at[relearning.BITS] == pytest.approx(nll[place].sum() / 70 / np.log(2))
            assert at[relearning.ABOVE_START] == pytest.approx((nll[place] - random["Base"][0]).sum() / 70 / np.log(2))
            assert at[relearning.ABOVE_WORLD] == pytest.approx((nll[place].sum() - 3.5) / 70 / np.log(2))
    start = found.loc["Base", relearning.ABOVE_START, 0]
    assert (start[["estimate", "low", "high"]] == 0).all()
    assert (found.low <= found.estimate).all() and (found.estimate <= found.high).all()
    unknown = relearning.learning_curves(learned(random, tokens=(0, 10, 30, 70), world=np.nan))
    assert set(unknown.unit) == {relearning.BITS, relearning.ABOVE_START}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            [[8, 8], [6, 6], [2, 2]],
            10 + 20 * 2 / 4,
        ),  # 4 + 4 = 8 at the start; 16, 12, 4: half way down the second piece
        ([[8, 8], [4, 4], [2, 2]], 10),
        ([[4, 4], [9, 9], [2, 2]], 0),  # as good as Base from the beginning
        ([[8, 8], [3, 3], [9, 9]], 8),  # the first time counts
        ([[8, 8], [7, 7], [5, 5]], np.inf),
    ],
)
def test_tokens_to_recover_by_hand(path, expected):
    found = relearning.recovered(learned({"Base": [[4, 4], [3, 3]], "RLHF": path})).iloc[0]
    assert found.estimate == found.low == found.high == pytest.approx(expected)
    assert (found.model, found.corpus, found.learned, found.documents) == ("RLHF", "news", 30, 2)


def test_the_interval_of_tokens_to_recover_is_that_of_resampled_documents():
    draw = np.random.default_rng(1)
    base = draw.gamma(9, 1, 40)
    path = base + np.array([4, 1, -0.3])[:, None] + draw.normal(0, 1, (3, 40))
    found = relearning.recovered(learned({"Base": [base, base], "RLHF": path})).iloc[0]
    times = []
    for _ in range(2000):
        chosen = draw.integers(40, size=40)
        above = (path - base)[:, chosen].sum(1)
        at = np.inf
        for place in (2, 1):
            if above[place] <= 0 < above[place - 1]:
                share = above[place - 1] / (above[place - 1] - above[place])
                at = (0, 10, 30)[place - 1] + share * (10, 20)[place - 1]
        times.append(at)
    low, high = np.quantile(times, [0.025, 0.975], method="nearest")
    assert found.low == pytest.approx(low, abs=1.5)
    assert np.isinf(found.high) == np.isinf(high)
    assert found.low < found.estimate < found.high


def test_words_for_what_was_and_was_not_reached():
    rows = pd.DataFrame(
        [(51234.0, 40111.0, np.inf, 70000), (np.inf, 65432.0, np.inf, 70000), (np.inf, np.inf, np.inf, 70000)],
        columns=["estimate", "low", "high", "learned"],
    )
    assert [relearning.in_words(row) for row in rows.itertuples()] == [
        "after 51,200 tokens (40,100 to more)",
        "not reached in 70,000 tokens (65,400 to more)",
        "not reached in 70,000 tokens",
    ]


def table(documents, runs):
    measured = (
        relearning.before_and_after(documents, Per.TOKEN),
        relearning.remaining(documents),
        relearning.recovered(runs),
    )
    return relearning.recovery_table(*measured)


def test_tables_and_the_answer_say_what_the_frames_say():
    frame = held_out({"news": {"Base": ([10, 20], [5, 5]), "RLHF": ([20, 30], [6, 6])}})
    path = learned({"Base": [[4, 4], [3, 3]], "RLHF": [[8, 8], [6, 6], [2, 2]]})
    (row,) = table(frame, path).itertuples(index=False)
    assert row[:2] == ("news", "RLHF") and row[2] == "1.221 (1.221 to 1.221)" and row[3] == "1.020 (1.020 to 1.020)"
    assert row[4:] == ("0.100 (0.100 to 0.100)", "after 20 tokens (20 to 20)")
    said = relearning.recovery_in_words(relearning.remaining(frame), relearning.recovered(path))
    assert "on 1 of 1 corpora (half of these within 20 tokens)" in said and "10.0% to 10.0% of the gap" in said
    same = held_out({"news": {"Base": ([10, 20], [5, 5]), "RLHF": ([10, 20], [5, 5])}})
    assert table(same, path).iloc[0]["share of the gap left"] == "–"
    assert relearning.recovery_in_words(relearning.remaining(same), relearning.recovered(path)).endswith(
        "(half of these within 20 tokens)."
    )
    assert "on 0 of 1 corpora." in relearning.recovery_in_words(
        relearning.remaining(same), relearning.recovered(learned({"Base": [[1, 1]], "RLHF": [[8, 8]]}))
    )


def test_the_table_of_learning_rates_says_how_each_run_ended():
    frame = learned({"Base": [[4, 4], [3, 3], [2, 2]], "RLHF": [[8, 8], [6, 6], [2, 2]]})
    frame.loc[(frame.model == "RLHF") & ~frame.chosen, "failed"] = True
    found = relearning.tried(frame)
    assert found.columns.tolist() == ["corpus", "model", "0.0003", "0.001"]
    assert found.to_numpy().tolist() == [
        ["news", "Base", "given up", "chosen"],
        ["news", "RLHF", "diverged", "chosen"],
    ]


@pytest.mark.parametrize(
    ("after", "expected"),
    [([6, 6.1], "holds"), ([4, 6.5], "undecided"), ([4.9, 5.0], "fails")],
)
def test_the_second_claim_looks_at_what_is_left_on_every_corpus(after, expected):
    frame = held_out(
        {
            "one": {"Base": ([10, 20], [5, 5]), "RLHF": ([20, 30], [6, 7])},
            "two": {"Base": ([10, 20], [5, 5]), "RLHF": ([20, 30], after)},
        }
    )
    found = relearning.before_and_after(frame, Per.TOKEN)
    verdict = relearning.judge(found)
    assert (verdict.id, verdict.verdict, verdict.n) == ("C2", expected, 4)
    assert verdict.unit == "perplexity increase after finetuning"
    gaps = [np.exp(13 / 100) - np.exp(10 / 100), np.exp(sum(after) / 100) - np.exp(10 / 100)]
    assert verdict.estimate == pytest.approx(np.mean(gaps))
    bars = relearning.increase_by_category(frame, Per.TOKEN)
    assert prediction.only(bars[bars.model == "RLHF"]).estimate == pytest.approx(np.mean(gaps))
    assert set(found.when) == {BEFORE, AFTER}


def test_its_rung_averages_orders_and_leaves_out_what_was_before():
    rows = [
        {"corpus": "one", "doc": doc, "model": model, "when": when, "order": order, "nll": nll * np.log(2), "bytes": 10}
        for doc in range(4)
        for model, nlls in (("Base", (9, 2, 4)), ("SFT", (9, 5, 5)), ("RLHF", (9, 4, 8)))
        for when, order, nll in zip(("before", "after", "after"), (0, 1, 2), nlls, strict=True)
    ]
    rung = relearning.rung(pd.DataFrame(rows))
    assert values(rung) == pytest.approx([0.3, 0.5, 0.6]) and rung.claim == "C2"


@pytest.mark.parametrize("seed", range(3))
def test_the_rule_knows_no_order_of_rows(seed):
    nll = {"Base": ([10, 20], [5, 5]), "SFT": ([12, 25], [5, 9]), "RLHF": ([20, 30], [6, 7])}
    frame = relearning.before_and_after(held_out({"one": nll, "two": nll}), Per.TOKEN)
    assert relearning.judge(shuffled(frame, seed)) == relearning.judge(frame)
