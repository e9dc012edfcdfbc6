"""Loading: what comes back, what it is known by, and what is refused."""

import copy
import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertLMHeadModel, BertModel, dynamic_module_utils

from predact.build import execute
from predact.errors import UserError
from predact.models import loading, pairs


def model_of(folder, **settings):
    return pairs.Model(str(folder), **settings)


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
    assert loading.fingerprint(pairs.Model("org/name", "v1")) == "org/name@sha-of-v1"
    assert loading.fingerprint(pairs.Model("org/name", "v1", gguf="a.gguf")) == "org/name@sha-of-v1/a.gguf"


def test_a_hub_id_without_network_is_found_in_the_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--org--cached"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(commit)
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "snapshots" / commit / "config.json").write_text("{}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert loading.fingerprint(pairs.Model("org/cached")) == f"org/cached@{commit}"


def cannot_load(model, message):
    with pytest.raises(UserError, match=r"^pair: the model '.*' cannot be loaded \(") as error:
        loading.load(model)
    assert message in str(error.value)
    assert "name a folder with safetensors weights, a .gguf file, or the hub id" in str(error.value)
    assert "\n" not in str(error.value)


def test_models_that_cannot_be_loaded(tmp_path, folders, tokenizer, capsys):
    cannot_load(pairs.Model("/no/such/folder"), "there is no such folder")
    cannot_load(pairs.Model("org/name-that-nobody-has"), "there is no such folder, and on the hub: ")
    cannot_load(model_of(tmp_path), "the folder has no .safetensors file")
    cannot_load(model_of(tmp_path, gguf="a.gguf"), "the folder has no a.gguf")
    (tmp_path / "a.gguf").write_bytes(b"not a model")
    assert "reading" not in capsys.readouterr().err
    cannot_load(model_of(tmp_path, gguf="a.gguf"), "")
    cannot_load(model_of(tmp_path, gguf="a.gguf"), "")
    told = f"predact: reading {tmp_path}/a.gguf; a GGUF file takes a minute, or several.\n"
    assert capsys.readouterr().err.count(told) == 1, "said, and said once"
    shutil.copytree(folders[0], tmp_path / "cut")
    (tmp_path / "cut/model.safetensors").write_bytes((folders[0] / "model.safetensors").read_bytes()[:1000])
    cannot_load(model_of(tmp_path / "cut"), "")


@pytest.mark.parametrize("name", ["~nosuchuser/x", "a" * 5000, "a\0b", "\udcff", "loop", "package:" + "a" * 5000])
def test_names_of_nothing_take_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    for read in (loading.load, loading.fingerprint, loading.tokenizer):
        with pytest.raises(
            UserError, match=r"^pair: the model '.*' cannot be loaded \(there is no such folder"
        ) as error:
            read(pairs.Model(name))
        assert "\n" not in str(error.value) and len(str(error.value)) < 1000


def test_a_folder_with_odd_files_is_a_model(tmp_path, folders):
    shutil.copytree(folders[0], tmp_path / "odd")
    before = loading.fingerprint(model_of(tmp_path / "odd"))
    (tmp_path / "odd/loop.json").symlink_to("loop.json")
    (tmp_path / "odd/sub.json").mkdir()
    assert loading.fingerprint(model_of(tmp_path / "odd")) == before == loading.fingerprint(model_of(folders[0]))
    Path(os.fsdecode(os.fsencode(tmp_path / "odd") + b"/\xff.json")).write_text("{}")
    assert loading.fingerprint(model_of(tmp_path / "odd")) != before
    assert loading.load(model_of(tmp_path / "odd"))


def test_missing_weights_are_not_made_up(tmp_path, folders):
    from safetensors.torch import load_file, save_file

    shutil.copytree(folders[0], tmp_path / "part")
    weights = load_file(folders[0] / "model.safetensors")
    del weights["model.norm.weight"]
    save_file(weights, tmp_path / "part/model.safetensors", {"format": "pt"})
    cannot_load(model_of(tmp_path / "part"), "1 of its weights are missing")


def changed(folders, place, config=None, drop=(), **weights):
    """A model folder whose weights, or configuration, are others."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folders[0], place)
    held = load_file(place / "model.safetensors") | weights
    save_file({each: held[each] for each in held if each not in drop}, place / "model.safetensors", {"format": "pt"})
    told = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps(told | (config or {})))
    return model_of(place)


def test_weights_that_the_configuration_does_not_use_are_refused(tmp_path, folders):
    cut = changed(folders, tmp_path / "cut", {"num_hidden_layers": 1})
    cannot_load(cut, "its configuration has no place for 9 of its weights, such as model.layers.1.")
    biased = changed(folders, tmp_path / "bias", **{"model.layers.0.self_attn.q_proj.bias": torch.zeros(32)})
    cannot_load(biased, "has no place for 1 of its weights, such as model.layers.0.self_attn.q_proj.bias")
    names = ("model.layers.0.self_attn.rotary_emb.inv_freq", "v_head.summary.weight", "vision_tower.patch.weight")
    whole = changed(folders, tmp_path / "whole", **{name: torch.zeros(4) for name in names})
    logits = [loading.load(each)[0](torch.tensor([[5, 6]])).logits for each in (whole, model_of(folders[0]))]
    assert torch.equal(*logits)


def test_a_model_that_sees_what_it_is_to_predict_is_refused(tmp_path, tokenizer):
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    for decoder in (False, True):
        config = BertConfig(**sizes, vocab_size=len(tokenizer), max_position_embeddings=64, is_decoder=decoder)
        torch.manual_seed(0)
        BertLMHeadModel(config).save_pretrained(tmp_path)
        tokenizer.save_pretrained(tmp_path)
        if decoder:
            assert loading.load(model_of(tmp_path))
        else:
            cannot_load(model_of(tmp_path), "it sees what it is to predict")


def test_a_tokenizer_that_is_larger_than_its_model(tmp_path, folders, make_model, make_tokenizer):
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    make_tokenizer(**special).save_pretrained(tmp_path)
    make_model(vocab_size=290).save_pretrained(tmp_path)
    cannot_load(model_of(tmp_path), "its tokenizer has 10 tokens that it does not know, such as ")
    shutil.copytree(folders[0], tmp_path / "chat")
    for template, fits in ((None, True), ("{{ messages }}<|new|>", False)):
        own = make_tokenizer(**special)
        own.add_special_tokens({"additional_special_tokens": [f"<|{word}|>" for word in "abcdefg"] + ["<|new|>"]})
        own.chat_template = template
        own.save_pretrained(tmp_path / "chat")
        loading.tokenizer.cache_clear()
        if fits:
            assert loading.load(model_of(tmp_path / "chat"))
        else:
            cannot_load(
                model_of(tmp_path / "chat"), "its tokenizer has 1 tokens that it does not know, such as '<|new|>'"
            )


@pytest.fixture
def adapter(tmp_path, folders):
    """A folder with an adapter of the Base, which stands in another one, and what the two give when merged."""
    import peft

    shutil.copytree(folders[0], tmp_path / "base")
    base = loading.load(model_of(tmp_path / "base"))[0]
    torch.manual_seed(0)
    adapted = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter", adapted.merge_and_unload()


def test_an_adapter_is_merged_into_its_base(tmp_path, adapter, tokenizer, folders):
    folder, merged = adapter
    model, base = model_of(folder), model_of(tmp_path / "base")
    ids = torch.tensor([[5, 6, 7]])
    logits = [each(ids).logits for each in (loading.load(model)[0], merged, loading.load(base)[0])]
    torch.testing.assert_close(logits[0], logits[1], atol=1e-5, rtol=1e-5)
    assert (logits[0] - logits[2]).abs().max() > 0.1 and loading.load(model)[0].name_or_path == str(folder)
    assert loading.base_of(model) == base and loading.base_of(base) is None and loading.at_hand(model)
    assert loading.parameters(model) == loading.parameters(base) and loading.limit(model) == loading.limit(base)
    assert loading.tokenizer(model).get_vocab() == tokenizer.get_vocab() and not loading.tokenizer(model).chat_template
    tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    loading.tokenizer.cache_clear()
    assert loading.tokenizer(model).chat_template == "{{ messages }}", "its own comes first"
    marks = [loading.fingerprint(model), loading.fingerprint(base)]
    told = json.loads((tmp_path / "base/config.json").read_text())
    (tmp_path / "base/config.json").write_text(json.dumps(told | {"rms_norm_eps": 1e-4}))
    assert not {loading.fingerprint(model), loading.fingerprint(base)} & {*marks}, "another Base is another model"
    pair = {"pair": f"{folders[1]}::{folder}"}
    assert str(tmp_path / "base/model.safetensors") in {name for name, *_ in execute._files(tmp_path, pair)}


def test_adapters_upon_adapters_and_on_the_hub(tmp_path, adapter, monkeypatch):
    import peft

    first, merged = adapter
    second = peft.get_peft_model(copy.deepcopy(merged), peft.LoraConfig(r=1, target_modules=["q_proj"]))
    torch.nn.init.normal_(second.base_model.model.model.layers[0].self_attn.q_proj.lora_B["default"].weight)
    second.save_pretrained(tmp_path / "second")
    (tmp_path / "pair.yaml").write_text(
        "models:\n  Base: base\n  SFT: {source: adapter, on: Base}\n  RLHF: {source: second, on: SFT}\n"
    )
    models = pairs.pair(str(tmp_path / "pair.yaml")).models
    assert models["SFT"].on == models["Base"] and models["RLHF"].on == models["SFT"]
    ids = torch.tensor([[5, 6, 7]])
    for step, expected in (("SFT", merged), ("RLHF", second.merge_and_unload())):
        found = loading.load(models[step])[0](ids).logits
        torch.testing.assert_close(found, expected(ids).logits, atol=1e-5, rtol=1e-5)
    assert loading.parameters(models["RLHF"]) == loading.parameters(models["Base"])
    marks = {loading.fingerprint(each) for each in models.values()}
    assert len(marks) == 3 and loading.tokenizer(models["RLHF"]).get_vocab()
    monkeypatch.setattr(loading, "_commit", lambda source, revision, file: (f"{source} {file}", True))
    asked = []
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda source, **how: asked.append((source, how["revision"])) or str(first)
    )
    online = pairs.Model("org/adapter", on=models["Base"])
    torch.testing.assert_close(loading.load(online)[0](ids).logits, merged(ids).logits, atol=1e-5, rtol=1e-5)
    assert asked == [("org/adapter", "org/adapter adapter_config.json")]
    assert loading.fingerprint(online).endswith(f" on {loading.fingerprint(models['Base'])}")


def test_an_adapter_that_does_not_fit_is_refused_in_one_line(tmp_path, adapter):
    from safetensors.torch import load_file, save_file

    folder, model = adapter[0], model_of(adapter[0])
    told, held = (
        json.loads((folder / "adapter_config.json").read_text()),
        load_file(folder / "adapter_model.safetensors"),
    )
    first = min(held)
    for weights in ({name: each for name, each in held.items() if name != first}, held | {"strange": torch.zeros(1)}):
        save_file(weights, folder / "adapter_model.safetensors")
        cannot_load(model, "the adapter: its weights are not what its configuration tells: ")
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    cannot_load(model, "the adapter: No such file")
    with pytest.raises(UserError, match=r"the folder has no adapter_model\.safetensors"):
        loading.fingerprint(model)
    for named, why in ((None, "names no Base"), (str(folder), "its Base is no whole model: it is an adapter (PEFT)")):
        (folder / "adapter_config.json").write_text(json.dumps(told | {"base_model_name_or_path": named}))
        cannot_load(model, why)
    (folder / "adapter_config.json").write_text("[" * 9)
    cannot_load(model, "its adapter_config.json names no Base")


CODE = """
from transformers import LlamaConfig, LlamaForCausalLM
class Mine(LlamaConfig):
    model_type = "mine"
class MineLM(LlamaForCausalLM):
    config_class = Mine
open("{mark}", "a").write("ran")
"""


def test_code_of_a_model_runs_only_if_it_is_trusted(tmp_path, folders, monkeypatch):
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    own = {"AutoConfig": "mine.Mine", "AutoModelForCausalLM": "mine.MineLM"}
    model = changed(folders, tmp_path / "mine", {"model_type": "mine", "auto_map": own})
    (tmp_path / "mine/mine.py").write_text(CODE.replace("{mark}", str(tmp_path / "mark")))
    cannot_load(model, "it comes with code of its own, which runs only if its pair file says `trust_remote_code: true`")
    assert not (tmp_path / "mark").exists()
    trusted = replace(model, trust_remote_code=True)
    first = loading.key(trusted)
    assert type(loading.load(trusted)[0]).__name__ == "MineLM" and (tmp_path / "mark").exists()
    (tmp_path / "mine/mine.py").write_text("import nosuchmodule")
    assert loading.key(trusted)["code"] != first["code"]
    cannot_load(trusted, "nosuchmodule")


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


def test_parameters_are_counted_without_weights(folders, tmp_path):
    pair = pairs.pair(f"{folders[0]}::{folders[1]}")
    loaded, _ = loading.load(pair.models["Base"])
    assert loading.parameters(pair.models["Base"]) == sum(each.numel() for each in loaded.parameters())
    pocket = pairs.pair("pocket").models["Base"]
    assert loading.parameters(pocket) == sum(each.numel() for each in loading.load(pocket)[0].parameters())
    with pytest.raises(UserError, match="pair: the model"):
        loading.parameters(pairs.Model(str(tmp_path / "missing")))
