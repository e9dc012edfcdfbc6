"""Finetuned models of a pair in the store: what is scored, what is kept, what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from predact.errors import UserError
from predact.models import finetuned, finetuning, loading, pairs, scoring, tokens
from predact.models.finetuned import AFTER, BEFORE, Job
from predact.models.finetuning import FULL, LORA, Settings
from predact.models.tokens import Per
from predact.texts import corpora

WAYS = ["the cat sat on the mat", "the dog ran to the river", "the other cat saw a café", "a naïve owner ran"]
SETTINGS = Settings(updates=4, batch=200, rates=[1e-2, 3e-2], rank=2)


@pytest.fixture(scope="module")
def texts():
    def corpus(name, size):
        written = [f"{WAYS[n % 4]} and {WAYS[n // 4 % 4]} {n}" for n in range(size)]
        return corpora.Corpus(name, "file", written, np.arange(float(size)), name)

    return [corpus("long", 40), corpus("short", 30)]


@pytest.fixture(scope="module")
def pair(folders):
    return pairs.pair(f"{folders[0]}::{folders[1]}")


@pytest.fixture(scope="module")
def done(tmp_path_factory, pair, texts):
    root = tmp_path_factory.mktemp("store")
    return root, *finetuned.finetune_pair(root, pair, texts, SETTINGS)


def test_documents_held_out_are_scored_before_and_after(done, pair, texts):
    _, documents, _ = done
    tests = [corpora.split(corpus)["test"] for corpus in texts]
    before = scoring.score_pair(done[0], pair, tests)
    found = documents[documents.when == BEFORE].drop(columns=["when", "order"]).reset_index(drop=True)
    assert found.equals(before)
    after = documents[documents.when == AFTER].drop(columns=["when", "order"]).reset_index(drop=True)
    assert after.drop(columns="nll").equals(before.drop(columns="nll"))
    sums = after.groupby(["corpus", "model"]).nll.sum() / before.groupby(["corpus", "model"]).nll.sum()
    assert (sums < 1).all(), "every model has learned something of every corpus"


def test_the_scores_after_are_those_of_the_stored_weights(done, pair, texts, tokenizer, tmp_path):
    root, documents, _ = done
    parts = corpora.split(texts[1])
    settings = finetuned.checked(pair, SETTINGS)
    settings = replace(settings, lead=[tokenizer.bos_token_id])
    (thrifty,) = finetuned.finetune(root, [Job(pair.models["RLHF"], parts, settings)], 0)
    assert not any(run.weights for run in thrifty.runs), "weights are kept only where they are asked for"
    ((runs, held_out),) = finetuned.finetune(tmp_path, [Job(pair.models["RLHF"], parts, settings)], 0, True)
    np.testing.assert_allclose(held_out, thrifty.held_out, rtol=1e-5)
    model, tokenizer = loading.load(pair.models["RLHF"])
    finetuning.put(model, finetuning.best(runs).weights)
    expected = scoring.documents(scoring.score(model, tokenizer, parts["test"].texts), parts["test"].texts).nll
    rows = documents[(documents.when == AFTER) & (documents.model == "RLHF") & (documents.corpus == "short")]
    np.testing.assert_allclose(rows.nll, expected, rtol=1e-5)
    validation = documents_of(model, tokenizer, parts["validation"].texts)
    best = finetuning.best(runs)
    np.testing.assert_allclose(best.nll[best.best], validation, rtol=1e-5)


def documents_of(model, tokenizer, texts):
    return scoring.documents(scoring.score(model, tokenizer, texts), texts).nll


def test_curves_have_a_row_for_each_run_evaluation_and_document(done, texts):
    _, _, runs = done
    for (corpus, model), part in runs.groupby(["corpus", "model"]):
        whole = next(each for each in texts if each.name == corpus)
        validation = corpora.split(whole)["validation"]
        assert part.rate.nunique() >= 2 and part[part.chosen].rate.nunique() == 1
        for _, run in part.groupby("rate"):
            assert len(run) == run.tokens.nunique() * len(validation.texts)
            first = run[run.tokens == 0]
            assert first.doc.tolist() == list(range(len(validation.texts)))
            assert first.bytes.tolist() == [len(text.encode()) for text in validation.texts]
            assert first.world_nll.tolist() == validation.world_nll.tolist()
        chosen, others = (part[part.chosen == which] for which in (True, False))
        least = [each.groupby("tokens").nll.sum().min() for each in (chosen, others)]
        assert least[0] <= least[1], f"{model} on {corpus}"
        starts = part[part.tokens == 0].groupby("rate").nll.sum()
        assert starts.nunique() == 1


def test_nothing_is_done_again_and_what_was_done_survives_a_kill(tmp_path, pair, texts, done, monkeypatch):
    search, calls = finetuning.search, []

    def killed(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return search(*arguments)

    monkeypatch.setattr(finetuning, "search", killed)
    with pytest.raises(KeyboardInterrupt):
        finetuned.finetune_pair(tmp_path, pair, texts, SETTINGS)
    documents, runs = finetuned.finetune_pair(tmp_path, pair, texts, SETTINGS)
    assert len(calls) == 3 + 2, "two were done, one was lost"
    np.testing.assert_allclose(documents.nll, done[1].nll, rtol=1e-5)
    np.testing.assert_allclose(runs.nll, done[2].nll, rtol=1e-5)
    finetuned.finetune_pair(tmp_path, pair, texts, SETTINGS)
    assert len(calls) == 5
    finetuned.finetune_pair(tmp_path, pair, texts, replace(SETTINGS, updates=2))
    assert len(calls) == 5 + 4


def test_what_is_stored_says_where_it_comes_from_and_holds_no_code(done):
    root, _, _ = done
    files = sorted((root / "finetuned").iterdir())
    assert {path.suffix for path in files} == {".json", ".safetensors"} and len(files) == 2 * 4
    inputs = json.loads(files[0].read_text())["inputs"]
    assert {"model", "dtype", "seed", "train", "validation", "method", "rates", "updates", "batch"} <= set(inputs)
    assert inputs["method"] == FULL


def test_adapters_are_trained_for_large_models(tmp_path, pair, texts, monkeypatch):
    assert finetuned.checked(pair, Settings("auto")).method == FULL
    monkeypatch.setattr(finetuned, "LARGE", loading.parameters(pair.models["Base"]))
    documents, _ = finetuned.finetune_pair(tmp_path, pair, texts[1:], replace(SETTINGS, method="auto"))
    settings = finetuned.checked(pair, replace(SETTINGS, method="auto"))
    job = Job(pair.models["RLHF"], corpora.split(texts[1]), settings)
    ((runs, _),) = finetuned.finetune(tmp_path, [job], 0, keep_weights=True)
    assert all("lora" in name for name in finetuning.best(runs).weights)
    sums = documents.groupby(["when", "model"]).nll.sum()
    assert (sums[AFTER] < sums[BEFORE]).all()


def test_a_model_of_half_precision_is_finetuned_in_float32_unless_by_adapters(pair):
    half = replace(pair.models["Base"], dtype="bfloat16")
    for method, dtype in ((FULL, "float32"), (LORA, "bfloat16")):
        assert finetuned._trained(Job(half, {}, Settings(method))).dtype == dtype
        assert finetuned._inputs(Job(half, {}, Settings(method)), 0)["dtype"] == dtype


def test_further_orders_use_the_rate_of_the_first(tmp_path, pair, texts, done, monkeypatch):
    search, tried = finetuning.search, []
    monkeypatch.setattr(finetuning, "search", lambda *given: tried.append((given[4].rates, given[5])) or search(*given))
    documents, runs = finetuned.finetune_pair(tmp_path, pair, texts[1:], SETTINGS, orders=2)
    assert [rates for rates, _ in tried[:2]] == [SETTINGS.rates] * 2 and all(len(rates) == 1 for rates, _ in tried[2:])
    assert tried[0][1] == tried[1][1] != tried[2][1] == tried[3][1], "both models see the same orders"
    first = documents[documents.order == 0].drop(columns="order")
    alone = done[1][done[1].corpus == "short"].drop(columns="order")
    np.testing.assert_allclose(first.nll, alone.nll, rtol=1e-5)
    after = documents[documents.when == AFTER].pivot(index=["model", "doc"], columns="order", values="nll")
    assert not np.allclose(after[0], after[1])
    chosen = runs[runs.chosen].groupby(["model", "order"]).rate.unique().map(list)
    assert all(chosen[model, 0] == chosen[model, 1] for model in pair.models)


def test_models_with_other_tokenizers_learn_from_the_same_texts(tmp_path, folders, make_model, make_tokenizer, texts):
    other = make_tokenizer("ran ran on on dog dog", bos_token="<s>", eos_token="</s>")
    make_model(1).save_pretrained(tmp_path / "other")
    other.save_pretrained(tmp_path / "other")
    pair = pairs.pair(f"{folders[0]}::{tmp_path / 'other'}")
    documents, runs = finetuned.finetune_pair(tmp_path / "store", pair, texts[1:], replace(SETTINGS, rates=[1e-2]))
    assert tokens.compared_per(pair) is Per.BYTE and set(documents.model) == set(pair.models)
    learned = {model: part.tokens.unique().tolist() for model, part in runs.groupby("model")}
    assert learned["Base"] == learned["RLHF"], "as Base counts them"


def test_runs_come_back_from_the_store_as_they_were():
    nll = np.array([[1.0, 2.0], [np.inf, np.inf]])
    good = finetuning.Run(1e-3, np.array([0, 7, 9]), nll / [[1], [1]], {})
    best = finetuning.Run(3e-4, np.array([0, 7, 9]), np.array([[1.0, 2], [1, 1], [0, 1]]), {"a.b": torch.ones(2)})
    found, held_out = finetuned._unpacked(finetuned._packed([best, good], np.array([3.0, 4.0]), True))
    assert held_out.tolist() == [3, 4]
    assert [run.rate for run in found] == [3e-4, 1e-3]
    assert (found[1].nll == nll).all() and found[1].failed and not found[1].weights
    assert torch.equal(found[0].weights["a.b"], torch.ones(2)) and found[0].tokens.tolist() == [0, 7, 9]
    thrifty, _ = finetuned._unpacked(finetuned._packed([best, good], np.array([3.0, 4.0]), False))
    assert not any(run.weights for run in thrifty)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "qlora"}, "method: expected auto, full, lora, not 'qlora'"),
        ({"updates": 0}, "updates: expected a whole number above 0, not 0"),
        ({"batch": 0}, "batch: expected"),
        ({"rank": -1}, "rank: expected"),
        ({"context": 0}, "context: expected"),
        ({"orders": 0}, "orders: expected a whole number above 0, not 0"),
        ({"rates": [0.1, 0.0]}, "rates: expected learning rates between 0 and 1"),
        ({"rates": [0.1, 0.1]}, "each once"),
    ],
)
def test_settings_out_of_range_are_named(tmp_path, pair, texts, change, said):
    with pytest.raises(UserError, match=said):
        orders = change.pop("orders", 1)
        finetuned.finetune_pair(tmp_path, pair, texts, replace(SETTINGS, **change), orders)
    assert not Path(tmp_path, "finetuned").exists()


def test_a_corpus_that_is_too_small_is_named_before_anything_is_computed(tmp_path, pair, texts):
    small = corpora.Corpus("tiny", "file", WAYS[:3], None, "tiny")
    with pytest.raises(UserError, match="corpora: 'tiny' is too small to finetune on: of its 3 documents"):
        finetuned.finetune_pair(tmp_path, pair, [*texts, small], SETTINGS)
    assert not list(tmp_path.iterdir())
