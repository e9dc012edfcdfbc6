"""The rules that judge claims C1 to C9 for a pair of models: frames and counts in, a `verdict.Verdict` out."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import backbone, narrowing, prediction, relearning, self_reading
from predact.claims.finetuned import AFTER
from predact.claims.verdict import CLAIMS, Verdict, judge
from predact.errors import UserError
from predact.methods import ngrams
from predact.models.distributions import NEGLIGIBLE

FEW = 10  # tokens: what "a few" means in C3
LONG, MOST = 10, 0.5  # tokens of a long n-gram, and the share of generations that are "most", in C6
SAME = 0.9  # share of pairs of anchor spans that must keep their order for it to be "the same", in C7
OTHERS = 5  # that a token is aligned with, in C8


def world_modeling(documents: pd.DataFrame, pair: str) -> tuple[pd.DataFrame, Verdict]:
    """C1: is text harder to predict for RLHF than for Base, on every corpus?

    The estimate is the geometric mean over corpora of the perplexity ratio RLHF / Base, documents resampled within each
    corpus. The claim is about every corpus, so the rule looks at each corpus's own interval: `judge(low, high, 1)`.

    Args:
        documents: What `scores.pair_documents` returns.
        pair: Name of the pair, for the scorecard.

    Returns:
        The frame of `prediction.by_corpus`, and the verdict.
    """
    frame = prediction.by_corpus(documents)
    return frame, _everywhere("C1", frame, pair)


def finetuned(documents: pd.DataFrame, pair: str) -> tuple[pd.DataFrame, Verdict]:
    """C2: is text still harder to predict for RLHF than for Base, on every corpus, when both were finetuned on it?

    Estimate and rule as for C1, on the documents held out, under the finetuned models.

    Args:
        documents: What `finetuned.of_pair` returns.
        pair: Name of the pair.

    Returns:
        The frame of `relearning.before_and_after`, and the verdict.
    """
    frame = relearning.before_and_after(documents)
    return frame, _everywhere("C2", frame[frame.when == AFTER], pair, " after finetuning")


def _everywhere(id: str, frame: pd.DataFrame, pair: str, said: str = "") -> Verdict:
    """The verdict on perplexity ratios (a frame of `prediction.by_corpus`): RLHF's above 1 on every corpus."""
    ratio = frame[(frame.model == "RLHF") & frame.unit.isin(prediction.RATIOS)]
    each = ratio[ratio.category != prediction.OVERALL]
    mean = ratio[ratio.category == prediction.OVERALL].iloc[0]
    return _verdict(id, judge(each.low, each.high, nothing=1), mean, mean.unit + said, mean.documents, pair)


def mass(conditions: narrowing.Conditions, pair: str, same_tokenizer: bool = True) -> tuple[pd.DataFrame, Verdict]:
    """C3: does RLHF give more of the next-token probability to a few tokens, on gold text and on its own generations?

    The measure is the mean mass of the FEW most probable tokens, RLHF minus Base, documents of gold text and prompts
    resampled with both models' positions. The rule looks at both kinds of text: `judge(low, high, 0)`. The estimate is
    the smaller of the two differences.

    Args:
        conditions: What `narrowing.of_pair` returns.
        pair: Name of the pair.
        same_tokenizer: Whether tokens of all models can be compared; if not, the claim stays undecided.

    Returns:
        text, n, estimate, low, high, and the verdict.
    """
    strata = [narrowing.paired(conditions, text, lambda each: each.mass_of(FEW)) for text in narrowing.TEXTS]
    each = _table(strata, [stats.interval(sums, _difference) for sums in strata])
    least = each.sort_values("estimate").iloc[0]
    unit = f"more mass of the {FEW} likeliest tokens than Base, on {least.text}"
    found = _verdict("C3", judge(each.low, each.high, nothing=0), least, unit, least.n, pair)
    return each, found if same_tokenizer else _unmeasured("C3", unit, pair)


def support(conditions: narrowing.Conditions, pair: str, same_tokenizer: bool = True) -> tuple[pd.DataFrame, Verdict]:
    """C4: does RLHF leave a chance to fewer tokens in its own generations, and to more in gold text?

    The measure is the mean number of tokens with p > NEGLIGIBLE. The rule looks at two ratios: Base / RLHF on their own
    generations, RLHF / Base on gold text: `judge(low, high, 1)`. The estimate is the smaller one.

    Args:
        conditions: What `narrowing.of_pair` returns.
        pair: Name of the pair.
        same_tokenizer: Whether tokens of all models can be compared; if not, the claim stays undecided.

    Returns:
        text, n, estimate, low, high, and the verdict.
    """
    gold, own = (narrowing.paired(conditions, text, lambda each: each.above(NEGLIGIBLE)) for text in narrowing.TEXTS)
    ratios = [stats.interval(gold, _ratio), stats.interval(own, lambda totals: 1 / _ratio(totals))]
    each = _table([gold, own], ratios)
    least = each.sort_values("estimate").iloc[0]
    unit = f"times as many tokens with p > {NEGLIGIBLE:.0e}, as the claim has it, on {least.text}"
    found = _verdict("C4", judge(each.low, each.high, nothing=1), least, unit, least.n, pair)
    return each, found if same_tokenizer else _unmeasured("C4", unit, pair)


