"""What `predact check` finds: work counted by hand, mismatched tokenizers, odd templates, memory that ends."""

import re
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from predact.build import check
from predact.build.check import Rates
from predact.claims.materials import Work
from predact.claims.verdict import claims
from predact.discussion import nudging
from predact.models import loading, pairs, runs

PLAIN = "{% for message in messages %}{{ message.content }} {% endfor %}"


@pytest.fixture
def run(tmp_path, folders):
    """A run of a pair whose RLHF can be asked."""
    for folder in folders:
        shutil.copytree(folder, tmp_path / folder.name)
    tokenizer = loading.tokenizer(pairs.Model(str(folders[0])))
    tokenizer.chat_template = PLAIN
    tokenizer.save_pretrained(tmp_path / "rlhf")
    tokenizer.chat_template = None
    return runs.run(f"{tmp_path / 'base'}::{tmp_path / 'rlhf'}", root=tmp_path / "store")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(check, "_SECONDS", 0.01)


def told(run):
    return [(finding.topic, finding.text) for finding in check.findings(run)]


def warned(run):
    return [finding.text for finding in check.findings(run) if finding.warns]


def test_a_pair_without_fault(run, tokenizer):
    found = told(run)
    assert warned(run) == []
    assert [topic for topic, _ in found] == sorted((topic for topic, _ in found), key=list(dict(found)).index)
    text = "\n".join(text for _, text in found)
    size = loading.parameters(run.pair.models["Base"])
    assert f"Base: {run.pair.models['Base'].source} (" in text and f"{size / 1e6:.1f} million parameters" in text
    assert "reads 64 tokens" in text and "They agree" in text
    assert f"{len(tokenizer):,} tokens; <s> (BOS) stands before a document; 7 ids of the output have no token" in text
    assert "RLHF: a chat template" in text and "takes a system role" in text
    assert "Loading Base and measuring it" in found[-2][1] and re.search(
        r"\(loaded in \d+ s, measured for \d+ s\)", text
    )
    work = check.total(run)
    assert "Scale: full." in text and f"{work.scored:,.0f} tokens to score, {work.sampled:,.0f} to sample" in text
    assert f"{work.learned:,.0f} tokens to learn from, in finetuning." in text


def test_no_weights_are_loaded_where_they_are_not_at_hand(run, monkeypatch):
    monkeypatch.setattr(loading, "at_hand", lambda _: False)
    monkeypatch.setattr(loading, "load", lambda *_: pytest.fail("weights were loaded"))
    topic, text = told(run)[-1]
    assert topic == "time" and text.startswith("Not measured: the weights are not here.")


def test_what_a_scheduler_must_know_is_what_is_told_to_people(run, monkeypatch):
    found, text = check.estimates(run), "\n".join(text for _, text in told(run))
    scored, sampled, learned = (f"{found['tokens'][name]:,.0f}" for name in ("scored", "sampled", "learned"))
    assert f"{scored} tokens to score, {sampled} to sample" in text and f"{learned} tokens to learn from" in text
    assert f"The store takes {check._bytes(found['disk'])} at most" in text and found["seconds"] > 0
    weights, cache = re.search(r"(\d+) MB of weights in float32, (\d+) MB of cache", text).groups()
    assert found["memory"] / 1e6 == pytest.approx(int(weights) + int(cache), abs=1)
    monkeypatch.setattr(loading, "at_hand", lambda _: False)
    assert check.estimates(run) == found | {"seconds": None}


@pytest.mark.parametrize(("seconds", "runs"), [(9, 1), (2, 4)])
def test_a_run_that_takes_longer_than_the_measurement_is_the_measurement(monkeypatch, seconds, runs):
    """The first run warms up, unless it is enough; the rate is that of what is counted."""
    clock, done = [0.0], []
    monkeypatch.setattr(check, "_SECONDS", 5)
    monkeypatch.setattr(check.time, "perf_counter", lambda: clock[0])

    def run():
        clock[0] += seconds
        done.append(1)
        return 18

    assert check._rate(run) == 18 / seconds and len(done) == runs


def test_an_adapter_and_a_model_of_more_than_text_are_called_so(run, monkeypatch):
    text = loading.config(run.pair.models["Base"])
    seeing = SimpleNamespace(get_text_config=lambda: text)
    base = run.pair.models["Base"]
    plain = check._about("Base", base, text, 7_000_000)
    assert f"{base.source} (" in plain and "), Llama, 7.0 million parameters, reads" in plain
    for name, value in (("base_of", base), ("fingerprint", "f" * 64), ("limit", 9)):
        monkeypatch.setattr(loading, name, lambda model, value=value: value)
    named = check._about("Base", base, seeing, 7_000_000)
    assert f"), an adapter on {base.source}, the text model of SimpleNamespace, 7.0 million parameters" in named


def test_tokenizers_that_differ(tmp_path, run, make_tokenizer):
    other = make_tokenizer("a river of words", vocabulary=290, bos_token="<s>", eos_token="</s>")
    other.chat_template = PLAIN
    other.save_pretrained(tmp_path / "rlhf")
    loading.tokenizer.cache_clear()
    (text,) = warned(run)
    assert text.startswith("Base and RLHF: their vocabularies differ (300 and 270 tokens). What can be compared is")
    assert "bits per byte" in text


