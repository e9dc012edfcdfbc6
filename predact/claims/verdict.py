"""What a claim is, the verdict on it for a pair of models, and the rules that several claims share.

A module of this package that has a `CLAIM` is a claim; there is no other list of claims. Its function ``judge`` is the
paper's rule (frames in, a `Verdict` out); ``judge_beyond`` is our own, where we measure more strictly. Its `CLAIM`
names the functions that count its work and measure its rungs of the ladder.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

import predact.claims
from predact import markup
from predact.models.runs import Run

if TYPE_CHECKING:
    from predact.claims.materials import Work

Protocol = Literal["paper", "book"]  # the paper's measure and rule, or ours, which is stricter
MIME = "application/vnd.predact.verdict+json"  # of a verdict in the output of an executed notebook


class Rung(NamedTuple):
    """A measure of every model of a pair, in the order of training.

    For each stratum [units, models, 2]: the sum and the count of every unit. A model's value is the mean over strata of
    total sum / total count.
    """

    claim: str
    measure: str
    strata: Sequence[np.ndarray]


def no_rungs(_: Run) -> list[Rung]:
    """Return no rungs, for a claim that is not measured for the models between Base and RLHF."""
    return []


@dataclass(frozen=True)
class Claim:
    """A claim of the paper in one sentence of ours, the paper's figure, and the notebook that tests it."""

    id: str
    claim: str
    figure: str
    chapter: str
    work: Callable[[Run], Mapping[str, "Work"]]  # tokens by measurement; claims that share one use one name
    rungs: Callable[[Run], list[Rung]] = no_rungs  # its measures of every model
    paper: str = ""  # what the paper measured for its own models, in one line


def claims() -> dict[str, Claim]:
    """Return the claims by id, in the order of their numbers: the `CLAIM` of every module of this package."""
    names = [module.name for module in pkgutil.iter_modules(predact.claims.__path__)]
    modules = [importlib.import_module(f"{predact.claims.__name__}.{name}") for name in names]
    found = [module.CLAIM for module in modules if hasattr(module, "CLAIM")]
    return {claim.id: claim for claim in sorted(found, key=lambda claim: int(claim.id[1:]))}


@dataclass(frozen=True)
class Verdict:
    """One row of the scorecard: the estimate for a pair, its interval, and the verdict of the rule."""

    id: str
    claim: str
    verdict: str
    estimate: float | None  # None, as low and high, if it could not be measured
    low: float | None
    high: float | None
    unit: str
    n: int
    null: float | None = None  # the estimate expected by chance, if the claim has a null
    protocol: Protocol = "paper"  # whose rule this is
    pair: str = ""  # this and the next are filled in by `of_run`
    scale: str = ""

    def of_run(self, run: Run) -> dict[str, Any]:
        """Return the row as JSON data, with the pair and the scale of a run."""
        return asdict(self) | {"pair": run.name, "scale": run.scale}

    def _repr_html_(self) -> str:
        return markup.render("verdict.html", verdict=self, told=told)


def told(number: float | None) -> str:
    """Return a number of a verdict with three decimals, a dash if there is none."""
    return "–" if number is None else f"{number:.3f}"


def all_above(low: pd.Series, high: pd.Series, nothing: float) -> str:
    """The rule for claims that say *more, everywhere*.

    Args:
        low: lower ends of 95 % intervals, one for each case that the claim speaks of.
        high: their upper ends.
        nothing: the value that means no difference.

    Returns:
        `holds` when every interval lies above `nothing`, `fails` when one lies at or below it, else `undecided`.
    """
    if (low > nothing).all():
        return "holds"
    return "fails" if (high <= nothing).any() else "undecided"


def only(frame: pd.DataFrame) -> pd.Series:
    """Return the one row of a frame; ValueError where there are more or none."""
    (row,) = (row for _, row in frame.iterrows())
    return row


def conclude(
    claim: Claim,
    verdict: str,
    row: pd.Series,
    unit: str,
    n: int,
    null: float | None = None,
    protocol: Protocol = "paper",
) -> Verdict:
    """Return the verdict on a claim by the paper's rule or by ours, with the estimate and the interval of a row.

    Without an interval it stays undecided: fewer than two prompts or documents had what the claim is about.
    """
    numbers = float(row.estimate), float(row.low), float(row.high)
    if not np.isfinite(numbers).all():
        return unmeasured(claim, unit, protocol, "fewer than two prompts or documents could be measured")
    return Verdict(claim.id, claim.claim, verdict, *numbers, unit, int(n), null, protocol)


def unmeasured(
    claim: Claim, unit: str, protocol: Protocol = "paper", why: str = "not compared, for the tokenizers differ"
) -> Verdict:
    """Return the verdict on a claim that could not be measured, undecided; by default for models of two tokenizers."""
    return Verdict(claim.id, claim.claim, "undecided", None, None, None, f"{unit}: {why}", 0, None, protocol)


def too_few(claim: Claim, unit: str, generations: int, protocol: Protocol = "paper") -> Verdict:
    """Return the verdict on a claim whose measure has only one value for so few generations of a prompt: undecided."""
    return unmeasured(claim, unit, protocol, f"generations {generations} are too few")
