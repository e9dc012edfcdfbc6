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
import json
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
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from predact.errors import UserError, near
from predact.models import scoring
from predact.pocket import human, world
from predact.pocket.shipped import RUNS, SHIPPED, load, package, save
from predact.recipe import rewards, rlhf, training
from predact.recipe.rlhf import Budget
from predact.recipe.trajectory import recorder

CHECKPOINTS = 2  # between SFT and the shipped model


@dataclass(frozen=True)
class BaseScale:
    """Rounds, and steps of each; tokens of a step; peak learning rate; documents for the tokenizer."""

    rounds: int
    steps: int
    tokens: int
    learning_rate: float
    tokenizer_documents: int


@dataclass(frozen=True)
class SftScale:
    """Steps and rows of demonstrations."""

    steps: int
    rows: int
    learning_rate: float


@dataclass(frozen=True)
class RewardScale:
    """Number of rankings, each of eight answers."""

    rankings: int
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
        base=BaseScale(rounds=10, steps=1_000, tokens=3_072, learning_rate=6e-3, tokenizer_documents=8_000),
        sft=SftScale(steps=600, rows=64, learning_rate=3e-4),
        reward=RewardScale(rankings=8_192, learning_rate=1e-3),
        rlhf=Budget(steps=300, learning_rate=3e-4, beta=0.05, questions=16, samples=4, tokens=256),
        dpo_beta=0.1,
        record=Record(every=25, samples=8, documents=20),
    ),
    "miniature": Scale(
        base=BaseScale(rounds=1, steps=60, tokens=1_024, learning_rate=6e-3, tokenizer_documents=400),
        sft=SftScale(steps=10, rows=16, learning_rate=1e-3),
        reward=RewardScale(rankings=16, learning_rate=1e-3),
        rlhf=Budget(steps=4, learning_rate=3e-4, beta=0.05, questions=4, samples=4, tokens=256),
        dpo_beta=0.1,
        record=Record(every=4, samples=1, documents=2),
    ),
}


