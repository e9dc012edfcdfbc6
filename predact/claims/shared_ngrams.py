"""C6: most RLHF generations for a prompt share long n-grams; Base's do not."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import materials
from predact.claims.verdict import Claim, Rung, Verdict, all_above, conclude, only
from predact.methods.ngrams import GENERATIONS, most_shared, samples, shares

CLAIM = Claim(
    id="C6",
    claim="Most RLHF generations for a prompt share long n-grams; Base's do not.",
    figure="Anchor spans",
    chapter="04_anchor_spans",
    work=materials.matched_work,
    rungs=lambda run: [rung(materials.generations(run, materials.all_steps(run)))],
)

UNIT = "share of generations"
LONG, MOST = 10, 0.5  # tokens of a long n-gram, and the share of generations that are "most", in C6


def shares_by_length(frame: pd.DataFrame, longest: int = 50, seed: int = 0) -> pd.DataFrame:
    """Mean over prompts of `ngrams.shares`, of the generations and of the two nulls.

    Args:
        frame: generations as `sampling.sample_pair` returns them.
        longest: the largest n.
        seed: of the nulls.

    Returns:
        model, text (`generations`, `null: other prompts`, `null: shuffled tokens`), n, estimate, low, high (95 %
        bootstrap over prompts; for the null of other prompts, over draws), unit, prompts (or draws).
    """
    rows = []
    for model, part in frame.groupby("model", sort=False):
        for text, units in samples(part, seed).items():
            sums = np.array([np.append(shares(each, longest), 1) for each in units])
            value = stats.interval(sums, stats.means)
            place = {"model": model, "text": text, "n": np.arange(1, longest + 1)}
            rows.append(pd.DataFrame(place | vars(value) | {"unit": UNIT, "prompts": len(units)}))
    return pd.concat(rows, ignore_index=True)


def commonest_table(frame: pd.DataFrame, decode: Mapping[str, Callable[[list[int]], str]], n: int = 10) -> pd.DataFrame:
    """The most shared n-gram of every model and prompt.

    Args:
        frame: generations as `sampling.sample_pair` returns them.
        decode: for each model, what turns its ids into text.
        n: tokens of the n-gram.

    Returns:
        model, category, prompt, n, text (empty where no generation has n tokens), share (of the generations), count (of
        the generations that contain it), samples (their numbers).
    """
    rows = []
    for (model, category, prompt), part in frame.groupby(["model", "category", "prompt"], sort=False):
        ids, places = most_shared(list(part.ids), n)
        row = {"model": model, "category": category, "prompt": prompt, "n": n, "text": decode[str(model)](ids.tolist())}
        row |= {"share": len(places) / len(part), "count": len(places)}
        rows.append(row | {"samples": part["sample"].to_numpy()[places].tolist()})
    return pd.DataFrame(rows)


def judge(frame: pd.DataFrame) -> Verdict:
    """C6: do most RLHF generations for a prompt share a long n-gram, and Base's not?

    The measure is the share of generations that contain the commonest n-gram of LONG tokens. The rule, `all_above` 0,
    covers three cases: RLHF's share above MOST, Base's below it, RLHF's above the higher one of its nulls. The
    estimate is RLHF's share.

    Args:
        frame: what `shares_by_length` returns.
    """
    rlhf, base, null = beside_nulls(frame[frame.n == LONG])
    low = pd.Series([rlhf.low - MOST, MOST - base.high, rlhf.low - null])
    high = pd.Series([rlhf.high - MOST, MOST - base.low, rlhf.high - null])
    unit = f"share of RLHF's generations with their commonest {LONG}-gram (Base's {base.estimate:.3f})"
    return conclude(CLAIM, all_above(low, high, nothing=0), rlhf, unit, rlhf.prompts, null)


def beside_nulls(frame: pd.DataFrame) -> tuple[pd.Series, pd.Series, float]:
    """Return the rows of RLHF's and of Base's generations, and the higher estimate of RLHF's two nulls."""
    own = frame[frame.text == GENERATIONS]
    nulls = frame[(frame.model == "RLHF") & (frame.text != GENERATIONS)]
    return only(own[own.model == "RLHF"]), only(own[own.model == "Base"]), float(nulls.estimate.max())


def rung(written: pd.DataFrame) -> Rung:
    """Share of generations with the commonest n-gram of LONG tokens. Takes what `sampling.sample_pair` returns."""
    found = written.groupby(["prompt", "model"], sort=False).ids.agg(lambda ids: shares(list(ids), LONG)[-1])
    table = found.unstack("model")[list(written.model.unique())].to_numpy(float)
    return Rung(CLAIM.id, f"share of generations with the commonest {LONG}-gram", [counted(table)])


def counted(values: np.ndarray) -> np.ndarray:
    """Pair the values of units [units, models] with a count of 1 each: [units, models, 2]."""
    return np.stack([values, np.ones_like(values)], 2)
