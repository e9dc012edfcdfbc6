import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from predact import claims
from predact.claims import CLAIMS, Verdict
from predact.errors import UserError

ROW = Verdict("C1", CLAIMS["C1"].claim, "holds", 1.5, 1.4, 1.6, "perplexity ratio", 200, "pocket")


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


def test_nine_claims_and_the_notebooks_that_test_them():
    assert list(CLAIMS) == [f"C{n}" for n in range(1, 10)]
    assert all(id == claim.id for id, claim in CLAIMS.items())
    assert {claim.chapter[:2] for claim in CLAIMS.values()} == {"02", "03", "04", "05", "06"}


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        ([1.01, 1.2], [1.1, 1.3], "holds"),
        ([1.0, 1.2], [1.1, 1.3], "undecided"),
        ([0.8, 1.2], [1.0, 1.3], "fails"),
        ([0.8, 0.9], [1.2, 1.1], "undecided"),
        ([1.0], [1.0], "fails"),
    ],
)
def test_a_claim_about_every_case_needs_every_interval(low, high, verdict):
    assert claims.judge(pd.Series(low), pd.Series(high), nothing=1) == verdict


def test_the_estimate_is_the_geometric_mean_of_the_corpora():
    nll = {
        "one": {"Base": [10, 20], "SFT": [0, 0], "RLHF": [14, 24]},  # exp(8 / 40)
        "two": {"Base": [30, 30], "SFT": [0, 0], "RLHF": [46, 46]},  # exp(32 / 40)
    }
    frame, verdict = claims.world_modeling(documents(nll), "a pair")
    assert verdict.estimate == pytest.approx(np.exp((0.2 + 0.8) / 2))
    assert (verdict.low, verdict.high) == pytest.approx((verdict.estimate, verdict.estimate))
    assert (verdict.id, verdict.verdict, verdict.n, verdict.pair) == ("C1", "holds", 4, "a pair")
    assert verdict.unit == "perplexity ratio"
    assert set(frame.corpus) == {"one", "two", "mean"}


def test_one_corpus_without_an_increase_is_enough_to_fail():
    better = {"one": {"Base": [10, 20], "RLHF": [14, 24]}, "two": {"Base": [30, 30], "RLHF": [20, 21]}}
    unsure = {"one": {"Base": [10, 20], "RLHF": [14, 24]}, "two": {"Base": [30, 30], "RLHF": [20, 41]}}
    assert claims.world_modeling(documents(better), "")[1].verdict == "fails"
    assert claims.world_modeling(documents(unsure), "")[1].verdict == "undecided"


def test_a_model_against_itself_is_exactly_one_and_fails():
    nll = np.random.default_rng(0).gamma(3, 17.3, size=(3, 37))
    same = {f"corpus {n}": {"Base": each, "SFT": each * 1.1, "RLHF": each} for n, each in enumerate(nll)}
    frame, verdict = claims.world_modeling(documents(same, tokens=23), "")
    assert (verdict.estimate, verdict.low, verdict.high, verdict.verdict) == (1.0, 1.0, 1.0, "fails")
    rlhf = frame[(frame.model == "RLHF") & (frame.unit == "perplexity ratio")]
    assert (rlhf[["estimate", "low", "high"]] == 1.0).all(axis=None)


def test_different_tokenizers_are_compared_by_bytes():
    one = {"one": {"Base": [10.0, 20.0], "RLHF": [19.0, 29.0]}}
    verdict = claims.world_modeling(documents(one, same=False), "")[1]
    assert verdict.unit == "byte perplexity ratio"
    assert verdict.estimate == pytest.approx(np.exp(18 / 180))


def test_one_document_gives_no_verdict():
    with pytest.raises(UserError, match="documents: .*'two'"):
        claims.world_modeling(documents({"one": {"Base": [1, 2]}, "two": {"Base": [1]}}), "")


def test_the_scorecard_holds_what_was_recorded_last_in_the_order_of_the_claims(tmp_path):
    assert claims.scorecard(tmp_path, "pocket") == []
    for row in (replace(ROW, id="C3"), ROW, replace(ROW, verdict="undecided")):
        claims.record(tmp_path, row)
    rows = claims.scorecard(tmp_path, "pocket")
    assert [(row["id"], row["verdict"]) for row in rows] == [("C1", "undecided"), ("C3", "holds")]
    assert list(rows[0]) == ["id", "claim", "verdict", "estimate", "low", "high", "unit", "n", "pair"]
    assert json.loads(json.dumps(rows)) == rows


def test_pairs_do_not_mix(tmp_path):
    names = ["a/b::c", "a-b-c", "a/b/c", "../up", "pocket", "pocket::pocket", "x" * 300, "x" * 301]
    for name in names:
        claims.record(tmp_path, replace(ROW, pair=name))
    assert [[row["pair"] for row in claims.scorecard(tmp_path, name)] for name in names] == [[name] for name in names]
    assert {path.parent for path in tmp_path.rglob("*.json")} == set((tmp_path / "claims").iterdir())


def test_nothing_is_left_where_a_verdict_cannot_be_written(tmp_path):
    (tmp_path / "claims").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="^store: "):
        claims.record(tmp_path, ROW)
    with pytest.raises(ValueError):
        claims.record(tmp_path / "other", replace(ROW, estimate=float("nan")))
    assert not (tmp_path / "other").exists()


def test_a_verdict_reads_as_a_sentence():
    text = ROW._repr_markdown_()
    assert "C1 holds" in text and "1.500" in text and "1.400 to 1.600" in text and "n = 200." in text
