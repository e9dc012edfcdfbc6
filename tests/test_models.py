import json
import shutil

import pytest
import torch
from transformers import BertConfig, BertModel

from predact import loading, models
from predact.errors import UserError


def test_the_embedded_pair_comes_first_and_all_presets_are_pairs():
    known = models.pairs()
    assert known[0].name == "pocket"
    assert list(known[0].models) == ["Base", "SFT", "RLHF"]
    assert known[0].corpora == ["pocket"]
    assert {"smollm2-135m", "llama2-7b", "tulu2-7b", "olmo2-7b", "gemma-2b", "llama3-8b", "qwen2.5-0.5b"} <= {
        pair.name for pair in known
    }
    for pair in known:
        assert pair.about and pair.licence and pair.parameters > 0
        large = pair.parameters > 1
        assert {model.device for model in pair.models.values()} == {"cuda" if large else None}
        assert all((model.dtype != "float32") == large for model in pair.models.values())
        assert pair.corpora == (["pocket"] if pair.name.startswith("pocket") else ["real"])
        assert next(iter(pair.models)) == "Base" and list(pair.models)[-1] == "RLHF"
        assert not any(model.trust_remote_code for model in pair.models.values())
        assert models.pair(pair.name) == pair


def test_two_models_by_name():
    pair = models.pair("org/base::some/file.gguf")
    assert pair.models == {"Base": models.Model("org/base"), "RLHF": models.Model("some", gguf="file.gguf")}
    assert (pair.name, pair.corpora) == ("org/base::some/file.gguf", ["real"])


def test_two_models_with_a_name_and_revisions(tmp_path):
    word = models.spelled("org/base@v1.0", "org/chat@0123abc", "mine")
    assert word == "mine=org/base@v1.0::org/chat@0123abc"
    pair = models.pair(word)
    assert pair.name == models.title(word) == "mine"
    assert pair.models == {"Base": models.Model("org/base", "v1.0"), "RLHF": models.Model("org/chat", "0123abc")}
    assert models.title("pocket") == "pocket" and models.title("a::b") == "a::b"
    (tmp_path / "at@home").mkdir()
    assert models.pair(f"{tmp_path}/at@home::org/chat").models["Base"].source == f"{tmp_path}/at@home"
    assert models.pair("org/base/a.gguf@v1::b").models["Base"] == models.Model("org/base", "v1", gguf="a.gguf")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("a", ""), "base, rlhf: both models must be named"),
        (("", "b", "mine"), "base, rlhf: both models must be named"),
        (("a", "b", "my pair"), "name: expected letters, digits, dots, dashes and underscores, not 'my pair'"),
    ],
)
def test_pairs_that_cannot_be_spelled(words, message):
    with pytest.raises(UserError, match=message):
        models.spelled(*words)


def test_a_known_name_is_not_given_again():
    with pytest.raises(UserError, match="name: 'pocket' is a pair that predact knows already"):
        models.pair("pocket=a::b")