def test_odd_templates_and_tokens(tmp_path, run, make_tokenizer, tokenizer):
    system = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + PLAIN
    bare = make_tokenizer(eos_token="</s>", pad_token="</s>")
    bare.chat_template = system
    bare.save_pretrained(tmp_path / "rlhf")
    loading.tokenizer.cache_clear()
    text = "\n".join(text for _, text in told(run))
    assert "takes no system role, and needs none" in text
    assert "</s> (EOS) stands before a document; EOS is the padding token, which harms nothing" in text
    bare.chat_template = None
    bare.save_pretrained(tmp_path / "rlhf")
    (tmp_path / "rlhf/chat_template.jinja").unlink(missing_ok=True)
    larger = make_tokenizer(bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    larger.add_tokens([f"word{place}" for place in range(20)])
    larger.save_pretrained(tmp_path / "base")
    loading.tokenizer.cache_clear()
    found = " ".join(warned(run))
    assert "RLHF: no chat template; it cannot be asked anything" in found
    assert "Base: 13 tokens are beyond the model's 307" in found


def test_a_base_that_has_read_answers_and_its_earlier_checkpoint_are_told(run):
    models = {pairs.PRETRAINED: run.pair.models["Base"], **run.pair.models}
    found = list(check.findings(replace(run, pair=replace(run.pair, models=models, midtrained=True))))
    assert any("Base has read texts like answers" in each.text for each in found if each.warns)
    assert not any(each.text.startswith("Pretrained: no chat template") for each in found), "it needs none"


def test_a_template_that_makes_its_model_think_first_is_told(tmp_path, run):
    def said(written, **more):
        (tmp_path / "rlhf/chat_template.jinja").write_text(written)
        loading.tokenizer.cache_clear()
        models = run.pair.models | {"RLHF": replace(run.pair.models["RLHF"], **more)}
        return " ".join(warned(replace(run, pair=replace(run.pair, models=models))))

    switch = "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}"
    assert "RLHF: its chat template begins every answer with a thought, <think>. What it thinks is" in said(
        PLAIN + switch
    )
    assert "has a switch, thinking, which the pair does not set" in said(PLAIN + "{% if thinking %}{% endif %}")
    assert said(PLAIN + switch, template={"enable_thinking": False}) == ""


def test_memory_that_does_not_suffice(run, monkeypatch):
    size = 4 * loading.parameters(run.pair.models["Base"])
    monkeypatch.setattr(check, "_device", lambda _: ("a box", size - 1))
    assert any("do not fit: take more GPUs" in text for text in warned(run))
    monkeypatch.setattr(check, "_device", lambda _: ("a box", 2 * size))
    assert any("fewer generations are written at a time" in text for _, text in told(run))


def test_a_gpu_asked_for_and_missing_is_told(run, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    models = {step: replace(model, device="cuda") for step, model in run.pair.models.items()}
    wanting = replace(run, pair=replace(run.pair, models=models))
    assert any("Not measured. pair: the model" in text and "asks for a GPU" in text for text in warned(wanting))


def test_work_counted_by_hand():
    told = {"corpora": ["a.txt", "real"], "documents": 10, "orders": 2, "updates": 9, "batch": 450, "targets_limit": 4}
    told |= {"generations": 7, "measured": 2, "max_new_tokens": 5, "prefixes": 4, "completion_tokens": 6}
    told |= {"unseen": ["x"], "probe_positions": 11, "nudged": 2, "window": 3, "passages": 8, "diversity_prompts": 0}
    beginnings = (10 + 1 + 1) * 4 * 6
    scored = 3 * 10 * 10 * 500 + 3 * (10 * 10 * 500 + 80 * 2 * 5) + 3 * 4 * beginnings + 30 * 11 + 3 * 8 * 100
    matched = 4 + 5  # other p than that of the run: of RLHF, of Base
    begun = 2 * 6 * 2 * 6  # 4 * 11 tokens in texts of 6, begun by documents of the six corpora of pretraining text
    sampled = (3 + matched) * 80 * 7 * 5 + 3 * beginnings + begun
    greedy, at_matched = 2 * 80 * 5, 80 * 2 * 5  # Base and RLHF; Base's at the p that is matched
    scored, sampled = scored + greedy + at_matched, sampled + greedy
    near = 80 * 2 * 3
    scored, sampled = scored + 2 * (len(nudging.COUNTS) + 3) * near, sampled + len(nudging.COUNTS) * near
    assert check.total(runs.run("pocket", "full", **told)) == Work(scored, sampled, 3 * 4 * 2.5 * 9 * 100)
    assert check.book_seconds(Work(100, 30, 10), Rates(5.0, 3.0)) == 26 + 10


def test_what_several_claims_need_is_counted_once():
    run = runs.run("pocket", "laptop")
    of_claims = {id: claim.work(run) for id, claim in claims().items()}
    shared = of_claims["C3"]
    assert shared == of_claims["C4"] and shared.keys() == {"generations", "conditions"}
    assert of_claims["C6"].keys() == {"generations", "matched generations"}
    assert of_claims["C6"]["generations"] == of_claims["C7"]["generations"] == shared["generations"]
    assert of_claims["C9"] == of_claims["C12"]
    materials = {name: work for works in of_claims.values() for name, work in works.items()}
    names = {"documents", "finetunings", "generations", "matched generations", "conditions", "completions", "probes"}
    names |= {"last words"}
    assert materials.keys() == names | {"beginnings", "greedy"}
    for column in Work._fields:
        more = getattr(nudging.work(run), column)
        assert getattr(check.total(run), column) == sum(getattr(each, column) for each in materials.values()) + more


def test_a_smaller_scale_is_less_work():
    classroom, laptop, full = (check.total(runs.run("pocket", scale)) for scale in ("classroom", "laptop", "full"))
    assert all(a < b < c for a, b, c in zip(classroom, laptop, full, strict=True))
