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
from predact.claims.verdict import only
from predact.errors import UserError
from predact.methods import diversity
from predact.methods.ngrams import shares
from predact.models import loading, runs
from predact.models.pairs import ENDS
from predact.models.runs import Run
from predact.pocket import human
from predact.recipe.answers import text_of

MEASURED, INDEPENDENT, MORE = "measured", "(1 − ε)^ℓ, independent", "measured − independent"
AFTER_RIGHT, AFTER_WRONG = "after right ones only", "after a wrong one"
ALL, RIGHT = "all answers", "right answers"
GAP = "RLHF − Base"
SHARED, UNIQUE = "percent of answers with the commonest 10-gram", "percent of n-grams that are unique, n = 1 … 4"
_LEAST = 100  # answers; rarer lengths are left out
_DRAWS = 10  # subsets of a prompt's answers


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
        model, text (`MEASURED`, `INDEPENDENT`, and `MORE`, the paired difference), length, estimate, low, high (95 %
        bootstrap over prompts), unit, answers (that state so many facts).
    """
    parts = []
    for model, part in judged.groupby("model", sort=False):
        stated = part["facts"].map(len).to_numpy()[:, None]
        lengths = np.arange(1, stated.max() + 1)
        reached = _by_prompt(stated >= lengths, part.prompt)
        kept = (reached.sum(0) >= least) & ((reached > 0).mean(0) >= 0.5)
        if not kept.any():
            continue
        right = _by_prompt(part["facts"].map(_right_at_first).to_numpy()[:, None] >= lengths, part.prompt)
        value = stats.interval(np.hstack([reached[:, kept], right[:, kept]]), _right_and_independent)
        axes: list[tuple[str, Sequence]] = [("text", [MEASURED, INDEPENDENT, MORE]), ("length", lengths[kept].tolist())]
        counts = np.tile(reached.sum(0)[kept], 3)
        parts.append(stats.tidy(value, axes, model=model, unit="share of answers").assign(answers=counts.astype(int)))
    if not parts:
        raise UserError(f"generations: no model has stated a fact in {least} answers; sample more of them.")
    return pd.concat(parts, ignore_index=True)


def _by_prompt(holds: np.ndarray, prompts: pd.Series) -> np.ndarray:
    """How many answers of each prompt something holds for: [answers, n] to [prompts, n]."""
    return pd.DataFrame(holds.astype(float)).groupby(prompts.to_numpy(), sort=False).sum().to_numpy()


def _right_at_first(facts: Sequence[bool]) -> int:
    """How many facts are stated before the first wrong one."""
    return next((place for place, true in enumerate(facts) if not true), len(facts))


def _right_and_independent(totals: np.ndarray) -> np.ndarray:
    """Totals reached and right [..., 2 n] to the share right, powers of the first one, the difference [..., 3, n]."""
    reached, right = np.split(totals, 2, axis=-1)
    # A resample may hold no prompt with so many facts; as at least half of the prompts have them, hardly one does.
    share = np.divide(right, reached, out=np.zeros_like(right), where=reached > 0)
    independent = share[..., :1] ** np.arange(1, share.shape[-1] + 1)
    return np.stack([share, independent, share - independent], -2)


def wrong_after(judged: pd.DataFrame) -> pd.DataFrame:
    """How often a fact, from the second on, is wrong: after right ones only, and after one that was wrong.

    Args:
        judged: what `answers` returns.

    Returns:
        model, before (`AFTER_RIGHT`, `AFTER_WRONG`), estimate, low, high (95 % bootstrap over prompts), unit, facts
        (how many).
    """
    rows = []
    for model, part in judged.groupby("model", sort=False):
        each = [(prompt, *_after(facts)) for prompt, facts in zip(part.prompt, part["facts"], strict=True)]
        sums = pd.DataFrame(each).groupby(0).sum().to_numpy(float)
        for before, some in ((AFTER_RIGHT, sums[:, :2]), (AFTER_WRONG, sums[:, 2:])):
            some = some[some[:, 1] > 0]
            if len(some):
                value = stats.interval(some, lambda totals: stats.means(totals)[..., 0])
                place = {"model": model, "before": before}
                rows.append(place | vars(value) | {"unit": "share of facts that are wrong", "facts": some[:, 1].sum()})
    return pd.DataFrame(rows)


def _after(facts: Sequence[bool]) -> tuple[int, int, int, int]:
    """Facts of an answer that are wrong, and all, after right ones only; and the same after a wrong one."""
    first = _right_at_first(facts)
    clean, later = facts[1 : first + 1], facts[first + 1 :]
    return clean.count(False), len(clean), later.count(False), len(later)


def errors_in_words(by_length: pd.DataFrame, after: pd.DataFrame) -> str:
    """Say whether errors accumulate as if they were independent (Markdown).

    Args:
        by_length: what `right_by_length` returns.
        after: what `wrong_after` returns.
    """
    said = []
    for model, part in by_length.groupby("model", sort=False):
        longest = part[part.length == part.length.max()]
        measured, alone, more = (only(longest[longest.text == text]) for text in (MEASURED, INDEPENDENT, MORE))
        told = [f"in {_share(row)} {row.before}" for _, row in after[after.model == model].iterrows()]
        said.append(
            f"**{model}**: the first {part.length.max()} facts are all right in {_share(measured)} of the answers that "
            f"state as many; independent errors would leave {_share(alone)}, {MORE} {_signed(more, 100)}. A later fact "
            f"is wrong {', '.join(told)}."
        )
    return " ".join(said)


def _share(row: pd.Series) -> str:
    return f"{100 * row.estimate:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}]"


def _signed(row: pd.Series, times: float = 1) -> str:
    told = f"{times * row.estimate:+.1f} [{times * row.low:+.1f}, {times * row.high:+.1f}]"
    return told.replace("-", "−")


def sameness(judged: pd.DataFrame, draws: int = _DRAWS, seed: int = 0) -> pd.DataFrame:
    """How much alike a model's answers to a prompt are: all of them, and the right ones only.

    Both measures depend on how many answers there are. So each is a mean over random subsets of one size: for a prompt,
    as many answers as the model with fewer right ones has of these. Prompts where that is below two are left out.

    Args:
        judged: what `answers` returns.
        draws: subsets of each prompt, model and kind of answers.
        seed: of the subsets.

    Returns:
        measure (`SHARED`: of answers with the commonest 10-gram; `UNIQUE`: of n-grams that are unique, mean over n = 1
        to 4), model (`Base`, `RLHF`, and `GAP`, the paired difference), kept (`ALL`, `RIGHT`), estimate, low, high
        (percent, 95 % bootstrap over prompts), prompts.

    Raises:
        UserError: no prompt has two right answers of each model.
    """
    units = []
    for place, (_, part) in enumerate(judged.groupby("prompt", sort=False)):
        each = [part[part.model == model] for model in ENDS]
        size = min(int(mine.right.sum()) for mine in each)
        if size >= 2:
            rng = np.random.default_rng([seed, place])
            pools = [[list(pool.ids) for pool in (mine, mine[mine.right])] for mine in each]
            units.append([[_alike(pool, size, draws, rng) for pool in kept] for kept in pools])
    if not units:
        raise UserError("generations: no prompt has two right answers of each model; sample more of them.")
    sums = np.column_stack([np.reshape(units, (len(units), -1)), np.ones(len(units))])
    axes = [("model", [*ENDS, GAP]), ("kept", [ALL, RIGHT]), ("measure", [SHARED, UNIQUE])]
    return stats.tidy(stats.interval(sums, _with_gap), axes, prompts=len(units))


def _alike(pool: Sequence[list[int]], size: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """`SHARED` and `UNIQUE` of `size` answers, mean over draws [2]."""
    drawn = [[pool[at] for at in rng.permutation(len(pool))[:size]] for _ in range(draws)]
    values = [(100 * shares(some, 10)[-1], np.nanmean(diversity.percent_unique(some))) for some in drawn]
    return np.mean(values, axis=0)


def _with_gap(totals: np.ndarray) -> np.ndarray:
    """Totals of Base and RLHF [..., 2 * 2 * 2 + 1] to means and their difference [..., model, kept, measure]."""
    means = stats.means(totals).reshape(*totals.shape[:-1], 2, 2, 2)
    return np.concatenate([means, means[..., 1:, :, :] - means[..., :1, :, :]], -3)


def sameness_in_words(same: pd.DataFrame, judged: pd.DataFrame) -> str:
    """Say how much of the difference in sameness is left among right answers (Markdown).

    Args:
        same: what `sameness` returns.
        judged: what `answers` returns.
    """
    right = judged.groupby("model").right.mean()
    said = [f"Right are {100 * right['Base']:.0f} % of Base's answers and {100 * right['RLHF']:.0f} % of RLHF's."]
    for measure, sign in ((SHARED, 1), (UNIQUE, -1)):  # RLHF's answers are more alike if more is shared, less unique
        gap = same[(same.model == GAP) & (same.measure == measure)]
        gaps = [only(gap[gap.kept == kept]) for kept in (ALL, RIGHT)]
        before, after = (min(sign * row.low, sign * row.high) > 0 for row in gaps)
        verdict = {
            (True, True): "so RLHF's right answers are still more alike: **here the collapse is not only quality**",
            (True, False): "so what is left among right answers **is not surely above nothing**",
            (False, True): "so RLHF's answers are surely more alike **only where both are right**",
            (False, False): "so **no sure difference** is there to be explained",
        }[before, after]
        all_, right_ = map(_signed, gaps)
        said.append(f"{measure[:1].upper()}{measure[1:]}, {GAP}: {all_} of all, {right_} of right answers, {verdict}.")
    return " ".join(said)