def test_pair_file(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "notes.jsonl").write_text("")
    text = """
        about: mine
        corpora: [pocket, "notes.jsonl:body"]
        dtype: bfloat16
        trust_remote_code: true
        models:
          Base: base
          SFT: {source: org/sft, revision: v1, dtype: float32}
          RLHF: org/chat
    """
    (tmp_path / "mine.yaml").write_text(text)
    pair = models.pair(str(tmp_path / "mine.yaml"))
    assert (pair.name, pair.about) == ("mine", "mine")
    assert pair.corpora == ["pocket", f"{tmp_path}/notes.jsonl:body"]
    assert pair.models["Base"] == models.Model(f"{tmp_path}/base", dtype="bfloat16", trust_remote_code=True)
    assert pair.models["SFT"] == models.Model("org/sft", "v1", "float32", trust_remote_code=True)
    (tmp_path / "mine.json").write_text(json.dumps({"models": {"Base": "a/b", "RLHF": "c/d"}, "corpora": "pocket"}))
    assert models.pair(str(tmp_path / "mine.json")).corpora == ["pocket"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "needs `models`"),
        ("models: [a, b]", "needs `models`"),
        ("models: {RLHF: a/b, Base: a/b}", "must begin with Base and end with RLHF"),
        ("models: {Base: a/b}", "must begin with Base and end with RLHF"),
        ("models: {Base: '', RLHF: a/b}", "needs a source"),
        ("models: {Base: 3, RLHF: a/b}", "needs a source"),
        (
            "models: {Base: {source: a/b, revison: x}, RLHF: a/b}",
            "'revison' in 'bad' is not known, did you mean 'revision'?",
        ),
        ("corpus: pocket\nmodels: {Base: a/b, RLHF: a/b}", "'corpus' in 'bad' is not known, did you mean 'corpora'?"),
        ("device: tpu\nmodels: {Base: a/b, RLHF: a/b}", "the device 'tpu' of 'bad' is neither cpu nor cuda"),
        ("dtype: int4\nmodels: {Base: a/b, RLHF: a/b}", "the dtype 'int4' of 'bad' is none of float32"),
        ("models: {", "is not a pair file"),
    ],
)
def test_files_that_are_no_pair(tmp_path, text, message):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(UserError, match="^pair: ") as error:
        models.pair(str(tmp_path / "bad.yaml"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_pair():
    with pytest.raises(UserError, match="^pair: 'pokcet' is not known, did you mean 'pocket'.*Run `predact pairs`"):
        models.pair("pokcet")
    with pytest.raises(UserError, match="pair: the file 'no.yaml' does not exist"):
        models.pair("no.yaml")


def model_of(folder, **settings):
    return models.Model(str(folder), **settings)


def test_load(folders, model, tokenizer):
    loaded, its_tokenizer = loading.load(model_of(folders[0]))
    assert not loaded.training
    assert loaded.dtype == torch.float32
    assert torch.equal(loaded.lm_head.weight, model.lm_head.weight)
    assert its_tokenizer.get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize("tied", [False, True])
def test_logits_are_float32_whatever_the_dtype(tmp_path, make_model, tokenizer, tied):
    make_model(tie_word_embeddings=tied).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, _ = loading.load(model_of(tmp_path, dtype="bfloat16"), device="cpu")
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        hidden = loaded.model(ids).last_hidden_state
        logits = loaded(ids).logits
    assert (hidden.dtype, logits.dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(logits, hidden.float() @ loaded.get_input_embeddings().weight.float().T) or not tied
    assert not torch.equal(logits, logits.bfloat16().float())


def test_loaded_keeps_one_model(folders):
    base, rlhf = map(model_of, folders)
    first = loading.loaded(base)
    assert loading.loaded(base)[0] is first[0]
    loading.loaded(rlhf)
    assert list(loading._held) == [rlhf]


def test_fingerprint_is_of_the_content(tmp_path, folders):
    base, rlhf = (loading.fingerprint(model_of(folder)) for folder in folders)
    assert base != rlhf
    copy = tmp_path / "copy"
    shutil.copytree(folders[0], copy)
    (copy / "README.md").write_text("not part of the model")
    assert loading.fingerprint(model_of(copy)) == base
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        before = loading.fingerprint(model_of(copy))
        (copy / name).write_bytes((copy / name).read_bytes() + b" ")
        assert loading.fingerprint(model_of(copy)) != before


def test_a_hub_id_is_fingerprinted_by_its_commit(monkeypatch):
    monkeypatch.setattr(loading, "_commit", lambda source, revision, file: (f"sha-of-{revision}", False))
    assert loading.fingerprint(models.Model("org/name", "v1")) == "org/name@sha-of-v1"
    assert loading.fingerprint(models.Model("org/name", "v1", gguf="a.gguf")) == "org/name@sha-of-v1/a.gguf"


def test_a_hub_id_without_network_is_found_in_the_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--org--cached"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "snapshots" / commit / "config.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert loading.fingerprint(models.Model("org/cached")) == f"org/cached@{commit}"


def cannot_load(model, message):
    with pytest.raises(UserError, match=r"^pair: the model '.*' cannot be loaded \(") as error:
        loading.load(model)
    assert message in str(error.value)
    assert "name a folder with safetensors weights, a .gguf file, or the hub id" in str(error.value)
    assert "\n" not in str(error.value)


def test_models_that_cannot_be_loaded(tmp_path, folders, tokenizer):
    cannot_load(models.Model("/no/such/folder"), "there is no such folder")
    cannot_load(models.Model("org/name-that-nobody-has"), "there is no such folder, and on the hub: ")
    cannot_load(model_of(tmp_path), "the folder has no .safetensors file")
    cannot_load(model_of(tmp_path, gguf="a.gguf"), "the folder has no a.gguf")
    (tmp_path / "a.gguf").write_bytes(b"not a model")
    cannot_load(model_of(tmp_path, gguf="a.gguf"), "")
    shutil.copytree(folders[0], tmp_path / "cut")
    (tmp_path / "cut/model.safetensors").write_bytes((folders[0] / "model.safetensors").read_bytes()[:1000])
    cannot_load(model_of(tmp_path / "cut"), "")


def test_missing_weights_are_not_made_up(tmp_path, folders):
    from safetensors.torch import load_file, save_file

    shutil.copytree(folders[0], tmp_path / "part")
    weights = load_file(folders[0] / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "part/model.safetensors", {"format": "pt"})
    cannot_load(model_of(tmp_path / "part"), "1 of its weights are missing")


def test_a_model_that_is_no_language_model(tmp_path, tokenizer):
    config = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "vocab_size": 9,
    }
    BertModel(BertConfig(**config)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    cannot_load(model_of(tmp_path), "weights are missing")


def test_pickles_are_not_read(tmp_path, model, tokenizer):
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    cannot_load(model_of(tmp_path), "no .safetensors file")


def test_a_gpu_that_is_asked_for_and_missing(folders, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="asks for a GPU .* finds none here; .* or set `device: cpu` in a pair file"):
        loading.load(model_of(folders[0], device="cuda"))
    assert loading.load(model_of(folders[0], device="cpu"))[0].device.type == "cpu"


def test_a_model_that_is_on_the_cpu_though_there_is_a_gpu_is_refused(folders, monkeypatch):
    """Where all of a model is in one place, transformers does not say where."""
    monkeypatch.setattr(loading, "_device_map", lambda _: "auto")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UserError, match="does not fit onto the GPUs here, and would run in part on the CPU"):
        loading.load(model_of(folders[0]))


def test_results_of_weights_that_are_not_here(tmp_path, folders, tokenizer):
    tokenizer.save_pretrained(tmp_path)
    shutil.copy(folders[0] / "config.json", tmp_path)
    absent = model_of(tmp_path, fingerprint="0123abc")
    assert loading.fingerprint(absent) == "0123abc"
    assert loading.tokenizer(absent).get_vocab() == tokenizer.get_vocab()
    assert not loading.at_hand(absent) and loading.at_hand(model_of(folders[0]))
    cannot_load(absent, "its weights are not here, only results of it are")


def test_prefix_token_and_context_limit(make_tokenizer, model):
    both, eos, none = (
        make_tokenizer(bos_token="<s>", eos_token="</s>"),
        make_tokenizer(eos_token="</s>"),
        make_tokenizer(),
    )
    assert loading.prefix_token(both) == both.bos_token_id
    assert loading.prefix_token(eos) == eos.eos_token_id
    assert loading.prefix_token(none) is None
    assert loading.context_limit(model) == 64


def test_same_tokenizer(make_tokenizer):
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    first, again = make_tokenizer(**special), make_tokenizer(**special)
    assert loading.same_tokenizer(first, again) is None
    again.add_special_tokens({"additional_special_tokens": ["<|user|>"]})
    assert loading.same_tokenizer(first, again) is None
    other = make_tokenizer("a river of words", vocabulary=280, **special)
    assert loading.same_tokenizer(first, other) == f"their vocabularies differ ({len(first)} and {len(other)} tokens)"
    lower = make_tokenizer(**special)
    from tokenizers.normalizers import Lowercase

    lower.backend_tokenizer.normalizer = Lowercase()
    assert loading.same_tokenizer(first, lower) == "they cut the same text into different tokens"
    headless = make_tokenizer(**special)
    headless.bos_token = headless.eos_token = None
    assert loading.same_tokenizer(first, headless) == "only one of them has a token that begins a document"


def test_encode_adds_nothing(tokenizer):
    assert loading.encode(tokenizer, []) == []
    assert loading.encode(tokenizer, ["", "the"]) == [[], tokenizer.convert_tokens_to_ids(["the"])]


def test_parameters_are_counted_without_weights(folders, tmp_path):
    pair = models.pair(f"{folders[0]}::{folders[1]}")
    loaded, _ = loading.load(pair.models["Base"])
    assert loading.parameters(pair.models["Base"]) == sum(each.numel() for each in loaded.parameters())
    pocket = models.pair("pocket").models["Base"]
    assert loading.parameters(pocket) == sum(each.numel() for each in loading.load(pocket)[0].parameters())
    with pytest.raises(UserError, match="pair: the model"):
        loading.parameters(models.Model(str(tmp_path / "missing")))
