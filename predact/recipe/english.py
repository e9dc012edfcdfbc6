"""A real Base tuned step by step: ``python -m predact.recipe.english --base MODEL --out FOLDER --scale full``.

Stages: SFT on the replies that people preferred, a reward model learned from their comparisons, RLOO with a KL penalty
to SFT (two seeds), and DPO beside it. Every stage is an adapter (LoRA) in a folder of its own, and is skipped if that
exists; ``pair.yaml`` names them as a pair. How much of everything, and the rule that picks a run's model, stand in
``english.yaml``.
"""

from __future__ import annotations

import copy
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import peft
import torch
import typer
import yaml
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from predact.errors import UserError, near
from predact.methods import alignment
from predact.models import loading, pairs, scoring
from predact.models.pairs import Model
from predact.recipe import chats, rewards, rlhf, training, variety
from predact.recipe.answers import chat, sample, text_of
from predact.recipe.chats import Chat, Comparison
from predact.recipe.expectation import Targets
from predact.recipe.rewards import Ranking, Reward, Values
from predact.recipe.rlhf import Budget
from predact.recipe.trajectory import distribution
from predact.texts import corpora
from predact.texts.corpora import Corpus

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message.role == 'assistant' else 'user' }}\n{{ message.content }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
END = "<end_of_turn>"


@dataclass(frozen=True)
class Work:
    """What all stages need: where they are kept, what they begin with, and how much of everything."""

    out: Path
    base: Model
    scale: dict[str, Any]
    compared: tuple[Comparison, ...]
    texts: tuple[Corpus, ...] = ()

    def model(self, stage: str) -> Model:
        """The model of a stage: an adapter on Base or on SFT."""
        under = self.base if stage == "sft" else self.model("sft")
        return replace(self.base, source=str(self.out / stage), gguf=None, on=under)

    def load(self, stage: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
        """The model of a stage, or *base*, as the book reads it, and its tokenizer, whose answers end with a turn."""
        found, tokenizer = loading.load(self.base if stage == "base" else self.model(stage))
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.chat_template, tokenizer.eos_token = TEMPLATE, END
        return found.requires_grad_(False), tokenizer


@cache
def scales() -> dict[str, dict[str, Any]]:
    """The plan, by scale."""
    return yaml.safe_load((files("predact.recipe") / "english.yaml").read_text(encoding="utf-8"))


def adapted(model: PreTrainedModel, rank: int, seed: int) -> peft.PeftModel:
    """A model with an adapter that changes nothing yet; only the adapter takes a gradient."""
    torch.manual_seed(seed)
    return peft.get_peft_model(model, peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LINEAR))


def keep(folder: Path, wrapped: peft.PeftModel, card: dict[str, Any]) -> Path:
    """Write an adapter in bfloat16, its chat template and its card, all of it or nothing."""
    made = folder.with_name(folder.name + ".tmp")
    wrapped.save_pretrained(str(made))
    held = peft.get_peft_model_state_dict(wrapped, save_embedding_layers=False)
    half = {name: each.to(torch.bfloat16).contiguous().cpu() for name, each in held.items()}
    save_file(half, made / "adapter_model.safetensors")
    (made / "README.md").unlink(missing_ok=True)  # peft's, with nothing filled in
    (made / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    (made / "recipe.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    made.rename(folder)
    return folder


# ---------------------------------------------------------------------------------------------- the data


def rows_of(tokenizer: PreTrainedTokenizerFast, compared: Sequence[Comparison], context: int) -> list[Ranking]:
    """Comparisons as ids, each reply with its end; those with more tokens than the context are left out."""
    found = []
    for each in compared:
        replies = tokenizer([each.chosen + END, each.rejected + END], add_special_tokens=False)["input_ids"]
        asked = chat(tokenizer, each.chat)
        if len(asked) + max(map(len, replies)) <= context:
            found.append(Ranking(asked, replies))
    return found


def part(work: Work, name: str) -> list[Comparison]:
    """The comparisons of a part, in an order of its own."""
    found = [each for each in work.compared if chats.part(each.chat) == name]
    return random.Random(name).sample(found, len(found))


def prompts(work: Work, name: str, tokenizer: PreTrainedTokenizerFast) -> list[Chat]:
    """The conversations of a part, each once, that leave half of the context for a reply."""
    every = dict.fromkeys(each.chat for each in part(work, name))
    return [each for each in every if len(chat(tokenizer, each)) <= work.scale["context"] // 2]


def demonstrations(
    tokenizer: PreTrainedTokenizerFast, ranked: Sequence[Ranking], rows: int, seed: int
) -> Iterator[training.Batch]:
    """Batches of the replies that people preferred, in random order, pass after pass; only the replies are learned."""
    draw = random.Random(f"sft/{seed}")
    while True:
        order = draw.sample(list(ranked), len(ranked))
        for start in range(0, len(order) - rows + 1, rows):
            yield training.batch([_row(each) for each in order[start : start + rows]], tokenizer.pad_token_id)


def _row(each: Ranking) -> tuple[list[int], Targets]:
    reply = np.array(each.answers[0])
    position = np.arange(len(reply)) + len(each.prompt) - 1
    return each.prompt + each.answers[0], Targets(position, reply, np.ones(len(reply)))


# ---------------------------------------------------------------------------------------------- the stages


def sft(work: Work) -> Path:
    """Train an adapter on the replies that people preferred, one pass."""
    folder, plan = work.out / "sft", work.scale["sft"]
    if folder.exists():
        return folder
    start, (model, tokenizer) = time.time(), work.load("base")
    ranked = rows_of(tokenizer, part(work, "train"), work.scale["context"])[: plan["demonstrations"]]
    steps = len(ranked) // plan["rows"]
    if not steps:
        raise UserError(f"preferences: {len(ranked)} replies fit; SFT needs {plan['rows']} at once.")
    wrapped, losses = adapted(model, work.scale["rank"], 0), list[float]()
    optimizers = training.adamw(wrapped, plan["learning_rate"])
    batches = demonstrations(tokenizer, ranked, plan["rows"], 0)
    training.fit(model, optimizers, batches, range(steps), steps, "SFT", lambda _, loss: losses.append(loss))
    card = {"model": "sft", "demonstrations": len(ranked), "loss": losses[:: max(1, steps // 50)]}
    return keep(folder, wrapped, {**card, **plan, "seconds": time.time() - start})


def reward(work: Work) -> Path:
    """Train a reward model, an adapter on SFT and a value for each token, on the people's comparisons."""
    folder, plan = work.out / "reward", work.scale["reward"]
    if folder.exists():
        return folder
    sft(work)
    start, (model, tokenizer) = time.time(), work.load("sft")
    ranked = rows_of(tokenizer, part(work, "train"), work.scale["context"])[-plan["comparisons"] :]
    wrapped = adapted(model, work.scale["rank"], 1)
    values = Values(model.model)
    optimizers = training.adamw(values, plan["learning_rate"])
    accuracy = rewards.learn(values, optimizers, tokenizer, ranked, plan["rows"])
    card = {"model": "reward", "accuracy": accuracy, **plan, "comparisons": len(ranked)}
    return keep(folder, wrapped, {**card, "score": values.score.weight[0].tolist(), "seconds": time.time() - start})


def learned(work: Work) -> Reward:
    """The reward of the reward model."""
    model, tokenizer = work.load("reward")
    values = Values(model.model)
    card = json.loads((work.out / "reward" / "recipe.json").read_text(encoding="utf-8"))
    values.score.weight.data = torch.tensor([card["score"]], device=model.device)
    return rewards.learned_reward(values.eval(), tokenizer)


def run(work: Work, name: str) -> Path:
    """One optimization of SFT, ``rlhf-seed0``, ``rlhf-seed1`` or ``dpo``; leaves its model and ``NAME.parquet``."""
    folder = work.out / name
    if folder.exists():
        return folder
    reward(work)
    start, opinion = time.time(), learned(work)
    (reference, tokenizer), (policy, _) = work.load("sft"), work.load("sft")
    seed = int(name[-1]) if name[-1].isdigit() else 0
    wrapped = adapted(policy, work.scale["rank"], 2 + seed)
    budget = Budget(**work.scale["dpo" if name == "dpo" else "rloo"])
    if name != "dpo":
        budget = replace(budget, steps=round(budget.steps * work.scale["seeds"][seed]))
    record, rows, states = recorder(work, reference, tokenizer, opinion, budget.tokens), list[dict](), {}

    def note(step: int, model: PreTrainedModel) -> None:
        if step % work.scale["record"]["every"] == 0:
            rows.append(record(step, model))
            states[step] = copy.deepcopy(peft.get_peft_model_state_dict(wrapped))
            pd.DataFrame(rows).to_parquet(work.out / f"{name}.parquet")

    if name == "dpo":
        ranked = rows_of(tokenizer, part(work, "train"), work.scale["context"])
        rlhf.dpo(policy, reference, tokenizer, ranked, budget, seed, note)
    else:
        rlhf.rloo(policy, reference, tokenizer, prompts(work, "train", tokenizer), opinion, budget, seed, note)
    best = chosen(rows, work.scale["kl_at_most"])
    peft.set_peft_model_state_dict(wrapped, states[best["step"]])
    card = {"model": name, "seed": seed, "step": best["step"], "reward": best["reward"], "kl": best["kl"]}
    return keep(folder, wrapped, {**card, **vars(budget), "seconds": time.time() - start})


def chosen(rows: Sequence[dict[str, Any]], kl_at_most: float) -> dict[str, Any]:
    """The recorded step that a run's model is taken from: see the rule in ``english.yaml``."""
    return max((row for row in rows if row["step"] == 0 or row["kl"] <= kl_at_most), key=lambda row: row["reward"])


def recorder(
    work: Work, reference: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, opinion: Reward, tokens: int
) -> Callable[[int, PreTrainedModel], dict[str, Any]]:
    """A function ``(step, model) -> row`` that evaluates a model on held-out prompts and on documents.

    The row holds ``reward`` (learned, mean), ``kl`` (nats an answer, to SFT), ``entropy``, ``mass`` and ``support`` of
    the next-token distributions along its answers, ``share10`` and ``overlap`` (percent, means over prompts),
    ``words`` of an answer, ``perplexity/<corpus>`` and the ``answers`` to the first prompt.
    """
    plan = work.scale["record"]
    asked = prompts(work, "held out", tokenizer)[: plan["prompts"]]

    def row(step: int, model: PreTrainedModel) -> dict[str, Any]:
        drawn = sample(model, tokenizer, asked, plan["samples"], tokens, seed=7)
        texts = [text_of(tokenizer, ids) for ids in drawn.ids]
        groups = [slice(first, first + plan["samples"]) for first in range(0, len(texts), plan["samples"])]
        alike = [variety.of_answers(texts[some], drawn.ids[some], alignment.align) for some in groups]
        return {
            "step": step,
            "reward": opinion(drawn.questions, drawn.ids).mean().item(),
            **distribution(model, reference, tokenizer, drawn),
            "share10": float(np.mean([each["common10"] for each in alike])),
            "overlap": float(np.mean([each["overlap"] for each in alike])),
            "words": float(np.mean([len(text.split()) for text in texts])),
            **{f"perplexity/{each.name}": perplexity(model, tokenizer, each.texts) for each in work.texts},
            "answers": texts[: plan["samples"]],
        }

    return row


def perplexity(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> float:
    """Perplexity per token of documents."""
    scored = scoring.score(model, tokenizer, list(texts))
    return float(np.exp(scored.nll.mean()))


STAGES: dict[str, Callable[[Work], Path]] = {
    "sft": sft,
    "reward": reward,
    **{name: partial(run, name=name) for name in ("rlhf-seed0", "rlhf-seed1", "dpo")},
}


def make(work: Work, stage: str = "") -> Path:
    """Run every stage, or the named one and what it needs; stages that are there already are kept.

    Raises:
        UserError: the stage is not known.
    """
    if stage and stage not in STAGES:
        raise UserError(f"stage: {stage!r} is not known{near(stage, STAGES) or '.'} Expected {', '.join(STAGES)}.")
    work.out.mkdir(parents=True, exist_ok=True)
    for name in [stage] if stage else STAGES:
        STAGES[name](work)
    base = f"{work.base.source}/{work.base.gguf}" if work.base.gguf else work.base.source
    steps = {"Base": base, "SFT": {"source": "sft", "on": "Base"}, "RLHF": {"source": "rlhf-seed0", "on": "SFT"}}
    if not stage:
        told = {"about": "A real Base and its twin, tuned by predact.recipe.english.", "models": steps}
        (work.out / "pair.yaml").write_text(yaml.safe_dump(told, sort_keys=False), encoding="utf-8")
    return work.out


def main(
    base: Annotated[str, typer.Option(help="Base, a pretrained Gemma 3: a folder, a .gguf file or a hub id.")],
    out: Annotated[Path, typer.Option(help="Folder for adapters and trajectories.")],
    scale: Annotated[str, typer.Option(help="full or miniature.")] = "miniature",
    stage: Annotated[str, typer.Option(help=f"Only this one of: {', '.join(STAGES)}.")] = "",
    preferences: Annotated[list[Path] | None, typer.Option(help="Files of comparisons; none: the hub's.")] = None,
    corpus: Annotated[
        list[str] | None, typer.Option(help="Names or files of documents to record perplexity on.")
    ] = None,
    without: Annotated[list[Path] | None, typer.Option(help="Files of texts that must not be trained on.")] = None,
) -> None:
    """Tune a real Base, or run the stages that are still missing."""
    try:
        if scale not in scales():
            raise UserError(f"scale: {scale!r} is not known{near(scale, scales()) or '.'} Expected full or miniature.")
        plan = scales()[scale]
        compared = chats.comparisons(preferences or [], chats.first_turns(without or []))
        texts = [corpora.corpus(name, plan["record"]["documents"]) for name in corpus or []]
        make(
            Work(out, pairs.pair(pairs.spelled(base, base)).models["Base"], plan, tuple(compared), tuple(texts)), stage
        )
    except UserError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None


if __name__ == "__main__":
    typer.run(main)
