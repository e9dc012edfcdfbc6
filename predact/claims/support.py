"""C4: RLHF gives a non-negligible probability to fewer tokens in its own text, and to more in gold text."""

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import materials
from predact.claims.mass import difference, steps_on
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
from predact.models.passages import GOLD, OWN
from predact.models.tokens import Per

CLAIM = Claim(
    id="C4",
    claim="RLHF rules out more tokens in its own text, and slightly fewer in gold text.",
    figure="Figure 4",
    chapter="03_collapse",
    work=materials.conditions_work,
    rungs=lambda run: rungs(materials.conditions(run, materials.all_steps(run))),
    paper="Llama 2 7B: gold text, Base 27.6 %, RLHF 33.8 %; own text, Base 24.0 %, RLHF 9.3 %; "
    "70B: 34.8 %, 40.0 %; 36.5 %, 15.7 %",
)
TOKENS, PERCENT = "tokens", "percent of the vocabulary"
KINDS = {GOLD: 1, OWN: -1}  # whether RLHF has more, or fewer, in a kind of text, as the claim has it


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
    """Mean number of tokens above each threshold: model, text, threshold, estimate, low, high, unit, n."""
    rows = []
    for place, measured in each_condition(conditions):
        value = stats.interval(sums_by_group(measured.positions, SUPPORTS), stats.means)
        rows.append(stats.tidy(value, [("threshold", SUPPORTS)], **place, unit=TOKENS, n=len(measured.mass)))
    return pd.concat(rows, ignore_index=True)


def shares(conditions: Conditions) -> pd.DataFrame:
    """Mean percent of the vocabulary with p > NEGLIGIBLE (Figure 4): model, text, estimate, low, high, unit, n."""
    rows = []
    for place, measured in each_condition(conditions):
        value = stats.interval(np.column_stack([_percent(measured), measured.counts]), stats.means)
        rows.append(stats.tidy(value, [("unit", [PERCENT])], **place, n=len(measured.mass)))
    return pd.concat(rows, ignore_index=True)


def judge(conditions: Conditions, per: Per) -> tuple[pd.DataFrame, Verdict]:
    """C4: do fewer tokens have a chance under RLHF in its own generations, and more in gold text?

    The measure is the mean percent of the vocabulary with p > NEGLIGIBLE. The rule, `all_above` 0, covers two
    differences: RLHF minus Base on gold text, Base minus RLHF on their own generations. The estimate is the smaller.

    Args:
        conditions: what `distributions.measure_pair` returns.
        per: see `tokens.compared_per`; if the models can be compared per byte only, the claim stays undecided.

    Returns:
        text, n (documents or prompts), estimate, low, high, and the verdict.
    """
    rows = []
    for text, sign in KINDS.items():
        sums = paired(conditions, text, _percent) * [sign, 1, sign, 1]
        rows.append({"text": text, "n": len(sums)} | vars(stats.interval(sums, difference)))
    each = pd.DataFrame(rows)
    least = only(each.nsmallest(1, "estimate"))
    than = f"{'more' if KINDS[least.text] == 1 else 'less'} of the vocabulary with p > {NEGLIGIBLE:.0e} than Base"
    unit = f"percentage points {than}, on {least.text}"
    if per is not Per.TOKEN:
        return each, unmeasured(CLAIM, unit)
    return each, conclude(CLAIM, all_above(each.low, each.high, nothing=0), least, unit, least.n)


def _above(measured: Measured) -> np.ndarray:
    return measured.above(NEGLIGIBLE)


def _percent(measured: Measured) -> np.ndarray:
    return 100 * _above(measured) / measured.ranks[-1]


def rungs(conditions: Conditions) -> list[Rung]:
    """Tokens with p > NEGLIGIBLE, on each kind of text."""
    measure = f"tokens with p > {NEGLIGIBLE:.0e}"
    return [Rung(CLAIM.id, f"{measure}, {text}", [steps_on(conditions, text, _above)]) for text in KINDS]
