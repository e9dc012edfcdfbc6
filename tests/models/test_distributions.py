"""Mass curve, entropy and support against a dense float64 softmax, and against distributions known by hand."""

import numpy as np
import pandas as pd
import pytest
import torch

from predact.models import distributions, loading, pairs
from predact.models.passages import gold_passages, own_passages
from predact.texts.corpora import Corpus


def dense(logits):
    p = logits.double().softmax(-1).numpy()
    return -np.sort(-p, axis=-1)


@pytest.mark.parametrize("vocabulary", [5, 1000, 1024, 1025, 5000, 50_000])
def test_every_measure_against_a_dense_softmax(vocabulary):
    logits = 6 * torch.randn(300, vocabulary, generator=torch.Generator().manual_seed(0))
    found, p = distributions.summarize(logits), dense(logits)
    at = distributions.ranks(vocabulary) - 1
    np.testing.assert_allclose(found.mass, p.cumsum(1)[:, at], rtol=1e-5)
    np.testing.assert_allclose(found.entropy, -(p * np.log(p)).sum(1), rtol=1e-4, atol=1e-5)
    for column, threshold in enumerate(distributions.THRESHOLDS):
        clear = np.abs(np.log(p / threshold)).min(1) > 1e-5  # no token so near that float32 may see it on either side
        assert clear.mean() > 0.5
        np.testing.assert_array_equal(found.support[clear, column], (p > threshold).sum(1)[clear])


@pytest.mark.parametrize("vocabulary", [5, 1025, 50_000])
def test_the_entropy_alone_needs_no_sorting(vocabulary, monkeypatch):
    logits = 6 * torch.randn(50, vocabulary, generator=torch.Generator().manual_seed(0))
    expected, given = distributions.summarize(logits).entropy, logits.clone()
    monkeypatch.setattr(distributions, "_ascending", lambda _: pytest.fail("rows were sorted"))
    np.testing.assert_allclose(distributions.entropies(logits), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(distributions.entropies(logits), -xlogx(dense(logits)), rtol=1e-6)
    assert torch.equal(logits, given) and distributions.entropies(torch.zeros(3, 7)) == pytest.approx(np.log(7))


@pytest.mark.parametrize("spread", [0, 1e-6, 1, 1e30])
@pytest.mark.parametrize("size", [1, 2, 3000])
def test_rows_are_sorted_exactly(size, spread):
    rows = torch.rand(7, size, generator=torch.Generator().manual_seed(0)) * spread + 3
    rows[:, ::3] = rows[:, :1].clone()  # ties
    rows[0, -1] = torch.inf
    expected = rows.sort(1).values
    assert torch.equal(distributions._ascending(rows), expected)


def xlogx(p):
    return (p * np.log(p)).sum(1)


def test_a_distribution_by_hand():
    p = torch.tensor([[0.25, 0.0625, 0.5, 0.0625, 0.125]])
    found = distributions.summarize(p.log() + 3)
    np.testing.assert_allclose(found.mass[0], [0.5, 0.75, 0.875, 0.9375, 1], rtol=1e-6)
    assert found.entropy[0] / np.log(2) == pytest.approx(1.875)
    assert found.support.tolist() == [[5] * 5]


def test_support_counts_what_lies_above_each_threshold():
    p = torch.tensor([[1 - 2.2e-5, 2e-5, 2e-6, 2e-9, 2e-11, 2e-13]])
    assert distributions.summarize(p.log()).support.tolist() == [[1, 3, 3, 4, 5]]


def test_ranks_are_exact_to_1024_and_end_at_the_vocabulary():
    assert distributions.ranks(10).tolist() == list(range(1, 11))
    at = distributions.ranks(50_257)
    assert at[:1024].tolist() == list(range(1, 1025)) and at[-1] == 50_257
    assert (np.diff(at) > 0).all() and (np.diff(np.log2(at[1023:])) < 0.13).all()


def test_rows_do_not_depend_on_each_other(monkeypatch):
    logits = torch.randn(300, 40)
    monkeypatch.setattr(distributions.scoring, "CACHED", 7 * 40)
    whole = distributions.summarize(logits)
    for row in (0, 6, 7, 299):
        alone = distributions.summarize(logits[row : row + 1])
        np.testing.assert_array_equal(alone.mass[0], whole.mass[row])
        np.testing.assert_array_equal(alone.support[0], whole.support[row])


TEXTS = ["the cat sat on the mat", "a dog ran", "to the river where the other cat saw a naïve café owner"]
CORPUS = Corpus("tales", "narrative", TEXTS, None, "tales")


def written(tokenizer, counts):
    """Generations as `sampling.of_pair` gives them: for each prompt so many, some empty."""
    draw = np.random.default_rng(0)
    rows = [
        {"prompt": prompt, "sample": sample, "given": np.array([0, 5 + place]), "ids": draw.integers(5, 290, size)}
        for place, (prompt, sizes) in enumerate(counts.items())
        for sample, size in enumerate(sizes)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("positions", [10**6, 7])
def test_measures_against_a_dense_softmax(tmp_path, folders, tokenizer, positions):
    model = pairs.Model(str(folders[0]))
    passages = own_passages(written(tokenizer, {"a": [3, 9], "b": [4]}), each=9)
    found = distributions.measure_distributions(tmp_path, model, passages, positions)
    dense = {}
    for sequence, given, group in zip(passages.sequences, passages.given, passages.groups, strict=True):
        with torch.no_grad():
            logits = loading.load(model)[0](torch.tensor([sequence])).logits[0, given - 1 : -1, : len(tokenizer)]
        for place, p in enumerate(logits.double().softmax(-1).numpy()):
            nll = -np.log(p[sequence[given + place]])
            dense[group, place, round(nll, 3)] = (p, nll, (p > p[sequence[given + place]]).sum())
    assert len(found.positions) == min(positions, 16)
    sums = np.zeros_like(found.mass)
    for row in found.positions.itertuples():
        p, nll, rank = dense[row.group, row.position, round(float(row.nll), 3)]
        assert row.top1 == pytest.approx(p.max(), rel=1e-4) and row.nll == pytest.approx(nll, rel=1e-4)
        assert row.entropy == pytest.approx(-(p * np.log(p)).sum(), rel=1e-4)
        assert found.positions.loc[row.Index, "rank"] == rank
        assert found.positions.loc[row.Index, "1e-04"] == (p > 1e-4).sum()
        sums[row.group] += -np.sort(-p)[: len(found.ranks)].cumsum()[found.ranks - 1]
    np.testing.assert_allclose(found.mass, sums, rtol=1e-4)


def test_positions_are_the_same_for_models_that_cut_text_alike_and_follow_the_seed(tmp_path, folders, tokenizer):
    passages = gold_passages(tokenizer, [CORPUS])
    base, rlhf = (pairs.Model(str(folder)) for folder in folders)
    places = [
        distributions.measure_distributions(tmp_path, model, passages, 9, seed)
        .positions[["group", "position"]]
        .to_numpy()
        .tolist()
        for model, seed in ((base, 0), (rlhf, 0), (base, 1))
    ]
    assert places[0] == places[1] != places[2]
