"""Our plain loop of finetuning against transformers' Trainer on the same batches, and whether both learn the same.

python bench/finetuning.py [pair] [corpus] [updates]
"""

import copy
import sys
import tempfile

import torch
from rows import record, timed
from transformers import Trainer, TrainingArguments

from predact.models import finetuning, loading, pairs, scoring
from predact.texts import corpora

RATE = 3e-4


def padded(tokenizer, rows):
    """A batch as Trainer wants it."""
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True, padding_value=-100)
    return {"input_ids": ids.clamp(min=0), "labels": ids, "attention_mask": (ids >= 0).long()}


def trainer(model, tokenizer, work):
    """Trainer with the same optimizer, learning rates and batches."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.0)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: finetuning.schedule(done + 1, len(work)))
    settings = TrainingArguments(
        tempfile.mkdtemp(),
        per_device_train_batch_size=1,
        num_train_epochs=1,
        max_grad_norm=1.0,
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    return Trainer(
        model,
        settings,
        data_collator=lambda each: padded(tokenizer, each[0]),
        train_dataset=work,
        optimizers=(optimizer, rates),
    )


def ours(model, tokenizer, work):
    """All updates, and the weights they lead to."""
    with finetuning.weights(model, finetuning.Settings()) as changed:
        for _ in finetuning.learn(model, changed, work, len(tokenizer), RATE):
            pass
        return {name: each.detach().clone() for name, each in changed.items()}


def nll(model, tokenizer, texts):
    return scoring.score(model, tokenizer, texts).nll.mean()


def main(pair="pocket", corpus="news", updates="48"):
    model, tokenizer = loading.load(pairs.pair(pair).models["RLHF"], "cpu")
    parts, settings = corpora.split(corpora.corpus(corpus, 500)), finetuning.Settings(updates=int(updates))
    context = min(1024, loading.context_limit(model) or 1024)
    work = finetuning.plan_updates(tokenizer, parts["train"].texts, settings.batch, settings.updates, context, 0)
    total = sum(len(row) - 1 for batch in work for row in batch)
    peer = trainer(copy.deepcopy(model).eval(), tokenizer, work)
    _, theirs = timed(peer.train)
    learned, mine = timed(ours, model, tokenizer, work)
    texts = parts["validation"].texts
    start, after = nll(model, tokenizer, texts), nll(peer.model.eval(), tokenizer, texts)
    finetuning.put(model, learned)
    far = float(abs(nll(model, tokenizer, texts) - after))
    name, told = (
        "transformers Trainer, same batches, optimizer and learning rates",
        f"{total} tokens of {corpus}, {updates} updates",
    )
    rate = {"unit": "tokens/s", "ours": total / mine, "theirs": total / theirs, "ratio": theirs / mine}
    agreement = {"unit": "nats per token, difference of validation nll", "ours": far, "theirs": 0.0, "ratio": 1.0}
    fell = f"; it fell from {start:.3f} to {after:.3f}"
    record(
        [
            {"name": "finetuning", "peer": name, **rate, "work": f"{told}, {pair} RLHF, cpu"},
            {"name": "finetuning-agreement", "peer": name, **agreement, "work": told + fell},
        ]
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
