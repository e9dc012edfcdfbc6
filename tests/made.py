"""Frames made by hand that tests of several modules begin with."""

import numpy as np
import pandas as pd

from predact.models import distributions
from predact.models.distributions import Measured
from predact.models.passages import GOLD, OWN


def written(texts, model="Base"):
    """Generations as `sampling.of_pair` gives them, without the columns that no one reads here."""
    rows = [
        {"model": model, "category": f"of {prompt}", "prompt": prompt, "sample": sample, "ids": np.array(ids, np.int64)}
        for prompt, generations in texts.items()
        for sample, ids in enumerate(generations)
    ]
    return pd.DataFrame(rows)


def measured(mass, support, groups=2, positions=50):
    """What `measure` returns for a model that is everywhere the same, up to a little noise by group."""
    ranks = distributions.ranks(64)
    noise = 1 + 0.01 * np.arange(groups)
    curve = np.minimum(1, mass + (1 - mass) * (ranks - 1) / 63)
    frame = pd.DataFrame(
        {"group": np.repeat(np.arange(groups), positions), "position": np.tile(np.arange(positions), groups)}
    )
    frame = frame.assign(nll=1.0, top1=mass, entropy=0.5)
    for threshold in distributions.THRESHOLDS:
        frame[f"{threshold:.0e}"] = np.round(support * noise[frame.group] * 10)
    return Measured(frame, np.outer(noise, curve) * positions, ranks)


def conditions(base_gold, rlhf_gold, base_own, rlhf_own):
    given = {("Base", GOLD): base_gold, ("RLHF", GOLD): rlhf_gold, ("Base", OWN): base_own, ("RLHF", OWN): rlhf_own}
    return {place: measured(*numbers) for place, numbers in given.items()}
