"""Summaries of figures: one table for every figure, pair and the paper; what does not fit is refused."""

import json

import numpy as np
import pandas as pd
import pytest

from predact.claims import summary
from predact.claims.self_reading import PERPLEXITY, RATIO

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


@pytest.mark.parametrize("figure", summary.FIGURES)
def test_the_papers_values_are_in_the_same_table(figure):
    found = summary.of_paper(figure)
    assert len(found) and set(found.model) <= {"Base", "RLHF"} and found.n.isna().all()
    known = {"Llama 2 7B", "Llama 2 70B", "Tulu 2 7B", "Tulu 2 70B", "OLMo 7B"}
    assert set(found.pair) <= known and (set(found.pair) == known or figure not in ("2A", "2B", "5", "13", "14"))
    pd.testing.assert_frame_equal(summary.from_csv(summary.as_csv(found)), found)
    pd.testing.assert_frame_equal(summary.from_data(json.loads(json.dumps(summary.as_data(found)))), found)


def test_some_of_the_papers_values():
    """As its figures and its Table 1 have them, and in the units of ours."""

    def value(figure, **at):
        found = summary.of_paper(figure)
        (row,) = found[np.logical_and.reduce([found[name] == told for name, told in at.items()])].itertuples()
        return row.estimate

    assert value("2A", pair="Llama 2 7B", x="chat") == pytest.approx(3.44, abs=0.02)
    assert value("5", pair="OLMo 7B", model="RLHF", x="new", unit=PERPLEXITY) == pytest.approx(2.65, abs=0.01)
    assert value("5", pair="Tulu 2 70B", model="RLHF", x="instruction", unit=RATIO) == pytest.approx(
        3.607 / 3.246, abs=1e-3
    )
    assert value("7A", pair="Llama 2 7B", model="RLHF", x="10") == pytest.approx(0.61, abs=0.003)
    assert value("Table 1", pair="Llama 2 70B", model="Base", unit="wrong guesses") == 6.18
    mean = summary.of_paper("13").groupby(["pair", "model"]).estimate.mean()
    assert mean["Tulu 2 7B", "RLHF"] == pytest.approx(0.090, abs=0.001)
    assert mean["Tulu 2 7B", "Base"] == mean["Llama 2 7B", "Base"] == pytest.approx(0.064, abs=0.001)


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
