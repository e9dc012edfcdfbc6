"""The recipe of the pocket pair, end to end: ``python -m predact.recipe.recipe --scale full --out FOLDER``.

Stages: Base, SFT, reward model, RLHF with three seeds, and two variants at the same learning rate, steps and batch (the
true reward in place of the learned one, and DPO). Each has a folder and is skipped if that exists. Two rules were fixed
beforehand:

- every run takes all of its steps; its model is the recorded step with the highest *true* reward on the validation
  questions (the earliest among ties);
- the shipped RLHF model is the seed with the median of these rewards.
"""

from __future__ import annotations

import copy
import hashlib
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import typer
from filelock import FileLock
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from predact.errors import UserError, near
from predact.models import scoring
from predact.pocket import world
from predact.pocket.shipped import RUNS, SHIPPED, load, package, save
from predact.recipe import rewards, rlhf, training
from predact.recipe.rlhf import Budget
from predact.recipe.trajectory import recorder

NEAR = 0.1  # as a share of the world's entropy
CHECKPOINTS = 6  # between SFT and the shipped model


@dataclass(frozen=True)
class BaseScale:
    """Steps and peak learning rate of each round; tokens of a step; documents for the tokenizer."""

    rounds: tuple[tuple[int, float], ...]
    tokens: int
    tokenizer_documents: int


@dataclass(frozen=True)
class SftScale:
    """Steps and rows of demonstrations."""

    steps: int
    rows: int
    learning_rate: float


@dataclass(frozen=True)
class RewardScale:
    """Number of preferences, and of passes of the reward model over them."""

    pairs: int
    passes: int
    learning_rate: float


@dataclass(frozen=True)
class Record:
    """How often a run is recorded, on how many answers per validation question and documents per corpus."""

    every: int
    samples: int
    documents: int


@dataclass(frozen=True)
class Scale:
    """How much of everything: ``full`` made the shipped models, ``miniature`` shows every stage in two minutes."""

    base: BaseScale
    sft: SftScale
    reward: RewardScale
    rlhf: Budget
    dpo_beta: float
    record: Record


SCALES = {
    "full": Scale(
        base=BaseScale(((3_000, 6e-3), (3_000, 3e-3), (2_000, 6e-3), (3_000, 3e-3)), 3_072, 20_000),
        sft=SftScale(steps=600, rows=64, learning_rate=3e-4),
        reward=RewardScale(pairs=12_288, passes=3, learning_rate=1e-3),
        rlhf=Budget(steps=300, learning_rate=3e-4, beta=0.05, questions=16, samples=4),
        dpo_beta=0.1,
        record=Record(every=25, samples=8, documents=20),
    ),
    "miniature": Scale(
        base=BaseScale(((60, 6e-3),), 1_024, 1_000),
        sft=SftScale(steps=10, rows=16, learning_rate=1e-3),
        reward=RewardScale(pairs=64, passes=1, learning_rate=1e-3),
        rlhf=Budget(steps=4, learning_rate=3e-4, beta=0.05, questions=4, samples=4),
        dpo_beta=0.1,
        record=Record(every=4, samples=1, documents=2),
    ),
}


def _made(scale: Scale, stage: str) -> dict[str, str]:
    """Return the first entries of a card: the model's name and the command that makes it."""
    name = next(name for name, each in SCALES.items() if each == scale)
    return {"model": stage, "command": f"python -m predact.recipe.recipe --out FOLDER --scale {name} --stage {stage}"}


def base(out: Path, scale: Scale, seed: int = 0) -> Path:
    """Train the tokenizer and the Base model, in rounds, until it is near the world on every corpus.

    It is near if its KL is within a tenth of the entropy on validation documents (`farthest`). Each round continues the
    last one with unseen documents; rounds that are not needed are skipped. The learning curves are kept as
    ``base-round0.parquet``, ...
    """
    folder = out / "base"
    for number in range(len(scale.base.rounds)):
        if folder.exists():
            break
        made = _base_round(out, scale, seed, number)
        if farthest(*load(made)) < NEAR or number + 1 == len(scale.base.rounds):
            shutil.copytree(made, folder.with_suffix(".tmp"), dirs_exist_ok=True)
            folder.with_suffix(".tmp").rename(folder)
    return folder


