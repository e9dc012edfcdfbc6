"""Preferences of the simulated people, and the two rewards: the one learned from them, and the true one behind them."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from tqdm import tqdm
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from predact.pocket import human
from predact.pocket.human import Question
from predact.recipe.answers import chat, sample, text_of
from predact.recipe.training import autocast, pad, update

Reward = Callable[[list[Question], list[list[int]]], torch.Tensor]


@dataclass(frozen=True)
class Preference:
    """Of two answers to one question, the one that a simulated person preferred; all as ids."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]


def preferences(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, count: int, seed: int, off_topic: float = 0.15
) -> list[Preference]:
    """Pairs of answers sampled from the SFT model and compared by the simulated people.

    In a share of the pairs, ``off_topic``, the second answer belongs to another question: a learned reward must know
    that a good answer to the wrong question is a bad one.
    """
    draw, found = random.Random(f"preferences/{seed}"), []
    for start in tqdm(range(0, count, 64), desc="preferences", leave=False, disable=None):
        questions = draw.sample(human.questions("train"), 64)
        answers = sample(model, tokenizer, questions, 2, seed * 100_003 + start)
        for place, question in enumerate(questions):
            first, second = answers.ids[2 * place : 2 * place + 2]
            if draw.random() < off_topic:
                second = answers.ids[2 * draw.randrange(len(questions))]
            texts = text_of(tokenizer, first), text_of(tokenizer, second)
            if not human.prefers_first(question, *texts, draw):
                first, second = second, first
            found.append(Preference(answers.prompts[2 * place], first, second))
    return found[:count]


def train_reward_model(
    sft: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    pairs: list[Preference],
    learning_rate: float,
    passes: int = 1,
    rows: int = 32,
) -> tuple[LlamaForSequenceClassification, float]:
    """A Bradley-Terry reward model that starts from the SFT model; also its accuracy on the last tenth of the pairs.

    loss = -log sigmoid(r(chosen) - r(rejected)), over the first nine tenths in a new order at each pass.
    """
    torch.manual_seed(0)
    model = LlamaForSequenceClassification(copy.deepcopy(sft.config))
    model.config.num_labels, model.score = 1, torch.nn.Linear(sft.config.hidden_size, 1, bias=False)
    torch.nn.init.zeros_(model.score.weight)
    model.model.load_state_dict(sft.model.state_dict())
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    train, test = pairs[: len(pairs) * 9 // 10], pairs[len(pairs) * 9 // 10 :]
    draw = random.Random("reward model")
    shown = [pair for _ in range(passes) for pair in draw.sample(train, len(train))]
    batches = range(0, len(shown), rows)
    model.train()
    for step, start in enumerate(tqdm(batches, desc="reward model", leave=False, disable=None)):
        optimizer.param_groups[0]["lr"] = learning_rate * min(1, (step + 1) / 20) * (1 - step / len(batches))
        margins = _margins(model, tokenizer, shown[start : start + rows])
        update(model, -torch.nn.functional.logsigmoid(margins).mean(), optimizer)
    model.eval()
    with torch.no_grad():
        margins = torch.cat([_margins(model, tokenizer, test[i : i + rows]) for i in range(0, len(test), rows)])
    return model, (margins > 0).float().mean().item()


def _scores(
    model: LlamaForSequenceClassification, tokenizer: PreTrainedTokenizerFast, rows: list[list[int]]
) -> torch.Tensor:
    ids = pad(rows, tokenizer.pad_token_id)
    with autocast(model.device):
        return model(input_ids=ids, attention_mask=(ids != tokenizer.pad_token_id).long()).logits[:, 0].float()


def _margins(
    model: LlamaForSequenceClassification, tokenizer: PreTrainedTokenizerFast, pairs: list[Preference]
) -> torch.Tensor:
    rows = [pair.prompt + pair.chosen for pair in pairs] + [pair.prompt + pair.rejected for pair in pairs]
    chosen, rejected = _scores(model, tokenizer, rows).chunk(2)
    return chosen - rejected


def learned_reward(model: LlamaForSequenceClassification, tokenizer: PreTrainedTokenizerFast) -> Reward:
    """The reward that RLHF optimizes: the reward model's score."""

    @torch.no_grad()
    def reward(questions: list[Question], answers: list[list[int]]) -> torch.Tensor:
        return _scores(model, tokenizer, [chat(tokenizer, q) + a for q, a in zip(questions, answers, strict=True)])

    return reward


def true_reward(tokenizer: PreTrainedTokenizerFast) -> Reward:
    """The reward behind the simulated people's preferences, which RLHF with real people cannot observe."""

    def reward(questions: list[Question], answers: list[list[int]]) -> torch.Tensor:
        pairs = zip(questions, answers, strict=True)
        return torch.tensor([human.judge(q, text_of(tokenizer, a))["reward"] for q, a in pairs])

    return reward
