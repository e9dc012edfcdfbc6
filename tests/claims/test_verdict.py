import json
from dataclasses import replace

import pandas as pd
import pytest

from predact.claims import verdict
from predact.claims.verdict import CLAIMS, Verdict
from predact.errors import UserError

ROW = Verdict("C1", CLAIMS["C1"].claim, "holds", 1.5, 1.4, 1.6, "perplexity ratio", 200, "pocket")


def test_nine_claims_and_the_notebooks_that_test_them():
    assert list(CLAIMS) == [f"C{n}" for n in range(1, 10)]
    assert all(id == claim.id for id, claim in CLAIMS.items())
    assert {claim.chapter[:2] for claim in CLAIMS.values()} == {"02", "03", "04", "05", "06"}


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        ([1.01, 1.2], [1.1, 1.3], "holds"),
        ([1.0, 1.2], [1.1, 1.3], "undecided"),
        ([0.8, 1.2], [1.0, 1.3], "fails"),
        ([0.8, 0.9], [1.2, 1.1], "undecided"),
        ([1.0], [1.0], "fails"),
    ],
)
def test_a_claim_about_every_case_needs_every_interval(low, high, said):
    assert verdict.all_above(pd.Series(low), pd.Series(high), nothing=1) == said


def test_the_scorecard_holds_what_was_recorded_last_in_the_order_of_the_claims(tmp_path):
    assert verdict.scorecard(tmp_path, "pocket") == []
    for row in (replace(ROW, id="C3"), ROW, replace(ROW, verdict="undecided")):
        verdict.record(tmp_path, row)
    rows = verdict.scorecard(tmp_path, "pocket")
    assert [(row["id"], row["verdict"]) for row in rows] == [("C1", "undecided"), ("C3", "holds")]
    assert list(rows[0]) == ["id", "claim", "verdict", "estimate", "low", "high", "unit", "n", "pair", "null"]
    assert json.loads(json.dumps(rows)) == rows


def test_a_verdict_of_a_later_store_counts(tmp_path):
    verdict.record(tmp_path / "published", ROW)
    verdict.record(tmp_path / "published", replace(ROW, pair="another"))
    verdict.record(tmp_path / "own", replace(ROW, verdict="fails"))
    rows = verdict.scorecards(tmp_path / "published", tmp_path / "own", tmp_path / "missing")
    assert [(row["pair"], row["verdict"]) for row in rows] == [("another", "holds"), ("pocket", "fails")]


def test_pairs_do_not_mix(tmp_path):
    names = ["a/b::c", "a-b-c", "a/b/c", "../up", "pocket", "pocket::pocket", "x" * 300, "x" * 301]
    for name in names:
        verdict.record(tmp_path, replace(ROW, pair=name))
    assert [[row["pair"] for row in verdict.scorecard(tmp_path, name)] for name in names] == [[name] for name in names]
    assert {path.parent for path in tmp_path.rglob("*.json")} == set((tmp_path / "claims").iterdir())


def test_nothing_is_left_where_a_verdict_cannot_be_written(tmp_path):
    (tmp_path / "claims").write_text("a file where a folder should be")
    with pytest.raises(UserError, match="^store: "):
        verdict.record(tmp_path, ROW)
    with pytest.raises(ValueError):
        verdict.record(tmp_path / "other", replace(ROW, estimate=float("nan")))
    assert not (tmp_path / "other").exists()


def test_a_verdict_reads_as_a_sentence():
    text = ROW._repr_markdown_()
    assert "C1 holds" in text and "1.500" in text and "1.400 to 1.600" in text and "n = 200." in text
