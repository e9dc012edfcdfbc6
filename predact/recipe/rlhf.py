"""From Base to RLHF: demonstrations (SFT), preferences, a learned reward model, on-policy policy gradient; and DPO.

The policy gradient is REINFORCE with a leave-one-out baseline (RLOO, Ahmadian et al. 2024): K answers to one question
are each other's baseline, and the reward of an answer y to x is

    R(x, y) = (r(x, y) - mean) / deviation - beta * log(policy(y | x) / sft(y | x))

with mean and deviation of r over answers of the SFT model, so that beta means the same for every reward.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from tqdm import tqdm
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from predact.pocket import human
from predact.recipe.answers import ANSWER_TOKENS, chat, labelled, log_probabilities, sample
from predact.recipe.rewards import Preference, Reward
from predact.recipe.training import Batch, update


def demonstration_batches(tokenizer: PreTrainedTokenizerFast, rows: int, seed: int) -> Iterator[Batch]:
    """Batches of fresh demonstrations for training questions, in the chat format."""
    draw, asked = random.Random(f"sft/{seed}"), human.questions("train")
    while True:
        questions = draw.choices(asked, k=rows)
        answers = [human.demonstration(question, str(draw.random())) + tokenizer.eos_token for question in questions]
        encoded = tokenizer(answers, add_special_tokens=False)["input_ids"]
        yield labelled(tokenizer, [chat(tokenizer, question) for question in questions], encoded)


@dataclass(frozen=True)
class Budget:
    """What the recipe variants share: steps, learning rate, beta and sequences per step."""

    steps: int
    learning_rate: float
    beta: float
    questions: int
    samples: int


def rloo(
    policy: LlamaForCausalLM,
    sft: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    reward: Reward,
    budget: Budget,
    seed: int,
    record: Callable[[int, LlamaForCausalLM], None],
) -> None:
    """Optimize the policy in place with RLOO (see above); each step, and the end, calls ``record(step, policy)``."""
    draw, asked = random.Random(f"rloo/{seed}"), human.questions("train")
    before = sample(sft, tokenizer, draw.sample(asked, 64), 4, seed)
    scale = reward(before.questions, before.ids)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=budget.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    for step in tqdm(range(budget.steps), desc="RLOO", leave=False, disable=None):
        record(step, policy)
        answers = sample(policy, tokenizer, draw.sample(asked, budget.questions), budget.samples, seed * 100_003 + step)
        batch = labelled(tokenizer, answers.prompts, answers.ids)
        log_p = log_probabilities(policy, *batch)
        with torch.no_grad():
            kl = log_p - log_probabilities(sft, *batch)
            returns = (reward(answers.questions, answers.ids) - scale.mean()) / scale.std() - budget.beta * kl
            groups = returns.view(-1, budget.samples)
            baseline = (groups.sum(1, keepdim=True) - groups) / (budget.samples - 1)
            advantage = (groups - baseline).flatten()
        loss = -(advantage * log_p).mean() / ANSWER_TOKENS
        _warm_up(optimizer, budget, step)
        update(policy, loss, optimizer)
    record(budget.steps, policy)


def dpo(
    policy: LlamaForCausalLM,
    sft: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    pairs: list[Preference],
    budget: Budget,
    seed: int,
    record: Callable[[int, LlamaForCausalLM], None],
) -> None:
    """Direct preference optimization (Rafailov et al. 2023) on the same preferences, as many sequences a step as RLOO.

    loss = -log sigmoid(beta * (log-ratio(chosen) - log-ratio(rejected))), log-ratio = log(policy / sft).
    """
    draw = random.Random(f"dpo/{seed}")
    optimizer = torch.optim.AdamW(policy.parameters(), lr=budget.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)
    for step in tqdm(range(budget.steps), desc="DPO", leave=False, disable=None):
        record(step, policy)
        drawn = draw.choices(pairs, k=budget.questions * budget.samples // 2)
        prompts = [pair.prompt for pair in drawn] * 2
        batch = labelled(tokenizer, prompts, [pair.chosen for pair in drawn] + [pair.rejected for pair in drawn])
        with torch.no_grad():
            reference = log_probabilities(sft, *batch)
        chosen, rejected = (log_probabilities(policy, *batch) - reference).chunk(2)
        loss = -torch.nn.functional.logsigmoid(budget.beta * (chosen - rejected)).mean()
        _warm_up(optimizer, budget, step)
        update(policy, loss, optimizer)
    record(budget.steps, policy)


def _warm_up(optimizer: torch.optim.Optimizer, budget: Budget, step: int) -> None:
    """Set the learning rate of a step: a linear warm-up of ten steps."""
    optimizer.param_groups[0]["lr"] = budget.learning_rate * min(1.0, (step + 1) / 10)
