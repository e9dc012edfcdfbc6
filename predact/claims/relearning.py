"""How far finetuning closes the gap: perplexity increase before and after, learning curves, tokens to recover.

All comparisons are paired by document: differences are taken before summing and resampling.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import materials, prediction
from predact.claims.prediction import bits_of_documents, judge_increases
from predact.claims.verdict import Claim, Rung, Verdict
from predact.models.finetuned import AFTER, BEFORE
from predact.models.tokens import Per

CLAIM = Claim(
    id="C2",
    claim="It still does when both are finetuned on the corpus.",
    figure="Figure 2B",
    chapter="02_world_modeling",
    work=materials.finetunings_work,
    rungs=lambda run: [rung(materials.finetunings(run)[0])],
    paper="still 0.10 to 1.47 (Llama 2 7B), 0.24 to 2.35 (70B), 0.17 to 2.99 (Tulu 2), 1.38 to 5.48 (OLMo)",
)

BITS, ABOVE_START, ABOVE_WORLD = prediction.BITS, "bits per byte above Base's start", prediction.ABOVE_WORLD
NEVER = 1e18  # stands for "not reached" during resampling; larger than any number of tokens


def before_and_after(documents: pd.DataFrame, per: Per) -> pd.DataFrame:
    """Return `prediction.increase_by_corpus` of the held-out documents before and after finetuning (column `when`).

    If the models were finetuned with several orders of the documents, the estimate is that of the mean nll, and its
    interval spans the intervals of all orders: it covers the choice of the order, too.

    Args:
        documents: the first frame that `finetuned.finetune_pair` returns.
        per: see `tokens.compared_per`.
    """
    before, after = (documents[documents.when == when] for when in (BEFORE, AFTER))
    frames = [prediction.increase_by_corpus(before, per).assign(when=BEFORE)]
    frames.append(_over_orders(after, partial(prediction.increase_by_corpus, per=per)).assign(when=AFTER))
    return pd.concat(frames, ignore_index=True)


def increase_by_category(documents: pd.DataFrame, per: Per) -> pd.DataFrame:
    """Return `prediction.increase_by_category` after finetuning, over orders as `before_and_after`: Figure 2B.

    Args:
        documents: the first frame that `finetuned.finetune_pair` returns.
        per: see `tokens.compared_per`.
    """
    return _over_orders(documents[documents.when == AFTER], partial(prediction.increase_by_category, per=per))


def _over_orders(after: pd.DataFrame, measure: Callable[[pd.DataFrame], pd.DataFrame]) -> pd.DataFrame:
    """Take a measure of the mean over orders; its interval spans the intervals of all orders."""
    orders = [part for _, part in after.groupby("order")]
    mean = orders[0].assign(nll=np.mean([part.nll for part in orders], axis=0))
    found, each = measure(mean), [measure(part) for part in orders]
    ends = {"low": np.min([part.low for part in each], axis=0), "high": np.max([part.high for part in each], axis=0)}
    return found.assign(**ends)


def remaining(documents: pd.DataFrame) -> pd.DataFrame:
    """Return the share of the gap left after finetuning: (L' - L'_Base) / (L - L_Base), L the nll before, L' after.

    The gap is one in log perplexity: the share is 0 if the model has caught up with Base, 1 if nothing has changed.

    Args:
        documents: the first frame that `finetuned.finetune_pair` returns.

    Returns:
        corpus, model, estimate, low, high (95 % paired bootstrap over documents, over orders as `before_and_after`),
        documents.
    """
    before, after = (documents[documents.when == when] for when in (BEFORE, AFTER))
    return _over_orders(after, partial(_remaining, before))


def _remaining(before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for corpus, group in after.groupby("corpus", sort=False):
        moments = before[before.corpus == corpus], group
        nll = [each.pivot(index="doc", columns="model", values="nll") for each in moments]
        for model in group.model.unique()[1:]:
            gaps = [each[model] - each["Base"] for each in nll]
            value = stats.interval(np.column_stack(gaps), _share)
            rows.append({"corpus": corpus, "model": model} | vars(value) | {"documents": len(gaps[0])})
    return pd.DataFrame(rows)


def _share(totals: np.ndarray) -> np.ndarray:
    return totals[..., 1] / totals[..., 0]  # a model that is no worse than Base has no gap to close


def learning_curves(runs: pd.DataFrame) -> pd.DataFrame:
    """Learning curves of the best runs on the validation documents.

    For nll L_t after t tokens and B bytes: `bits per byte` L_t / (B ln 2); `bits per byte above Base's start`
    (L_t - L_0 of Base) / (B ln 2); `bits per byte above the world` (L_t - W) / (B ln 2), where W is known.

    Args:
        runs: the second frame that `finetuned.finetune_pair` returns; several orders are averaged.

    Returns:
        corpus, category, model, unit, tokens, estimate, low, high (95 % paired bootstrap over documents).
    """
    frames = []
    for (category, corpus, model), part in _best(runs).groupby(["category", "corpus", "model"], sort=False):
        nll, tokens = _matrix(part)
        first = part.drop_duplicates("doc")
        against = [np.zeros(len(nll)), _start(runs, corpus), first.world_nll.to_numpy()]
        known = 3 if first.world_nll.notna().all() else 2
        nats = np.stack([nll - each[:, None] for each in against[:known]], axis=1)
        sums = np.column_stack([nats.reshape(len(nll), -1), first.bytes * np.log(2)])
        value = stats.interval(sums, partial(_means, units=known))
        axes = [("unit", (BITS, ABOVE_START, ABOVE_WORLD)[:known]), ("tokens", list(tokens))]
        frames.append(stats.tidy(value, axes, corpus=corpus, category=category, model=model))
    return pd.concat(frames, ignore_index=True)


def _means(totals: np.ndarray, units: int) -> np.ndarray:
    """Turn totals [..., units * evaluations + 1], the size last, into means [..., units, evaluations]."""
    return stats.means(totals).reshape(*totals.shape[:-1], units, -1)


def recovered(runs: pd.DataFrame) -> pd.DataFrame:
    """Training tokens until a model predicts the validation documents as well as Base does before finetuning.

    It is the first t with L_t <= L_0 of Base, interpolated linearly between evaluations. Every bootstrap sample gives
    its own t, infinite if Base's start is not reached; so an end of the interval may be infinite.

    Args:
        runs: the second frame that `finetuned.finetune_pair` returns.

    Returns:
        corpus, model, estimate, low, high (tokens, infinite if not reached), learned (training tokens in all),
        documents.
    """
    rows = []
    for (corpus, model), part in _best(runs).groupby(["corpus", "model"], sort=False):
        if model != "Base":
            nll, tokens = _matrix(part)
            value = stats.interval(nll - _start(runs, corpus)[:, None], partial(_crossing, tokens=tokens))
            ends = {name: np.inf if end > tokens[-1] else float(end) for name, end in vars(value).items()}
            rows.append({"corpus": corpus, "model": model} | ends | {"learned": int(tokens[-1]), "documents": len(nll)})
    return pd.DataFrame(rows, columns=["corpus", "model", "estimate", "low", "high", "learned", "documents"])


def in_words(row: Any) -> str:
    """Say in words after how many training tokens a row of `recovered` reaches Base's start, or that it does not.

    An end of the interval beyond the last training token is written as `more`.
    """
    at, low, high = (
        "more" if np.isinf(end) else f"{float(f'{end:.3g}'):,.0f}" for end in (row.estimate, row.low, row.high)
    )
    said = f"not reached in {row.learned:,}" if at == "more" else f"after {at}"
    return f"{said} tokens" + ("" if low == "more" else f" ({low} to {high})")


def recovery_table(gaps: pd.DataFrame, left: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    """Return the numbers as text, a row per corpus and model except Base: gap before, after, share left, recovery.

    Args:
        gaps: what `before_and_after` returns.
        left: what `remaining` returns.
        times: what `recovered` returns.
    """
    ratio = gaps[gaps.unit.isin(prediction.RATIOS) & (gaps.model != "Base") & (gaps.category != prediction.OVERALL)]
    keys = ["corpus", "model"]
    told = {when: ratio[ratio.when == when].set_index(keys) for when in (BEFORE, AFTER)}
    text = {f"perplexity ratio, {when}": _spans(told[when], 3) for when in (BEFORE, AFTER)}
    text["share of the gap left"] = _spans(left.set_index(keys), 3)
    rows = times.set_index(keys)
    text["Base's start"] = pd.Series([in_words(row) for row in rows.itertuples()], rows.index, dtype=str)
    return pd.DataFrame(text).loc[told[AFTER].index].reset_index()


def _spans(frame: pd.DataFrame, digits: int) -> pd.Series:
    """Estimates and intervals as text, a dash if there is none."""
    spans = zip(frame.estimate, frame.low, frame.high, strict=True)
    text = [f"{at:z.{digits}f} ({low:z.{digits}f} to {high:z.{digits}f})" for at, low, high in spans]
    return pd.Series(text, frame.index).where(np.isfinite(frame.estimate), "–")


def tried(runs: pd.DataFrame) -> pd.DataFrame:
    """Return how the run with each learning rate ended: a row per corpus and model, a column per rate.

    `chosen` is the best run, `given up` one that stopped early, `diverged` one that failed.
    """
    rows = []
    for (corpus, model), part in runs[runs.order == 0].groupby(["corpus", "model"], sort=False):
        last = part.groupby("rate").agg(
            chosen=("chosen", "first"), failed=("failed", "first"), tokens=("tokens", "max")
        )
        cells = {"corpus": corpus, "model": model}
        for rate, run in last.iterrows():
            said = "diverged" if run.failed else "chosen" if run.chosen else ""
            cells[f"{rate:.2g}"] = said or ("given up" if run.tokens < last.tokens.max() else "done")
        rows.append(cells)
    frame = pd.DataFrame(rows).fillna("")
    return frame[["corpus", "model", *sorted(frame.columns[2:], key=float)]]


def recovery_in_words(left: pd.DataFrame, times: pd.DataFrame) -> str:
    """Say what `remaining` and `recovered` found (Markdown): has RLHF recovered, how much of the gap is left?"""
    rlhf = times.query("model == 'RLHF'")
    reached = rlhf[np.isfinite(rlhf.estimate)]
    said = f"RLHF gets to where Base started on {len(reached)} of {len(rlhf)} corpora"
    if len(reached):
        said += f" (half of these within {float(f'{reached.estimate.median():.2g}'):,.0f} tokens)"
    share = left.query("model == 'RLHF'").estimate
    if np.isfinite(share).all():
        said += f". But Base has learned from the same texts: {share.min():.1%} to {share.max():.1%} of the gap in log "
        said += "perplexity is left when both have learned, depending on the corpus"
    return said + "."


def _crossing(totals: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Tokens at which totals [..., evaluations] first reach zero, interpolated in `tokens` [evaluations]; or NEVER."""
    first = (totals <= 0).argmax(-1)
    before = np.maximum(first - 1, 0)
    high, low = (np.take_along_axis(totals, place[..., None], -1)[..., 0] for place in (before, first))
    share = np.where(first > 0, high / np.where(high > low, high - low, 1), 0)
    at = tokens[before] + share * (tokens[first] - tokens[before])
    return np.where((totals <= 0).any(-1), at, NEVER)


