"""C4: RLHF gives a non-negligible probability to fewer tokens in its own text, and to more in gold text."""

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import materials
from predact.claims.mass import by_text, steps_on
from predact.claims.verdict import Claim, Rung, Verdict, all_above, conclude, only, unmeasured
from predact.models.distributions import (
    NEGLIGIBLE,
    SUPPORTS,
    Conditions,
    Measured,
    each_condition,
    paired,
    sums_by_group,
)
from predact.models.passages import KINDS
from predact.models.tokens import Per

CLAIM = Claim(
    id="C4",
    claim="RLHF rules out more tokens in its own text, and slightly fewer in gold text.",
    figure="Figure 4",
    chapter="03_collapse",
    work=materials.conditions_work,
    rungs=lambda run: rungs(materials.conditions(run, materials.all_steps(run))),
)
TOKENS = "tokens"


def support_histograms(conditions: Conditions, bins: int = 40) -> pd.DataFrame:
    """Histograms over positions of the number of tokens above each threshold, in logarithmic bins.

    Returns:
        model, text, threshold, low_edge, high_edge, share (of the positions).
    """
    most = max(int(measured.ranks[-1]) for measured in conditions.values())
    edges = np.unique(np.geomspace(1, most + 1, bins + 1).round())
    rows = []
    for place, measured in each_condition(conditions):
        for threshold in SUPPORTS:
            share = np.histogram(measured.positions[threshold].clip(lower=1), edges)[0] / len(measured.positions)
            columns = {"threshold": threshold, "low_edge": edges[:-1], "high_edge": edges[1:], "share": share}
            rows.append(pd.DataFrame(place | columns))
    return pd.concat(rows, ignore_index=True)


def mean_support(conditions: Conditions) -> pd.DataFrame:
    """Mean number of tokens above each threshold: model, text, threshold, estimate, low, high, unit."""
    rows = []
    for place, measured in each_condition(conditions):
        value = stats.interval(sums_by_group(measured.positions, SUPPORTS), stats.means)
        rows.append(stats.tidy(value, [("threshold", SUPPORTS)], **place, unit=TOKENS))
    return pd.concat(rows, ignore_index=True)


def judge(conditions: Conditions, per: Per) -> tuple[pd.DataFrame, Verdict]:
    """C4: do fewer tokens have a chance under RLHF in its own generations, and more in gold text?

    The measure is the mean number of tokens with p > NEGLIGIBLE. The rule, `all_above` 1, covers two ratios: Base /
    RLHF on their own generations, RLHF / Base on gold text. The estimate is the smaller one.

    Args:
        conditions: what `distributions.measure_pair` returns.
        per: see `tokens.compared_per`; if the models can be compared per byte only, the claim stays undecided.

    Returns:
        text, n, estimate, low, high, and the verdict.
    """
    gold, own = (paired(conditions, text, _above) for text in KINDS)
    ratios = stats.interval(gold, _ratio), stats.interval(own, lambda totals: 1 / _ratio(totals))
    each = by_text(dict(zip(KINDS, zip(map(len, (gold, own)), ratios, strict=True), strict=True)))
    least = only(each.nsmallest(1, "estimate"))
    unit = f"times as many tokens with p > {NEGLIGIBLE:.0e}, as the claim has it, on {least.text}"
    if per is not Per.TOKEN:
        return each, unmeasured(CLAIM, unit)
    return each, conclude(CLAIM, all_above(each.low, each.high, nothing=1), least, unit, least.n)


def _above(measured: Measured) -> np.ndarray:
    return measured.above(NEGLIGIBLE)


def _ratio(totals: np.ndarray) -> np.ndarray:
    """Mean of RLHF over mean of Base, of totals [..., 4] as `distributions.paired` gives them."""
    return totals[..., 2] / totals[..., 3] / (totals[..., 0] / totals[..., 1])


def rungs(conditions: Conditions) -> list[Rung]:
    """Tokens with p > NEGLIGIBLE, on each kind of text."""
    measure = f"tokens with p > {NEGLIGIBLE:.0e}"
    return [Rung(CLAIM.id, f"{measure}, {text}", [steps_on(conditions, text, _above)]) for text in KINDS]
