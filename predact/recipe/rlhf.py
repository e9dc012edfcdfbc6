"""From Base to RLHF: demonstrations (SFT), rankings, a learned reward model, on-policy policy gradient; and DPO.

The policy gradient is REINFORCE with a leave-one-out baseline (RLOO, Ahmadian et al. 2024): K answers to one question
are each other's baseline, and the reward of an answer y to x is

    R(x, y) = (r(x, y) - mean) / deviation - beta * log(policy(y | x) / sft(y | x))

with mean and deviation of r over answers of the SFT model, so that beta means the same for every reward.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from predact.pocket import human
from predact.recipe.answers import Question, chat, log_probabilities, sample
from predact.recipe.expectation import Speller
from predact.recipe.rewards import Ranking, Reward
from predact.recipe.training import Batch, batch, update


def demonstration_batches(tokenizer: PreTrainedTokenizerFast, rows: int, seed: int) -> Iterator[Batch]:
    """Batches of fresh demonstrations for training questions, in the chat format; only the answers are learned."""
    draw, asked, speller = random.Random(f"sft/{seed}"), human.questions("train"), Speller(tokenizer)
    while True:
        questions = draw.choices(asked, k=rows)
        answers = speller.spell([human.demonstration(question, str(draw.random())) for question in questions])
        asked_as = [chat(tokenizer, question) for question in questions]
        yield batch(
            [
                (prompt + ids[1:], targets._replace(position=targets.position + len(prompt) - 1))
                for prompt, (ids, targets) in zip(asked_as, answers, strict=True)
            ],
            tokenizer.pad_token_id,
        )


@dataclass(frozen=True)
class Budget:
    """What the variants of a recipe share: steps, learning rate, beta, sequences per step and tokens of an answer."""

    steps: int
    learning_rate: float
    beta: float
    questions: int
    samples: int
    tokens: int


def rloo(
    policy: PreTrainedModel,
    sft: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    asked: Sequence[Question],
    reward: Reward,
    budget: Budget,
    seed: int,
    record: Callable[[int, PreTrainedModel], None],
) -> None:
    """Optimize the policy in place with RLOO (see above); each step, and the end, calls ``record(step, policy)``.

    Args:
        policy: the model; only its parameters that take a gradient are changed.
        sft: where the policy began, and stays near to.
        tokenizer: theirs.
        asked: questions, of which each step draws some.
        reward: of answers.
        budget: how much of everything.
        seed: of the questions and the answers.
        record: see above.
    """
    draw = random.Random(f"rloo/{seed}")
    before = sample(sft, tokenizer, draw.sample(asked, min(4 * budget.questions, len(asked))), 4, budget.tokens, seed)
    scale = reward(before.questions, before.ids)
    optimizer = _adamw(policy, budget)
    for step in tqdm(range(budget.steps), desc="RLOO", leave=False, disable=None):
        record(step, policy)
        questions = draw.sample(asked, budget.questions)
        answers = sample(policy, tokenizer, questions, budget.samples, budget.tokens, seed * 100_003 + step)
        log_p = log_probabilities(policy, tokenizer, answers.prompts, answers.ids)
        with torch.no_grad():
            kl = log_p - log_probabilities(sft, tokenizer, answers.prompts, answers.ids)
            returns = (reward(answers.questions, answers.ids) - scale.mean()) / scale.std() - budget.beta * kl
            groups = returns.view(-1, budget.samples)
            baseline = (groups.sum(1, keepdim=True) - groups) / (budget.samples - 1)
            advantage = (groups - baseline).flatten()
        loss = -(advantage * log_p).mean() / budget.tokens
        _warm_up(optimizer, budget, step)
        update(policy, loss, optimizer)
    record(budget.steps, policy)


def dpo(
    policy: PreTrainedModel,
    sft: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    ranked: list[Ranking],
    budget: Budget,
    seed: int,
    record: Callable[[int, PreTrainedModel], None],
) -> None:
    """Direct preference optimization (Rafailov et al. 2023) on pairs drawn from rankings, with RLOO's rows a step.

    loss = -log sigmoid(beta * (log-ratio(chosen) - log-ratio(rejected))), log-ratio = log(policy / sft).
    """
    draw = random.Random(f"dpo/{seed}")
    optimizer = _adamw(policy, budget)
    for step in tqdm(range(budget.steps), desc="DPO", leave=False, disable=None):
        record(step, policy)
        drawn = draw.choices(ranked, k=budget.questions * budget.samples // 2)
        pairs = [sorted(draw.sample(range(len(each.answers)), 2)) for each in drawn]
        rows = [each.answers[pair[side]] for side in (0, 1) for each, pair in zip(drawn, pairs, strict=True)]
        prompts = [each.prompt for each in drawn] * 2
        with torch.no_grad():
            reference = log_probabilities(sft, tokenizer, prompts, rows)
        chosen, rejected = (log_probabilities(policy, tokenizer, prompts, rows) - reference).chunk(2)
        loss = -torch.nn.functional.logsigmoid(budget.beta * (chosen - rejected)).mean()
        _warm_up(optimizer, budget, step)
        update(policy, loss, optimizer)
    record(budget.steps, policy)


def _adamw(policy: PreTrainedModel, budget: Budget) -> torch.optim.Optimizer:
    changed = [each for each in policy.parameters() if each.requires_grad]
    return torch.optim.AdamW(changed, lr=budget.learning_rate, betas=(0.9, 0.95), weight_decay=0.0)


def _warm_up(optimizer: torch.optim.Optimizer, budget: Budget, step: int) -> None:
    """Set the learning rate of a step: a linear warm-up of ten steps."""
    optimizer.param_groups[0]["lr"] = budget.learning_rate * min(1.0, (step + 1) / 10)
