"""C6: with diversity matched, many more of RLHF's generations than of Base's share long n-grams."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import materials
from predact.claims.verdict import Claim, Rung, Verdict, all_above, conclude, only, unmeasured
from predact.methods.ngrams import GENERATIONS, most_shared, samples, shares, spread
from predact.models.pairs import ENDS
from predact.models.tokens import Per

CLAIM = Claim(
    id="C6",
    claim="With diversity matched, many more of RLHF's generations than of Base's share long n-grams.",
    figure="Figure 7",
    chapter="04_anchor_spans",
    work=materials.matched_work,
    rungs=lambda run: [rung(materials.generations(run, materials.all_steps(run)))],
    paper="10-grams: Llama 2 7B 61.0 %, 70B 58.5 %, Base 32.9 and 34.7 %; 50-grams: 5.0, 9.3, 0.8 and 2.0 %",
)

UNIT = "share of generations"
LENGTHS = (5, 10, 25, 50)  # n of Figure 7A
LONG = 10  # tokens of the n-grams that Figure 7B counts
DIFFERENCE = "RLHF - Base"
BINS = 10  # of Figure 7B
PER_PROMPT = f"{LONG}-grams per prompt"
LESS = "share of RLHF's generations with their commonest {}-gram less Base's"
SHORT = f"not measured, for that takes two generations of {LENGTHS[0]} tokens of each prompt"
AS_WRITTEN = "in words, as they were written"
NOT_MEASURED = stats.Interval(np.nan, np.nan, np.nan)


def commonest_shares(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of a prompt's generations that contain the commonest n-gram, for each n of LENGTHS (Figure 7A, E7).

    Where most prompts have no generation of n tokens, or a prompt a single generation, there is nothing to share: not
    measured, NaN.

    Args:
        frame: generations of Base and RLHF for the same prompts, as `sampling.sample_pair` returns them.

    Returns:
        n, model (Base, RLHF and DIFFERENCE), estimate, low, high (95 % bootstrap over prompts, paired for the
        difference), unit, prompts.
    """
    units = {place: list(ids) for place, ids in frame.groupby(["prompt", "model"], sort=False).ids}
    longest = pd.Series({place: max(map(len, ids)) for place, ids in units.items()}).unstack()
    most = {place: shares(ids, max(LENGTHS)) for place, ids in units.items()}
    alone = min(map(len, units.values())) < 2
    rows = []
    for n in LENGTHS:
        share = pd.Series({place: each[n - 1] for place, each in most.items()}).unstack()
        share.loc[:, alone | ((longest >= n).mean() <= 0.5)] = np.nan
        share[DIFFERENCE] = share["RLHF"] - share["Base"]
        for model in (*ENDS, DIFFERENCE):
            value = stats.mean(share[model].to_numpy()) if share[model].notna().all() else NOT_MEASURED
            rows.append({"n": n, "model": model} | vars(value) | {"unit": UNIT, "prompts": len(share)})
    return pd.DataFrame(rows)


def histogram(frame: pd.DataFrame) -> pd.DataFrame:
    """Count the different n-grams, n = LONG, by the percent of generations that contain them (Figure 7B, E8).

    An n-gram that c of a prompt's G generations contain falls into the bin that ends at the next ten percent from
    100 c / G on: 1 to 10 of 100 generations into the first, 91 to 100 into the last.

    Args:
        frame: generations as `sampling.sample_pair` returns them.

    Returns:
        model, x (bin: `0-10` ... `90-100`), estimate, low, high (mean over prompts, 95 % bootstrap), unit, prompts.
    """
    rows, names = [], [f"{10 * each}-{10 * each + 10}" for each in range(BINS)]
    for model, part in frame.groupby("model", sort=False):
        counts = np.array([_binned(list(ids)) for _, ids in part.groupby("prompt", sort=False).ids])
        value = stats.interval(np.column_stack([counts, np.ones(len(counts))]), stats.means)
        rows.append(stats.tidy(value, [("x", names)], model=model, unit=PER_PROMPT, prompts=len(counts)))
    return pd.concat(rows, ignore_index=True)


