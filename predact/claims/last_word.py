"""C10: RLHF also ranks the right next word lower, so what it has lost is not only its calibration.

In a Shannon game a reader guesses the next word until it is right. A model guesses its tokens in the order of their
probability, so a distribution that is too sharp or too flat, but in the right order, costs no guess.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import materials
from predact.claims.materials import Work
from predact.claims.shared_ngrams import counted
from predact.claims.verdict import Claim, Rung, Verdict, all_above, conclude, only, unmeasured
from predact.models import shannon
from predact.models.pairs import ENDS
from predact.models.runs import Run
from predact.models.tokens import Per
from predact.texts import endings
from predact.texts.endings import Ending

PASSAGE = 100  # assumed: tokens of a passage
WRONG, EXACT, F1 = UNITS = "wrong guesses", "exact matches, %", "F1, %"
AS_THE_PAPER = {"Avg. guesses": WRONG, "EM": EXACT, "F1": F1}  # columns of its Table 1
PER_TOKEN, AT_ONCE = "wrong guesses per token", "tokens guessed at once, %"
DIFFERENCE = "RLHF - Base"


def _work(run: Run) -> dict[str, Work]:
    """Tokens of `guesses`, and of the gold text whose ranks are told for nothing."""
    scored = len(run.pair.models) * run.settings.passages * PASSAGE
    return materials.documents_work(run) | {"last words": Work(scored=scored)}


CLAIM = Claim(
    id="C10",
    claim="RLHF also ranks next words worse than Base: more wrong guesses, and fewer exact matches.",
    figure="Table 1",
    chapter="02_world_modeling",
    work=_work,
    rungs=lambda run: rungs(guesses(run)),
    paper="wrong guesses of Llama 2 7B: Base 7.62, RLHF 9.99, of 70B 6.18, 8.64; exact matches of 7B 68.41, 56.70 %, "
    "of 70B 67.60, 66.47 %",
)


def passages(run: Run) -> list[Ending]:
    """Passages of a run, with their last words split off."""
    told = run.settings
    return endings.select(told.last_words or run.pair.last_words, told.passages, run.seed, run.root)


def guesses(run: Run) -> pd.DataFrame:
    """The Shannon game on the last words, played by all models: see `shannon.play_pair`."""
    return shannon.play_pair(run.root, run.pair, passages(run), run.settings.context)


def last_words(played: pd.DataFrame) -> pd.DataFrame:
    """Mean over passages of the three columns of Table 1, with 95 % intervals over passages.

    Wrong guesses: tokens likelier than the right one, summed over the tokens of the word. Exact matches: passages whose
    greedy continuation begins with the word. F1: of the first word of the continuation and the right word, as bags of
    tokens (the paper does not tell of what it takes F1; as bags of words it would be the exact match).

    Args:
        played: what `guesses` returns.

    Returns:
        unit, model, estimate, low, high, passages.
    """
    models = list(played.model.unique())
    sums = _sums(played, models)
    value = stats.interval(sums, lambda totals: stats.means(totals).reshape(*totals.shape[:-1], len(UNITS), -1))
    return stats.tidy(value, [("unit", UNITS), ("model", models)], passages=len(sums))


def differences(played: pd.DataFrame) -> pd.DataFrame:
    """RLHF minus Base of the same, paired by passage: unit, estimate, low, high, passages."""
    sums = _sums(played, ENDS)

    def difference(totals: np.ndarray) -> np.ndarray:
        base_and_rlhf = stats.means(totals).reshape(*totals.shape[:-1], len(UNITS), 2)
        return base_and_rlhf[..., 1] - base_and_rlhf[..., 0]

    return stats.tidy(stats.interval(sums, difference), [("unit", UNITS)], passages=len(sums))


def _sums(played: pd.DataFrame, models: Sequence[str]) -> np.ndarray:
    """Of each passage, the three measures of each model, and a one: [passages, 3 * models + 1]."""
    told = played.assign(exact=100.0 * played.exact, f1=100 * played.f1)
    wide = told.pivot(index="passage", columns="model", values=["wrong", "exact", "f1"])
    columns = [wide[measure, model] for measure in ("wrong", "exact", "f1") for model in models]
    return np.column_stack([*columns, np.ones(len(wide))]).astype(float)


def beside_the_paper(frame: pd.DataFrame, values: pd.DataFrame) -> pd.DataFrame:
    """Return Table 1, ours above the paper's: model, and a column of text for each measure.

    Args:
        frame: what `last_words` returns.
        values: `paper.values("Table 1")`.
    """
    own = frame.assign(text=[f"{row.estimate:.2f} ({row.low:.2f} to {row.high:.2f})" for row in frame.itertuples()])
    theirs = values.assign(
        unit=values.x.map(AS_THE_PAPER), model="paper: " + values.model, text=[f"{each:.2f}" for each in values.value]
    )
    both = pd.concat([own, theirs])[["model", "unit", "text"]]
    order = both.model.unique()
    return both.pivot(index="model", columns="unit", values="text").loc[order, list(UNITS)].reset_index()


def missed(played: pd.DataFrame, given: Sequence[Ending], examples: int = 6, words: int = 30) -> pd.DataFrame:
    """Passages whose last word Base says and RLHF does not, those first where RLHF needs the most guesses.

    Args:
        played: what `guesses` returns.
        given: the passages.
        examples: how many.
        words: before the last one that are shown.

    Returns:
        passage (its end), last word, RLHF says, wrong guesses (of RLHF).
    """
    base, rlhf = (played[played.model == model].set_index("passage") for model in ENDS)
    lost = rlhf[base.exact.loc[rlhf.index] & ~rlhf.exact].nlargest(examples, "wrong")
    ends = ["… " + " ".join(given[place].before.split()[-words:]) + " …" for place in lost.index]
    told = {"passage": ends, "last word": lost.word, "RLHF says": lost.said, "wrong guesses": lost.wrong}
    return pd.DataFrame(told).reset_index(drop=True)


def by_corpus(tokens: pd.DataFrame) -> pd.DataFrame:
    """Wrong guesses before each token of gold text, by corpus, with 95 % intervals over documents.

    Args:
        tokens: what `scoring.score_pair_tokens` returns.

    Returns:
        unit (PER_TOKEN: mean number of tokens likelier than the right one; AT_ONCE: percent of tokens before which
        there is none), corpus, model, estimate, low, high, documents; model `RLHF - Base` is the paired difference.
    """
    models = list(tokens.model.unique())
    told = tokens[tokens["rank"] >= 0]
    told = told.assign(at_once=100.0 * (told["rank"] == 0), tokens=1.0)
    frames = []
    for corpus, part in told.groupby("corpus", sort=False):
        measures = ["rank", "at_once", "tokens"]
        wide = part.pivot_table(index="doc", columns="model", values=measures, aggfunc="sum", fill_value=0)
        sums = np.column_stack([wide[measure, model] for measure in measures for model in models]).astype(float)
        value = stats.interval(sums, lambda totals: _per_token(totals, models))
        axes = [("unit", [PER_TOKEN, AT_ONCE]), ("model", [*models, DIFFERENCE])]
        frames.append(stats.tidy(value, axes, corpus=corpus, documents=len(sums)))
    return pd.concat(frames, ignore_index=True)


def _per_token(totals: np.ndarray, models: Sequence[str]) -> np.ndarray:
    """Turn totals [..., 3 * models] into means by token, and RLHF's minus Base's [..., 2 units, models + 1]."""
    measure = totals.reshape(*totals.shape[:-1], 3, len(models))
    means = measure[..., :2, :] / measure[..., 2:, :]
    base, rlhf = (means[..., [models.index(model)]] for model in ENDS)
    return np.concatenate([means, rlhf - base], axis=-1)


def judge(frame: pd.DataFrame, per: Per) -> Verdict:
    """C10: does RLHF need more wrong guesses before the right last word, and match it exactly less often?

    It holds if both intervals, paired by passage, say so; it fails if one says the opposite. The estimate is the
    difference of wrong guesses.

    Args:
        frame: what `differences` returns.
        per: see `tokens.compared_per`; tokens of other sizes take other numbers of guesses, so then it is undecided.
    """
    wrong, exact = (only(frame[frame.unit == unit]) for unit in (WRONG, EXACT))
    unit = "more wrong guesses before the last word than Base"
    if per is not Per.TOKEN:
        return unmeasured(CLAIM, unit)
    low, high = pd.Series([wrong.low, -exact.high]), pd.Series([wrong.high, -exact.low])
    return conclude(CLAIM, all_above(low, high, nothing=0), wrong, unit, wrong.passages)


def judge_beyond(frame: pd.DataFrame, per: Per) -> Verdict:
    """C10 on gold text: are there more wrong guesses per token than Base's on every corpus?

    The estimate is the smallest of the differences.

    Args:
        frame: what `by_corpus` returns.
        per: as `judge`.
    """
    each = frame[(frame.unit == PER_TOKEN) & (frame.model == DIFFERENCE)]
    least = only(each.nsmallest(1, "estimate"))
    unit = f"more {PER_TOKEN} than Base, on {least.corpus}"
    if per is not Per.TOKEN:
        return unmeasured(CLAIM, unit, "book")
    return conclude(CLAIM, all_above(each.low, each.high, nothing=0), least, unit, least.documents, protocol="book")


def rungs(played: pd.DataFrame) -> list[Rung]:
    """Wrong guesses before the last word."""
    wide = played.pivot(index="passage", columns="model", values="wrong")[played.model.unique()].to_numpy(float)
    return [Rung(CLAIM.id, "wrong guesses before the last word", [counted(wide)])]