def _table(strata: list[np.ndarray], cases: list[stats.Interval]) -> pd.DataFrame:
    rows = zip(narrowing.TEXTS, strata, cases, strict=True)
    return pd.DataFrame([{"text": text, "n": len(sums)} | vars(case) for text, sums, case in rows])


def _difference(totals: np.ndarray) -> np.ndarray:
    """Mean of RLHF minus mean of Base, of totals [..., 4] as `narrowing.paired` gives them."""
    return totals[..., 2] / totals[..., 3] - totals[..., 0] / totals[..., 1]


def _ratio(totals: np.ndarray) -> np.ndarray:
    return totals[..., 2] / totals[..., 3] / (totals[..., 0] / totals[..., 1])


def self_perplexity(frame: pd.DataFrame, pair: str) -> Verdict:
    """C5: does RLHF find its own completions easier than Base finds its own, whatever they are completions of?

    The measure is the ratio of the perplexities, RLHF / Base. The rule looks at every source of prefixes:
    `judge(-high, -low, -1)`. The estimate is the geometric mean over sources.

    Args:
        frame: What `self_reading.self_perplexity` returns.
        pair: Name of the pair.
    """
    ratio = frame[(frame.model == "RLHF") & (frame.unit == self_reading.RATIO)]
    each = ratio[ratio.source != self_reading.MEAN]
    mean = ratio[ratio.category == self_reading.ALL].iloc[0]
    said = judge(-each.high, -each.low, nothing=-1)
    return _verdict("C5", said, mean, "perplexity ratio", mean.prefixes, pair)


def sameness(frame: pd.DataFrame, pair: str) -> Verdict:
    """C6: do most RLHF generations for a prompt share a long n-gram, and Base's not?

    The measure is the share of generations that contain the commonest n-gram of LONG tokens. The rule, `judge`, looks
    at three cases: RLHF's share above MOST, Base's below it, RLHF's above the higher one of its nulls. The estimate is
    RLHF's share.

    Args:
        frame: What `ngrams.by_length` returns.
        pair: Name of the pair.
    """
    rlhf, base, null = _beside(frame[frame.n == LONG])
    low = pd.Series([rlhf.low - MOST, MOST - base.high, rlhf.low - null])
    high = pd.Series([rlhf.high - MOST, MOST - base.low, rlhf.high - null])
    unit = f"share of RLHF's generations with their commonest {LONG}-gram (Base's {base.estimate:.3f})"
    return _verdict("C6", judge(low, high, nothing=0), rlhf, unit, rlhf.prompts, pair, null)


def skeleton(frame: pd.DataFrame, pair: str) -> Verdict:
    """C7: does more of RLHF's text lie in anchor spans than of Base's, and do these keep one order?

    The rule, `judge`, looks at three cases: the share of RLHF's tokens in anchor spans is above Base's and above the
    higher null's, and the share of pairs of spans in the common order, in generations that had no part in finding them,
    is above SAME. The estimate is the latter; by chance it is a half.

    Args:
        frame: What `backbone.ordered` returns.
        pair: Name of the pair.
    """
    rlhf, base, null = _beside(frame[frame.measure == backbone.COVERED])
    kept = frame[(frame.measure == backbone.ORDER) & (frame.model == "RLHF") & (frame.text == ngrams.GENERATIONS)]
    nothing = pd.Series({"estimate": 0.0, "low": 0.0, "high": 0.0, "prompts": 0})  # no two spans: no skeleton
    order = kept.iloc[0] if len(kept) else nothing
    unit = "share of pairs of RLHF's anchor spans in the common order, held out"
    low = pd.Series([rlhf.low - base.high, rlhf.low - null, order.low - SAME])
    high = pd.Series([rlhf.high - base.low, rlhf.high - null, order.high - SAME])
    return _verdict("C7", judge(low, high, nothing=0), order, unit, int(order.prompts), pair, 0.5)


