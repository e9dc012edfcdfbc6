"""The paper's nine claims, the rules that judge them for a pair of models, and where the verdicts are kept."""

import json
import re
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from predact import collapse, completions, increase, stats, store
from predact.spread import NEGLIGIBLE

FEW = 10  # tokens: what "a few" means in C3


@dataclass(frozen=True)
class Claim:
    """A claim of the paper in one sentence of ours, the paper's figure, and the notebook that tests it."""

    id: str
    claim: str
    figure: str
    chapter: str


CLAIMS = {
    id: Claim(id, claim, figure, chapter)
    for id, figure, chapter, claim in (
        ("C1", "Figure 2A", "02_world_modeling", "RLHF predicts documents worse than Base, on every corpus."),
        ("C2", "Figure 2B", "02_world_modeling", "It still does when both are finetuned on the corpus."),
        ("C3", "Figure 3", "03_collapse", "RLHF gathers more of the next-token probability on a few tokens."),
        (
            "C4",
            "Figure 4",
            "03_collapse",
            "RLHF rules out more tokens in its own text, and slightly fewer in gold text.",
        ),
        ("C5", "Figure 5", "03_collapse", "RLHF finds its own generations easier to predict than Base finds its own."),
        (
            "C6",
            "Anchor spans",
            "04_anchor_spans",
            "Most RLHF generations for a prompt share long n-grams; Base's do not.",
        ),
        ("C7", "Figure 1, top", "04_anchor_spans", "Those anchor spans come in the same order: a skeleton."),
        ("C8", "Figure 1, bottom", "05_backbones", "RLHF generations align all along, most at beginning and end."),
        ("C9", "Probing", "06_planning", "RLHF hidden states tell more of the tokens several positions ahead."),
    )
}


@dataclass(frozen=True)
class Verdict:
    """One row of the scorecard: what was estimated for a pair, how surely, and what the rule makes of it."""

    id: str
    claim: str
    verdict: str
    estimate: float
    low: float
    high: float
    unit: str
    n: int
    pair: str

    def _repr_markdown_(self) -> str:
        interval = f"95 % interval {self.low:.3f} to {self.high:.3f}"
        return (
            f"**{self.id} {self.verdict}** for this pair: *{self.claim}* "
            f"Estimate: {self.unit} {self.estimate:.3f}, {interval}, n = {self.n:,}."
        )


def judge(low: pd.Series, high: pd.Series, nothing: float) -> str:
    """The rule for claims that say *more, everywhere*.

    Args:
        low: Lower ends of 95 % intervals, one for each case that the claim speaks of.
        high: Their upper ends.
        nothing: The value that means no difference.

    Returns:
        `holds` when every interval lies above `nothing`, `fails` when one lies at or below it, else `undecided`.
    """
    if (low > nothing).all():
        return "holds"
    return "fails" if (high <= nothing).any() else "undecided"


def world_modeling(documents: pd.DataFrame, pair: str) -> tuple[pd.DataFrame, Verdict]:
    """C1: is text harder to predict for RLHF than for Base, on every corpus?

    The estimate is the geometric mean over corpora of the perplexity ratio RLHF / Base, documents resampled within each
    corpus. The claim is about every corpus, so the rule looks at each corpus's own interval: `judge(low, high, 1)`.

    Args:
        documents: What `scoring.pair_documents` returns.
        pair: Name of the pair, for the scorecard.

    Returns:
        The frame of `increase.by_corpus`, and the verdict.
    """
    frame = increase.by_corpus(documents)
    ratio = frame[(frame.model == "RLHF") & frame.unit.isin(increase.RATIOS)]
    each = ratio[ratio.category != increase.OVERALL]
    mean = ratio[ratio.category == increase.OVERALL].iloc[0]
    return frame, _verdict("C1", judge(each.low, each.high, nothing=1), mean, mean.unit, mean.documents, pair)


def mass(conditions: collapse.Conditions, pair: str) -> tuple[pd.DataFrame, Verdict]:
    """C3: does RLHF give more of the next-token probability to a few tokens, on gold text and on its own generations?

    The measure is the mean mass of the FEW most probable tokens, RLHF minus Base, documents of gold text and prompts
    resampled with both models' positions. The rule looks at both kinds of text: `judge(low, high, 0)`. The estimate is
    the smaller of the two differences.

    Args:
        conditions: What `collapse.of_pair` returns.
        pair: Name of the pair.

    Returns:
        text, n, estimate, low, high, and the verdict.
    """
    strata = [collapse.paired(conditions, text, lambda each: each.mass_of(FEW)) for text in collapse.TEXTS]
    each = _table(strata, [stats.interval(sums, _difference) for sums in strata])
    least = each.sort_values("estimate").iloc[0]
    unit = f"more mass of the {FEW} likeliest tokens than Base, on {least.text}"
    return each, _verdict("C3", judge(each.low, each.high, nothing=0), least, unit, least.n, pair)