def _base_round(out: Path, scale: Scale, seed: int, number: int) -> Path:
    folder = out / f"base-round{number}"
    if folder.exists():
        return folder
    start, losses, (steps, learning_rate) = time.time(), list[dict](), scale.base.rounds[number]
    if number:
        model, tokenizer = load(_base_round(out, scale, seed, number - 1))
    else:
        tokenizer = training.train_tokenizer(list(islice(training.documents("train"), scale.base.tokenizer_documents)))
        model = training.new_model(tokenizer, seed)
    done = sum(steps for steps, _ in scale.base.rounds[:number])
    training.fit(
        model,
        training.muon_and_adamw(model, learning_rate),
        training.document_batches(tokenizer, scale.base.tokens, seed + number, first=done * scale.base.tokens),
        steps,
        "Base",
        record=lambda step, loss: losses.append({"step": done + step, "loss": loss}),
    )
    pd.DataFrame(losses).to_parquet(out / f"{folder.name}.parquet")
    card = {**_made(scale, "base"), "seed": seed, "round": number, **asdict(scale.base), "seconds": time.time() - start}
    save(folder, model, tokenizer, card)
    return folder


def farthest(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, documents: int = 60) -> float:
    """The largest KL(world || model) of any corpus, as a share of its entropy, on validation documents."""
    shares = []
    for corpus in world.CORPORA:
        drawn = [world.document(corpus, "validation", index) for index in range(documents)]
        texts, entropy = [document.text for document in drawn], -sum(document.log_probability for document in drawn)
        nll = scoring.documents(scoring.score(model, tokenizer, texts, end=True), texts).nll.sum()
        shares.append(nll / entropy - 1)
    return max(shares)


def sft(out: Path, scale: Scale, seed: int = 0) -> Path:
    """Finetune the Base model on demonstrations."""
    folder = out / "sft"
    if folder.exists():
        return folder
    start, (model, tokenizer) = time.time(), load(base(out, scale))
    batches = rlhf.demonstration_batches(tokenizer, scale.sft.rows, seed)
    training.fit(model, training.adamw(model, scale.sft.learning_rate), batches, scale.sft.steps, "SFT")
    save(
        folder,
        model,
        tokenizer,
        {**_made(scale, "sft"), "seed": seed, **asdict(scale.sft), "seconds": time.time() - start},
    )
    return folder


def reward(out: Path, scale: Scale, seed: int = 0) -> Path:
    """Collect preferences on answers of the SFT model and learn the reward from them."""
    folder = out / "reward"
    if folder.exists():
        return folder
    start, (model, tokenizer) = time.time(), load(sft(out, scale))
    pairs = rewards.preferences(model, tokenizer, scale.reward.pairs, seed)
    pd.DataFrame([asdict(pair) for pair in pairs]).to_parquet(out / "preferences.parquet")
    learned, accuracy = rewards.train_reward_model(
        model, tokenizer, pairs, scale.reward.learning_rate, scale.reward.passes
    )
    card = {**_made(scale, "reward"), "seed": seed, "accuracy": accuracy, **asdict(scale.reward)}
    save(folder, learned, tokenizer, {**card, "seconds": time.time() - start})
    return folder


