"""The recipe's folders of models: how they are written and read, and which of them are shipped with predact."""

from __future__ import annotations

import copy
import json
import platform
import shutil
from pathlib import Path

import pandas as pd
import torch
import transformers
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

SHIPPED = Path(__file__).parent  # its folders models and trajectories
FIT = 5  # checkpoints, so that everything shipped stays below 60 MB; the last one, nearest to the end, is left out
SEEDS = (0, 1, 2)
RUNS = (*(f"rlhf-seed{seed}" for seed in SEEDS), "rlhf-true", "dpo")


def save(folder: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, card: dict) -> None:
    """Write a model in bfloat16 safetensors, its tokenizer and its card (how it was made), all of it or nothing."""
    made = folder.with_name(folder.name + ".tmp")
    half = copy.deepcopy(model).bfloat16()
    half.save_pretrained(made)
    tokenizer.save_pretrained(made)
    libraries = {"torch": torch.__version__, "transformers": transformers.__version__}
    card = {**card, "versions": {"python": platform.python_version(), **libraries}}
    (made / "recipe.json").write_text(json.dumps(card, indent=1) + "\n")
    made.rename(folder)


def load(folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A model of the recipe, in float32, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model, PreTrainedTokenizerFast.from_pretrained(folder)


def package(out: Path, target: Path) -> None:
    """Copy what is shipped: all models but the reward model, the trajectories, and the median seed as ``rlhf``."""
    made = [out / name for name in RUNS if (out / name).exists()]
    seeds = [folder for folder in made if "seed" in folder.name]
    ranked = sorted(seeds, key=lambda folder: json.loads((folder / "recipe.json").read_text())["validation_reward"])
    median = ranked[(len(ranked) - 1) // 2]
    models = {"base": out / "base", "sft": out / "sft", "rlhf": median}
    models |= {folder.name: folder for folder in made if folder != median}
    on_the_way = sorted((out / "checkpoints" / median.name).glob("step*"))[:FIT]
    models |= {f"checkpoints/{folder.name}": folder for folder in on_the_way}
    for name, folder in models.items():
        shutil.copytree(folder, target / "models" / name, dirs_exist_ok=True)
    (target / "trajectories").mkdir(exist_ok=True)
    for path in (*out.glob("base-round*.parquet"), *(out / f"{folder.name}.parquet" for folder in made)):
        shutil.copy(path, target / "trajectories")


def checkpoints(source: str) -> dict[str, str]:
    """The checkpoints on the way to a shipped model, by their step: where each comes from; none of other models.

    Args:
        source: of the model, as a pair names it: only ``package:pocket/models/rlhf`` has checkpoints.
    """
    if source != "package:pocket/models/rlhf":
        return {}
    folders = sorted((SHIPPED / "models" / "checkpoints").glob("step*"))
    where = "package:pocket/models/checkpoints"
    return {f"step {int(folder.name.removeprefix('step'))}": f"{where}/{folder.name}" for folder in folders}


def runs(folder: Path) -> dict[str, pd.DataFrame]:
    """The recorded trajectories below a folder, in the order of the recipe."""
    recorded = {name: folder / f"{name}.parquet" for name in RUNS}
    return {name: pd.read_parquet(path) for name, path in recorded.items() if path.exists()}


def cards(folder: Path) -> pd.DataFrame:
    """How each model below a folder was made, by the folder's name: run, seed, step, validation reward, KL, seconds."""
    found = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/recipe.json")}
    told = pd.DataFrame.from_dict({name: card for name, card in found.items() if "round" not in name}, orient="index")
    order = ["base", "sft", "reward", *RUNS]
    told = told.rename(columns={"model": "run"}).sort_values("run", key=lambda names: names.map(order.index))
    return (
        told.reindex(columns=["run", "seed", "step", "validation_reward", "kl", "seconds"])
        .round(2)
        .astype({"step": "Int64"})
    )
