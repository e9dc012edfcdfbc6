"""What `predact check` finds: work counted by hand, mismatched tokenizers, odd templates, memory that ends."""

import shutil
from dataclasses import replace

import pytest

from predact.build import check
from predact.build.check import Rates, Work
from predact.models import loading, pairs

PLAIN = "{% for message in messages %}{{ message.content }} {% endfor %}"


@pytest.fixture
def pair(tmp_path, folders):
    """A pair whose RLHF can be asked."""
    for folder in folders:
        shutil.copytree(folder, tmp_path / folder.name)
    tokenizer = loading.tokenizer(pairs.Model(str(folders[0])))
    tokenizer.chat_template = PLAIN
    tokenizer.save_pretrained(tmp_path / "rlhf")
    tokenizer.chat_template = None
    return pairs.pair(f"{tmp_path / 'base'}::{tmp_path / 'rlhf'}")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(check, "_SECONDS", 0.01)


def told(pair):
    return [(finding.topic, finding.text) for finding in check.findings(pair)]


def warned(pair):
    return [finding.text for finding in check.findings(pair) if finding.warns]


def test_a_pair_without_fault(pair, tokenizer):
    found = told(pair)
    assert warned(pair) == []
    assert [topic for topic, _ in found] == sorted((topic for topic, _ in found), key=list(dict(found)).index)
    text = "\n".join(text for _, text in found)
    size = loading.parameters(pair.models["Base"])
    assert f"Base: {pair.models['Base'].source} (" in text and f"{size / 1e6:.1f} million parameters" in text
    assert "reads 64 tokens" in text and "They agree" in text
    assert f"{len(tokenizer):,} tokens; <s> (BOS) stands before a document; 7 ids of the output have no token" in text
    assert "RLHF: a chat template" in text and "takes a system role" in text
    assert "measured for ten seconds" in text


def test_no_weights_are_loaded_where_they_are_not_at_hand(pair, monkeypatch):
    monkeypatch.setattr(loading, "at_hand", lambda _: False)
    monkeypatch.setattr(loading, "load", lambda *_: pytest.fail("weights were loaded"))
    topic, text = told(pair)[-1]
    assert topic == "time" and text.startswith("Not measured: the weights are not here.")


def test_tokenizers_that_differ(tmp_path, pair, make_tokenizer):
    other = make_tokenizer("a river of words", vocabulary=290, bos_token="<s>", eos_token="</s>")
    other.chat_template = PLAIN
    other.save_pretrained(tmp_path / "rlhf")
    loading.tokenizer.cache_clear()
    (text,) = warned(pair)
    assert text.startswith("Base and RLHF: their vocabularies differ (300 and 270 tokens). What can be compared is")
    assert "bits per byte" in text


def test_odd_templates_and_tokens(tmp_path, pair, make_tokenizer, tokenizer):
    system = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + PLAIN
    bare = make_tokenizer(eos_token="</s>", pad_token="</s>")
    bare.chat_template = system
    bare.save_pretrained(tmp_path / "rlhf")
    loading.tokenizer.cache_clear()
    text = "\n".join(text for _, text in told(pair))
    assert "takes no system role, and needs none" in text
    assert "</s> (EOS) stands before a document; EOS is the padding token, which harms nothing" in text
    bare.chat_template = None
    bare.save_pretrained(tmp_path / "rlhf")
    (tmp_path / "rlhf/chat_template.jinja").unlink(missing_ok=True)
    larger = make_tokenizer(bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    larger.add_tokens([f"word{place}" for place in range(20)])
    larger.save_pretrained(tmp_path / "base")
    loading.tokenizer.cache_clear()
    found = " ".join(warned(pair))
    assert "RLHF: no chat template; it cannot be asked anything" in found
    assert "Base: 13 tokens are beyond the model's 307" in found


def test_memory_that_does_not_suffice(pair, monkeypatch):
    size = 4 * loading.parameters(pair.models["Base"])
    monkeypatch.setattr(check, "_device", lambda _: ("a box", size - 1))
    assert any("do not fit: take more GPUs" in text for text in warned(pair))
    monkeypatch.setattr(check, "_device", lambda _: ("a box", 2 * size))
    assert any("fewer generations are written at a time" in text for _, text in told(pair))


def test_a_gpu_asked_for_and_missing_is_told(pair, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    wanting = replace(pair, models={step: replace(model, device="cuda") for step, model in pair.models.items()})
    assert any("Not measured. pair: the model" in text and "asks for a GPU" in text for text in warned(wanting))


def test_work_counted_by_hand():
    given = {
        "02_a": {"documents": 10, "orders": 2, "updates": 9, "batch": 450},
        "03_b": {"documents": 3, "measured": 2, "max_new_tokens": 5}
        | {"prefixes": 4, "completion_tokens": 6, "unseen": ["x"]},
        "04_c": {"generations": 7, "max_new_tokens": 5},
        "06_d": {"positions": 11},
        "07_e": {"nudged": 2, "window": 3, "documents": 8, "generations": 9, "max_new_tokens": 4},
    }
    pair = replace(pairs.pair("pocket"), corpora=["a.txt", "real"])
    beginnings = (10 + 1 + 1) * 4 * 6
    scored = 3 * 10 * 10 * 500 + 2 * (10 * 3 * 500 + 80 * 2 * 5) + 3 * 4 * beginnings + 18 * 11
    scored += 2 * (6 + 3) * 80 * 2 * 3 + (10 * 8 * 500 + 80 * 2 * 5)
    sampled = 2 * 80 * 7 * 5 + 3 * beginnings + 6 * 80 * 2 * 3 + 80 * 9 * 4
    assert check.work(pair, given) == Work(scored, sampled, int(3 * 10 * 2.5 * 9 * 100))
    assert check.book_seconds(Work(100, 30, 10), Rates(5.0, 3.0)) == 26 + 10
