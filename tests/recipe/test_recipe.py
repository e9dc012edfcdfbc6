"""The recipe's parts on an untrained model: layout, sampling, rewards, optimizers, and all stages at a tiny scale."""

import copy
import json
import random
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from transformers import LlamaConfig
from typer.testing import CliRunner

from predact.figures import prediction as prediction_figures
from predact.pocket import human, shipped
from predact.recipe import answers, recipe, rewards, rlhf, training, trajectory


@pytest.fixture(scope="module")
def tokenizer():
    return training.train_tokenizer(list(islice(training.documents("train"), 300)))


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """New models have two layers of half the width: what is tested here holds for any."""
    narrow = {"hidden_size": 96, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    monkeypatch.setattr(training, "LlamaConfig", lambda **given: LlamaConfig(**given | narrow))


@pytest.fixture()
def model(tokenizer, narrow):
    return training.new_model(tokenizer, seed=0).eval()


@pytest.fixture()
def short(monkeypatch):
    for module in (answers, rlhf):
        monkeypatch.setattr(module, "ANSWER_TOKENS", 12)


def test_the_tokenizer_gives_back_every_text(tokenizer):
    texts = [*islice(training.documents("test"), 90), "Zürich, 1815: 日本語 <s> |user|"]
    for text in texts[:-1]:
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
    assert len(tokenizer) <= training.VOCABULARY


def test_a_chat_prompt_has_one_bos_and_ends_where_the_answer_begins(tokenizer):
    ids = answers.chat(tokenizer, human.questions("test")[0])
    assert ids.count(tokenizer.bos_token_id) == 1 and ids[0] == tokenizer.bos_token_id
    assert tokenizer.convert_ids_to_tokens(ids[-1]) == training.ASSISTANT
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "<s><|user|>a<|assistant|>b</s>"


def test_batches_hold_whole_documents_between_bos_and_eos(tokenizer):
    ids, labels = next(training.document_batches(tokenizer, tokens=2000, seed=0, pool=18))
    for row, label in zip(ids.tolist(), labels.tolist(), strict=True):
        end = row.index(tokenizer.eos_token_id)
        assert row[0] == tokenizer.bos_token_id and set(row[end + 1 :]) <= {tokenizer.pad_token_id}
        assert label[: end + 1] == row[: end + 1] and set(label[end + 1 :]) <= {-100}


def test_only_answers_are_labelled(tokenizer):
    ids, labels = answers.labelled(tokenizer, [[1, 7], [1, 7, 8]], [[9, 1], [5]])
    pad = tokenizer.pad_token_id
    assert ids.tolist() == [[1, 7, 9, 1], [1, 7, 8, 5]]
    assert labels.tolist() == [[-100, -100, 9, 1], [-100, -100, -100, 5]]
    assert answers.labelled(tokenizer, [[1], [1, 7, 8]], [[9], [5]])[0].tolist() == [[1, 9, pad, pad], [1, 7, 8, 5]]


def test_log_probabilities_are_those_of_the_answer_tokens(tokenizer, model):
    prompt, answer = [0, 30, 31], [40, 41, 1]
    logits = model(torch.tensor([prompt + answer])).logits[0].double().log_softmax(-1)
    expected = sum(logits[len(prompt) - 1 + i, token].item() for i, token in enumerate(answer))
    batch = answers.labelled(tokenizer, [prompt, [0]], [answer, [50] * 7])
    with torch.no_grad():
        assert answers.log_probabilities(model, *batch)[0].item() == pytest.approx(expected, rel=2e-3)  # bfloat16


def head_of_its_own(model, deviation):
    """Likely and unlikely tokens, the more so the larger the deviation of the head's weights."""
    torch.manual_seed(0)
    model.lm_head = torch.nn.Linear(model.config.hidden_size, model.config.vocab_size, bias=False)
    torch.nn.init.normal_(model.lm_head.weight, std=deviation)


def test_sampled_tokens_follow_the_model(tokenizer, model, monkeypatch):
    """First tokens of many answers to one question, by chi-square against the model's own probabilities."""
    monkeypatch.setattr(answers, "ANSWER_TOKENS", 2)
    asked = human.questions("test")[:1]
    head_of_its_own(model, 0.25)
    with torch.no_grad():
        probability = model(torch.tensor([answers.chat(tokenizer, asked[0])])).logits[0, -1].double().softmax(-1)
    drawn = answers.sample(model, tokenizer, asked, 2000, seed=1)
    counts = torch.bincount(torch.tensor([ids[0] for ids in drawn.ids]), minlength=len(probability))
    likely = probability * 2000 > 10
    expected = torch.cat([probability[likely] * 2000, (probability[~likely].sum() * 2000)[None]])
    seen = torch.cat([counts[likely].double(), counts[~likely].sum().double()[None]])
    chi_square = ((seen - expected) ** 2 / expected).sum().item()
    freedom = len(expected) - 1
    assert freedom >= 5 and chi_square < freedom + 4 * np.sqrt(2 * freedom)


def test_rows_of_different_prompts_are_sampled_as_if_alone(tokenizer, model, short):
    """Left padding and ended rows that leave do not change the distribution: greedy choices stay the same."""
    head_of_its_own(model, 1e4)  # as good as greedy
    asked = human.questions("test")[:6]
    together = answers.sample(model, tokenizer, asked, 1, seed=0).ids
    assert together == [answers.sample(model, tokenizer, [q], 1, seed=0).ids[0] for q in asked]


def test_a_question_is_put_into_the_template_once_for_all_its_answers(tokenizer, model, short, monkeypatch):
    asked, chat, put = human.questions("test")[:3], answers.chat, []
    monkeypatch.setattr(answers, "chat", lambda tokenizer, question: put.append(question) or chat(tokenizer, question))
    drawn = answers.sample(model, tokenizer, asked, 2, seed=0)
    assert put == asked and drawn.questions == [question for question in asked for _ in range(2)]
    assert drawn.prompts == [chat(tokenizer, question) for question in drawn.questions]


def test_a_reward_model_learns_what_people_prefer(tokenizer, model):
    """Answers that begin with one token are always preferred; after training the margin of unseen pairs is positive."""
    draw = random.Random(0)
    body = [[draw.randrange(10, 200) for _ in range(6)] for _ in range(400)]
    pairs = [rewards.Preference([0, 20], [300, *ids], [301, *ids]) for ids in body]
    _, accuracy = rewards.train_reward_model(model, tokenizer, pairs, learning_rate=3e-3)
    assert accuracy > 0.95


def test_policy_gradient_follows_its_reward(tokenizer, model, short):
    """Rewarded for tokens of the lower half of the vocabulary, the policy writes more of them than it did."""

    def reward(questions, ids):
        return torch.tensor([float(np.mean([token < len(tokenizer) // 2 for token in row])) for row in ids])

    def mean_reward(policy):
        drawn = answers.sample(policy, tokenizer, human.questions("test")[:8], 8, seed=5)
        return reward(drawn.questions, drawn.ids).mean().item()

    policy = copy.deepcopy(model)
    budget = rlhf.Budget(steps=16, learning_rate=2e-2, beta=0.01, questions=8, samples=8)
    rlhf.rloo(policy, model, tokenizer, reward, budget, 0, lambda step, policy: None)
    assert mean_reward(model) < 0.6 and mean_reward(policy) > 0.7


def test_dpo_prefers_the_chosen(tokenizer, model):
    pairs = [rewards.Preference([0, 20], [300, 1], [301, 1])]
    policy, seen = copy.deepcopy(model), []
    budget = rlhf.Budget(steps=5, learning_rate=1e-3, beta=0.1, questions=2, samples=2)
    rlhf.dpo(policy, model, tokenizer, pairs, budget, 0, lambda step, policy: seen.append(step))
    with torch.no_grad():
        p = policy(torch.tensor([[0, 20]])).logits[0, -1].softmax(-1)
    assert p[300] > p[301] and seen == [0, 1, 2, 3, 4, 5]


def test_share_of_the_commonest_gram_counts_answers_not_occurrences():
    assert trajectory.shares([[1, 2, 1, 2, 1, 2], [3, 4], [1, 2]], 2)[-1] == pytest.approx(2 / 3)
    assert trajectory.shares([[1], [2]], 2)[-1] == 0


def test_distribution_against_a_dense_softmax(tokenizer, model, short):
    drawn = answers.sample(model, tokenizer, human.questions("test")[:3], 2, seed=0)
    told = trajectory.distribution(model, model, tokenizer, drawn, rows=4)
    p = []
    for prompt, ids in zip(drawn.prompts, drawn.ids, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        p.append(logits.double().softmax(-1).numpy())
    dense = np.concatenate(p)
    assert told["kl"] == 0
    assert told["entropy"] == pytest.approx(-(dense * np.log(dense)).sum(1).mean(), rel=1e-5)
    assert told["support"] == pytest.approx((dense > 1e-8).sum(1).mean())
    ranked = -np.sort(-dense, axis=1)
    assert told["mass"] == pytest.approx([ranked[:, :k].sum(1).mean() for k in trajectory.RANKS], rel=1e-5)


def test_recorded_runs_become_one_frame_and_a_figure():
    corpora = {f"bits/{name}": [0.2, 0.4] for name in ("a", "b")}
    rows = pd.DataFrame(
        {"step": [0, 25], "kl": [0.0, 3.0], "reward": [0.5, 1.0], "rewards": [[0.0, 1.0], [1.0, 1.0]]}
        | {"mass": [[0.5, 0.7], [0.8, 0.9]], "model_reward": 1.0, "entropy": 1.0, "support": 9.0, "share10": 0.1}
        | {"words": 30.0}
        | corpora
    )
    frame = trajectory.tidy({"rlhf-seed0": rows, "dpo": rows})
    told = frame[frame.run == "dpo"].set_index(["measure", "step"])
    assert told.value[trajectory.MEASURES["bits"], 25] == pytest.approx(0.4)
    assert told.value[trajectory.MEASURES["top1"], 25] == 0.8
    reward = told.loc[trajectory.MEASURES["reward"]]
    assert reward.low[0] == 0 and reward.high[0] == 1 and reward.low[25] == reward.high[25] == 1
    assert frame.low[frame.measure != trajectory.MEASURES["reward"]].isna().all()
    spec = prediction_figures.runs(frame).to_dict()
    assert "dpo 1.00" in spec["description"] and len(spec["layer"]) == 3


def test_checkpoints_lie_evenly_on_the_way():
    assert recipe._on_the_way([0, 25, 50, 75, 100], 25) == []
    assert recipe._on_the_way([0, 25, 50, 75, 100], 75) == [25, 50]
    way = recipe._on_the_way(list(range(0, 325, 25)), 300)
    assert len(way) == recipe.CHECKPOINTS and way == sorted(way) and 0 < way[0] and way[-1] < 300


def test_all_stages_at_a_tiny_scale(tmp_path, monkeypatch, short):
    tiny = replace(
        recipe.SCALES["miniature"],
        base=recipe.BaseScale(rounds=((2, 6e-3), (1, 6e-3)), tokens=1024, tokenizer_documents=200),
        sft=recipe.SftScale(steps=2, rows=4, learning_rate=1e-3),
        reward=recipe.RewardScale(pairs=16, passes=1, learning_rate=1e-3),
        rlhf=rlhf.Budget(steps=2, learning_rate=1e-4, beta=0.05, questions=2, samples=2),
        record=recipe.Record(every=2, samples=1, documents=1),
    )
    monkeypatch.setitem(recipe.SCALES, "miniature", tiny)
    monkeypatch.setattr(recipe, "farthest", partial(recipe.farthest, documents=2))
    monkeypatch.setattr(human, "SPLITS", human.SPLITS | {"validation": slice(80, 83)})
    human.questions.cache_clear()
    made = recipe.make(tmp_path / "run", "miniature")
    human.questions.cache_clear()
    runs = {name: pd.read_parquet(made / f"{name}.parquet") for name in shipped.RUNS}
    for name, run in runs.items():
        assert run.step.tolist() == [0, 2] and run.kl[0] == 0
        card = json.loads((made / name / "recipe.json").read_text())
        assert card["validation_reward"] == run.reward.max() and card["step"] == run.reward.idxmax()
    stamp = (made / "base" / "model.safetensors").stat().st_mtime_ns
    assert recipe.make(tmp_path / "run", "miniature") == made
    assert (made / "base" / "model.safetensors").stat().st_mtime_ns == stamp, "nothing is made twice"
    shipped.package(made, tmp_path / "package")
    packaged = {path.parent.name for path in (tmp_path / "package" / "models").glob("*/model.safetensors")}
    assert {"base", "sft", "rlhf", "rlhf-true", "dpo"} < packaged and len(packaged) == 7
    rewards_of = sorted(runs[f"rlhf-seed{seed}"].reward.max() for seed in shipped.SEEDS)
    card = json.loads((tmp_path / "package" / "models" / "rlhf" / "recipe.json").read_text())
    assert card["validation_reward"] == rewards_of[1], "the median seed"


@pytest.mark.parametrize("given, told", [(["--scale", "ful"], "did you mean 'full'"), (["--stage", "sfd"], "'sft'")])
def test_a_bad_scale_or_stage_is_one_clear_line(tmp_path, given, told):
    app = typer.Typer()
    app.command()(recipe.main)
    result = CliRunner().invoke(app, ["--out", str(tmp_path / "run"), *given])
    assert result.exit_code == 2 and told in result.stderr and len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
