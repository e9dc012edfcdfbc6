"""Answers of a pocket model to questions: how they are asked for, sampled and laid out for training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from predact.models import cache as caches
from predact.pocket.human import Question
from predact.recipe.training import Batch, autocast, pad

ANSWER_TOKENS = 128


@dataclass(frozen=True)
class Answers:
    """Sampled answers, each to one question, as ids, with the end token if they ended."""

    questions: list[Question]
    prompts: list[list[int]]
    ids: list[list[int]]


def chat(tokenizer: PreTrainedTokenizerFast, question: Question) -> list[int]:
    """The ids of a question in the chat template, ready to be answered."""
    turn = [{"role": "user", "content": question.prompt}]
    return list(tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False))


def text_of(tokenizer: PreTrainedTokenizerFast, answer: list[int]) -> str:
    """An answer's text, without its end token."""
    return str(tokenizer.decode(answer, skip_special_tokens=True))


@torch.no_grad()
def sample(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, questions: list[Question], samples: int, seed: int
) -> Answers:
    """Sample answers to each question at temperature 1, from the whole distribution; ended rows leave the batch."""
    draw = torch.Generator().manual_seed(seed)
    asked = [question for question in questions for _ in range(samples)]
    prompts = [ids for ids in (chat(tokenizer, question) for question in questions) for _ in range(samples)]
    longest = max(map(len, prompts))
    ids = torch.tensor([[tokenizer.pad_token_id] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = (ids != tokenizer.pad_token_id).long()
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    cache, rows = caches.empty(model), torch.arange(len(asked))
    written: list[list[int]] = [[] for _ in asked]
    for _ in range(ANSWER_TOKENS):
        output = model(
            input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
        )
        drawn = torch.multinomial(output.logits[:, -1].softmax(-1), 1, generator=draw)
        for row, token in zip(rows.tolist(), drawn[:, 0].tolist(), strict=True):
            written[row].append(token)
        going = (drawn[:, 0] != tokenizer.eos_token_id).nonzero()[:, 0]
        if len(going) == 0:
            break
        if len(going) < len(rows):
            rows, ids, mask = rows[going], drawn[going], mask[going]
            cache.batch_select_indices(going)
        else:
            ids = drawn
        positions = mask.sum(1, keepdim=True)
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], 1)
    return Answers(asked, prompts, written)


def labelled(tokenizer: PreTrainedTokenizerFast, prompts: list[list[int]], answers: list[list[int]]) -> Batch:
    """Prompts followed by answers, padded: ids and labels ``[rows, longest]``; only the answers are labelled."""
    ids = pad([prompt + answer for prompt, answer in zip(prompts, answers, strict=True)], tokenizer.pad_token_id)
    labels = [[-100] * len(prompt) + answer for prompt, answer in zip(prompts, answers, strict=True)]
    return ids, pad(labels, -100)


def log_probabilities(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Log-probability in nats of each row's labelled tokens: ``[rows]``."""
    with autocast(model.device):
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    targets = labels[:, 1:]
    nll = torch.nn.functional.cross_entropy(
        logits.float().transpose(1, 2), targets, ignore_index=-100, reduction="none"
    )
    return -nll.sum(1)