def _best(runs: pd.DataFrame) -> pd.DataFrame:
    """Best run of each model and corpus: nll and tokens averaged over orders, up to the evaluation that all reach."""
    chosen, keys = runs[runs.chosen], ["corpus", "category", "model", "evaluation", "doc"]
    grouped = chosen.groupby(keys, sort=False)
    found = grouped[["tokens", "nll", "bytes", "world_nll"]].mean()
    everywhere = grouped.size() == chosen.order.nunique()
    return found[everywhere.to_numpy()].reset_index()


def _matrix(part: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Nll [documents, evaluations] of a run, and the training tokens [evaluations] by then."""
    wide = part.pivot(index="doc", columns="tokens", values="nll")
    return wide.to_numpy(), wide.columns.to_numpy()


def _start(runs: pd.DataFrame, corpus: object) -> np.ndarray:
    """Nll [documents] of Base before finetuning."""
    start = runs[(runs.corpus == corpus) & (runs.model == "Base") & (runs.evaluation == 0)]
    return start.drop_duplicates("doc").sort_values("doc").nll.to_numpy()


def judge(frame: pd.DataFrame) -> Verdict:
    """C2: is text still harder to predict for RLHF than for Base, on every corpus, when both were finetuned on it?

    Estimate and rule are those of C1, for the finetuned models on the held-out documents.

    Args:
        frame: what `before_and_after` returns.
    """
    return judge_increases(CLAIM, frame[frame.when == AFTER], " after finetuning")


def rung(held_out: pd.DataFrame) -> Rung:
    """Bits per byte after finetuning, mean over corpora and orders, from the frame that `before_and_after` takes."""
    after = held_out[held_out.when == AFTER]
    mean = after.groupby(["corpus", "doc", "model"], sort=False)[["nll", "bytes"]].mean().reset_index()
    return Rung(CLAIM.id, "bits per byte after finetuning", bits_of_documents(mean))