def support(conditions: collapse.Conditions, pair: str) -> tuple[pd.DataFrame, Verdict]:
    """C4: does RLHF leave a chance to fewer tokens in its own generations, and to more in gold text?

    The measure is the mean number of tokens with p > NEGLIGIBLE. The rule looks at two ratios: Base / RLHF on their own
    generations, RLHF / Base on gold text: `judge(low, high, 1)`. The estimate is the smaller one.

    Args:
        conditions: What `collapse.of_pair` returns.
        pair: Name of the pair.

    Returns:
        text, n, estimate, low, high, and the verdict.
    """
    gold, own = (collapse.paired(conditions, text, lambda each: each.above(NEGLIGIBLE)) for text in collapse.TEXTS)
    ratios = [stats.interval(gold, _ratio), stats.interval(own, lambda totals: 1 / _ratio(totals))]
    each = _table([gold, own], ratios)
    least = each.sort_values("estimate").iloc[0]
    unit = f"times as many tokens with p > {NEGLIGIBLE:.0e}, as the claim has it, on {least.text}"
    return each, _verdict("C4", judge(each.low, each.high, nothing=1), least, unit, least.n, pair)


def _table(strata: list[np.ndarray], cases: list[stats.Interval]) -> pd.DataFrame:
    rows = zip(collapse.TEXTS, strata, cases, strict=True)
    return pd.DataFrame([{"text": text, "n": len(sums)} | vars(case) for text, sums, case in rows])


def _difference(totals: np.ndarray) -> np.ndarray:
    """Mean of RLHF minus mean of Base, of totals [..., 4] as `collapse.paired` gives them."""
    return totals[..., 2] / totals[..., 3] - totals[..., 0] / totals[..., 1]


def _ratio(totals: np.ndarray) -> np.ndarray:
    return totals[..., 2] / totals[..., 3] / (totals[..., 0] / totals[..., 1])


def self_perplexity(frame: pd.DataFrame, pair: str) -> Verdict:
    """C5: does RLHF find its own completions easier than Base finds its own, whatever they are completions of?

    The measure is the ratio of the perplexities, RLHF / Base. The rule looks at every source of prefixes:
    `judge(-high, -low, -1)`. The estimate is the geometric mean over sources.

    Args:
        frame: What `completions.self_perplexity` returns.
        pair: Name of the pair.
    """
    ratio = frame[(frame.model == "RLHF") & (frame.unit == completions.RATIO)]
    each = ratio[ratio.source != completions.MEAN]
    mean = ratio[ratio.category == completions.ALL].iloc[0]
    said = judge(-each.high, -each.low, nothing=-1)
    return _verdict("C5", said, mean, "perplexity ratio", mean.prefixes, pair)


def _verdict(id: str, verdict: str, row: pd.Series, unit: str, n: int, pair: str) -> Verdict:
    """The verdict of a claim, with the estimate and the interval that stand in a row."""
    numbers = float(row.estimate), float(row.low), float(row.high)
    return Verdict(id, CLAIMS[id].claim, verdict, *numbers, unit, int(n), pair)


def folder(root: Path | str, pair: str) -> Path:
    """Where a pair's verdicts stand: its name made fit for a folder, with a hash where that changed it."""
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", pair).strip("-.")[-60:]
    return Path(root, "claims", slug if slug == pair else f"{slug}-{sha256(pair.encode()).hexdigest()[:8]}")


def record(root: Path | str, verdict: Verdict) -> None:
    """Keep a verdict in the store; the last run of a claim for a pair is the one that counts.

    Raises:
        UserError: The store cannot be written.
    """
    row = json.dumps(asdict(verdict), indent=1, allow_nan=False)
    store.write(folder(root, verdict.pair) / f"{verdict.id}.json", row.encode())


def scorecard(root: Path | str, pair: str) -> list[dict]:
    """Return the verdicts recorded for a pair, in the order of the claims; claims that were not run are absent."""
    files = (folder(root, pair) / f"{id}.json" for id in CLAIMS)
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