def _beside(frame: pd.DataFrame) -> tuple[pd.Series, pd.Series, float]:
    """Rows of RLHF's and of Base's generations, and the estimate of the higher one of RLHF's nulls."""
    rlhf, base = (frame[frame.model == model] for model in ("RLHF", "Base"))
    rows = [each[each.text == ngrams.GENERATIONS].iloc[0] for each in (rlhf, base)]
    return rows[0], rows[1], float(rlhf.estimate[rlhf.text != ngrams.GENERATIONS].max())


def alignment(
    curves: Mapping[tuple[str, str], np.ndarray], pair: str, others: int = OTHERS
) -> tuple[pd.DataFrame, Verdict]:
    """C8: are more RLHF generations aligned with others than Base's all along, and most at beginning and end?

    The measure is the number, of 100 generations, that are aligned with at least `others` others. The rule, `judge`,
    looks at thirteen cases: RLHF minus Base in each tenth of the text; RLHF's first and last tenth, each minus its
    middle (from 20 to 80 percent); RLHF minus the higher one of its nulls. The estimate is RLHF's mean along the text.

    Args:
        curves: What `backbone.curves` returns for `backbone.OTHERS`.
        pair: Name of the pair.
        others: One of `backbone.OTHERS`.

    Returns:
        case, estimate, low, high, and the verdict.
    """
    at = backbone.OTHERS.index(others)
    tenths = {key: each[:, at].reshape(len(each), 10, -1).mean(2) for key, each in curves.items()}
    rlhf, base = tenths["RLHF", ngrams.GENERATIONS], tenths["Base", ngrams.GENERATIONS]
    middle = rlhf[:, 2:8].mean(1)
    nulls = [tenths["RLHF", text].mean() for text in (ngrams.ACROSS, ngrams.SHUFFLED)]
    cases = {f"{10 * tenth} to {10 * tenth + 10} %, minus Base's": (rlhf - base)[:, tenth] for tenth in range(10)}
    cases |= {"first tenth, minus the middle": rlhf[:, 0] - middle, "last tenth, minus the middle": rlhf[:, 9] - middle}
    cases |= {"all along, minus the higher null": rlhf.mean(1) - max(nulls)}
    each = pd.DataFrame([{"case": case} | vars(_mean(values)) for case, values in cases.items()])
    unit = f"of 100 RLHF generations aligned with at least {others} others (Base's {base.mean():.1f})"
    said = judge(each.low, each.high, nothing=0)
    return each, _verdict("C8", said, pd.Series(vars(_mean(rlhf.mean(1)))), unit, len(rlhf), pair, float(max(nulls)))


def planning(contrasts: pd.DataFrame, pair: str) -> Verdict:
    """C9: do RLHF's states tell more of the tokens several places ahead, in RLHF's own text, than Base's do?

    The measure is what an affine probe gains over skip-gram counts of the same text, in bits per token. The rule,
    `judge`, looks at the interaction: how much more than Base's states RLHF's tell of RLHF's text, minus how much more
    than Base's they tell of Base's text. Text that is easier to predict is so for both readers.

    Args:
        contrasts: What `foresight.contrasts` returns; nothing where neither model can read the other's tokens, and
            the claim stays undecided.
        pair: Name of the pair.
    """
    unit = "bits per token that RLHF's states tell more of RLHF's text, beyond Base's"
    if contrasts.empty:
        return _unmeasured("C9", unit, pair)
    row = contrasts.iloc[-1]
    return _verdict("C9", judge(contrasts.low[-1:], contrasts.high[-1:], nothing=0), row, unit, row.prompts, pair, 0.0)


def _unmeasured(id: str, unit: str, pair: str) -> Verdict:
    """The verdict of a claim that needs equal tokens, for models that have none."""
    missing = f"{unit}: not compared, for the tokenizers differ"
    return Verdict(id, CLAIMS[id].claim, "undecided", None, None, None, missing, 0, pair)


def _mean(values: np.ndarray) -> stats.Interval:
    return stats.interval(np.column_stack([values, np.ones(len(values))]), lambda totals: stats.means(totals)[..., 0])


def _verdict(id: str, verdict: str, row: pd.Series, unit: str, n: int, pair: str, null: float | None = None) -> Verdict:
    """The verdict of a claim, with the estimate and the interval that stand in a row."""
    numbers = float(row.estimate), float(row.low), float(row.high)
    if not np.isfinite(numbers).all():
        raise UserError(
            f"prompts_limit, documents: {id} needs two prompts and two documents at least for its interval."
        )
    return Verdict(id, CLAIMS[id].claim, verdict, *numbers, unit, int(n), pair, null)
