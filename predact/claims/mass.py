"""C3: RLHF puts more of the next-token probability on its likeliest tokens, on gold text and on its own."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import materials
from predact.claims.verdict import Claim, Rung, Verdict, all_above, conclude, only, unmeasured
from predact.models.distributions import (
    Conditions,
    Measured,
    each_condition,
    paired,
    side_by_side,
    sums_by_group,
)
from predact.models.passages import KINDS
from predact.models.tokens import Per

CLAIM = Claim(
    id="C3",
    claim="RLHF gathers more of the next-token probability on a few tokens.",
    figure="Figure 3",
    chapter="03_collapse",
    work=materials.conditions_work,
    rungs=lambda run: rungs(materials.conditions(run, materials.all_steps(run))),
    paper="Llama 2 70B, k = 1 and 10: gold text, Base 0.638 and 0.876, RLHF 0.702 and 0.928; "
    "own text, Base 0.668 and 0.900, RLHF 0.880 and 0.980",
)
TOP1, ENTROPY = "probability of the likeliest token", "entropy, nats per token"
MASS = "probability mass"
KS = (1, 5, 10, 20)  # numbers of likeliest tokens at which C3 and C11 are decided
FEW = 10  # of them, for the ladder


def mass_curves(conditions: Conditions, points: int = 48) -> pd.DataFrame:
    """Mean mass of the k most probable tokens, with its interval, at `points` ranks k evenly spaced in log k.

    Returns:
        model, text, k, estimate, low, high, unit, n (documents or prompts).
    """

    def spaced(ranks: np.ndarray) -> np.ndarray:
        wanted = np.unique(np.geomspace(1, ranks[-1], points).round())
        return np.unique([np.abs(ranks - k).argmin() for k in wanted])

    return _masses(conditions, spaced)


def first_masses(conditions: Conditions, most: int = 20) -> pd.DataFrame:
    """Mean mass of the k most probable tokens, with its interval, for k = 1, 2, ..., `most` (Figures 3 and 16).

    Returns:
        model, text, k, estimate, low, high, unit, n (documents or prompts).
    """
    return _masses(conditions, lambda ranks: np.arange(min(most, len(ranks))))


def _masses(conditions: Conditions, chosen: Callable[[np.ndarray], np.ndarray]) -> pd.DataFrame:
    """Mean masses with intervals at the ranks whose places a function chooses."""
    rows = []
    for place, measured in each_condition(conditions):
        at = chosen(measured.ranks)
        value = stats.interval(np.column_stack([measured.mass[:, at], measured.counts]), stats.means)
        rows.append(stats.tidy(value, [("k", measured.ranks[at])], **place, unit=MASS, n=len(measured.mass)))
    return pd.concat(rows, ignore_index=True)


def certainty_by_position(conditions: Conditions, least: int = 100) -> pd.DataFrame:
    """Mean top-1 probability and entropy by position in the text, in bins of doubling width: 0, 1-2, 3-6, 7-14, ...

    Bins with fewer than `least` measured positions are left out.

    Returns:
        model, text, measure, first, last, estimate, low, high, unit, n (documents or prompts).
    """
    rows = []
    for place, measured in each_condition(conditions):
        frame = measured.positions.assign(bin=np.log2(measured.positions.position + 1).astype(int))
        for number in sorted(frame.bin.unique()):
            part = frame[frame.bin == number]
            if len(part) < least:
                continue
            span = {"first": 2**number - 1, "last": 2 ** (number + 1) - 2}
            sums = sums_by_group(part, ["top1", "entropy"])
            value = stats.interval(sums, stats.means)
            told = stats.tidy(value, [("measure", [TOP1, ENTROPY])], **place, **span, n=len(sums))
            rows.append(told.assign(unit=told.measure))
    return pd.concat(rows, ignore_index=True)


def judge(conditions: Conditions, per: Per) -> tuple[pd.DataFrame, Verdict]:
    """C3: does RLHF give more of the next-token probability to a few tokens, on gold text and on its own generations?

    The measure is the mean mass of the k most probable tokens, RLHF minus Base. Documents (of gold text) or prompts
    (of generations) are resampled, with the positions of both models. The rule, `all_above` 0, covers every k of KS
    on both kinds of text. The estimate is the smallest of these differences.

    Args:
        conditions: what `distributions.measure_pair` returns.
        per: see `tokens.compared_per`; if the models can be compared per byte only, the claim stays undecided.

    Returns:
        text, k, n, estimate, low, high, and the verdict.
    """
    parts = [more_mass(conditions["Base", text], conditions["RLHF", text]).assign(text=text) for text in KINDS]
    each = pd.concat(parts, ignore_index=True)[["text", "k", "n", "estimate", "low", "high"]]
    least = only(each.nsmallest(1, "estimate"))
    unit = f"more mass of the {least.k} likeliest tokens than Base, on {least.text}"
    if per is not Per.TOKEN:
        return each, unmeasured(CLAIM, unit)
    return each, conclude(CLAIM, all_above(each.low, each.high, nothing=0), least, unit, least.n)


def more_mass(base: Measured, rlhf: Measured) -> pd.DataFrame:
    """How much more mass the k likeliest tokens have under RLHF than under Base, for each k of KS.

    Args:
        base: Base on some text.
        rlhf: RLHF on that text, or on its own text of the same documents or prompts.

    Returns:
        k, n (documents or prompts), estimate (difference of the means over positions), low, high (95 %, paired).
    """
    rows = []
    for k in KS:
        sums = side_by_side([base, rlhf], partial(Measured.mass_of, k=k))
        rows.append({"k": k, "n": len(sums)} | vars(stats.interval(sums, difference)))
    return pd.DataFrame(rows)


def difference(totals: np.ndarray) -> np.ndarray:
    """Mean of RLHF minus mean of Base, of totals [..., 4] as `distributions.paired` gives them."""
    return totals[..., 2] / totals[..., 3] - totals[..., 0] / totals[..., 1]


def rungs(conditions: Conditions) -> list[Rung]:
    """Mass of the FEW likeliest tokens, on each kind of text."""
    return [
        Rung(
            CLAIM.id,
            f"mass of the {FEW} likeliest tokens, {text}",
            [steps_on(conditions, text, lambda each: each.mass_of(FEW))],
        )
        for text in KINDS
    ]


def steps_on(conditions: Conditions, text: str, sums: Callable[[Measured], np.ndarray]) -> np.ndarray:
    """Return sums of a measure and numbers of positions, by group and model, on a kind of text: [groups, models, 2]."""
    steps = list(dict.fromkeys(model for model, _ in conditions))
    return paired(conditions, text, sums, steps).reshape(-1, len(steps), 2)
