"""C3: RLHF puts more of the next-token probability on its likeliest tokens, on gold text and on its own."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import materials
from predact.claims.verdict import Claim, Rung, Verdict, all_above, conclude, only, unmeasured
from predact.models.distributions import Conditions, Measured, each_condition, paired, sums_by_group
from predact.models.passages import KINDS
from predact.models.tokens import Per

CLAIM = Claim(
    id="C3",
    claim="RLHF gathers more of the next-token probability on a few tokens.",
    figure="Figure 3",
    chapter="03_collapse",
    work=materials.conditions_work,
    rungs=lambda run: rungs(materials.conditions(run, materials.all_steps(run))),
)
TOP1, ENTROPY = "probability of the likeliest token", "entropy, nats per token"
MASS = "probability mass"
FEW = 10  # tokens: what "a few" means in C3


def mass_curves(conditions: Conditions, points: int = 48) -> pd.DataFrame:
    """Mean mass of the k most probable tokens, with its interval, at `points` ranks k evenly spaced in log k.

    Returns:
        model, text, k, estimate, low, high, unit.
    """
    rows = []
    for place, measured in each_condition(conditions):
        wanted = np.unique(np.geomspace(1, measured.ranks[-1], points).round())
        at = np.unique([np.abs(measured.ranks - k).argmin() for k in wanted])
        value = stats.interval(np.column_stack([measured.mass[:, at], measured.counts]), stats.means)
        rows.append(stats.tidy(value, [("k", measured.ranks[at])], **place, unit=MASS))
    return pd.concat(rows, ignore_index=True)


def certainty_by_position(conditions: Conditions, least: int = 100) -> pd.DataFrame:
    """Mean top-1 probability and entropy by position in the text, in bins of doubling width: 0, 1-2, 3-6, 7-14, ...

    Bins with fewer than `least` measured positions are left out.

    Returns:
        model, text, measure, first, last, estimate, low, high, unit.
    """
    rows = []
    for place, measured in each_condition(conditions):
        frame = measured.positions.assign(bin=np.log2(measured.positions.position + 1).astype(int))
        for number in sorted(frame.bin.unique()):
            part = frame[frame.bin == number]
            if len(part) < least:
                continue
            span = {"first": 2**number - 1, "last": 2 ** (number + 1) - 2}
            value = stats.interval(sums_by_group(part, ["top1", "entropy"]), stats.means)
            told = stats.tidy(value, [("measure", [TOP1, ENTROPY])], **place, **span)
            rows.append(told.assign(unit=told.measure))
    return pd.concat(rows, ignore_index=True)


def judge(conditions: Conditions, per: Per) -> tuple[pd.DataFrame, Verdict]:
    """C3: does RLHF give more of the next-token probability to a few tokens, on gold text and on its own generations?

    The measure is the mean mass of the FEW most probable tokens, RLHF minus Base. Documents (of gold text) or prompts
    (of generations) are resampled, with the positions of both models. The rule, `all_above` 0, covers both kinds of
    text. The estimate is the smaller of the two differences.

    Args:
        conditions: what `distributions.measure_pair` returns.
        per: see `tokens.compared_per`; if the models can be compared per byte only, the claim stays undecided.

    Returns:
        text, n, estimate, low, high, and the verdict.
    """
    strata = {text: paired(conditions, text, lambda each: each.mass_of(FEW)) for text in KINDS}
    each = by_text({text: (len(sums), stats.interval(sums, _difference)) for text, sums in strata.items()})
    least = only(each.nsmallest(1, "estimate"))
    unit = f"more mass of the {FEW} likeliest tokens than Base, on {least.text}"
    if per is not Per.TOKEN:
        return each, unmeasured(CLAIM, unit)
    return each, conclude(CLAIM, all_above(each.low, each.high, nothing=0), least, unit, least.n)


def by_text(found: Mapping[str, tuple[int, stats.Interval]]) -> pd.DataFrame:
    """Return the intervals by kind of text as a frame: text, n (documents or prompts), estimate, low, high."""
    return pd.DataFrame([{"text": text, "n": n} | vars(value) for text, (n, value) in found.items()])


def _difference(totals: np.ndarray) -> np.ndarray:
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
