"""C8: RLHF's generations overlap with each other more than Base's along the text, most at the beginning and the end.

The paper's measure is the proportion of characters that match, pair by pair, in an alignment of raw text (E9). Ours is
the number of generations whose token is aligned with at least m others, on true ids, against nulls: the definition that
the paper's captions give.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import materials
from predact.claims.shared_ngrams import counted
from predact.claims.verdict import Claim, Rung, Verdict, all_above, conclude, too_few
from predact.methods import alignment, overlap
from predact.methods.alignments import TEXTS, alignment_units, matrix
from predact.methods.ngrams import GENERATIONS, SHUFFLED
from predact.models.tokens import Per

CLAIM = Claim(
    id="C8",
    claim="RLHF generations overlap more than Base's at every position, most at the beginning and the end.",
    figure="Figures 1 (bottom), 13",
    chapter="05_backbones",
    work=materials.matched_work,
    rungs=lambda run: [rung(companion_curves(materials.aligned(run, materials.all_steps(run))), run.settings.others)],
    paper="overlap, mean along the text: Llama 2 7B 0.116, Base 0.062; 70B 0.114, Base 0.057",
)
LEAST_OTHERS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50)  # numbers m: a token is aligned with at least m others
ENOUGH = 5  # the number m of our measure
ALIGNED = "generations of 100"
OVERLAP = "proportion of pairs that match"
PAPER_PAIRS = {  # the paper's names of Base and RLHF in its Figures 13 and 14
    "Llama 2 7B": ("Llama 2 7B Base", "Llama 2 7B RLHF"),
    "Llama 2 70B": ("Llama 2 70B Base", "Llama 2 70B RLHF"),
    "Tulu 2 7B": ("Llama 2 7B Base", "Tulu 7B DPO"),
    "Tulu 2 70B": ("Llama 2 70B Base", "Tulu 70B DPO"),
    "OLMo 7B": ("OLMo 7B Base", "OLMo 7B Instruct"),
}
Curves = Mapping[tuple[str, str], np.ndarray]  # by (model, text): [prompts, points], or [prompts, LEAST_OTHERS, bins]


def overlap_curves(characters: pd.DataFrame) -> dict[tuple[str, str], np.ndarray]:
    """Overlap along the text as the paper measures it, of each prompt: see `overlap.matching`.

    The more texts are aligned, the less they overlap. So only shuffled tokens are a null here: of other prompts, a
    sample has no more texts than there are prompts.

    Args:
        characters: what `alignments.align_characters` returns.

    Returns:
        For each model and text [prompts, points], not smoothed.
    """

    def along(part: pd.DataFrame) -> np.ndarray:
        return overlap.resampled(overlap.matching(matrix(part)))

    return by_condition(characters, (GENERATIONS, SHUFFLED), along)


def by_condition(
    aligned: pd.DataFrame, texts: Sequence[str], measure: Callable[[pd.DataFrame], np.ndarray]
) -> dict[tuple[str, str], np.ndarray]:
    """Measure each alignment: for each model and text an array, prompts first.

    Args:
        aligned: what `alignments.align_pair` or `alignments.align_characters` returns.
        texts: kinds of text.
        measure: takes the rows of one alignment.
    """
    found: dict[tuple[str, str], list] = {}
    for (model, text, _), part in alignment_units(aligned, texts):
        found.setdefault((model, text), []).append(measure(part))
    return {key: np.stack(each) for key, each in found.items()}


def mean_along(found: Curves, unit: str, width: float = overlap.WIDTH) -> pd.DataFrame:
    """Means of curves over prompts with intervals, after a Gaussian filter (the paper's Figures 1, 13 and 14).

    Args:
        found: for each model and text [prompts, points].
        unit: of the curves.
        width: of the filter, in points; the paper does not tell its own.

    Returns:
        model, text, position (middle of the part, percent of the text), estimate, low, high, unit, prompts.
    """
    rows = []
    for (model, text), each in found.items():
        sums = np.column_stack([overlap.smoothed(each, width), np.ones(len(each))])
        position = 100 * (np.arange(each.shape[1]) + 0.5) / each.shape[1]
        same = {"model": model, "text": text, "unit": unit, "prompts": len(each)}
        rows.append(stats.tidy(stats.interval(sums, stats.means), [("position", position)], **same))
    return pd.concat(rows, ignore_index=True)


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

    def along(part: pd.DataFrame) -> np.ndarray:
        return 100 * alignment.aligned_along(matrix(part), others, bins) / len(part)

    return by_condition(aligned, TEXTS, along)


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


def paper_pairs(values: pd.DataFrame) -> pd.DataFrame:
    """What the paper's curves along the text say of each of its pairs.

    Args:
        values: of `paper.values`, of its Figure 13 or 14.

    Returns:
        pair, Base and RLHF (means along the text), at or below (positions where RLHF's curve is not above Base's),
        bands overlap (positions where the bands of both have values in common), of (positions).
    """
    curves = {str(model): part.set_index("x") for model, part in values.groupby("model")}
    rows = []
    for pair, (base, rlhf) in PAPER_PAIRS.items():
        low, high = curves[base], curves[rlhf]
        row = {"pair": pair, "Base": low.value.mean(), "RLHF": high.value.mean()}
        row |= {"at or below": int((high.value <= low.value).sum())}
        row |= {"bands overlap": int(((high.low <= low.high) & (low.low <= high.high)).sum()), "of": len(low)}
        rows.append(row)
    return pd.DataFrame(rows)


def agreement(aligned: pd.DataFrame) -> pd.DataFrame:
    """Return measures of how good alignments are, as means over prompts.

    Args:
        aligned: what `alignments.align_pair` or `alignments.align_characters` returns.

    Returns:
        model, text, pairs (sum of pairs), pairs per column (identical pairs), share aligned (of tokens or characters,
        with 5 others), overlap (mean along the text, see `overlap_curves`).
    """
    rows = []
    for (model, text, _), part in alignment_units(aligned, TEXTS):
        made = matrix(part)
        row = {"model": model, "text": text, "pairs": alignment.pairs(made)}
        row |= {"pairs per column": alignment.pairs_per_column(made), "share aligned": alignment.share_aligned(made)}
        row |= {"overlap": overlap.resampled(overlap.matching(made)).mean()}
        rows.append(row)
    return pd.DataFrame(rows).groupby(["model", "text"], sort=False).mean().reset_index()


def overlap_cases(curves: Curves) -> pd.DataFrame:
    """The twelve cases of the paper's rule, paired by prompts: see `judge`.

    Args:
        curves: what `overlap_curves` returns.

    Returns:
        case, estimate, low, high.
    """
    rlhf, base = (_tenths(curves[model, GENERATIONS]) for model in ("RLHF", "Base"))
    return cases(_all_along(rlhf, base))


def null_mean(curves: Curves) -> float:
    """Mean along the text of the highest one of RLHF's nulls."""
    return max(float(each.mean()) for (model, text), each in curves.items() if model == "RLHF" and text != GENERATIONS)


def judge(curves: Curves, generations: int = 100) -> Verdict:
    """C8 by the paper's rule: do RLHF generations overlap more than Base's all along, and most at beginning and end?

    The rule, `all_above` 0, covers the twelve cases of `overlap_cases`: RLHF minus Base in each tenth of the text, and
    RLHF's first and last tenth, each minus its middle (from 20 to 80 percent). The estimate is RLHF's mean overlap.

    Args:
        curves: what `overlap_curves` returns, nulls included, of generations with diversity matched.
        generations: how many there are of a prompt; of fewer than `overlap.LEAST` it stays undecided.
    """
    return judge_along(CLAIM, overlap_cases(curves), curves, OVERLAP, generations, overlap.LEAST)


def judge_along(
    claim: Claim, each: pd.DataFrame, curves: Curves, measure: str, generations: int, least: int
) -> Verdict:
    """The rule of C7 and C8, `all_above` 0 in all cases; the estimate is RLHF's mean along the text.

    Args:
        claim: C7 or C8.
        each: its cases, as `cases` returns them.
        curves: for each model and text [prompts, points], nulls included.
        measure: what the curves are.
        generations: how many there are of a prompt.
        least: how many of them the measure takes; of fewer it can only be 0.
    """
    if generations < least:
        return too_few(claim, measure, generations)
    rlhf = curves["RLHF", GENERATIONS].mean(1)
    unit = f"{measure}, RLHF's mean along the text (Base's {curves['Base', GENERATIONS].mean():.3f})"
    mean = pd.Series(vars(stats.mean(rlhf)))
    return conclude(claim, all_above(each.low, each.high, nothing=0), mean, unit, len(rlhf), null_mean(curves))


def judge_beyond(
    curves: Curves, others: int = ENOUGH, generations: int = 100, per: Per = Per.TOKEN
) -> tuple[pd.DataFrame, Verdict]:
    """C8 by our measure: of 100 generations, those aligned with at least `others` others, against chance too.

    The rule, `all_above` 0, covers the cases of the paper's rule and one more: RLHF all along minus the higher one of
    its nulls. The estimate is RLHF's mean along the text. Where a generation has not so many others, it is undecided.

    Args:
        curves: what `companion_curves` returns for all of `LEAST_OTHERS`.
        others: one of these.
        generations: how many there are of a prompt.
        per: see `tokens.compared_per`; tokens are aligned, or words.

    Returns:
        case, estimate, low, high, and the verdict.
    """
    at = LEAST_OTHERS.index(others)
    tenths = {key: _tenths(each[:, at]) for key, each in curves.items()}
    rlhf, base = tenths["RLHF", GENERATIONS], tenths["Base", GENERATIONS]
    null = null_mean(tenths)
    each = cases(_all_along(rlhf, base) | {"all along, minus the higher null": rlhf.mean(1) - null})
    unit = f"of 100 RLHF generations aligned with at least {others} others (Base's {base.mean():.1f})"
    unit += ", in words" * (per is Per.WORD)
    mean = pd.Series(vars(stats.mean(rlhf.mean(1))))
    if generations <= others:
        return each, too_few(CLAIM, unit, generations, "book")
    verdict = all_above(each.low, each.high, nothing=0)
    return each, conclude(CLAIM, verdict, mean, unit, len(rlhf), null, protocol="book")


def _tenths(curves: np.ndarray) -> np.ndarray:
    """Means of curves [prompts, points] over tenths of the text [prompts, 10]."""
    return curves.reshape(len(curves), 10, -1).mean(2)


def _all_along(rlhf: np.ndarray, base: np.ndarray) -> dict[str, np.ndarray]:
    """Differences by prompt, in tenths of the text: RLHF's minus Base's, and RLHF's ends minus its middle."""
    middle = rlhf[:, 2:8].mean(1)
    tenths = {f"{10 * tenth} to {10 * tenth + 10} %, minus Base's": (rlhf - base)[:, tenth] for tenth in range(10)}
    ends = {"first tenth, minus the middle": rlhf[:, 0] - middle, "last tenth, minus the middle": rlhf[:, 9] - middle}
    return tenths | ends


def cases(differences: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The cases of a rule, from values by prompt: case, estimate, low, high (95 % bootstrap over prompts)."""
    return pd.DataFrame([{"case": case} | vars(stats.mean(values)) for case, values in differences.items()])


def rung(curves: Curves, others: int = ENOUGH) -> Rung:
    """Of 100 generations, number aligned with at least `others` others; takes what `companion_curves` returns."""
    at, steps = LEAST_OTHERS.index(others), dict.fromkeys(model for model, _ in curves)
    along = np.stack([curves[step, GENERATIONS][:, at].mean(1) for step in steps], 1)
    return Rung(CLAIM.id, f"of 100 generations, aligned with at least {others} others", [counted(along)])
