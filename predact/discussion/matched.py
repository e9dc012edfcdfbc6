"""Matched reward: what mixtures of Base and RLHF lose where they earn as much as a run that was stopped on its way."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd

from predact import stats
from predact.methods.ngrams import shares

MEASURES = ("excess", "share10", "entropy")


def frontier(acted: pd.DataFrame, predicted: pd.DataFrame) -> pd.DataFrame:
    """Where mixtures stand: weight, measure (reward, excess, share10, entropy), estimate, low, high.

    Reward, share10 (of the answers to a question, those with the commonest 10-gram) and entropy (nats per token of own
    answers) with 95 % bootstrap over questions; excess (bits per byte beyond the world's entropy, mean over corpora)
    over documents.
    """
    rows = []
    for weight in predicted.weight.unique():
        value = stats.stratified(_strata(acted, predicted, weight), _measures)
        parts = {"estimate": value.estimate, "low": value.low, "high": value.high}
        rows.append(pd.DataFrame({"weight": weight, "measure": ["reward", *MEASURES], **parts}))
    return pd.concat(rows, ignore_index=True)


def _strata(acted: pd.DataFrame, predicted: pd.DataFrame, weight: float) -> list[np.ndarray]:
    """Sums by question [questions, 5] of a mixture, then by document [documents, 2] for each corpus."""
    answers = acted[acted.weight == weight].groupby("question", sort=False)
    sums = answers.agg(reward=("reward", "mean"), nll=("nll", "sum"))
    sums["tokens"] = answers.ids.agg(lambda ids: sum(map(len, ids)) + len(ids))  # an end is a token, too
    sums["share10"] = answers.ids.agg(lambda ids: shares(list(ids), 10)[-1])
    questions = sums[["reward", "share10", "nll", "tokens"]].assign(count=1).to_numpy(float)
    documents = predicted[predicted.weight == weight].assign(lost=lambda each: each.nll - each.floor)
    return [questions, *(part[["lost", "bytes"]].to_numpy(float) for _, part in documents.groupby("corpus"))]


def _measures(totals: Sequence[np.ndarray]) -> np.ndarray:
    """Totals of `_strata` to reward, excess, share10 and entropy [..., 4]."""
    questions, *corpora = totals
    reward, share10, nll, tokens, count = np.moveaxis(questions[..., :5], -1, 0)
    excess = np.mean([each[..., 0] / each[..., 1] for each in corpora], axis=0) / np.log(2)
    return np.stack([reward / count, excess, share10 / count, nll / tokens], -1)


def matched(
    acted: pd.DataFrame, predicted: pd.DataFrame, runs: Mapping[str, pd.DataFrame], paths: pd.DataFrame
) -> pd.DataFrame:
    """Mixtures beside recorded runs that were stopped where they first earned the same reward.

    Args:
        acted: what `mixture.acting` returns.
        predicted: what `mixture.predicting` returns.
        runs: recorded, with rewards by question.
        paths: what `frontier.paths` returns of them.

    Returns:
        run, weight, reward, measure (of `MEASURES`), mixture, stopped, estimate (mixture - stopped), low, high (95 %
        bootstrap over questions, with mixture and run at once, and over documents; what a run loses in prediction and
        variety was recorded as means, which stay). Only where the run reaches the reward after its beginning.
    """
    rows = []
    for name, run in runs.items():
        path = paths[paths.run == name]
        rewards = np.array(run.rewards.tolist()).T
        for weight in predicted.weight.unique():
            questions, *documents = _strata(acted, predicted, weight)
            reward = questions[:, 0].mean()
            if not rewards[:, 0].mean() < reward <= rewards.mean(0).max():
                continue
            strata = [np.column_stack([questions, rewards]), *documents]
            value = stats.stratified(strata, partial(_difference, path=path))
            mixed, stopped = _beside([each.sum(0) for each in strata], path)
            ends = {"estimate": value.estimate, "low": value.low, "high": value.high}
            place = {"run": name, "weight": weight, "reward": reward, "measure": MEASURES}
            rows.append(pd.DataFrame(place | {"mixture": mixed, "stopped": stopped} | ends))
    empty = pd.DataFrame(
        columns=["run", "weight", "reward", "measure", "mixture", "stopped", "estimate", "low", "high"]
    )
    return pd.concat(rows, ignore_index=True) if rows else empty


def _difference(totals: Sequence[np.ndarray], path: pd.DataFrame) -> np.ndarray:
    mixed, stopped = _beside(totals, path)
    return mixed - stopped


def _beside(totals: Sequence[np.ndarray], path: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """`MEASURES` of a mixture, and of a run where it first earned the mixture's reward: [..., 3] each."""
    questions, known = totals[0], path[list(MEASURES)].to_numpy(float)
    reward, *mixed = np.moveaxis(_measures(totals), -1, 0)
    along = np.maximum.accumulate(questions[..., 5:] / questions[..., 4:5], axis=-1)
    pairs = zip(np.ravel(reward), along.reshape(-1, along.shape[-1]), strict=True)
    stopped = [[np.interp(at, rewards, column) for column in known.T] for at, rewards in pairs]
    return np.stack(mixed, -1), np.reshape(stopped, (*np.shape(reward), len(MEASURES)))


def answer(found: pd.DataFrame) -> str:
    """What mixtures lose where they earn what a run earned, in words (Markdown). Takes what `matched` returns."""
    lost = found[(found.measure == "excess") & (found.weight < 1)]
    said = []
    for weight, rows in lost.groupby("weight"):
        surely = (rows.high < 0).sum()
        reward, mixed = rows.reward.iloc[0], rows.mixture.iloc[0]
        said.append(
            f"The mixture with weight {weight:g} earns {reward:.2f} and loses **{mixed:.3f}** bits per byte; the runs, "
            f"when they first earned as much, had lost {rows.stopped.min():.3f} to {rows.stopped.max():.3f}. Surely "
            f"(95 %) it loses less than {surely} of {len(rows)}."
        )
    return " ".join(said) or "No mixture earns what a run earns after its beginning."
