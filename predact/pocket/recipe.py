"""The recipe of the pocket pair, end to end: ``python -m predact.pocket.recipe --scale full --out FOLDER``.

Stages, each a folder of its own that is not made again: Base, SFT, reward model, RLHF with three seeds, and two
variants at the same learning rate, steps and batch: the true reward in place of the learned one, and DPO. Two rules
were fixed beforehand:

- every run goes on for all of its steps; its model is the recorded step with the highest *true* reward on the
  validation questions (the earliest of equals);
- the shipped RLHF model is the seed with the median of these rewards.
"""

from __future__ import annotations

import copy
import hashlib
import json
import platform
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated

import pandas as pd
import torch
import transformers
import typer
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedModel, PreTrainedTokenizerFast

from predact import scoring
from predact.errors import UserError, near
from predact.pocket import rewards, rlhf, training, world
from predact.pocket.rlhf import Budget
from predact.pocket.trajectory import recorder

SHIPPED = Path(__file__).parent  # its folders models and trajectories
SEEDS = (0, 1, 2)
NEAR = 0.1  # of the world's entropy
CHECKPOINTS = 6  # between SFT and the shipped model


@dataclass(frozen=True)
class Scale:
    """How much of everything: ``full`` made the shipped models, ``miniature`` shows every stage in two minutes."""

    tokenizer_documents: int
    base_rounds: tuple[tuple[int, float], ...]  # steps and peak learning rate of each, as far as needed
    base_tokens: int  # per step
    sft_steps: int
    sft_rows: int
    pairs: int  # preferences
    rlhf: Budget
    dpo_beta: float
    record_every: int
    record_samples: int  # answers per validation question
    record_documents: int  # per corpus
    sft_learning_rate: float = 1e-3
    reward_learning_rate: float = 3e-4


SCALES = {
    "full": Scale(
        tokenizer_documents=20_000,
        base_rounds=((3_000, 6e-3), (3_000, 3e-3), (2_000, 6e-3), (3_000, 3e-3)),
        base_tokens=3_072,
        sft_steps=300,
        sft_rows=64,
        pairs=6_144,
        rlhf=Budget(steps=300, learning_rate=3e-4, beta=0.05, questions=16, samples=4),
        dpo_beta=0.1,
        record_every=25,
        record_samples=8,
        record_documents=20,
    ),
    "miniature": Scale(
        tokenizer_documents=1_000,
        base_rounds=((60, 6e-3),),
        base_tokens=1_024,
        sft_steps=10,
        sft_rows=16,
        pairs=64,
        rlhf=Budget(steps=4, learning_rate=3e-4, beta=0.05, questions=4, samples=4),
        dpo_beta=0.1,
        record_every=4,
        record_samples=1,
        record_documents=2,
    ),
}


# ------------------------------------------------------------------------------------------------ folders of models


def save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, card: dict) -> None:
    """Write a model in bfloat16 safetensors, its tokenizer and what made it, complete or not at all."""
    made = folder.with_name(folder.name + ".tmp")
    half = copy.deepcopy(model).bfloat16()
    half.save_pretrained(made)
    tokenizer.save_pretrained(made)
    libraries = {"torch": torch.__version__, "transformers": transformers.__version__}
    card = {**card, "versions": {"python": platform.python_version(), **libraries}}
    (made / "recipe.json").write_text(json.dumps(card, indent=1) + "\n")
    made.rename(folder)


def load(folder: Path) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast]:
    """A model of the recipe, in float32, and its tokenizer."""
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, PreTrainedTokenizerFast.from_pretrained(folder)


# ---------------------------------------------------------------------------------------------------------- stages


def base(out: Path, scale: Scale, seed: int = 0) -> Path:
    """Train the tokenizer and the Base model, in rounds, until it is near the world on every corpus.

    Near is within a tenth of the entropy on validation documents (`farthest`). Each round goes on from the last with
    documents not seen yet; rounds that are not needed are left out. The learning curves are kept as
    ``base-round0.parquet``, ...
    """
    folder = out / "base"
    for number in range(len(scale.base_rounds)):
        if folder.exists():
            break
        made = _base_round(out, scale, seed, number)
        if farthest(*load(made)) < NEAR or number + 1 == len(scale.base_rounds):
            shutil.copytree(made, folder.with_suffix(".tmp"), dirs_exist_ok=True)
            folder.with_suffix(".tmp").rename(folder)
    return folder


def _base_round(out: Path, scale: Scale, seed: int, number: int) -> Path:
    folder = out / f"base-round{number}"
    if folder.exists():
        return folder
    start, losses, (steps, learning_rate) = time.time(), list[dict](), scale.base_rounds[number]
    if number:
        model, tokenizer = load(_base_round(out, scale, seed, number - 1))
    else:
        tokenizer = training.train_tokenizer(list(islice(training.documents("train"), scale.tokenizer_documents)))
        model = training.new_model(tokenizer, seed)
    done = sum(steps for steps, _ in scale.base_rounds[:number])
    training.fit(
        model,
        training.document_batches(tokenizer, scale.base_tokens, seed + number, first=done * scale.base_tokens),
        steps,
        learning_rate,
        "Base",
        record=lambda step, loss: losses.append({"step": done + step, "loss": loss}),
    )
    pd.DataFrame(losses).to_parquet(out / f"{folder.name}.parquet")
    card = {"model": "base", "seed": seed, "round": number, **asdict(scale), "seconds": time.time() - start}
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
    batches = rlhf.demonstration_batches(tokenizer, scale.sft_rows, seed)
    training.fit(model, batches, scale.sft_steps, scale.sft_learning_rate, "SFT")
    save(folder, model, tokenizer, {"model": "sft", "seed": seed, **asdict(scale), "seconds": time.time() - start})
    return folder


