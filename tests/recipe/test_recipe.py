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
from transformers import Qwen3Config
from typer.testing import CliRunner

from predact.figures import prediction as prediction_figures
from predact.pocket import human, shipped, world
from predact.recipe import answers, recipe, rewards, rlhf, training, trajectory


@pytest.fixture(scope="module")
def tokenizer():
    return training.train_tokenizer([each.text for each in islice(training.documents("train"), 300)])


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    """New models have two layers of half the width: what is tested here holds for any."""
    narrow = {"hidden_size": 96, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    narrow |= {"num_key_value_heads": 4, "head_dim": 24}
    monkeypatch.setattr(training, "Qwen3Config", lambda **given: Qwen3Config(**given | narrow))


@pytest.fixture()
def model(tokenizer, narrow):
    return training.new_model(tokenizer, seed=0).eval()


TOKENS = 12  # of an answer


def test_the_tokenizer_gives_back_every_text(tokenizer):
    texts = [*(each.text for each in islice(training.documents("test"), 90)), "Zürich, 1815: 日本語 <s> |user|"]
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
    made = next(training.document_batches(training.Pools(tokenizer, tokens=2000, seed=0, size=18)))
    for row, learned in zip(made.ids.tolist(), made.learned.tolist(), strict=True):
        end = row.index(tokenizer.eos_token_id)
        assert row[0] == tokenizer.bos_token_id and set(row[end + 1 :]) <= {tokenizer.pad_token_id}
        assert all(learned[:end]) and not any(learned[end:])
    assert torch.bincount(made.position, made.probability).allclose(torch.ones(int(made.learned.sum())))


def test_corpora_have_as_many_letters_or_those_of_their_shares():
    def letters(shares=None):
        found = dict.fromkeys(world.CORPORA, 0)
        texts = {}
        for document in islice(training.documents("train", 10_000, shares), 120):
            texts[document.text] = next(name for name in found if any(document.text == known for known in first[name]))
            found[texts[document.text]] += len(document.text)
        return found

    first = {name: {world.document(name, "train", 10_000 + i).text for i in range(80)} for name in world.CORPORA}
    even = list(letters().values())
    assert max(even) < 1.5 * min(even)
    shares = dict.fromkeys(world.CORPORA, 1.0) | {"forum": 4.0}
    weighed = letters(shares)
    rest = [weighed[name] for name in weighed if name != "forum"]
    assert 3 < weighed["forum"] / np.mean(rest) < 5


def test_only_answers_are_learned(tokenizer):
    batch = next(rlhf.demonstration_batches(tokenizer, rows=3, seed=0))
    for row, learned in zip(batch.ids.tolist(), batch.learned.tolist(), strict=True):
        assert learned.index(True) == row.index(tokenizer.convert_tokens_to_ids(training.ASSISTANT))
        last = max(place for place, each in enumerate(learned) if each)
        assert row[last + 1] == tokenizer.eos_token_id


def test_log_probabilities_are_those_of_the_answer_tokens(tokenizer, model):
    prompt, answer = [0, 30, 31], [40, 41, 1]
    logits = model(torch.tensor([prompt + answer])).logits[0].double().log_softmax(-1)
    expected = sum(logits[len(prompt) - 1 + i, token].item() for i, token in enumerate(answer))
    with torch.no_grad():
        found = answers.log_probabilities(model, tokenizer, [prompt, [0]], [answer, [50] * 7])
        together = answers.log_probabilities(model, tokenizer, [prompt, [0]] * 20, [answer, [50] * 7] * 20)
    assert found[0].item() == pytest.approx(expected, rel=1e-5)
    assert together.tolist() == pytest.approx(found.tolist() * 20, rel=1e-5)


def test_the_gradient_is_the_same_where_logits_are_formed_in_parts(tokenizer, model, monkeypatch):
    rows = [[0, 30, 31], [0]], [[40, 41, 1], [50] * 7]
    gradients = []
    for logits in (10**9, 3 * len(tokenizer)):
        monkeypatch.setattr(answers, "LOGITS", logits)
        answers.log_probabilities(model, tokenizer, *rows)[1].backward()
        gradients.append([each.grad.clone() for each in model.parameters()])
        model.zero_grad()
    for whole, parts in zip(*gradients, strict=True):
        assert torch.allclose(whole, parts, rtol=1e-4, atol=1e-4)


def test_rows_are_read_together_by_length():
    rows = [[0] * length for length in (3, 9, 1, 7)]
    assert list(answers.by_length(rows, together=2)) == [[1, 3], [0, 2]]


def head_of_its_own(model, deviation):
    """Likely and unlikely tokens, the more so the larger the deviation of the head's weights."""
    torch.manual_seed(0)
    model.lm_head = torch.nn.Linear(model.config.hidden_size, model.config.vocab_size, bias=False)
    torch.nn.init.normal_(model.lm_head.weight, std=deviation)


def test_sampled_tokens_follow_the_model(tokenizer, model, monkeypatch):
    """First tokens of many answers to one question, by chi-square against the model's own probabilities."""
    asked = human.questions("test")[:1]
    head_of_its_own(model, 0.25)
    with torch.no_grad():
        probability = model(torch.tensor([answers.chat(tokenizer, asked[0])])).logits[0, -1].double().softmax(-1)
    drawn = answers.sample(model, tokenizer, asked, 2000, 2, seed=1)
    counts = torch.bincount(torch.tensor([ids[0] for ids in drawn.ids]), minlength=len(probability))
    likely = probability * 2000 > 10
    expected = torch.cat([probability[likely] * 2000, (probability[~likely].sum() * 2000)[None]])
    seen = torch.cat([counts[likely].double(), counts[~likely].sum().double()[None]])
    chi_square = ((seen - expected) ** 2 / expected).sum().item()
    freedom = len(expected) - 1
    assert freedom >= 5 and chi_square < freedom + 4 * np.sqrt(2 * freedom)


def test_rows_of_different_prompts_are_sampled_as_if_alone(tokenizer, model):
    """Left padding and ended rows that leave do not change the distribution: greedy choices stay the same."""
    head_of_its_own(model, 1e4)  # as good as greedy
    asked = human.questions("test")[:6]
    together = answers.sample(model, tokenizer, asked, 1, TOKENS, seed=0).ids
    assert together == [answers.sample(model, tokenizer, [q], 1, TOKENS, seed=0).ids[0] for q in asked]


def test_a_question_is_put_into_the_template_once_for_all_its_answers(tokenizer, model, monkeypatch):
    asked, chat, put = human.questions("test")[:3], answers.chat, []
    monkeypatch.setattr(answers, "chat", lambda tokenizer, question: put.append(question) or chat(tokenizer, question))
    drawn = answers.sample(model, tokenizer, asked, 2, TOKENS, seed=0)
    assert put == asked and drawn.questions == [question for question in asked for _ in range(2)]
    assert drawn.prompts == [chat(tokenizer, question) for question in drawn.questions]


def learned(model, tokenizer, ranked, learning_rate):
    values = rewards.Values(copy.deepcopy(model).model)
    return values, rewards.learn(values, training.muon_and_adamw(values, learning_rate), tokenizer, ranked, rows=8)


def test_a_reward_model_learns_what_people_prefer(tokenizer, model):
    """Answers with one token somewhere are preferred to those with another; after training also unseen ones."""
    draw = random.Random(0)

    def answer(token):
        ids = [draw.randrange(10, 200) for _ in range(6)]
        ids[draw.randrange(6)] = token
        return ids

    ranked = [rewards.Ranking([0, 20], [answer(token) for token in (300, 302, 301)]) for _ in range(800)]
    _, accuracy = learned(model, tokenizer, ranked, 3e-3)
    assert accuracy > 0.9


def test_the_loss_of_a_ranking_by_hand():
    """Of two it is Bradley and Terry's; of three the first choice is among three, the second among two."""
    two = rewards.listwise(torch.tensor([[1.0, 0.25]])).item()
    assert two == pytest.approx(np.log1p(np.exp(-0.75)))
    e = np.exp([1.0, 0.0, 0.5])
    three = rewards.listwise(torch.tensor([[1.0, 0.0, 0.5]])).item()
    assert three == pytest.approx(-(np.log(e[0] / e.sum()) + np.log(e[1] / e[1:].sum())) / 2)


def test_accuracy_counts_pairs():
    assert rewards.accuracy(torch.tensor([[3.0, 2.0, 1.0]])) == 1
    assert rewards.accuracy(torch.tensor([[3.0, 1.0, 2.0]])) == pytest.approx(2 / 3)
    assert rewards.accuracy(torch.zeros(4, 8)) == 0.5


def test_scores_do_not_depend_on_who_is_read_beside(tokenizer, model):
    ranked = [rewards.Ranking([0, 20, 21], [[300 + i] * (1 + 3 * i) for i in range(8)]) for _ in range(5)]
    values, _ = learned(model, tokenizer, ranked, 1e-2)
    with torch.no_grad():
        rows = [answer for each in ranked for answer in each.answers]
        together = rewards.scores(values, tokenizer, [[0, 20, 21]] * len(rows), rows)
        alone = [rewards.scores(values, tokenizer, [[0, 20, 21]], [row]).item() for row in rows[:8]]
    assert together[:8].tolist() == pytest.approx(alone, abs=1e-5) and np.std(alone) > 0


def test_policy_gradient_follows_its_reward(tokenizer, model):
    """Rewarded for tokens of the lower half of the vocabulary, the policy writes more of them than it did."""

    def reward(questions, ids):
        return torch.tensor([float(np.mean([token < len(tokenizer) // 2 for token in row])) for row in ids])

    def mean_reward(policy):
        drawn = answers.sample(policy, tokenizer, human.questions("test")[:8], 8, TOKENS, seed=5)
        return reward(drawn.questions, drawn.ids).mean().item()

    policy = copy.deepcopy(model)
    budget = rlhf.Budget(steps=16, learning_rate=2e-2, beta=0.01, questions=8, samples=8, tokens=TOKENS)
    rlhf.rloo(policy, model, tokenizer, human.questions("train"), reward, budget, 0, lambda step, policy: None)
    assert mean_reward(model) < 0.6 and mean_reward(policy) > 0.7


def test_dpo_prefers_what_is_ranked_first(tokenizer, model):
    ranked = [rewards.Ranking([0, 20], [[300, 1], [301, 1], [302, 1]])]
    policy, seen = copy.deepcopy(model), []
    budget = rlhf.Budget(steps=8, learning_rate=1e-3, beta=0.1, questions=4, samples=2, tokens=TOKENS)
    rlhf.dpo(policy, model, tokenizer, ranked, budget, 0, lambda step, policy: seen.append(step))
    with torch.no_grad():
        p = policy(torch.tensor([[0, 20]])).logits[0, -1].softmax(-1)
    assert p[300] > p[301] > p[302] and seen == list(range(9))


def test_share_of_the_commonest_gram_counts_answers_not_occurrences():
    assert trajectory.shares([[1, 2, 1, 2, 1, 2], [3, 4], [1, 2]], 2)[-1] == pytest.approx(2 / 3)
    assert trajectory.shares([[1], [2]], 2)[-1] == 0


def test_distribution_against_a_dense_softmax(tokenizer, model):
    drawn = answers.sample(model, tokenizer, human.questions("test")[:3], 2, TOKENS, seed=0)
    told = trajectory.distribution(model, model, tokenizer, drawn)
    p = []
    for prompt, ids in zip(drawn.prompts, drawn.ids, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1]
        p.append(logits.double().softmax(-1).numpy())
    dense = np.concatenate(p)
    assert told["kl"] == pytest.approx(0, abs=1e-4)
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


def test_all_stages_at_a_tiny_scale(tmp_path, monkeypatch):
    tiny = replace(
        recipe.SCALES["miniature"],
        base=recipe.BaseScale(rounds=2, steps=2, tokens=1024, learning_rate=6e-3, tokenizer_documents=200),
        sft=recipe.SftScale(steps=2, rows=4, learning_rate=1e-3),
        reward=recipe.RewardScale(rankings=12, learning_rate=1e-3),
        rlhf=rlhf.Budget(steps=2, learning_rate=1e-4, beta=0.05, questions=2, samples=2, tokens=TOKENS),
        record=recipe.Record(every=2, samples=1, documents=1),
    )
    monkeypatch.setitem(recipe.SCALES, "miniature", tiny)
    monkeypatch.setattr(recipe, "excess", partial(recipe.excess, documents=2))
    monkeypatch.setattr(human, "SPLITS", human.SPLITS | {"validation": slice(80, 83)})
    human.questions.cache_clear()
    made = recipe.make(tmp_path / "run", "miniature")
    human.questions.cache_clear()
    runs = {name: pd.read_parquet(made / f"{name}.parquet") for name in shipped.RUNS}
    for name, run in runs.items():
        assert run.step.tolist() == [0, 2] and run.kl[0] == pytest.approx(0, abs=1e-4)
        card = json.loads((made / name / "recipe.json").read_text())
        assert card["validation_reward"] == run.reward.max() and card["step"] == run.step[run.reward.idxmax()]
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
