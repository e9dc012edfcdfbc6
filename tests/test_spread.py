"""Mass curve, entropy and support against a dense float64 softmax, and against distributions known by hand."""

import numpy as np
import pytest
import torch

from predact import spread


def dense(logits):
    p = logits.double().softmax(-1).numpy()
    return -np.sort(-p, axis=-1)


@pytest.mark.parametrize("vocabulary", [5, 1000, 1024, 1025, 5000, 50_000])
def test_every_measure_against_a_dense_softmax(vocabulary):
    logits = 6 * torch.randn(300, vocabulary, generator=torch.Generator().manual_seed(0))
    found, p = spread.spread(logits), dense(logits)
    at = spread.ranks(vocabulary) - 1
    np.testing.assert_allclose(found.mass, p.cumsum(1)[:, at], rtol=1e-5)
    np.testing.assert_allclose(found.entropy, -(p * np.log(p)).sum(1), rtol=1e-4, atol=1e-5)
    for column, threshold in enumerate(spread.THRESHOLDS):
        clear = np.abs(np.log(p / threshold)).min(1) > 1e-5  # no token so near that float32 may see it on either side
        assert clear.mean() > 0.5
        np.testing.assert_array_equal(found.support[clear, column], (p > threshold).sum(1)[clear])


@pytest.mark.parametrize("vocabulary", [5, 1025, 50_000])
def test_the_entropy_alone_needs_no_sorting(vocabulary, monkeypatch):
    logits = 6 * torch.randn(50, vocabulary, generator=torch.Generator().manual_seed(0))
    expected, given = spread.spread(logits).entropy, logits.clone()
    monkeypatch.setattr(spread, "_descending", lambda _: pytest.fail("rows were sorted"))
    np.testing.assert_allclose(spread.entropies(logits), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(spread.entropies(logits), -xlogx(dense(logits)), rtol=1e-6)
    assert torch.equal(logits, given) and spread.entropies(torch.zeros(3, 7)) == pytest.approx(np.log(7))


def xlogx(p):
    return (p * np.log(p)).sum(1)


def test_a_distribution_by_hand():
    p = torch.tensor([[0.25, 0.0625, 0.5, 0.0625, 0.125]])
    found = spread.spread(p.log() + 3)
    np.testing.assert_allclose(found.mass[0], [0.5, 0.75, 0.875, 0.9375, 1], rtol=1e-6)
    assert found.entropy[0] / np.log(2) == pytest.approx(1.875)
    assert found.support.tolist() == [[5] * 5]


def test_support_counts_what_lies_above_each_threshold():
    p = torch.tensor([[1 - 2.2e-5, 2e-5, 2e-6, 2e-9, 2e-11, 2e-13]])
    assert spread.spread(p.log()).support.tolist() == [[1, 3, 3, 4, 5]]


def test_ranks_are_exact_to_1024_and_end_at_the_vocabulary():
    assert spread.ranks(10).tolist() == list(range(1, 11))
    at = spread.ranks(50_257)
    assert at[:1024].tolist() == list(range(1, 1025)) and at[-1] == 50_257
    assert (np.diff(at) > 0).all() and (np.diff(np.log2(at[1023:])) < 0.13).all()


def test_rows_do_not_depend_on_each_other(monkeypatch):
    logits = torch.randn(300, 40)
    monkeypatch.setattr(spread, "_LOGITS", 7 * 40)
    whole = spread.spread(logits)
    for row in (0, 6, 7, 299):
        alone = spread.spread(logits[row : row + 1])
        np.testing.assert_array_equal(alone.mass[0], whole.mass[row])
        np.testing.assert_array_equal(alone.support[0], whole.support[row])
