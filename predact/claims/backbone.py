"""C8: RLHF's generations align with each other along their whole length, most at the beginning and the end."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import materials
from predact.claims.shared_ngrams import counted
from predact.claims.verdict import Claim, Rung, Verdict, all_above, conclude
from predact.methods import alignment
from predact.methods.alignments import TEXTS, alignment_units, matrix
from predact.methods.ngrams import ACROSS, GENERATIONS, SHUFFLED

CLAIM = Claim(
    id="C8",
    claim="RLHF generations align all along, most at beginning and end.",
    figure="Figure 1, bottom",
    chapter="05_backbones",
    work=materials.generations_work,
    rungs=lambda run: [rung(companion_curves(materials.aligned(run, materials.all_steps(run))), run.settings.others)],
)
LEAST_OTHERS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)  # numbers m: a token is aligned with at least m others
ENOUGH = 5  # the number m of the claim
ALIGNED = "generations of 100"
Curves = Mapping[tuple[str, str], np.ndarray]  # by (model, text): [prompts, LEAST_OTHERS, bins]


def companion_curves(
    aligned: pd.DataFrame, others: Sequence[int] = LEAST_OTHERS, bins: int = 100
) -> dict[tuple[str, str], np.ndarray]:
    """Count, of 100 generations, those aligned with at least m others, by position; see `alignment.aligned_along`.

    Args:
        aligned: what `alignments.align_pair` returns.
        others: the numbers m.
        bins: number of bins of relative position.

    Returns:
        For each model and text [prompts, others, bins].
    """
    found: dict[tuple[str, str], list] = {}
    for (model, text, _), part in alignment_units(aligned, TEXTS):
        each = 100 * alignment.aligned_along(matrix(part), others, bins) / len(part)
        found.setdefault((model, text), []).append(each)
    return {key: np.stack(each) for key, each in found.items()}


def mean_curves(found: dict[tuple[str, str], np.ndarray], others: Sequence[int] = LEAST_OTHERS) -> pd.DataFrame:
    """Figure 1, bottom: means of `companion_curves` over prompts, with intervals.

    Returns:
        model, text, others, position (middle of the bin, percent of the text), estimate, low, high, unit, prompts.
    """
    rows = []
    for (model, text), each in found.items():
        sums = np.column_stack([each.reshape(len(each), -1), np.ones(len(each))])
        value = stats.interval(sums, stats.means)
        position = 100 * (np.arange(each.shape[2]) + 0.5) / each.shape[2]
        axes = [("others", list(others)), ("position", position)]
        rows.append(stats.tidy(value, axes, model=model, text=text, unit=ALIGNED, prompts=len(each)))
    return pd.concat(rows, ignore_index=True)


def agreement(aligned: pd.DataFrame) -> pd.DataFrame:
    """Return measures of how good alignments are, as means over prompts.

    Args:
        aligned: what `alignments.align_pair` returns.

    Returns:
        model, text, pairs (sum of pairs), pairs per column (identical pairs), share aligned (of tokens, with 5 others).
    """
    rows = []
    for (model, text, _), part in alignment_units(aligned, TEXTS):
        made = matrix(part)
        row = {"model": model, "text": text, "pairs": alignment.pairs(made)}
        row |= {"pairs per column": alignment.pairs_per_column(made), "share aligned": alignment.share_aligned(made)}
        rows.append(row)
    return pd.DataFrame(rows).groupby(["model", "text"], sort=False).mean().reset_index()


def judge(curves: Curves, others: int = ENOUGH) -> tuple[pd.DataFrame, Verdict]:
    """C8: do RLHF generations align with each other more than Base's all along, and most at beginning and end?

    The measure is the number of generations, out of 100, that are aligned with at least `others` others. The rule,
    `all_above` 0, covers thirteen cases: RLHF minus Base in each tenth of the text; RLHF's first and last tenth, each
    minus its middle (from 20 to 80 percent); RLHF minus the higher one of its nulls. The estimate is RLHF's mean along
    the text.

    Args:
        curves: what `companion_curves` returns for all of `LEAST_OTHERS`.
        others: one of these.

    Returns:
        case, estimate, low, high, and the verdict.
    """
    at = LEAST_OTHERS.index(others)
    tenths = {key: each[:, at].reshape(len(each), 10, -1).mean(2) for key, each in curves.items()}
    rlhf, base = tenths["RLHF", GENERATIONS], tenths["Base", GENERATIONS]
    middle = rlhf[:, 2:8].mean(1)
    null = max(float(tenths["RLHF", text].mean()) for text in (ACROSS, SHUFFLED))
    cases = {f"{10 * tenth} to {10 * tenth + 10} %, minus Base's": (rlhf - base)[:, tenth] for tenth in range(10)}
    cases |= {"first tenth, minus the middle": rlhf[:, 0] - middle, "last tenth, minus the middle": rlhf[:, 9] - middle}
    cases |= {"all along, minus the higher null": rlhf.mean(1) - null}
    each = pd.DataFrame([{"case": case} | vars(stats.mean(values)) for case, values in cases.items()])
    unit = f"of 100 RLHF generations aligned with at least {others} others (Base's {base.mean():.1f})"
    mean = pd.Series(vars(stats.mean(rlhf.mean(1))))
    return each, conclude(CLAIM, all_above(each.low, each.high, nothing=0), mean, unit, len(rlhf), null)


def rung(curves: Curves, others: int = ENOUGH) -> Rung:
    """Of 100 generations, number aligned with at least `others` others; takes what `companion_curves` returns."""
    at, steps = LEAST_OTHERS.index(others), dict.fromkeys(model for model, _ in curves)
    along = np.stack([curves[step, GENERATIONS][:, at].mean(1) for step in steps], 1)
    return Rung(CLAIM.id, f"of 100 generations, aligned with at least {others} others", [counted(along)])
