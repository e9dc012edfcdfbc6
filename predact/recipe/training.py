"""The pocket Base model: a byte-level BPE tokenizer and a small Qwen 3, trained on the world's documents."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.utils.data import DataLoader
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast
from transformers.models.qwen3 import Qwen3Config, Qwen3ForCausalLM

from predact.pocket import world
from predact.pocket.grammar import Writer
from predact.recipe.expectation import Speller, Targets, cross_entropy
from predact.recipe.muon import Muon

VOCABULARY = 6144
CONTEXT = 1024
BOS, EOS, PAD, USER, ASSISTANT = "<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message.role + '|>' + message.content }}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


class Batch(NamedTuple):
    """Texts to learn from: ids ``[rows, longest]``, and what should follow where (see `expectation.cross_entropy`).

    ``learned`` says at which positions something should follow, ``[rows, longest]``; ``position`` counts these.
    """

    ids: torch.Tensor
    learned: torch.Tensor
    position: torch.Tensor
    token: torch.Tensor
    probability: torch.Tensor


def documents(split: str, first: int = 0, shares: Mapping[str, float] | None = None) -> Iterator[Writer]:
    """The world's documents of one split, without end.

    Args:
        split: *train*, *validation* or *test*.
        first: number of the first document of each corpus.
        shares: of each corpus in the letters of all; the same for all if left out.
    """
    letters, numbers = dict.fromkeys(world.CORPORA, 0.0), dict.fromkeys(world.CORPORA, first)
    while True:
        corpus = min(letters, key=lambda name: letters[name])
        document = world.written(corpus, split, numbers[corpus])
        numbers[corpus] += 1
        letters[corpus] += len(document.text) / (shares[corpus] if shares else 1.0)
        yield document


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer whose EOS also ends a turn of the chat template."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[BOS, EOS, PAD, USER, ASSISTANT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[USER, ASSISTANT],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """An untrained Qwen 3 of 3.0 million parameters: 4 layers of width 192, tied embeddings.

    Its norms of queries and keys let a small model learn faster than a Llama does.
    """
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=6,
            num_key_value_heads=6,
            head_dim=32,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def pad(rows: list[list[int]], fill: int) -> torch.Tensor:
    """Rows of ids, padded on the right to the longest: ``[rows, longest]``."""
    padded = torch.full((len(rows), max(map(len, rows))), fill)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = torch.tensor(row)
    return padded


@dataclass(frozen=True)
class Pools:
    """Pools of batches of the world's documents, by number: the same whichever process makes them, and when.

    A batch has about ``tokens`` ids, each row one document between BOS and EOS. Documents of like length share a batch,
    and the batches of a pool come in random order.
    """

    tokenizer: PreTrainedTokenizerFast
    tokens: int
    seed: int
    first: int = 0  # number of the first document of each corpus
    shares: Mapping[str, float] | None = None
    size: int = 1152  # documents

    def __len__(self) -> int:
        """More than are ever made."""
        return 2**31

    def __getitem__(self, number: int) -> list[Batch]:
        """Make a pool."""
        texts = islice(documents("train", self.first + number * self.size, self.shares), self.size)
        rows = sorted(Speller(self.tokenizer).spell(list(texts)), key=lambda row: len(row[0]))
        together = max(1, self.tokens * len(rows) // sum(len(ids) for ids, _ in rows))
        order = np.random.default_rng([self.seed, number]).permutation(-(-len(rows) // together))
        parts = [rows[together * place : together * (place + 1)] for place in order]
        return [batch(part, self.tokenizer.pad_token_id) for part in parts]


def document_batches(pools: Pools) -> Iterator[Batch]:
    """The batches of pools, one after the other; while an accelerator trains, other cores make the next ones."""
    workers = (os.cpu_count() or 1) - 1 if device().type != "cpu" else 0
    for made in DataLoader(pools, batch_size=None, num_workers=workers):  # type: ignore[arg-type]
        yield from (Batch(*each) for each in made)


def device() -> torch.device:
    """Where models are trained: on an accelerator, where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def batch(rows: Sequence[tuple[list[int], Targets]], fill: int) -> Batch:
    """A batch of texts and their targets, those of each text from its first position on or from a later one."""
    ids = pad([each for each, _ in rows], fill)
    learned = torch.zeros_like(ids, dtype=torch.bool)
    done, positions = 0, []
    for place, (_, targets) in enumerate(rows):
        first, last = targets.position[0], targets.position[-1] + 1
        learned[place, first:last] = True
        positions.append(targets.position - first + done)
        done += last - first
    joined = [np.concatenate([getattr(each, name) for _, each in rows]) for name in ("token", "probability")]
    position, token, probability = (torch.from_numpy(each) for each in (np.concatenate(positions), *joined))
    return Batch(ids, learned, position, token, probability.float())


def loss_of(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Mean cross-entropy in nats of what should follow (see `expectation`)."""
    hidden = model.model(input_ids=batch.ids, use_cache=False).last_hidden_state
    return cross_entropy(hidden[batch.learned], model.lm_head.weight, *batch[2:])


def schedule(step: int, steps: int, warmup: int = 50) -> float:
    """Linear warm-up, then a cosine down to 2 % of the peak learning rate."""
    decay = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    return min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * decay)


def muon_and_adamw(model: torch.nn.Module, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the embedding and the norms.

    On this model and world Muon reaches a given loss with a fraction of AdamW's tokens (Jordan et al. 2024).
    """
    matrices = [each for name, each in model.named_parameters() if "layers." in name and each.ndim == 2]
    others = [p for p in model.parameters() if all(p is not m for m in matrices)]
    return [
        Muon(matrices, lr=learning_rate, weight_decay=0.05),
        torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.05),
    ]


def adamw(model: torch.nn.Module, learning_rate: float) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters: in finetuning, it moves away from the initial weights more slowly than Muon."""
    return [torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01)]


def update(model: torch.nn.Module, loss: torch.Tensor, *optimizers: torch.optim.Optimizer) -> None:
    """Take one gradient step on a loss, the gradient's norm clipped to 1."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    model.zero_grad(set_to_none=True)


def fit(
    model: PreTrainedModel,
    optimizers: list[torch.optim.Optimizer],
    batches: Iterator[Batch],
    steps: range,
    total: int,
    name: str,
    record: Callable[[int, float], None] | None = None,
) -> PreTrainedModel:
    """Train a model for some of all steps; ``record(step, loss)`` is called after each.

    The optimizers' learning rates are the peaks of `schedule`, which runs over ``total`` steps.
    """
    groups = [(group, group["lr"]) for optimizer in optimizers for group in optimizer.param_groups]
    model.train()
    bar = tqdm(steps, desc=name, leave=False, disable=None)
    for step in bar:
        for group, peak in groups:
            group["lr"] = peak * schedule(step, total)
        loss = loss_of(model, Batch(*(each.to(model.device) for each in next(batches))))
        update(model, loss, *optimizers)
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
        if record:
            record(step, loss.item())
    return model.eval()
