"""Entropy and KL by hand, and their sampling against a world and a model whose KL is known."""

import numpy as np
import pandas as pd
import pytest

from predact.claims import prediction
from predact.errors import UserError
from predact.figures import prediction as prediction_figures

LN2 = np.log(2)


def documents(world, models, size=10):
    frames = [
        pd.DataFrame({"doc": range(len(world)), "bytes": size, "nll": nll, "world_nll": world}).assign(
            model=name, corpus="c", category="k"
        )
        for name, nll in models.items()
    ]
    return pd.concat(frames, ignore_index=True)


def test_by_hand():
    frame = prediction.distance_from_world(
        documents([4 * LN2, 6 * LN2], {"Base": [5 * LN2, 6 * LN2], "RLHF": [6 * LN2, 9 * LN2]})
    )
    told = frame.set_index(["model", "unit"])
    assert told.estimate.to_dict() == pytest.approx(
        {
            ("world", prediction.ENTROPY): 10 / 20,
            ("Base", prediction.KL): 1 / 20,
            ("Base", prediction.SHARE): 0.1,
            ("RLHF", prediction.KL): 5 / 20,
            ("RLHF", prediction.SHARE): 0.5,
        }
    )
    base = told.loc["Base", prediction.KL]
    assert base.low == pytest.approx(0) and base.high == pytest.approx(2 / 20)
    text = prediction.distance_table(frame)
    assert text.columns.tolist() == ["Entropy", "KL of Base", "KL of RLHF"]
    assert text.iloc[0].tolist() == ["0.5000 (0.4000 to 0.6000)", "0.0500 (10.0%)", "0.2500 (50.0%)"]


def test_the_interval_covers_the_true_divergence():
    """A world of four texts and a model that believes otherwise: KL and entropy are sums over the four."""
    rng = np.random.default_rng(0)
    p, q = np.array([0.5, 0.25, 0.15, 0.1]), np.array([0.25, 0.25, 0.25, 0.25])
    entropy, kl = -(p * np.log2(p)).sum() / 10, (p * np.log2(p / q)).sum() / 10
    covered = []
    for _ in range(60):
        drawn = rng.choice(4, size=400, p=p)
        frame = prediction.distance_from_world(documents(-np.log(p[drawn]), {"Base": -np.log(q[drawn])}))
        told = frame.set_index("unit")
        expected = {prediction.ENTROPY: entropy, prediction.KL: kl}
        covered += [told.low[unit] <= true <= told.high[unit] for unit, true in expected.items()]
    assert np.mean(covered) > 0.88


def test_a_corpus_without_a_world_is_refused():
    with pytest.raises(UserError, match="corpora: the probabilities of 'c' are not known"):
        prediction.distance_from_world(documents([np.nan, np.nan], {"Base": [1.0, 2.0]}))


def test_the_figure_shows_models_by_corpus():
    frame = prediction.distance_from_world(
        documents([4 * LN2, 6 * LN2], {"Base": [5 * LN2, 6 * LN2], "RLHF": [6 * LN2, 9 * LN2]})
    )
    spec = prediction_figures.distances(frame).to_dict()
    assert "RLHF c 0.250" in spec["description"]
    shown = [row for rows in spec["datasets"].values() for row in rows]
    assert {row["model"] for row in shown} == {"Base", "RLHF"}
