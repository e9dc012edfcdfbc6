"""The figure of shares of n-grams, against its frame."""

import json

import numpy as np

from predact.figures import shared_ngrams as shared_ngrams_figures
from predact.methods import ngrams
from tests.figures.made import by_length, felt, shown


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
