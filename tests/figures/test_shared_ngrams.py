"""The figure of shares of n-grams, against its frame."""

import json

import numpy as np
import pandas as pd
import pytest

from predact.claims import paper, shared_ngrams
from predact.figures import shared_ngrams as shared_ngrams_figures
from predact.methods import ngrams
from tests.figures.made import by_length, felt, points, shown


def test_shares_are_felt_at_every_length_seen_at_some_and_told_at_two():
    data = by_length()
    spec = shared_ngrams_figures.shares(data).to_json()
    drawn = felt(shown(spec), "model", "text", "n", "mark")
    assert drawn == [
        (row.model, row.text, str(row.n), str(int(row.n in (1, 5, 10, 15, 20, 25, 30)))) for row in data.itertuples()
    ]
    row = data[(data.model == "Base") & (data.text == ngrams.SHUFFLED) & (data.n == 25)].iloc[0]
    told = f"Base, null: shuffled tokens {row.estimate:.3f} ({row.low:.3f} to {row.high:.3f}) for n = 25."
    assert json.loads(spec)["description"].endswith(told) and " for n = 1;" not in json.loads(spec)["description"]


def test_no_interval_is_told_where_there_is_none():
    assert "nan" not in shared_ngrams_figures.shares(by_length(width=np.nan)).to_dict()["description"]


def commonest(missing=()):
    rows = [
        (n, model, *(np.nan if (n, model) in missing else value for value in (0.5 / n, 0.4 / n, 0.6 / n)))
        for n in (5, 10, 25, 50)
        for model in ("Base", "RLHF", shared_ngrams.DIFFERENCE)
    ]
    frame = pd.DataFrame(rows, columns=["n", "model", "estimate", "low", "high"])
    return frame.assign(unit=shared_ngrams.UNIT, prompts=9)


def test_the_commonest_ngrams_are_bars_with_the_papers_hollow():
    values = paper.values("7", "A")
    spec = shared_ngrams_figures.commonest(commonest(), values).to_json()
    marks = points(shown(spec))
    assert len(marks) == 16 and all("paper: Llama 2" in label for label, *_ in marks)
    svg = shown(spec)
    assert svg.count('aria-roledescription="bar"') == 8 and svg.count('aria-roledescription="rule mark"') == 8
    told = json.loads(spec)["description"]
    assert "n = 25, RLHF 0.020 (0.016 to 0.024)" in told and shared_ngrams.DIFFERENCE not in told
    places = {label: x for label, x, _ in marks}
    base, rlhf = (
        {x for label, x in places.items() if f"70B {model}" in label and "value: 0.58" in label}
        for model in ("Base", "RLHF")
    )
    assert len(base) == len(rlhf) == 1, "58.5 of 100, of Base at n = 5 and of RLHF at n = 10"


def test_a_length_that_was_not_measured_has_no_bar_and_is_told():
    missing = [(50, "RLHF")]
    spec = shared_ngrams_figures.commonest(commonest(missing), paper.values("7", "A")).to_json()
    assert shown(spec).count('aria-roledescription="bar"') == 7
    assert json.loads(spec)["description"].endswith("Not measured, for want of long generations: n = 50, RLHF.")


def counted(single=False):
    rows = [
        (model, f"{10 * n}-{10 * n + 10}", *(np.array([1, 0, 2]) * (1000 / 10**n if n < 4 else 0)))
        for model in ("Base", "RLHF")
        for n in range(10)
    ]
    frame = pd.DataFrame(rows, columns=["model", "x", "estimate", "low", "high"])
    if single:
        frame[["low", "high"]] = np.nan
    return frame.assign(unit=shared_ngrams.PER_PROMPT, prompts=1 if single else 8)


@pytest.mark.parametrize("single", [False, True])
def test_the_histogram_leaves_out_empty_bins_and_scales_the_papers_to_a_prompt(single):
    values = paper.values("7", "B")
    spec = shared_ngrams_figures.histogram(counted(single), values).to_json()
    drawn = felt(shown(spec), "model", "of 100 generations", "estimate")
    assert [each for each in drawn if each[0] == "Base"] == [
        ("Base", f"{10 * n}-{10 * n + 10}", f"{1000 // 10**n:,}") for n in range(4)
    ]
    assert len(drawn) == 8 and "nan" not in json.loads(spec)["description"]
    assert shown(spec).count('aria-roledescription="rule mark"') == (0 if single else 8)
    theirs = [row for rows in json.loads(spec)["datasets"].values() for row in rows if "condition" in row]
    assert len(theirs) == (values.value > 0).sum() == 37
    first = next(row for row in theirs if row["model"] == "paper: Llama 2 7B RLHF" and row["x"] == "0-10")
    assert first["value"] == 287193 / 80 and first["error"] == 6201 / 80
    lows = [row["drawn_low"] for rows in json.loads(spec)["datasets"].values() for row in rows if "drawn_low" in row]
    assert single or set(lows) == {1 / 16}, "an end at 0 is drawn at half of the least that there can be"
    assert single or "Base 0-10: 1,000.0 (0.0 to 2,000.0)" in json.loads(spec)["description"]
