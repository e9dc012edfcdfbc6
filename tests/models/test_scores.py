"""Scores of a pair on corpora: what is stored, resumed and compared."""

import numpy as np
import pytest

from predact.models import loading, pairs, scoring
from predact.texts import corpora


@pytest.fixture
def texts():
    return corpora.Corpus("made", "file", ["the cat sat", "the dog ran 🙂", "on"], np.array([1.0, 2.0, 3.0]), "made-1")


def pair_of(base, rlhf):
    return pairs.pair(f"{base}::{rlhf}")


def test_measure_loads_no_model_for_what_is_stored(tmp_path, folders, texts, monkeypatch):
    model = pair_of(*folders).models["Base"]
    first = scoring.score_corpus(tmp_path, model, texts)
    monkeypatch.setattr(loading, "load", lambda model: pytest.fail("the model was loaded"))
    loading._held.clear()
    assert scoring.score_corpus(tmp_path, model, texts).equals(first)
    with pytest.raises(pytest.fail.Exception):
        scoring.score_corpus(tmp_path, model, texts, context=8)


def test_measure_keeps_finished_shards_when_killed(tmp_path, folders, texts, monkeypatch):
    model = pair_of(*folders).models["Base"]
    whole = scoring.score_corpus(tmp_path / "whole", model, texts)
    for name in ("_SHARD", "_TOGETHER"):
        monkeypatch.setattr(scoring, name, 1)
    score, calls = scoring.score, []

    def killed(*arguments, **settings):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(*arguments, **settings)

    monkeypatch.setattr(scoring, "score", killed)
    with pytest.raises(KeyboardInterrupt):
        scoring.score_corpus(tmp_path / "cut", model, texts)
    again = scoring.score_corpus(tmp_path / "cut", model, texts)
    assert len(calls) == 4
    assert again.drop(columns="nll").equals(whole.drop(columns="nll"))
    np.testing.assert_allclose(again.nll, whole.nll, atol=1e-5)


def test_pair_documents(tmp_path, folders, texts):
    pair = pair_of(*folders)
    frame = scoring.score_pair(tmp_path, pair, [texts])
    assert frame.attrs["same_tokenizer"] is True
    assert frame.model.tolist() == ["Base"] * 3 + ["RLHF"] * 3
    assert frame.world_nll.tolist() == [1.0, 2.0, 3.0] * 2
    assert frame.bytes.tolist() == [11, 16, 2] * 2
    tokens = scoring.score(*loading.load(pair.models["RLHF"]), texts.texts)
    mine = frame[(frame.model == "RLHF") & (frame.doc == 1)].nll.item()
    assert mine == pytest.approx(tokens[tokens.doc == 1].nll.sum(), abs=1e-4)
    assert not np.allclose(frame.nll[:3], frame.nll[3:])


def test_a_model_beside_itself_scores_exactly_the_same(tmp_path, folders, texts):
    frame = scoring.score_pair(tmp_path, pair_of(folders[0], folders[0]), [texts])
    assert frame.nll[:3].tolist() == frame.nll[3:].tolist()


def test_tokenizers_that_differ_are_noticed(tmp_path, folders, texts, make_model, make_tokenizer):
    make_model(1).save_pretrained(tmp_path / "other")
    make_tokenizer("ran ran on on dog dog", bos_token="<s>", eos_token="</s>").save_pretrained(tmp_path / "other")
    frame = scoring.score_pair(tmp_path / "store", pair_of(folders[0], tmp_path / "other"), [texts])
    assert frame.attrs["same_tokenizer"] is False
    assert frame.tokens[:3].tolist() != frame.tokens[3:].tolist()
