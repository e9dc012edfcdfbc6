"""The paper's values as summaries: in the same table, in the units of ours."""

import json

import numpy as np
import pandas as pd
import pytest

from predact.claims import summary
from predact.claims.paper_figures import of_paper
from predact.claims.self_reading import PERPLEXITY, RATIO


@pytest.mark.parametrize("figure", summary.FIGURES)
def test_the_papers_values_are_in_the_same_table(figure):
    found = of_paper(figure)
    assert len(found) and set(found.model) <= {"Base", "RLHF"} and found.n.isna().all()
    known = {"Llama 2 7B", "Llama 2 70B", "Tulu 2 7B", "Tulu 2 70B", "OLMo 7B"}
    assert set(found.pair) <= known and (set(found.pair) == known or figure not in ("2A", "2B", "5", "13", "14"))
    pd.testing.assert_frame_equal(summary.from_csv(summary.as_csv(found)), found)
    pd.testing.assert_frame_equal(summary.from_data(json.loads(json.dumps(summary.as_data(found)))), found)


def test_some_of_the_papers_values():
    """As its figures and its Table 1 have them, and in the units of ours."""

    def value(figure, **at):
        found = of_paper(figure)
        (row,) = found[np.logical_and.reduce([found[name] == told for name, told in at.items()])].itertuples()
        return row.estimate

    assert value("2A", pair="Llama 2 7B", x="chat") == pytest.approx(3.44, abs=0.02)
    assert value("5", pair="OLMo 7B", model="RLHF", x="new", unit=PERPLEXITY) == pytest.approx(2.65, abs=0.01)
    assert value("5", pair="Tulu 2 70B", model="RLHF", x="instruction", unit=RATIO) == pytest.approx(
        3.607 / 3.246, abs=1e-3
    )
    assert value("7A", pair="Llama 2 7B", model="RLHF", x="10") == pytest.approx(0.61, abs=0.003)
    assert value("Table 1", pair="Llama 2 70B", model="Base", unit="wrong guesses") == 6.18
    mean = of_paper("13").groupby(["pair", "model"]).estimate.mean()
    assert mean["Tulu 2 7B", "RLHF"] == pytest.approx(0.090, abs=0.001)
    assert mean["Tulu 2 7B", "Base"] == mean["Llama 2 7B", "Base"] == pytest.approx(0.064, abs=0.001)
