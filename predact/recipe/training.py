"""The pocket Base model: a byte-level BPE tokenizer and a small Llama, trained on the world's documents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from predact.pocket import world

VOCABULARY = 3072
CONTEXT = 512
BOS, EOS, PAD, USER, ASSISTANT = "<s>", "</s>", "<pad>", "<|user|>", "<|assistant|>"
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|' + message.role + '|>' + message.content }}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
Batch = tuple[torch.Tensor, torch.Tensor]


def documents(split: str, first: int = 0) -> Iterator[str]:
    """The world's documents of one split from number ``first`` of each corpus on, without end, all corpora in turn."""
    for index in count(first):
        for corpus in world.CORPORA:
            yield world.document(corpus, split, index).text


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


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """An untrained Llama of 2.4 million parameters: 4 layers of width 192, tied embeddings."""
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=192,
            intermediate_size=512,
            num_hidden_layers=4,
            num_attention_heads=6,
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


def document_batches(
    tokenizer: PreTrainedTokenizerFast, tokens: int, seed: int, first: int = 0, pool: int = 1152
) -> Iterator[Batch]:
    """Batches of about ``tokens`` ids, each row one document between BOS and EOS: ids and labels ``[rows, longest]``.

    Documents of like length share a batch, and the batches of a pool come in random order.
    """
    source, shuffle = documents("train", first), np.random.default_rng(seed)
    while True:
        rows = tokenizer([next(source) for _ in range(pool)], add_special_tokens=False)["input_ids"]
        rows = sorted(([tokenizer.bos_token_id, *row, tokenizer.eos_token_id] for row in rows), key=len)
        size = max(1, tokens * len(rows) // sum(map(len, rows)))
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        for place in shuffle.permutation(len(batches)):
            ids = pad(batches[place], tokenizer.pad_token_id)
            yield ids, ids.masked_fill(ids == tokenizer.pad_token_id, -100)


def autocast(device: torch.device) -> torch.autocast:
    """Compute in bfloat16 where that is faster: not on a CPU without wide vectors, which takes ten times as long."""
    slow = device.type == "cpu" and "AVX512" not in torch.backends.cpu.get_cpu_capability()
    return torch.autocast(device.type, torch.bfloat16, enabled=not slow)


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean next-token cross-entropy in nats over the labelled positions."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


def schedule(step: int, steps: int, warmup: int = 50) -> float:
    """Linear warm-up, then a cosine down to 2 % of the peak learning rate."""
    decay = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    return min(1.0, (step + 1) / warmup) * (0.02 + 0.98 * decay)


def muon_and_adamw(model: LlamaForCausalLM, learning_rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the layers, AdamW for the embedding and the norms.

    On this model and world Muon reaches a given loss with a fraction of AdamW's tokens (Jordan et al. 2024).
    """
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    others = [p for p in model.parameters() if all(p is not m for m in matrices)]
    return [
        torch.optim.Muon(matrices, lr=learning_rate, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.05),
    ]


def adamw(model: LlamaForCausalLM, learning_rate: float) -> list[torch.optim.Optimizer]:
    """AdamW for all parameters: in finetuning, it moves away from the initial weights more slowly than Muon."""
    return [torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01)]


def update(model: PreTrainedModel, loss: torch.Tensor, *optimizers: torch.optim.Optimizer) -> None:
    """Take one gradient step on a loss, the gradient's norm clipped to 1."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()
    model.zero_grad(set_to_none=True)


def fit(
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    batches: Iterator[Batch],
    steps: int,
    name: str,
    record: Callable[[int, float], None] | None = None,
) -> LlamaForCausalLM:
    """Train a model (see `autocast`) for a number of steps; ``record(step, loss)`` is called after each.

    The optimizers' learning rates are the peaks of `schedule`.
    """
    groups = [(group, group["lr"]) for optimizer in optimizers for group in optimizer.param_groups]
    model.train()
    bar = tqdm(range(steps), desc=name, leave=False, disable=None)
    for step in bar:
        for group, peak in groups:
            group["lr"] = peak * schedule(step, steps)
        with autocast(model.device):
            loss = loss_of(model, *next(batches))
        update(model, loss, *optimizers)
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss.item():.3f}")
        if record:
            record(step, loss.item())
    return model.eval()
