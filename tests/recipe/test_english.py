"""The recipe of real language on a random model: what is read, what is left out, and all stages at a tiny scale."""

import copy
import gzip
import json
from itertools import islice

import pandas as pd
import pytest
import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig

from predact.errors import UserError
from predact.models import loading, pairs
from predact.recipe import chats, english, training
from predact.texts.corpora import Corpus


def conversation(*said):
    return "".join(f"\n\n{'Human' if place % 2 == 0 else 'Assistant'}: {text}" for place, text in enumerate(said))


def written(path, records):
    text = "".join(json.dumps(record) + "\n" for record in records)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_turns_of_a_conversation():
    assert chats.turns(conversation("Hi", "Hello.\n\nHow are you?", "Fine: Human: or not")) == [
        ("user", "Hi"),
        ("assistant", "Hello.\n\nHow are you?"),
        ("user", "Fine: Human: or not"),
    ]
    assert chats.turns("\n\nAssistant: I begin") == [] == chats.turns(conversation("a", "b") + "\n\nAssistant: c")


def test_a_comparison_is_of_two_replies_to_one_conversation():
    found = chats.comparison(conversation("a", "b", "c", "good"), conversation("a", "b", "c", "bad"))
    assert found == chats.Comparison(chats.Chat((("user", "a"), ("assistant", "b"), ("user", "c"))), "good", "bad")
    for other in (("a", "b", "d", "bad"), ("a", "b", "c", "good"), ("a", "bad"), ("a", "b", "c", "")):
        assert chats.comparison(conversation("a", "b", "c", "good"), conversation(*other)) is None, other


def test_what_is_asked_elsewhere_is_in_no_training_data(tmp_path):
    records = [
        {"chosen": conversation(first, "x"), "rejected": conversation(first, "y")}
        for first in ("One?", "Two?", "Three?")
    ]
    paths = [written(tmp_path / "a.jsonl.gz", records), written(tmp_path / "b.jsonl", records[:1])]
    assert len(chats.comparisons(paths)) == 3, "each once"
    prompts = written(tmp_path / "p.jsonl", [{"turns": ["two?"]}])
    talks = written(tmp_path / "t.jsonl", [{"text": "User: Three?\n\nAssistant: Yes.\n\nUser: One?"}])
    found = chats.comparisons(paths, chats.first_turns([prompts, talks]))
    assert [each.chat.turns[0][1] for each in found] == ["One?"]


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "cannot be read"), ('{"chosen": "a"}', "line 1"), ('{"chosen": "a", "rejected": "b"}', "no conversation")],
)
def test_a_bad_file_is_one_clear_line(tmp_path, text, told):
    (tmp_path / "bad.jsonl").write_text(text + "\n")
    with pytest.raises(UserError, match=told) as raised:
        chats.comparisons([tmp_path / "bad.jsonl"])
    assert str(raised.value).startswith("preferences:") and "\n" not in str(raised.value)


def test_a_conversation_keeps_its_part():
    found = [chats.part(chats.Chat((("user", f"Question {number}"),))) for number in range(2000)]
    assert 50 < found.count("held out") < 150
    first = chats.Chat((("user", "A  question"), ("assistant", "b"), ("user", "c")))
    assert chats.part(first) == chats.part(chats.Chat((("user", "a Question"),)))


def test_the_rule_that_picks_a_model():
    rows = [{"step": 0, "kl": 0.0, "reward": 0.1}, {"step": 10, "kl": 9.0, "reward": 0.5}]
    rows += [{"step": 20, "kl": 12.0, "reward": 0.5}, {"step": 30, "kl": 31.0, "reward": 0.9}]
    assert english.chosen(rows, 30)["step"] == 10 and english.chosen(rows, 40)["step"] == 30
    assert english.chosen(rows[3:] + rows[:1], 5)["step"] == 0


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A random Gemma 3 with a small vocabulary that knows Gemma's turns."""
    tokenizer = training.train_tokenizer([each.text for each in islice(training.documents("train"), 60)])
    tokenizer.add_special_tokens({"additional_special_tokens": ["<start_of_turn>", english.END]})
    torch.manual_seed(0)
    model = Gemma3ForCausalLM(
        Gemma3TextConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=2, head_dim=8,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, sliding_window=64,
            pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )  # fmt: skip
    tokenizer.chat_template = None
    folder = tmp_path_factory.mktemp("base")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture()
def work(base, tmp_path):
    records = [
        {
            "chosen": conversation(f"Question {n}?", f"A good reply {n}."),
            "rejected": conversation(f"Question {n}?", "No."),
        }
        for n in range(80)
    ]
    compared = chats.comparisons([written(tmp_path / "c.jsonl", records)])
    texts = (Corpus("news", "", ["Human words again.", "Replies."], None, ""),)
    model = pairs.pair(pairs.spelled(str(base), str(base))).models["Base"]
    return english.Work(tmp_path / "out", model, english.scales()["miniature"], tuple(compared), texts)


def test_replies_end_with_their_turn_and_long_chats_are_left_out(work):
    _, tokenizer = work.load("base")
    (first,) = english.rows_of(tokenizer, work.compared[:1], 256)
    text = tokenizer.decode(first.prompt + first.answers[0])
    assert (
        text == f"<s><start_of_turn>user\nQuestion 0?{english.END}\n<start_of_turn>model\nA good reply 0.{english.END}"
    )
    assert english.rows_of(tokenizer, work.compared, len(first.prompt)) == []
    batch = next(english.demonstrations(tokenizer, [first], 1, 0))
    learned = batch.ids[0][batch.learned[0].roll(1)]
    assert tokenizer.decode(learned) == f"A good reply 0.{english.END}"


def test_all_stages_of_real_language(work):
    out = english.make(work)
    for name in ("rlhf-seed0", "rlhf-seed1", "dpo"):
        run = pd.read_parquet(out / f"{name}.parquet")
        assert run.kl[0] == pytest.approx(0, abs=1e-3) and run["perplexity/news"].notna().all()
        card = json.loads((out / name / "recipe.json").read_text())
        assert card["step"] == english.chosen(run.to_dict("records"), 30)["step"]
        assert len(run) == (2 if name == "rlhf-seed1" else 3), "seed 1 at half scale"
    stamp = (out / "sft" / "adapter_model.safetensors").stat().st_mtime_ns
    assert english.make(work) == out and (out / "sft" / "adapter_model.safetensors").stat().st_mtime_ns == stamp
    assert not list(out.glob("*.tmp"))


def test_the_pair_that_is_left_is_read_as_any_other(work):
    pair = pairs.pair(str(english.make(work) / "pair.yaml"))
    (sft, tokenizer), (rlhf, _), (base, plain) = (loading.load(pair.models[step]) for step in ("SFT", "RLHF", "Base"))
    assert tokenizer.chat_template == english.TEMPLATE and plain.chat_template is None
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        logits = [model(ids).logits for model in (base, sft, rlhf)]
    assert not torch.allclose(logits[0], logits[1], atol=1e-6)
    again, _ = work.load("sft")
    with torch.no_grad():
        assert torch.allclose(again(ids).logits, logits[1], atol=1e-6)


def test_an_adapter_that_is_not_trained_changes_nothing(work):
    model, _ = work.load("base")
    before = copy.deepcopy(model)
    english.adapted(model, 2, 0)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(before(ids).logits, model(ids).logits)
    changed = [name for name, each in model.named_parameters() if each.requires_grad]
    assert changed and all("lora" in name for name in changed)