def _loaded(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    model, tokenizer = load(folder)
    return model.to(training.device()), tokenizer  # type: ignore[arg-type]


def _made(scale: Scale, stage: str) -> dict[str, str]:
    """Return the first entries of a card: the model's name and the command that makes it."""
    name = next(name for name, each in SCALES.items() if each == scale)
    return {"model": stage, "command": f"python -m predact.recipe.recipe --out FOLDER --scale {name} --stage {stage}"}


def base(out: Path, scale: Scale, seed: int = 0) -> Path:
    """Train the tokenizer and the Base model, in rounds (``base-round0``, ...) that share one learning-rate schedule.

    In the first round all corpora have as many letters. In each later one, a corpus has letters in proportion to how
    far the model still is from the world there (`excess`), so that all come near it together. The learning curves are
    kept as ``base-round0.parquet``, ...
    """
    folder = out / "base"
    if not folder.exists():
        made = _base_round(out, scale, seed, scale.base.rounds - 1)
        shutil.copytree(made, folder.with_suffix(".tmp"), dirs_exist_ok=True)
        folder.with_suffix(".tmp").rename(folder)
    return folder


def _base_round(out: Path, scale: Scale, seed: int, number: int) -> Path:
    folder = out / f"base-round{number}"
    if folder.exists():
        return folder
    last = _base_round(out, scale, seed, number - 1) if number else None
    start, losses, shares, before = time.time(), list[dict](), None, 0.0
    if last:
        model, tokenizer = load(last)
        card = json.loads((last / "recipe.json").read_text())
        shares, before = card["excess"], card["seconds"]
    else:
        first = islice(training.documents("train"), scale.base.tokenizer_documents)
        tokenizer = training.train_tokenizer([each.text for each in first])
        model = training.new_model(tokenizer, seed)
    done = number * scale.base.steps
    model.to(training.device())  # type: ignore[arg-type]
    pools = training.Pools(tokenizer, scale.base.tokens, seed + number, done * scale.base.tokens, shares)
    training.fit(
        model,
        training.muon_and_adamw(model, scale.base.learning_rate),
        training.document_batches(pools),
        range(done, done + scale.base.steps),
        scale.base.rounds * scale.base.steps,
        "Base",
        record=lambda step, loss: losses.append({"step": step, "loss": loss}),
    )
    pd.DataFrame(losses).to_parquet(out / f"{folder.name}.parquet")
    card = {**_made(scale, "base"), "seed": seed, "round": number, **asdict(scale.base), "shares": shares}
    far = {corpus: round(each, 4) for corpus, each in excess(model, tokenizer).items()}
    save(folder, model, tokenizer, {**card, "excess": far, "seconds": before + time.time() - start})
    return folder


def excess(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, documents: int = 60, split: str = "validation"
) -> dict[str, float]:
    """KL(world || model) of each corpus, as a share of its entropy, on documents of a split; at least a hundredth."""
    shares = {}
    for corpus in world.CORPORA:
        drawn = [world.document(corpus, split, index) for index in range(documents)]
        texts, entropy = [document.text for document in drawn], -sum(document.log_probability for document in drawn)
        nll = scoring.documents(scoring.score(model, tokenizer, texts, end=True), texts).nll.sum()
        shares[corpus] = max(0.01, float(nll / entropy - 1))
    return shares


def sft(out: Path, scale: Scale, seed: int = 0) -> Path:
    """Finetune the Base model on demonstrations."""
    folder = out / "sft"
    if folder.exists():
        return folder
    start, (model, tokenizer) = time.time(), _loaded(base(out, scale))
    batches = rlhf.demonstration_batches(tokenizer, scale.sft.rows, seed)
    optimizers = training.adamw(model, scale.sft.learning_rate)
    training.fit(model, optimizers, batches, range(scale.sft.steps), scale.sft.steps, "SFT")
    save(
        folder,
        model,
        tokenizer,
        {**_made(scale, "sft"), "seed": seed, **asdict(scale.sft), "seconds": time.time() - start},
    )
    return folder


def reward(out: Path, scale: Scale, seed: int = 0) -> Path:
    """Collect rankings of answers of the SFT model and learn the reward from them."""
    folder = out / "reward"
    if folder.exists():
        return folder
    start, (model, tokenizer) = time.time(), _loaded(sft(out, scale))
    ranked = _ranked(out, model, tokenizer, scale, seed)
    learned = rewards.Values(model.model)
    optimizers = training.muon_and_adamw(learned, scale.reward.learning_rate)
    accuracy = rewards.learn(learned, optimizers, tokenizer, ranked, rows=8)
    card = {**_made(scale, "reward"), "seed": seed, "accuracy": accuracy, **asdict(scale.reward)}
    card |= {"seconds": time.time() - start, "score": learned.score.weight[0].tolist()}
    save(folder, learned.body, tokenizer, card)
    return folder


def _ranked(
    out: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, scale: Scale, seed: int
) -> list[rewards.Ranking]:
    """The rankings, kept as ``rankings.parquet``."""
    kept = out / "rankings.parquet"
    if not kept.exists():
        made = rewards.rankings(model, tokenizer, scale.reward.rankings, scale.rlhf.tokens, seed)
        found = [each for some in made for each in some]
        pd.DataFrame([asdict(each) for each in found]).to_parquet(kept)
    return [
        rewards.Ranking(list(prompt), [list(each) for each in rows])
        for prompt, rows in pd.read_parquet(kept).to_numpy()
    ]


def run(out: Path, scale: Scale, name: str) -> Path:
    """One optimization of the SFT model: ``rlhf-seed0``, ``1``, ``2`` (learned reward), ``rlhf-true`` or ``dpo``.

    Leaves the chosen model, ``NAME.parquet`` (see `trajectory.recorder`) and the checkpoints on the way to it.
    """
    folder = out / name
    if folder.exists():
        return folder
    start, (reference, tokenizer) = time.time(), _loaded(sft(out, scale))
    learned = rewards.Values.load(reward(out, scale)).to(reference.device)
    opinion = rewards.learned_reward(learned, tokenizer)
    record = recorder(reference, tokenizer, opinion, scale.record.samples, scale.record.documents, scale.rlhf.tokens)
    rows: list[dict] = []
    states: dict[int, dict] = {}

    def note(step: int, policy: PreTrainedModel) -> None:
        if step % scale.record.every == 0:
            rows.append(record(step, policy))
            states[step] = {key: value.to(torch.bfloat16) for key, value in policy.state_dict().items()}
            pd.DataFrame(rows).to_parquet(out / f"{name}.parquet")

    policy = copy.deepcopy(reference)
    budget = replace(scale.rlhf, beta=scale.dpo_beta) if name == "dpo" else scale.rlhf
    seed = int(name[-1]) if name[-1].isdigit() else 0
    if name == "dpo":
        ranked = _ranked(out, reference, tokenizer, scale, 0)
        rlhf.dpo(policy, reference, tokenizer, ranked, budget, seed, note)
    else:
        chosen_reward = rewards.true_reward(tokenizer) if name == "rlhf-true" else opinion
        rlhf.rloo(policy, reference, tokenizer, human.questions("train"), chosen_reward, budget, seed, note)
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
    places = Path(__file__).parent.glob("*.*"), SHIPPED.glob("*.*"), (SHIPPED / "world").rglob("*.*")
    sources = sorted(path for found in places for path in found if path.suffix in (".py", ".yaml"))
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
