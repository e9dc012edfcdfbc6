"""Answers as the pocket world's people judge them: do errors accumulate, and is sameness only a matter of quality?

An answer to a question of the pocket world states facts (`human.statements`), each true or false. Two arguments can
then be tested on it. Errors accumulate (paper, section 5, after Dziri et al. 2023): if each of l facts goes wrong with
probability e, and none because of another, all of them are right with probability (1 - e)^l. And sameness: if
RLHF's answers are alike only because they are right, then right answers of Base must be as much alike.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import materials
from predact.errors import UserError
from predact.methods.ngrams import shares
from predact.models import loading, runs
from predact.models.pairs import ENDS
from predact.models.runs import Run
from predact.pocket import human
from predact.recipe.answers import text_of

MEASURED, INDEPENDENT = "measured", "(1 − ε)^ℓ, errors independent"
SO_FAR, ALREADY = "all right so far", "one already wrong"
ALL, RIGHT = "all answers", "right answers"
GRAM = 10  # tokens of the n-gram that is shared
_LEAST = 100  # answers; rarer lengths are left out
_DRAWS = 20  # subsets of a prompt's answers


def world_run(run: Run) -> Run:
    """Return the run if it asks the pocket world's questions, else the laptop's run of the pocket pair."""
    known = {each.id: each.prompt for each in human.questions("test")}
    if all(known.get(each.id) == each.text for each in materials.questions(run)):
        return run
    return runs.run("pocket", "laptop", run.seed, run.root)


def answers(run: Run) -> pd.DataFrame:
    """The generations of Base and RLHF, judged.

    Args:
        run: one whose prompts are the pocket world's questions (`world_run`).

    Returns:
        model, prompt, ids, facts (whether each fact stated is true, in the order in which they are stated), right
        (nothing stated is false, and something that was asked for is stated).
    """
    known = {each.id: each for each in human.questions("test")}
    rows = []
    for row in materials.generations(run).itertuples():
        question, ids = known[str(row.prompt)], np.asarray(row.ids, dtype=int).tolist()
        text = text_of(loading.tokenizer(run.pair.models[str(row.model)]), ids)
        parts, facts = human.judge(question, text), [true for _, true in human.statements(question, text)]
        right = not parts["wrong"] and parts["complete"] > 0
        rows.append({"model": row.model, "prompt": row.prompt, "ids": ids, "facts": facts, "right": right})
    return pd.DataFrame(rows)


def right_by_length(judged: pd.DataFrame, least: int = _LEAST) -> pd.DataFrame:
    """How often the first l facts of an answer are all right, beside (1 - e)^l; e is how often the first one is wrong.

    Args:
        judged: what `answers` returns.
        least: answers that must state l facts; they must answer at least half of the prompts.

    Returns:
        model, text (`MEASURED`, `INDEPENDENT`), length, estimate, low, high (95 % bootstrap over prompts, the same
        resamples for both), unit, answers (that state so many facts).
    """
    parts = []
    for model, part in judged.groupby("model", sort=False):
        reached = _by_prompt(part, lambda facts, length: len(facts) >= length)
        kept = (reached.sum(0) >= least) & ((reached > 0).mean(0) >= 0.5)
        lengths = np.flatnonzero(kept) + 1
        if not len(lengths):
            continue
        right = _by_prompt(part, lambda facts, length: len(facts) >= length and all(facts[:length]))
        sums = np.hstack([reached[:, kept], right[:, kept]])
        value = stats.interval(sums, _right_and_independent)
        axes = [("text", [MEASURED, INDEPENDENT]), ("length", lengths)]
        told = stats.tidy(value, axes, model=model, unit="share of answers")
        parts.append(told.assign(answers=told.length.map(dict(zip(lengths, reached.sum(0)[kept], strict=True)))))
    if not parts:
        raise UserError(f"generations: fewer than {least} answers of each model state a fact; sample more.")
    return pd.concat(parts, ignore_index=True)


def _by_prompt(part: pd.DataFrame, holds) -> np.ndarray:
    """How many answers of each prompt something holds for, by number of facts [prompts, longest], float."""
    longest = int(part["facts"].map(len).max())
    rows = [[holds(facts, length) for length in range(1, longest + 1)] for facts in part["facts"]]
    counted = pd.DataFrame(np.array(rows, dtype=float).reshape(len(part), longest)).groupby(part.prompt.to_numpy())
    return counted.sum().to_numpy()


def _right_and_independent(totals: np.ndarray) -> np.ndarray:
    """Totals reached and right [..., 2 lengths] to the share right and the power of the first of these [..., 2, n]."""
    reached, right = np.split(totals, 2, axis=-1)
    # A resample may hold no prompt with so many facts; as at least half of the prompts have them, hardly one does.
    share = np.divide(right, reached, out=np.zeros_like(right), where=reached > 0)
    return np.stack([share, share[..., :1] ** np.arange(1, share.shape[-1] + 1)], -2)


def wrong_after(judged: pd.DataFrame) -> pd.DataFrame:
    """How often a fact, from the second on, is wrong: after right ones only, and after one that was wrong.

    Args:
        judged: what `answers` returns.

    Returns:
        model, before (`SO_FAR`, `ALREADY`), estimate, low, high (95 % bootstrap over prompts), unit, facts (how many).
    """
    rows = []
    for model, part in judged.groupby("model", sort=False):
        each = [(prompt, *_after(facts)) for prompt, facts in zip(part.prompt, part["facts"], strict=True)]
        sums = pd.DataFrame(each).groupby(0).sum().to_numpy(float)
        for before, some in ((SO_FAR, sums[:, :2]), (ALREADY, sums[:, 2:])):
            some = some[some[:, 1] > 0]
            if len(some):
                value = stats.interval(some, lambda totals: stats.means(totals)[..., 0])
                place = {"model": model, "before": before}
                rows.append(place | vars(value) | {"unit": "share of facts that are wrong", "facts": some[:, 1].sum()})
    return pd.DataFrame(rows)


def _after(facts: Sequence[bool]) -> tuple[int, int, int, int]:
    """Facts of an answer that are wrong, and all, after right ones only; and the same after a wrong one."""
    first = next((place for place, true in enumerate(facts) if not true), len(facts))
    clean, later = facts[1 : first + 1], facts[max(first + 1, 1) :]
    return clean.count(False), len(clean), later.count(False), len(later)


def errors_in_words(by_length: pd.DataFrame, after: pd.DataFrame) -> str:
    """Say whether errors accumulate as if they were independent (Markdown).

    Args:
        by_length: what `right_by_length` returns.
        after: what `wrong_after` returns.
    """
    said = []
    for model, part in by_length.groupby("model", sort=False):
        longest = part[part.length == part.length.max()].set_index("text")
        measured, alone = longest.loc[MEASURED], longest.loc[INDEPENDENT]
        wrong = after[after.model == model].set_index("before")
        told = [f"{_share(wrong.loc[name])} with {name}" for name in (SO_FAR, ALREADY) if name in wrong.index]
        said.append(
            f"**{model}**: the first {measured.length} facts are all right in {_share(measured)} of the answers that "
            f"state as many; independent errors would leave {_share(alone)}. A later fact is wrong in "
            f"{', in '.join(told)}."
        )
    return " ".join(said)


def _share(row: pd.Series) -> str:
    return f"{100 * row.estimate:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}]"


def sameness(judged: pd.DataFrame, draws: int = _DRAWS, seed: int = 0) -> pd.DataFrame:
    """Share of answers with the commonest 10-gram, among all answers to a prompt and among its right ones only.

    The share depends on how many answers there are. So each is a mean over random subsets of one size: for a prompt,
    as many answers as the model with fewer right ones has of these. Prompts where that is below two are left out.

    Args:
        judged: what `answers` returns.
        draws: subsets of each prompt, model and kind of answers.
        seed: of the subsets.

    Returns:
        model (`Base`, `RLHF`, and `RLHF − Base`, the paired difference), kept (`ALL`, `RIGHT`), estimate, low, high
        (95 % bootstrap over prompts), unit, prompts.

    Raises:
        UserError: no prompt has two right answers of each model.
    """
    rows = []
    for place, (_, part) in enumerate(judged.groupby("prompt", sort=False)):
        each = {model: part[part.model == model] for model in ENDS}
        size = min(int(mine.right.sum()) for mine in each.values())
        if size >= 2:
            rng = np.random.default_rng([seed, place])
            pools = [list(pool.ids) for mine in each.values() for pool in (mine, mine[mine.right])]
            rows.append([np.mean([_shared(rng, pool, size) for _ in range(draws)]) for pool in pools])
    if not rows:
        raise UserError("generations: no prompt has two right answers of each model; sample more of them.")
    value = stats.interval(np.column_stack([rows, np.ones(len(rows))]), _sameness)
    axes = [("model", [*ENDS, "RLHF − Base"]), ("kept", [ALL, RIGHT])]
    return stats.tidy(value, axes, unit=f"share of answers with the commonest {GRAM}-gram", prompts=len(rows))


def _shared(rng: np.random.Generator, pool: Sequence[list[int]], size: int) -> float:
    return float(shares([pool[at] for at in rng.permutation(len(pool))[:size]], GRAM)[-1])


def _sameness(totals: np.ndarray) -> np.ndarray:
    """Totals of Base and RLHF, all and right [..., 5] to means and their differences [..., 3, 2]."""
    means = stats.means(totals)
    base, rlhf = means[..., :2], means[..., 2:]
    return np.stack([base, rlhf, rlhf - base], -2)


def sameness_in_words(same: pd.DataFrame, judged: pd.DataFrame) -> str:
    """Say how much of the difference in sameness is left among right answers (Markdown).

    Args:
        same: what `sameness` returns.
        judged: what `answers` returns.
    """
    gap = same[same.model == "RLHF − Base"].set_index("kept")
    right = judged.groupby("model").right.mean()
    before, after = gap.loc[ALL], gap.loc[RIGHT]
    left = "The collapse is not only quality" if after.low > 0 else "What is left is not surely above 0"
    return (
        f"Right are {100 * right['Base']:.0f} % of Base's answers and {100 * right['RLHF']:.0f} % of RLHF's. With as "
        f"many of each, {_share(before)} more of RLHF's answers share their commonest {GRAM}-gram; among right answers "
        f"only, {_share(after)} more. **{left}.**"
    )