def run(out: Path, scale: Scale, name: str) -> Path:
    """One optimization of the SFT model: ``rlhf-seed0``, ``1``, ``2`` (learned reward), ``rlhf-true`` or ``dpo``.

    Leaves the chosen model, ``NAME.parquet`` (see `trajectory.recorder`) and the checkpoints on the way to it.
    """
    folder = out / name
    if folder.exists():
        return folder
    start, (reference, tokenizer) = time.time(), load(sft(out, scale))
    learned = LlamaForSequenceClassification.from_pretrained(reward(out, scale), dtype=torch.float32).eval()
    opinion = rewards.learned_reward(learned, tokenizer)
    record = recorder(reference, tokenizer, opinion, scale.record.samples, scale.record.documents)
    rows: list[dict] = []
    states: dict[int, dict] = {}

    def note(step: int, policy: LlamaForCausalLM) -> None:
        if step % scale.record.every == 0:
            rows.append(record(step, policy))
            states[step] = {key: value.to(torch.bfloat16) for key, value in policy.state_dict().items()}
            pd.DataFrame(rows).to_parquet(out / f"{name}.parquet")

    policy = copy.deepcopy(reference)
    budget = replace(scale.rlhf, beta=scale.dpo_beta) if name == "dpo" else scale.rlhf
    seed = int(name[-1]) if name[-1].isdigit() else 0
    if name == "dpo":
        pairs = [rewards.Preference(*map(list, row)) for row in pd.read_parquet(out / "preferences.parquet").to_numpy()]
        rlhf.dpo(policy, reference, tokenizer, pairs, budget, seed, note)
    else:
        chosen_reward = rewards.true_reward(tokenizer) if name == "rlhf-true" else opinion
        rlhf.rloo(policy, reference, tokenizer, chosen_reward, budget, seed, note)
    best = max(rows, key=lambda row: row["reward"])
    card = {**_made(scale, name), "seed": seed, "validation_reward": best["reward"], "kl": best["kl"], **asdict(budget)}
    for step in [*_on_the_way(list(states), best["step"]), best["step"]]:
        policy.load_state_dict(states[step])
        last = step == best["step"]
        where = folder if last else out / "checkpoints" / name / f"step{step:03d}"
        where.parent.mkdir(parents=True, exist_ok=True)
        save(where, policy, tokenizer, {**card, "step": step, "seconds": time.time() - start})
    return folder


def _on_the_way(steps: list[int], last: int) -> list[int]:
    """Recorded steps between the first and ``last``, at most CHECKPOINTS of them, evenly spread."""
    between = [step for step in steps if 0 < step < last]
    count = min(CHECKPOINTS, len(between))
    return sorted({between[(2 * i + 1) * len(between) // (2 * count)] for i in range(count)})


STAGES: dict[str, Callable[[Path, Scale], Path]] = {
    "base": base,
    "sft": sft,
    "reward": reward,
    **{name: partial(run, name=name) for name in RUNS},
}


def make(out: Path, scale: str, stage: str = "") -> Path:
    """Run every stage, or the named one and what it needs, into a folder; stages that are there already are kept.

    Raises:
        UserError: the scale or the stage is not known.
    """
    if scale not in SCALES:
        raise UserError(f"scale: {scale!r} is not known{near(scale, SCALES) or '.'} Expected {' or '.join(SCALES)}.")
    if stage and stage not in STAGES:
        raise UserError(f"stage: {stage!r} is not known{near(stage, STAGES) or '.'} Expected {', '.join(STAGES)}.")
    out.mkdir(parents=True, exist_ok=True)
    if stage:
        STAGES[stage](out, SCALES[scale])
        return out
    with FileLock(out.with_suffix(".lock")):  # another process may be making all of them
        for each in STAGES.values():
            each(out, SCALES[scale])
    return out


def stored(root: Path, scale: str) -> Path:
    """Return the folder of a store for a scale and this version of the recipe's code."""
    folders = Path(__file__).parent, SHIPPED  # the recipe's code; the world and the people
    sources = [path for folder in folders for path in sorted(folder.glob("*.[py]*"))]
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    return root / "recipe" / f"{scale}-{version}"


def main(
    out: Annotated[Path, typer.Option(help="Folder for models and trajectories.")],
    scale: Annotated[str, typer.Option(help="full or miniature.")] = "miniature",
    stage: Annotated[str, typer.Option(help=f"Only this one of: {', '.join(STAGES)}.")] = "",
    package_to: Annotated[Path | None, typer.Option(help="Then copy what is shipped to this folder.")] = None,
) -> None:
    """Make the pocket pair, or the stages of it that are still missing."""
    try:
        make(out, scale, stage)
    except UserError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    if package_to:
        package(out, package_to)


if __name__ == "__main__":
    typer.run(main)
