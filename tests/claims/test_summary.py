"""Summaries of figures: one table for every figure and pair; what does not fit is refused."""

import numpy as np
import pandas as pd
import pytest

from predact.claims import summary
from predact.claims.self_reading import ALL, MEAN
from predact.claims.shared_ngrams import DIFFERENCE

NUMBERS = {"estimate": 0.12345678, "low": 0.1, "high": 0.2, "unit": "a unit"}


def frame(*rows):
    return pd.DataFrame([NUMBERS | row for row in rows])


def table(*rows):
    """A summary of these rows, each with a place of its own."""
    place = {"figure": "3", "pair": "a", "scale": "full", "protocol": "paper", "model": "Base", "series": "gold text"}
    whole = [place | {"x": str(at)} | NUMBERS | {"n": 4} | row for at, row in enumerate(rows)]
    return [{name: row[name] for name in summary.COLUMNS} for row in whole]


def test_a_frame_of_a_chapter_becomes_rows_of_one_table():
    rows = [{"model": "RLHF", "text": "gold text", "k": 20, "n": 9}, {"model": "RLHF", "text": "own", "k": 20, "n": 3}]
    found = summary.kept("3", frame(*rows), "a=b::c", "laptop, documents 7")
    assert found.dtypes.astype(str).tolist() == list(summary.COLUMNS.values())
    assert found.iloc[0].to_dict() == {
        "figure": "3",
        "pair": "a=b::c",
        "scale": "laptop, documents 7",
        "protocol": "paper",
        "model": "RLHF",
        "series": "gold text",
        "x": "20",
        "unit": "a unit",
        "estimate": 0.12346,
        "low": 0.1,
        "high": 0.2,
        "n": 9,
    }


def test_several_columns_make_a_series_and_a_measure_tells_the_protocol():
    rows = [{"model": "RLHF", "kind": "questions", "text": "own", "n": n, "prompts": 5} for n in (1, 2)]
    found = summary.kept("6", frame(*rows), "a", "full")
    assert found.series.tolist() == ["questions, own"] * 2 and found.x.tolist() == ["1", "2"] and (found.n == 5).all()
    along = {"model": "Base", "position": 0.5, "prompts": 8}
    texts = [("matched", "generations"), ("equal", "generations"), ("matched", "null: shuffled tokens")]
    rows = [along | {"measure": measure, "text": text} for measure, text in texts]
    found = summary.kept("13", frame(*rows), "a", "full")
    assert found.protocol.tolist() == ["paper", "book"] and found.x.tolist() == ["0.5"] * 2, "no nulls"


def test_what_was_not_measured_is_left_out_and_what_has_no_interval_stays():
    rows = [{"model": "Base", "n": 5, "prompts": 1} | dict.fromkeys(("low", "high"), np.nan)]
    rows += [
        {"model": "RLHF", "n": 5, "prompts": 1, "estimate": np.nan},
        {"model": "RLHF - Base", "n": 5, "prompts": 1},
    ]
    found = summary.kept("7A", frame(*rows), "a", "full")
    assert found.model.tolist() == ["Base"] and found.low.isna().all() and found.high.isna().all()
    half = summary.kept("7A", frame(rows[0] | {"high": np.inf, "low": 0.1}), "a", "full")
    assert len(half) == 1 and half.low.isna().all() and half.high.isna().all()
    assert len(summary.kept("7A", frame(*rows[1:]), "a", "full")) == 0
    with pytest.raises(ValueError, match="no summary is kept of a figure '99'; known are 2A, 2B"):
        summary.kept("99", frame(*rows), "a", "full")


def test_the_rows_that_are_kept_are_named_as_in_the_frames_of_the_claims():
    assert summary.FIGURES["5"].rows == f"source == {MEAN!r} and category != {ALL!r}"
    assert summary.FIGURES["7A"].rows == f"model != {DIFFERENCE!r}"


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"figure": "99"}, "no figure is called '99'"),
        ({"protocol": "mine"}, "protocol is paper or book; not so in Figure 3, Base gold text 1"),
        ({"pair": ""}, "pair, model and unit are named"),
        ({"estimate": None}, "estimate is a finite number"),
        ({"estimate": float("inf")}, "estimate is a finite number"),
        ({"estimate": "much"}, "much"),
        ({"low": None}, "low and high are finite numbers, or both are missing"),
        ({"high": float("inf")}, "low and high are finite numbers, or both are missing"),
        ({"low": 0.3}, "low is at most high"),
        ({"n": 0}, "n is 1 or more"),
        ({"n": 1.5}, "expected numbers"),
        ({"x": "0"}, "each place is told once"),
    ],
)
def test_what_does_not_fit_is_refused(row, said):
    assert len(summary.from_data(table({}, {}))) == 2
    with pytest.raises(ValueError, match=said):
        summary.from_data(table({}, row))


def test_other_columns_are_refused():
    with pytest.raises(ValueError, match="expected the columns figure, pair"):
        summary.from_data([table({})[0] | {"text": "what a model wrote"}])
    with pytest.raises(ValueError, match="expected the columns figure, pair"):
        summary.from_csv("")
    header = summary.as_csv(summary.from_data([]))
    assert header.count("\n") == 1 and len(summary.from_csv(header)) == 0
    with pytest.raises(ValueError, match="expected the columns figure, pair"):
        summary.from_csv(header + ",".join("x" * 20) + "\n")
