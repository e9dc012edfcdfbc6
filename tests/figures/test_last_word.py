"""Figures of C10: the paper's table beside ours, units to choose from, and guesses by corpus."""

import pandas as pd
import pytest

from predact.claims import last_word, paper
from predact.figures import last_word as charts
from predact.figures import style
from tests.figures.made import NASTY, PAIR, STEPS, controls, drawn, near, points, told

TABLE = paper.values("Table 1")


def of_words(models=STEPS):
    rows = [
        (unit, model, *near(3.0 + place + 50 * at, unit)[:3], 40)
        for at, unit in enumerate(last_word.UNITS)
        for place, model in enumerate(models)
    ]
    return pd.DataFrame(rows, columns=["unit", "model", "estimate", "low", "high", "passages"])


def of_corpora(models=STEPS, corpora=("news", NASTY)):
    rows = [
        (unit, model, corpus, *near(1.0 + place + 20 * at, unit)[:3], 9)
        for corpus in corpora
        for at, unit in enumerate((last_word.PER_TOKEN, last_word.AT_ONCE))
        for place, model in enumerate((*models, last_word.DIFFERENCE))
    ]
    return pd.DataFrame(rows, columns=["unit", "model", "corpus", "estimate", "low", "high", "documents"])


WORDS, CORPORA = charts.last_words(of_words(), TABLE), charts.by_corpus(of_corpora())


@pytest.mark.parametrize("chart", [WORDS, CORPORA], ids=["words", "corpora"])
def test_wide_as_the_page_and_told_in_words(chart):
    assert chart.to_dict()["width"] == "container"
    assert set(controls(chart)) == {"unit", "steps"} and "steps" not in controls(
        charts.last_words(of_words(PAIR), TABLE)
    )
    assert "RLHF" in told(chart) and "wrong guesses" in told(chart).lower()


@pytest.mark.parametrize(("unit", "column"), [(last_word.WRONG, "Avg. guesses"), (last_word.EXACT, "EM")])
def test_the_paper_s_values_of_the_chosen_unit_stand_beside_ours(unit, column):
    labels = [label for label, *_ in points(drawn(WORDS, unit=unit))]
    own, theirs = ([each for each in labels if ("paper: " in each) is asked] for asked in (False, True))
    wanted = TABLE[TABLE.x == column]
    assert len(own) == 2 and len(theirs) == 4
    assert all(
        any(f"value: {row.value:g};" in each and row.model in each for each in theirs) for row in wanted.itertuples()
    )
    assert "Llama 2 70B" in drawn(WORDS, unit=unit) and "this pair" in drawn(WORDS)


def test_the_paper_s_hollow_marks_stand_on_the_rows_of_their_models():
    marks = points(drawn(WORDS))
    rows = {}
    for label, _, y in marks:
        rows.setdefault("7B" if "7B" in label else "70B" if "70B" in label else "own", set()).add(round(y))
    assert all(len(each) == 1 for each in rows.values()) and len(set.union(*rows.values())) == 3


def test_differences_are_told_with_each_corpus_and_not_drawn():
    labels = [label for label, *_ in points(drawn(CORPORA, steps=True))]
    assert len(labels) == 2 * len(STEPS) and not any(f"model: {last_word.DIFFERENCE}" in each for each in labels)
    row = of_corpora().query(f"model == '{last_word.DIFFERENCE}' and unit == '{last_word.PER_TOKEN}'").iloc[0]
    assert all(f"RLHF minus Base: {style.with_interval(row)}" in each for each in labels)
