"""What results depend on, and what they do not: found again where it is the same, computed where it is another."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from predact.build import check, execute
from predact.methods import alignments
from predact.models import distributions, finetuned, finetuning, loading, pairs, runs, sampling, scoring, tokens
from predact.models.pairs import Model
from predact.texts.corpora import Corpus
from predact.texts.prompts import Prompt

SETTINGS = sampling.Settings(generations=3, max_new_tokens=5)
MARK = "<chat>"
CHAT = "{{ bos_token }}{% for message in messages %}{{ message.content }} {% endfor %}"


@pytest.fixture
def pair(tmp_path, folders, tokenizer):
    """A pair whose tokenizers are alike but for their BOS: that of RLHF is its chat marker."""
    for folder in folders:
        shutil.copytree(folder, tmp_path / folder.name)
    other = loading.tokenizer(Model(str(folders[0])))
    other.add_special_tokens({"bos_token": MARK})
    other.chat_template = CHAT
    other.save_pretrained(tmp_path / "rlhf")
    loading.tokenizer.cache_clear()
    return pairs.pair(f"{tmp_path / 'base'}::{tmp_path / 'rlhf'}")


@pytest.fixture
def no_model(monkeypatch):
    """A function from whose call on no model is loaded."""

    def forbid():
        monkeypatch.setattr(loading, "loaded", lambda _: pytest.fail("a model was loaded"))

    return forbid


def corpus(size, name="made"):
    texts = [f"the cat sat on the mat and saw {place} dogs" for place in range(size)]
    return Corpus(name, "file", texts, None, f"{name} {size}")


def test_a_model_is_known_by_its_weights_their_dtype_the_engine_and_the_code_it_brings(tmp_path, folders):
    shutil.copytree(folders[0], tmp_path / "own")
    model = Model(str(tmp_path / "own"))
    code = tmp_path / "own/modeling_own.py"
    code.write_text("a = 1")
    known = loading.key(model)
    assert known == {"model": loading.fingerprint(model), "dtype": "float32", "engine": "hf"}
    assert loading.key(replace(model, dtype="bfloat16")) == known | {"dtype": "bfloat16"}
    trusted = replace(model, trust_remote_code=True)
    first = loading.key(trusted)
    assert first == known | {"code": first["code"]}
    code.write_text("a = 2")
    assert loading.key(trusted)["code"] != first["code"] and loading.key(model) == known


def test_code_of_another_repository_counts_by_its_commit(tmp_path, folders, monkeypatch):
    commits = {"org/code": "one"}
    monkeypatch.setattr(loading, "_commit", lambda name, *_: (commits[name], True))
    config = loading.config(Model(str(folders[0])))
    config.auto_map = {"AutoModelForCausalLM": "org/code--modeling.Own", "AutoTokenizer": ["tokens.Own", None]}
    monkeypatch.setattr(loading, "config", lambda _: config)
    trusted = Model(str(folders[0]), trust_remote_code=True)
    first = loading.key(trusted)
    commits["org/code"] = "two"
    assert loading.key(trusted) != first


def test_generations_are_found_by_the_ids_given(tmp_path, pair, no_model, monkeypatch):
    first = sampling.sample_pair(tmp_path / "store", pair, [Prompt("a", "kind", "the cat")], SETTINGS)
    assert {p.dtype for p in first.log_probabilities} == {np.dtype("float32")}
    no_model()
    again = sampling.sample_pair(
        tmp_path / "store",
        replace(pair, frame=pair.frame.replace("{prompt}", "the{prompt}")),
        [Prompt("a", "kind", " cat")],
        SETTINGS,
        steps=["Base"],
    )
    pd.testing.assert_frame_equal(again, first[first.model == "Base"])
    for other in (Prompt("b", "kind", "the cat"), Prompt("a", "kind", "the dog")):
        with pytest.raises(pytest.fail.Exception):
            sampling.sample_pair(tmp_path / "store", pair, [other], SETTINGS)
    sampling.sample_pair(tmp_path / "store", pair, [Prompt("a", "kind", "the cat")], SETTINGS, rows=2)
    ends = loading.generation_config(pair.models["Base"])
    ends.eos_token_id = 5
    monkeypatch.setattr(loading, "generation_config", lambda _: ends)
    with pytest.raises(pytest.fail.Exception):
        sampling.sample_pair(tmp_path / "store", pair, [Prompt("a", "kind", "the cat")], SETTINGS)


def test_a_template_with_the_date_is_asked_anew_on_another_day(tmp_path, pair, no_model):
    asked, rlhf = [Prompt("a", "kind", "the cat")], loading.tokenizer(pair.models["RLHF"])
    rlhf.chat_template = CHAT + "26 Nov"
    sampling.sample_pair(tmp_path / "store", pair, asked, SETTINGS)
    no_model()
    sampling.sample_pair(tmp_path / "store", pair, asked, SETTINGS)
    rlhf.chat_template = CHAT + "27 Nov"
    sampling.sample_pair(tmp_path / "store", pair, asked, SETTINGS, steps=["Base"])
    with pytest.raises(pytest.fail.Exception):
        sampling.sample_pair(tmp_path / "store", pair, asked, SETTINGS, steps=["RLHF"])


def test_stops_are_told_without_weights_as_with_them(pair):
    for model in pair.models.values():
        loaded, tokenizer = loading.load(model)
        stops = sampling.stop_ids(loaded, tokenizer)
        assert sampling.key(model, SETTINGS, 0)["stops"] == sorted(stops)


def test_more_documents_or_fewer_are_scored_only_as_far_as_they_are_others(tmp_path, pair, monkeypatch):
    score, scored = scoring.score, []
    monkeypatch.setattr(
        scoring,
        "score",
        lambda model, tokenizer, texts, **how: scored.append(len(texts)) or score(model, tokenizer, texts, **how),
    )
    whole = scoring.score_pair_tokens(tmp_path / "store", pair, [corpus(200)])
    assert sum(scored) == 2 * 200 and max(scored) == 100
    scored.clear()
    for size in (10, 100):
        part = scoring.score_pair_tokens(tmp_path / "store", pair, [corpus(size, "other name")])
        pd.testing.assert_frame_equal(
            part.drop(columns="corpus"), whole[whole.doc < size].drop(columns="corpus").reset_index(drop=True)
        )
    assert scored == []
    more = scoring.score_pair_tokens(tmp_path / "store", pair, [corpus(223)])
    assert scored == [23, 23] and more.doc.max() == 222
    straight = score(*loading.load(pair.models["Base"]), corpus(223).texts)
    mine = more[more.model == "Base"].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine[["doc", "position", "id", "nll", "rank"]], straight, atol=1e-5)


def test_what_is_aligned_for_one_chapter_is_not_aligned_for_another(tmp_path, monkeypatch):
    draw = np.random.default_rng(0)
    rows = [("Base", "kind", name, draw.integers(0, 4, 6).tolist()) for name in "abc" for _ in range(6)]
    written = pd.DataFrame(rows, columns=["model", "category", "prompt", "ids"])
    first = alignments.align_pair(tmp_path, written)
    align, calls = alignments.ENGINES["native"], []
    monkeypatch.setitem(alignments.ENGINES, "native", lambda given: calls.append(len(given)) or align(given))
    assert alignments.align_pair(tmp_path, written).equals(first)
    assert not calls
    other = alignments.align_pair(tmp_path, written[written.prompt != "a"])
    assert len(calls) == 2 * 2, "the nulls of two prompts"
    own = [frame[(frame.text == alignments.GENERATIONS) & (frame.prompt == "b")] for frame in (first, other)]
    assert own[0].reset_index(drop=True).equals(own[1].reset_index(drop=True))


def test_all_models_of_a_pair_read_documents_after_one_token(tmp_path, pair, tokenizer, monkeypatch):
    rlhf = loading.tokenizer(pair.models["RLHF"])
    assert tokens.compared_per(pair) is tokens.Per.TOKEN and tokens.lead(rlhf) != tokens.lead(tokenizer)
    assert {step: tokens.pair_lead(pair, step) for step in pair.models} == dict.fromkeys(
        pair.models, [tokenizer.bos_token_id]
    )
    score_ids, plan, read, learned = scoring.score_ids, finetuning.plan_updates, [], []

    def noted(model, sequences, *rest, **how):
        assert rest[2] == [tokenizer.bos_token_id], "what stands before later windows"
        read.append(sequences)
        return score_ids(model, sequences, *rest, **how)

    def planned(*given):
        learned.append(plan(*given))
        return learned[-1]

    monkeypatch.setattr(scoring, "score_ids", noted)
    monkeypatch.setattr(finetuning, "plan_updates", planned)
    scoring.score_pair(tmp_path / "store", pair, [corpus(12)])
    base, other = read
    assert base == other and {each[0] for each in base} == {tokenizer.bos_token_id}
    read.clear()
    how = finetuning.Settings(updates=2, batch=200, rates=[1e-3])
    finetuned.finetune_pair(tmp_path / "store", pair, [corpus(40)], how)
    half = len(read) // 2
    assert {each[0] for sequences in read for each in sequences} == {tokenizer.bos_token_id} and half > 2
    assert learned[0] == learned[1] and learned[0][0][0][0] == tokenizer.bos_token_id
    read.clear()
    made = sampling.sample_pair(tmp_path / "store", pair, [Prompt("a", "kind", "the cat")], SETTINGS)
    distributions.measure_pair(tmp_path / "store", pair, [corpus(3)], made)
    assert read[0] == read[2] and read[0][0][0] == tokenizer.bos_token_id


def test_where_tokenizers_differ_each_model_reads_its_own_token(pair, make_tokenizer, tmp_path):
    other = make_tokenizer("a river of words", vocabulary=290, bos_token="<s>", eos_token="</s>")
    other.save_pretrained(tmp_path / "rlhf")
    loading.tokenizer.cache_clear()
    assert tokens.pair_lead(pair, "RLHF") == tokens.lead(loading.tokenizer(pair.models["RLHF"]))


def test_check_tells_whose_token_stands_before_documents_and_what_the_store_takes(pair, monkeypatch):
    monkeypatch.setattr(check, "_SECONDS", 0.01)
    found = list(check.findings(runs.run(pair.name)))
    said = [each.text for each in found]
    assert any("Base: 300 tokens; <s> (BOS) stands before a document" in text for text in said)
    assert any("RLHF: 301 tokens; <s> (as for Base) stands before a document" in text for text in said)
    assert any(each.warns and f"RLHF: its own BOS, {MARK}, is not put before documents" in each.text for each in found)
    (disk,) = (text for text in said if "The store takes" in text)
    assert "of scores" in disk and "of generations" in disk and "weights" not in disk
    kept = check._disk(runs.run(pair.name, keep_weights=True), *sizes(pair)).text
    orders = 2 * 9 * 2
    assert f"{4 * orders * sizes(pair)[1] / 1e6:,.0f} MB of finetuned weights" in kept


def sizes(pair):
    return loading.config(pair.models["Base"]), loading.parameters(pair.models["Base"])


def test_files_that_a_pair_file_names_count_for_unchanged(tmp_path, folders):
    shutil.copytree(folders[0], tmp_path / "base")
    (tmp_path / "texts.txt").write_text("a")
    (tmp_path / "pair.yaml").write_text("models: {Base: base, RLHF: base}\ncorpora: texts.txt\n")

    def files(pair):
        return {Path(name).name: rest for name, *rest in execute._files(tmp_path, {"pair": pair})}

    before = files(str(tmp_path / "pair.yaml"))
    assert {"texts.txt", "model.safetensors", "config.json", "pair.yaml"} <= before.keys()
    (tmp_path / "texts.txt").write_text("longer")
    after = files(str(tmp_path / "pair.yaml"))
    assert {name for name in after if after[name] != before[name]} == {"texts.txt"}


def test_what_a_run_writes_into_its_store_changes_nothing_that_it_was_given(tmp_path):
    (tmp_path / "kept/scores").mkdir(parents=True)
    (tmp_path / "kept/scores/a.json").write_text("{}")
    (tmp_path / "texts.txt").write_text("a")
    found = execute._files(tmp_path, {"store": str(tmp_path / "kept"), "corpora": [str(tmp_path / "texts.txt")]})
    assert [Path(name).name for name, *_ in found] == ["texts.txt"]


def test_a_gguf_file_in_the_projects_folder_is_one_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "_build/store").mkdir(parents=True)
    for name in ("model.gguf", "other.gguf", "_build/store/big.json", "notes.txt"):
        (tmp_path / name).write_text("a")
    found = [Path(name).name for name, *_ in execute._files(tmp_path, {"pair": "org/base::model.gguf"})]
    assert found == ["model.gguf"]