def reward(out: Path, scale: Scale, seed: int = 0) -> Path:
    """Collect preferences on answers of the SFT model and learn the reward from them."""
    folder = out / "reward"
    if folder.exists():
        return folder
    start, (model, tokenizer) = time.time(), load(sft(out, scale))
    pairs = rewards.preferences(model, tokenizer, scale.pairs, seed)
    pd.DataFrame([asdict(pair) for pair in pairs]).to_parquet(out / "preferences.parquet")
    learned, accuracy = rewards.train_reward_model(model, tokenizer, pairs, scale.reward_learning_rate)
    card = {"model": "reward", "seed": seed, "accuracy": accuracy, **asdict(scale), "seconds": time.time() - start}
    save(folder, learned, tokenizer, card)
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
    record = recorder(reference, tokenizer, opinion, scale.record_samples, scale.record_documents)
    rows: list[dict] = []
    states: dict[int, dict] = {}

    def note(step: int, policy: LlamaForCausalLM) -> None:
        if step % scale.record_every == 0:
            rows.append(record(step, policy))
            states[step] = {key: value.to(torch.bfloat16) for key, value in policy.state_dict().items()}
            pd.DataFrame(rows).to_parquet(out / f"{name}.parquet")

    policy = copy.deepcopy(reference)
    seed = int(name[-1]) if name[-1].isdigit() else 0
    if name == "dpo":
        pairs = [rewards.Preference(*map(list, row)) for row in pd.read_parquet(out / "preferences.parquet").to_numpy()]
        rlhf.dpo(policy, reference, tokenizer, pairs, replace(scale.rlhf, beta=scale.dpo_beta), seed, note)
    else:
        chosen_reward = rewards.true_reward(tokenizer) if name == "rlhf-true" else opinion
        rlhf.rloo(policy, reference, tokenizer, chosen_reward, scale.rlhf, seed, note)
    best = max(rows, key=lambda row: row["reward"])
    card = {"model": name, "seed": seed, "validation_reward": best["reward"], "kl": best["kl"], **asdict(scale)}
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


def package(out: Path, target: Path) -> None:
    """Copy what is shipped: all models but the reward model, the trajectories, and the median seed as ``rlhf``."""
    made = [out / name for name in RUNS if (out / name).exists()]
    seeds = [folder for folder in made if "seed" in folder.name]
    ranked = sorted(seeds, key=lambda folder: json.loads((folder / "recipe.json").read_text())["validation_reward"])
    median = ranked[(len(ranked) - 1) // 2]
    models = {"base": out / "base", "sft": out / "sft", "rlhf": median}
    models |= {folder.name: folder for folder in made if folder != median}
    models |= {f"checkpoints/{folder.name}": folder for folder in (out / "checkpoints" / median.name).glob("step*")}
    for name, folder in models.items():
        shutil.copytree(folder, target / "models" / name, dirs_exist_ok=True)
    (target / "trajectories").mkdir(exist_ok=True)
    for path in (*out.glob("base-round*.parquet"), *(out / f"{folder.name}.parquet" for folder in made)):
        shutil.copy(path, target / "trajectories")


def runs(folder: Path) -> dict[str, pd.DataFrame]:
    """The recorded trajectories below a folder, in the order of the recipe."""
    recorded = {name: folder / f"{name}.parquet" for name in RUNS}
    return {name: pd.read_parquet(path) for name, path in recorded.items() if path.exists()}


def cards(folder: Path) -> pd.DataFrame:
    """What made each model below a folder, by the folder's name: run, seed, step, validation reward, KL, seconds."""
    found = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/recipe.json")}
    told = pd.DataFrame.from_dict({name: card for name, card in found.items() if "round" not in name}, orient="index")
    told = told.rename(columns={"model": "run"}).sort_values("run", key=lambda runs: runs.map(list(STAGES).index))
    return told.reindex(columns=["run", "seed", "step", "validation_reward", "kl", "seconds"]).round(2)


RUNS = (*(f"rlhf-seed{seed}" for seed in SEEDS), "rlhf-true", "dpo")
STAGES: dict[str, Callable[[Path, Scale], Path]] = {
    "base": base,
    "sft": sft,
    "reward": reward,
    **{name: partial(run, name=name) for name in RUNS},
}


def make(root: Path, scale: str) -> Path:
    """Run every stage into a folder of the store that belongs to this scale and this version of the recipe.

    Raises:
        UserError: the scale is not known.
    """
    if scale not in SCALES:
        raise UserError(f"scale: '{scale}' is not known{near(scale, SCALES)}; expected {' or '.join(SCALES)}.")
    sources = sorted(Path(__file__).parent.glob("*.[py]*"))
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    out = root / "recipe" / f"{scale}-{version}"
    out.mkdir(parents=True, exist_ok=True)
    for stage in STAGES.values():
        stage(out, SCALES[scale])
    return out


def main(
    out: Annotated[Path, typer.Option(help="Folder for models and trajectories.")],
    scale: Annotated[str, typer.Option(help="full or miniature.")] = "miniature",
    stage: Annotated[str, typer.Option(help=f"Only this one of: {', '.join(STAGES)}.")] = "",
    package_to: Annotated[Path | None, typer.Option(help="Then copy what is shipped to this folder.")] = None,
) -> None:
    """Make the pocket pair, or what is still missing of it."""
    out.mkdir(parents=True, exist_ok=True)
    for name in [stage] if stage else STAGES:
        STAGES[name](out, SCALES[scale])
    if package_to:
        package(out, package_to)


if __name__ == "__main__":
    typer.run(main)
