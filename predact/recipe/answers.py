"""Answers of a model to questions: how they are asked for, sampled and read again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from predact.models import cache as caches
from predact.models import decoding, sampling
from predact.recipe.training import pad

LOGITS = 2**25  # formed at once
WHOLE = sampling.Settings(top_p=1.0)
TOGETHER = 16  # rows that are read at once: of like length, so that little is padding


class Question(Protocol):
    """What can be asked: a chat that ends with a user's turn."""

    @property
    def messages(self) -> list[dict[str, str]]:
        """The turns, as chat templates take them."""


@dataclass(frozen=True)
class Answers:
    """Sampled answers, each to one question, as ids, with the end token if they ended."""

    questions: list[Any]
    prompts: list[list[int]]
    ids: list[list[int]]


def chat(tokenizer: PreTrainedTokenizerFast, question: Question) -> list[int]:
    """The ids of a question in the chat template, ready to be answered."""
    return list(tokenizer.apply_chat_template(question.messages, add_generation_prompt=True, return_dict=False))


def text_of(tokenizer: PreTrainedTokenizerFast, answer: list[int]) -> str:
    """An answer's text, without its end token."""
    return str(tokenizer.decode(answer, skip_special_tokens=True))


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[Question],
    samples: int,
    tokens: int,
    seed: int,
) -> Answers:
    """Sample answers of at most ``tokens`` to each question at temperature 1, from the whole distribution.

    Rows that have ended leave the batch; what a row writes does not depend on the others.
    """
    asked = [question for question in questions for _ in range(samples)]
    prompts = [ids for ids in (chat(tokenizer, question) for question in questions) for _ in range(samples)]
    numbers = torch.rand(len(asked), tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    longest = max(map(len, prompts))
    ids = torch.tensor([[tokenizer.pad_token_id] * (longest - len(prompt)) + prompt for prompt in prompts])
    ids, numbers = ids.to(model.device), numbers.to(model.device)
    mask = (ids != tokenizer.pad_token_id).long()
    cache, going = caches.empty(model), torch.arange(len(asked), device=model.device)
    read = {"attention_mask": mask, "position_ids": (mask.cumsum(1) - 1).clamp(min=0)}
    logits = model(input_ids=ids, past_key_values=cache, logits_to_keep=1, **read).logits[:, -1]
    decoder = decoding.start(model, cache, going, tokens - 1, mask)
    written: list[list[int]] = [[] for _ in asked]
    for place in range(tokens):
        token = sampling.draw(logits.float(), numbers[going, place], WHOLE)
        for row, drawn in zip(going.tolist(), token.tolist(), strict=True):
            written[row].append(drawn)
        left = (token != tokenizer.eos_token_id).nonzero()[:, 0]
        if len(left) == 0 or place + 1 == tokens:
            break
        if len(left) < len(going):
            going, token = going[left], token[left]
            decoder.keep(left)
        logits = decoder.step(token)
    return Answers(asked, prompts, written)


def by_length(rows: list[list[int]], together: int = TOGETHER) -> Iterator[list[int]]:
    """The places of rows, some at a time and the longest first, so that rows of like length are read together."""
    order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
    for start in range(0, len(order), together):
        yield order[start : start + together]


def states_along(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: list[list[int]], answers: list[list[int]]
) -> torch.Tensor:
    """The hidden state from which each token of the answers is predicted, one answer after the other, in one batch.

    Returns:
        ``[tokens, width]``; the model's head turns states into logits.
    """
    rows = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
    ids = pad(rows, tokenizer.pad_token_id).to(model.device)
    states = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    parts = [
        states[i, len(prompt) - 1 : len(row) - 1] for i, (prompt, row) in enumerate(zip(prompts, rows, strict=True))
    ]
    return torch.cat(parts)


def log_probabilities(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: list[list[int]], answers: list[list[int]]
) -> torch.Tensor:
    """Log-probability in nats of each answer after its prompt: ``[rows]``; rows of like length are read together."""
    places = list(by_length([prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]))
    parts = [
        _log_probabilities(model, tokenizer, [prompts[i] for i in some], [answers[i] for i in some]) for some in places
    ]
    order = torch.tensor([i for some in places for i in some], device=model.device)
    return torch.cat(parts)[order.argsort()]


def _log_probabilities(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, prompts: list[list[int]], answers: list[list[int]]
) -> torch.Tensor:
    states = states_along(model, tokenizer, prompts, answers)
    tokens = torch.tensor([token for answer in answers for token in answer], device=states.device)
    some = max(1, LOGITS // model.config.vocab_size)
    if len(states) <= some:
        nll = _nll(model, states, tokens)
    else:  # logits are formed again for the gradient: all of them together would be gigabytes
        pairs = zip(states.split(some), tokens.split(some), strict=True)
        nll = torch.cat([checkpoint(_nll, model, *pair, use_reentrant=False) for pair in pairs])
    return -torch.stack([each.sum() for each in nll.split([len(answer) for answer in answers])])


def _nll(model: PreTrainedModel, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(model.lm_head(states).float(), tokens, reduction="none")
