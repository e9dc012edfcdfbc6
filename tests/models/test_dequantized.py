"""GGUF files: read once, then from the store, with the same weights and tokens; and again where that is damaged."""

import json

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from safetensors import SafetensorError

from predact.build import check
from predact.errors import UserError
from predact.models import dequantized, loading, pairs, runs

TEXT = "the cat  sat on <s> the naïve café\n"


def write(path, tokenizer):
    """A random Llama of one layer, its matrices in 8 bits."""
    draw = np.random.default_rng(0)
    writer = GGUFWriter(path, "llama")
    for add, value in (
        (writer.add_block_count, 1),
        (writer.add_context_length, 64),
        (writer.add_embedding_length, 32),
        (writer.add_feed_forward_length, 64),
        (writer.add_head_count, 4),
        (writer.add_head_count_kv, 4),
        (writer.add_layer_norm_rms_eps, 1e-5),
        (writer.add_rope_freq_base, 1e4),
        (writer.add_vocab_size, len(tokenizer)),
        (writer.add_tokenizer_model, "gpt2"),
        (writer.add_token_list, sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)),
        (writer.add_token_types, [3] * 3 + [1] * (len(tokenizer) - 3)),
        (
            writer.add_token_merges,
            list(map(" ".join, json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"])),
        ),
        (writer.add_bos_token_id, tokenizer.bos_token_id),
        (writer.add_eos_token_id, tokenizer.eos_token_id),
        (writer.add_chat_template, "{{ messages[0].content }}"),
    ):
        add(value)
    sizes = dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (32, 32))
    sizes |= {"ffn_gate": (64, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
    matrices = {f"blk.0.{name}": size for name, size in sizes.items()} | {"token_embd": (len(tokenizer), 32)}
    for name, size in matrices.items():
        packed = gguf.quants.quantize(draw.normal(0, 0.3, size).astype(np.float32), GGMLQuantizationType.Q8_0)
        writer.add_tensor(f"{name}.weight", packed, raw_dtype=GGMLQuantizationType.Q8_0)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(32, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def model(tmp_path, tokenizer, monkeypatch):
    """A GGUF file, with a store."""
    write(tmp_path / "a.gguf", tokenizer)
    monkeypatch.setattr(loading, "_roots", [])
    loading.keep_in(tmp_path / "store")
    return pairs.Model(str(tmp_path), gguf="a.gguf")


def read(model):
    """Weights, configuration, tokens and chat template, as a process that has just begun reads them."""
    loading.config.cache_clear(), loading.tokenizer.cache_clear(), loading._announce.cache_clear()
    loaded, tokenizer = loading.load(model)
    assert loaded.name_or_path == loading.name(model)
    told = {name: value for name, value in loading.config(model).to_dict().items() if name != "_name_or_path"}
    return loaded.state_dict(), told, tokenizer(TEXT).input_ids, tokenizer.chat_template


def same(one, other):
    assert one[0].keys() == other[0].keys() and all(torch.equal(one[0][name], other[0][name]) for name in one[0])
    assert one[1] == other[1]
    return one[2:] == other[2:]


def test_a_gguf_file_is_read_once_then_from_the_store(model, tmp_path, capsys):
    mark, first = loading.fingerprint(model), read(model)
    assert "a GGUF file takes a minute" in capsys.readouterr().err
    assert len({float(each) for each in first[0]["model.norm.weight"]}) == 1 and first[2][-1] != first[2][0]
    again = read(model)
    assert same(first, again) and "GGUF" not in capsys.readouterr().err
    assert loading.fingerprint(model) == mark and loading.kept(model).parent == tmp_path / "store/dequantized"
    assert loading.kept(pairs.Model(model.source, gguf="a.gguf", dtype="bfloat16")) != loading.kept(model)
    assert not [*tmp_path.glob("store/dequantized/*.part"), *tmp_path.glob("store/dequantized/*.lock")]


def test_what_is_damaged_or_half_there_is_made_again(model, capsys):
    first, folder = read(model), loading.kept(model)
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    for damage in (
        lambda: weights.write_bytes(data),
        lambda: (folder / "tokenizer.json").unlink(),
        lambda: (folder / dequantized._LIST).write_text("[]"),
    ):
        damage()
        assert not dequantized.is_whole(folder)
        with pytest.warns(UserWarning, match="store: .* is damaged and is made again"):
            assert same(first, read(model))
        assert dequantized.is_whole(folder)
    folder.rename(folder.with_suffix(".part"))  # of a process that was killed
    assert same(first, read(model)) and dequantized.is_whole(folder) and not folder.with_suffix(".part").exists()


def test_a_full_disk_is_one_line_and_leaves_nothing_half_there(model, monkeypatch):
    def full(self, part):
        part.mkdir()
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(UserError, match=r"^store: cannot write to .*dequantized \(No space left on device\)"):
        read(model)
    assert list(loading.kept(model).parent.iterdir()) == []


def test_a_tokenizer_that_would_change_is_not_kept(model, monkeypatch):
    monkeypatch.setattr(dequantized, "_content", id)
    assert same(read(model), read(model)) and not loading.kept(model).exists()


def test_without_a_store_nothing_is_kept(model, monkeypatch, tmp_path):
    monkeypatch.setattr(loading, "_roots", [])
    assert loading.kept(model) is None and read(model) and not (tmp_path / "store").exists()


def test_check_names_the_folder_and_counts_it(model, monkeypatch, tmp_path):
    monkeypatch.setattr(check, "_time", lambda *_: iter(()))
    monkeypatch.setattr(check, "_template", lambda *_: iter(()))
    pair = pairs.Pair("mine", {"Base": model, "RLHF": model})
    found = [
        each.text for each in check.findings(runs.Run("mine", pair, runs.checked({}), "full", tmp_path / "store", 0))
    ]
    kept = loading.kept(model)
    assert f"RLHF: a GGUF file takes long to read; what it holds is read once and kept in {kept}." in found
    size = loading.parameters(model) * 4
    assert any(f" {check._bytes(size)} of dequantized GGUF files" in text for text in found)
