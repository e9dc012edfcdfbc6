"""Claims are found, rows are named, rules are shared; and one file is enough for a claim more."""

import pandas as pd
import pytest

from predact.claims import verdict
from predact.claims.verdict import Verdict
from predact.errors import UserError
from predact.models import runs

CLAIMS = verdict.claims()
ROW = Verdict("C1", CLAIMS["C1"].claim, "holds", 1.5, 1.4, 1.6, "perplexity ratio", 200)


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


def test_the_one_row_of_a_frame_is_its_only_one():
    frame = pd.DataFrame({"x": [1, 2]})
    assert verdict.only(frame[frame.x == 2]).x == 2
    for none_or_two in (frame[frame.x > 2], frame):
        with pytest.raises(ValueError):
            verdict.only(none_or_two)


def test_without_an_interval_there_is_no_verdict():
    row = pd.Series({"estimate": 1.0, "low": float("nan"), "high": float("nan")})
    with pytest.raises(UserError, match=r"^prompts_limit, documents: C1 needs two prompts and two documents at least"):
        verdict.conclude(CLAIMS["C1"], "holds", row, "perplexity ratio", 1)


def test_what_cannot_be_compared_is_undecided():
    row = verdict.unmeasured(CLAIMS["C3"], "more mass")
    assert (row.id, row.verdict, row.estimate, row.low, row.high, row.n) == ("C3", "undecided", None, None, None, 0)
    assert row.unit == "more mass: not compared, for the tokenizers differ"


def test_a_row_has_the_pair_and_the_scale_of_its_run():
    row = ROW.of_run(runs.run("pocket", "laptop", documents=7))
    assert list(row) == "id claim verdict estimate low high unit n null pair scale".split()
    assert (row["pair"], row["scale"], row["null"]) == ("pocket", "laptop, documents 7", None)
    assert (ROW.pair, ROW.scale) == ("", ""), "a verdict itself belongs to no run"


def test_a_verdict_reads_as_a_sentence():
    text = ROW._repr_markdown_()
    assert "C1 holds" in text and "1.500" in text and "1.400 to 1.600" in text and "n = 200." in text
