"""The paper's nine claims, the verdict on one of them for a pair of models, and where verdicts are kept."""

import json
import re
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

import pandas as pd

from predact import store
from predact.models.pairs import title


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
    estimate: float | None  # None, all three: it could not be measured
    low: float | None
    high: float | None
    unit: str
    n: int
    pair: str
    null: float | None = None  # what chance would give, where the claim is beside a null

    def _repr_markdown_(self) -> str:
        estimate, low, high = map(told, (self.estimate, self.low, self.high))
        interval = f"95 % interval {low} to {high}"
        chance = "" if self.null is None else f", by chance {self.null:.3f}"
        return (
            f"**{self.id} {self.verdict}** for this pair: *{self.claim}* "
            f"Estimate: {self.unit} {estimate}, {interval}{chance}, n = {self.n:,}."
        )


def told(number: float | None) -> str:
    """Return a number of a verdict with three decimals, a dash if there is none."""
    return "–" if number is None else f"{number:.3f}"


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


def folder(root: Path | str, pair: str) -> Path:
    """Where a pair's verdicts stand: its name made fit for a folder, with a hash where that changed it."""
    pair = title(pair)
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", pair).strip("-.")[-60:]
    return Path(root, "claims", slug if slug == pair else f"{slug}-{sha256(pair.encode()).hexdigest()[:8]}")


def record(root: Path | str, verdict: Verdict) -> None:
    """Keep a verdict in the store; the last run of a claim for a pair is the one that counts.

    Raises:
        UserError: The store cannot be written.
    """
    row = json.dumps(asdict(verdict), indent=1, allow_nan=False)
    store.write(folder(root, verdict.pair) / f"{verdict.id}.json", row.encode())


def scorecards(*roots: Path | str) -> list[dict]:
    """Return all verdicts recorded in stores: claim by claim, and for each the pairs in the order of their names.

    Args:
        roots: of the stores; a verdict in a later one takes the place of one in an earlier one.
    """
    files = (file for root in roots for file in sorted(Path(root, "claims").glob("*/*.json")))
    rows = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    last = {(row["id"], row["pair"]): row for row in rows}
    return sorted(last.values(), key=lambda row: (list(CLAIMS).index(row["id"]), title(row["pair"])))


def scorecard(root: Path | str, pair: str) -> list[dict]:
    """Return the verdicts recorded for a pair, in the order of the claims; claims that were not run are absent."""
    files = (folder(root, pair) / f"{id}.json" for id in CLAIMS)
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
