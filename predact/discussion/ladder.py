"""SFT or reward: each claim's measure at Base, at SFT and at RLHF, and how much of the change SFT accounts for.

A rung is a measure of all three models on the same documents or prompts, so differences between models are paired. The
place of SFT on the way from Base to RLHF is (SFT - Base) / (RLHF - Base). At 0, the whole change comes from training on
the reward; at 1, from SFT. Above 1, the reward has undone a part of it; below 0, SFT went in the opposite direction.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from predact import stats
from predact.claims.verdict import Rung, claims
from predact.models.runs import Run

STEPS = ("Base", "SFT", "RLHF")
VALUE, CHANGE, PLACE = "value", "change", "place of SFT"


def of_run(run: Run) -> pd.DataFrame:
    """Measure the rungs of every claim in a run: see `climb`."""
    return climb([rung for claim in claims().values() for rung in claim.rungs(run)])


def climb(rungs: Sequence[Rung]) -> pd.DataFrame:
    """Values of each rung, changes from model to model, and the place of SFT on the way, with intervals.

    Returns:
        claim, measure, kind (`VALUE`, `CHANGE`, `PLACE`), at (the model; for a change, the later one), estimate, low,
        high (95 % paired bootstrap over documents or prompts), n. There is no place without an SFT model.
    """
    rows = []
    for rung in rungs:
        steps = STEPS if rung.strata[0].shape[1] == len(STEPS) else (STEPS[0], STEPS[-1])
        value = stats.stratified([each.reshape(len(each), -1) for each in rung.strata], _steps)
        ends = pd.DataFrame({"estimate": value.estimate, "low": value.low, "high": value.high})
        kinds = [(VALUE, step) for step in steps] + [(CHANGE, step) for step in steps[1:]] + [(PLACE, "SFT")]
        told = pd.DataFrame(kinds[: len(ends)], columns=["kind", "at"]).join(ends)
        rows.append(told.assign(claim=rung.claim, measure=rung.measure, n=sum(map(len, rung.strata))))
    return pd.concat(rows, ignore_index=True)[["claim", "measure", "kind", "at", "estimate", "low", "high", "n"]]


def _steps(strata: Sequence[np.ndarray]) -> np.ndarray:
    """Turn totals of strata [..., models * 2] into values, changes and, for three models, place [..., 6 or 3]."""
    values = np.mean([each[..., 0::2] / each[..., 1::2] for each in strata], axis=0)
    changes = np.diff(values, axis=-1)
    if values.shape[-1] < len(STEPS):
        return np.concatenate([values, changes], -1)
    place = changes[..., :1] / (values[..., -1:] - values[..., :1])
    return np.concatenate([values, changes, np.nan_to_num(place, posinf=0.0, neginf=0.0)], -1)


def who_did_it(climbed: pd.DataFrame) -> str:
    """Say which changes are mostly due to SFT and which to the reward (Markdown)."""
    place = climbed[climbed.kind == PLACE]
    if place.empty:
        return "This pair has no model between Base and RLHF, so what SFT did and what the reward cannot be told apart."
    named = place.measure + " (" + place.claim + ")"
    sft, reward = place.low > 0.5, place.high < 0.5
    said = [
        f"For the most part it was **{who}**: {'; '.join(named[chosen])}."
        for who, chosen in (("SFT", sft), ("the reward", reward))
        if chosen.any()
    ]
    unsure = named[~(sft | reward)]
    said += [f"Which of the two it was cannot be said for sure: {'; '.join(unsure)}."] if len(unsure) else []
    return " ".join(said)