def _binned(generations: list) -> np.ndarray:
    containing = spread(generations, LONG)
    return np.bincount(-(-BINS * containing // len(generations)) - 1, minlength=BINS)


def diversity_table(found: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """The paper's Table 4: percent of n-grams that are unique, of a pair (with its interval) and of the paper's models.

    Args:
        found: what `materials.diversities` returns.
        values: the paper's.

    Returns:
        p, model, and for each n a column of ours and one of the paper's Llama 2 7B and 70B, as text.
    """
    ends = (found.low.map(" ({:.1f}–".format) + found.high.map("{:.1f})".format)).where(found.low.notna(), "")
    ours = found.assign(
        column=found.n.map("n = {}".format), said=found.estimate.map("{:.1f}".format) + ends, p=found.top_p
    )
    theirs = values.assign(
        size=values.model.str.extract(r"(\d+)B", expand=False).astype(int),
        model=values.model.str.split().str[-1],
        column="paper, n = " + values.x.str.removesuffix("-gram"),
        p=values.condition.str.removeprefix("p=").astype(float),
        said=values.value.map("{:.1f}".format),
    )
    both, place = pd.concat([ours, theirs.sort_values("size")]), ["p", "model", "column"]
    said = both.groupby(place, dropna=False).said.agg(", ".join).unstack().fillna("–")
    columns = [f"{whose}n = {n}" for n in sorted(found.n.unique()) for whose in ("", "paper, ")]
    return said[columns].reset_index()


def told_match(found: pd.DataFrame, top_p: float, base_top_p: float | None) -> str:
    """Say in a sentence at which p Base is sampled, if it is, and how near its diversity comes to RLHF's.

    Args:
        found: what `materials.diversities` returns.
        top_p: of RLHF.
        base_top_p: of Base; None if its generations were given, as RLHF's.
    """
    if base_top_p is None:
        own = found.groupby("model").estimate.mean()
        return f"{materials.AS_WRITTEN}. {own['Base']:.1f} % of its n-grams are unique, of RLHF's {own['RLHF']:.1f} %."
    mean = found.groupby(["model", "top_p"]).estimate.mean()
    rlhf = f"RLHF's at p = {top_p:g} {mean['RLHF'][top_p]:.1f} %"
    if base_top_p not in mean["Base"]:
        return f"Base is sampled at **p = {base_top_p:g}**, as the setting `base_top_p` says; of {rlhf} are unique."
    base = mean["Base"][base_top_p]
    ends = {mean["Base"].index.min(): base > mean["RLHF"][top_p], mean["Base"].index.max(): base < mean["RLHF"][top_p]}
    short = " No p tried comes closer: the match is a rough one." if ends.get(base_top_p) else ""
    return f"Base is sampled at **p = {base_top_p:g}**: {base:.1f} % of its n-grams are unique, of {rlhf}.{short}"


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


def judge(frame: pd.DataFrame, per: Per) -> Verdict:
    """C6 by the paper's rule: do more of RLHF's generations share n-grams than of Base's, as diverse as RLHF's?

    The measure is the share of generations with the commonest n-gram, RLHF minus Base. The rule, `all_above` 0, covers
    the LENGTHS; with one that was not measured the claim does not hold. The estimate is the difference whose interval
    ends lowest, which decides where the claim fails. With none that was measured it stays undecided.

    Args:
        frame: what `commonest_shares` returns for `materials.matched`.
        per: see `tokens.compared_per`; if the models can be compared per byte only, the claim stays undecided. Of words
            it is judged as they were written, for the diversity of given texts cannot be matched.
    """
    apart = frame[frame.model == DIFFERENCE]
    if per is Per.BYTE:
        return unmeasured(CLAIM, LESS.format("n"))
    if apart.estimate.isna().all():
        return unmeasured(CLAIM, LESS.format("n"), why=SHORT)
    least = only(apart.nsmallest(1, ["high", "estimate"]))
    short = "".join(f"; n = {n} not measured: too few long generations" for n in apart.n[apart.estimate.isna()])
    sampled = AS_WRITTEN if per is Per.WORD else "diversity matched"
    unit = f"{LESS.format(least.n)}, {sampled}{short}"
    return conclude(CLAIM, all_above(apart.low, apart.high, nothing=0), least, unit, least.prompts)


def judge_beyond(frame: pd.DataFrame, lengths: pd.DataFrame, per: Per) -> Verdict:
    """C6 beyond the paper: the same where both models are sampled at one p, and is it more than chance?

    The rule, `all_above` 0, covers the differences of `judge`, and RLHF's share at n = LONG above the higher one of its
    nulls (of longer n-grams a null has the least value that it can have, one generation). The estimate is that share.

    Args:
        frame: what `commonest_shares` returns for `materials.generations`.
        lengths: what `shares_by_length` returns for the same.
        per: as in `judge`.
    """
    if per is Per.BYTE:
        return unmeasured(CLAIM, LESS.format("n"), "book")
    apart = frame[frame.model == DIFFERENCE]
    if apart.estimate.isna().all():
        return unmeasured(CLAIM, LESS.format("n"), "book", SHORT)
    rlhf, base, null = beside_nulls(lengths[lengths.n == LONG])
    low, high = (pd.concat([apart[end], pd.Series([rlhf[end] - null])]) for end in ("low", "high"))
    sampled = AS_WRITTEN if per is Per.WORD else "equal p"
    unit = f"share of RLHF's generations with their commonest {LONG}-gram (Base's {base.estimate:.3f}), {sampled}"
    return conclude(CLAIM, all_above(low, high, nothing=0), rlhf, unit, rlhf.prompts, null, "book")


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
