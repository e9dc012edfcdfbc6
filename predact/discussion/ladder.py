"""Who did it? What each claim speaks of, at Base, at SFT and at RLHF, and which part of the way SFT has gone.

A rung is a measure taken of all three models on the same documents or prompts, so that the steps between them are
paired. Where SFT stands on the way from Base to RLHF, (SFT - Base) / (RLHF - Base), says who has done it: 0, tuning by
reward alone; 1, tuning by examples alone; above 1, the reward has undone a part; below 0, the examples went elsewhere.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import narrowing
from predact.claims.backbone import OTHERS
from predact.claims.finetuned import AFTER
from predact.claims.verdicts import FEW, LONG
from predact.claims.verdicts import OTHERS as WITH
from predact.methods import ngrams
from predact.methods.ngrams import GENERATIONS
from predact.models.distributions import NEGLIGIBLE

STEPS = ("Base", "SFT", "RLHF")
VALUE, CHANGE, PLACE = "value", "change", "place of SFT"


class Rung(NamedTuple):
    """A measure of all models: for each stratum [units, models, (sum, count)]; a value is a mean of ratios."""

    claim: str
    measure: str
    strata: Sequence[np.ndarray]


def present(names: Iterable[str]) -> list[str]:
    """Return which of `STEPS` are among the names: two of them where a pair has no SFT."""
    return [step for step in STEPS if step in set(names)]


def predicting(documents: pd.DataFrame) -> Rung:
    """C1: bits per byte of gold text, mean over corpora. Takes what `scores.pair_documents` returns."""
    return Rung("C1", "bits per byte of gold text", _bits(documents))


def relearning(held_out: pd.DataFrame) -> Rung:
    """C2: the same after finetuning, mean over orders, too. Takes the first frame of `finetuned.of_pair`."""
    after = held_out[held_out.when == AFTER]
    mean = after.groupby(["corpus", "doc", "model"], sort=False)[["nll", "bytes"]].mean().reset_index()
    return Rung("C2", "bits per byte after finetuning", _bits(mean))


def _bits(documents: pd.DataFrame) -> list[np.ndarray]:
    """Bits and bytes of each document [documents, models, 2] for each corpus."""
    strata = []
    for _, part in documents.groupby("corpus", sort=False):
        wide, steps = part.pivot(index="doc", columns="model", values=["nll", "bytes"]), present(part.model)
        strata.append(np.stack([wide["nll"][steps] / np.log(2), wide["bytes"][steps]], 2))
    return strata


def spreading(conditions: narrowing.Conditions) -> list[Rung]:
    """C3 and C4: mass of the ten likeliest tokens, tokens above 1e-8. Takes what `narrowing.of_pair` returns."""
    measures: tuple[tuple[str, str, Callable[[narrowing.Measured], np.ndarray]], ...] = (
        ("C3", f"mass of the {FEW} likeliest tokens", lambda each: each.mass_of(FEW)),
        ("C4", f"tokens with p > {NEGLIGIBLE:.0e}", lambda each: each.above(NEGLIGIBLE)),
    )
    rungs, steps = [], present({model for model, _ in conditions})
    for claim, measure, sums in measures:
        for text in narrowing.TEXTS:
            table = narrowing.paired(conditions, text, sums, steps)
            rungs.append(Rung(claim, f"{measure}, {text}", [table.reshape(len(table), len(steps), 2)]))
    return rungs


def knowing(crossed: pd.DataFrame) -> Rung:
    """C5: nats per token of own completions, mean over sources. Takes what `self_reading.crossed` returns."""
    own = crossed[crossed.scorer == crossed.author]
    strata = []
    for _, part in own.groupby("source", sort=False):
        wide, steps = part.pivot(index="prefix", columns="scorer", values=["nll", "tokens"]), present(part.scorer)
        strata.append(np.stack([wide["nll"][steps], wide["tokens"][steps]], 2))
    return Rung("C5", "nats per token of own completions", strata)


def sharing(
    written: pd.DataFrame, counts: pd.DataFrame, curves: Mapping[tuple[str, str], np.ndarray]
) -> tuple[Rung, Rung, Rung]:
    """C6 to C8: share of the commonest 10-gram, share of text in anchor spans, generations aligned with five others.

    Args:
        written: what `sampling.of_pair` returns.
        counts: what `backbone.anchored` returns.
        curves: what `backbone.curves` returns.
    """
    steps = present(written.model)
    shares = written.groupby(["prompt", "model"], sort=False).ids.agg(lambda ids: ngrams.shares(list(ids), LONG)[-1])
    grams = shares.unstack("model")[steps].to_numpy(float)
    own = counts[counts.text == GENERATIONS].pivot(index="prompt", columns="model", values=["covered", "tokens"])
    spans = np.stack([own["covered"][steps], own["tokens"][steps]], 2).astype(float)
    along = np.stack([curves[step, GENERATIONS][:, OTHERS.index(WITH)].mean(1) for step in steps], 1)
    return (
        Rung("C6", f"share of generations with the commonest {LONG}-gram", [_counted(grams)]),
        Rung("C7", "share of tokens in anchor spans", [spans]),
        Rung("C8", f"of 100 generations, aligned with at least {WITH} others", [_counted(along)]),
    )


def _counted(values: np.ndarray) -> np.ndarray:
    """Values of units [units, 3] as sums, each with a count of 1."""
    return np.stack([values, np.ones_like(values)], 2)


def climb(rungs: Sequence[Rung]) -> pd.DataFrame:
    """The values of each rung, the changes between them, and the place of SFT on the way, with intervals.

    Returns:
        claim, measure, kind (`VALUE`, `CHANGE`, `PLACE`), at (the model; of a change, where it leads), estimate, low,
        high (95 % bootstrap: documents or prompts resampled, with all models at once), n. No place without an SFT.
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
    """Totals [..., models of (sum, count)] of each stratum to values, changes and (of three) place [..., 6 or 3]."""
    with np.errstate(invalid="ignore"):  # a model that wrote nothing
        values = np.mean([each[..., 0::2] / each[..., 1::2] for each in strata], axis=0)
    changes = np.diff(values, axis=-1)
    if values.shape[-1] < len(STEPS):
        return np.concatenate([values, changes], -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        place = changes[..., :1] / (values[..., -1:] - values[..., :1])
    return np.concatenate([values, changes, np.nan_to_num(place, posinf=0.0, neginf=0.0)], -1)


def answer(climbed: pd.DataFrame) -> str:
    """What was brought about by SFT for the most part, what by the reward, in words (Markdown)."""
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
