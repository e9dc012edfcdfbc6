"""C7: anchor spans: passages that many generations share word for word, in one order.

The paper's measure is the proportion of generations that are inside an anchor span, along the text (E10, E11). Ours
takes spans of true token ids, the best choice of them, and tests their order on generations held out.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from predact import stats
from predact.claims import materials
from predact.claims.backbone import Curves, by_condition, cases, judge_along, null_mean
from predact.claims.verdict import Claim, Rung, Verdict, all_above, conclude, only, too_few
from predact.methods import anchors
from predact.methods.alignments import HALVES, TEXTS, matrix, text_of
from predact.methods.ngrams import GENERATIONS
from predact.models.pairs import ENDS
from predact.models.runs import Run
from predact.models.tokens import Per

CLAIM = Claim(
    id="C7",
    claim="RLHF generations share anchor spans, word for word and in one order; Base's hardly any.",
    figure="Figures 1 (top), 14; diagrams 8–12",
    chapter="04_anchor_spans",
    work=materials.matched_work,
    rungs=lambda run: [rung(anchored(run, materials.all_steps(run)))],
    paper="share inside spans, mean along the text: Llama 2 7B 0.102, Base 0.008; 70B 0.116, Base 0.013",
)

INSIDE = "share of generations inside an anchor span"
COVERED, SPANS, ORDER = "share of tokens in anchor spans", "anchor spans per prompt", "share of pairs in common order"
CHANCE = 0.5  # share of pairs of spans that keep an order by chance


def inside_curves(
    characters: pd.DataFrame,
    share: float = anchors.PAPER_SHARE,
    length: int = anchors.PAPER_LENGTH,
    most: int = anchors.PAPER_MOST,
) -> dict[tuple[str, str], np.ndarray]:
    """Proportion of generations inside an anchor span of the paper's protocol, along the text, of each prompt.

    Args:
        characters: what `alignments.align_characters` returns.
        share: see `anchors.indexed`.
        length: see `anchors.indexed`.
        most: see `anchors.indexed`.

    Returns:
        For each model and text [prompts, points]; see `anchors.inside`.
    """

    def along(part: pd.DataFrame) -> np.ndarray:
        texts = [text_of(ids) for ids in part.ids]
        return anchors.inside(anchors.indexed(texts, list(part["columns"]), share, length, most), texts)

    return by_condition(characters, TEXTS, along)


def inside_cases(curves: Curves) -> pd.DataFrame:
    """The two cases of the paper's rule: see `judge`. Takes what `inside_curves` returns, nulls included."""
    rlhf, base = (curves[model, GENERATIONS].mean(1) for model in ("RLHF", "Base"))
    return cases({"RLHF's, minus Base's": rlhf - base, "RLHF's, minus the higher null": rlhf - null_mean(curves)})


def judge(curves: Curves, generations: int = 100) -> Verdict:
    """C7 by the paper's protocol: are RLHF's generations inside anchor spans more than Base's, and than chance has it?

    The rule, `all_above` 0, covers the two cases of `inside_cases`: the mean along the text of the share of RLHF's
    generations that are inside a span, minus Base's (paired by prompts), and minus the higher one of RLHF's nulls. The
    estimate is RLHF's share.

    Args:
        curves: what `inside_curves` returns, nulls included, of generations with diversity matched.
        generations: how many there are of a prompt; of fewer than two it stays undecided.
    """
    return judge_along(CLAIM, inside_cases(curves), curves, INSIDE, generations, least=2)


def anchored(run: Run, steps: Sequence[str] = ENDS) -> pd.DataFrame:
    """Count anchor spans of a run's generations: see `count_anchored`."""
    return count_anchored(materials.aligned(run, steps), run.settings.share, run.settings.length)


def count_anchored(aligned: pd.DataFrame, share: float = anchors.SHARE, length: int = anchors.LENGTH) -> pd.DataFrame:
    """Count anchor spans, the tokens in them, and pairs in the common order, for every model, text and prompt.

    Args:
        aligned: what `alignments.align_pair` returns.
        share: see `anchors.spans`.
        length: see `anchors.spans`.

    Returns:
        model, text, prompt, spans, tokens, covered (tokens in spans), agreeing and pairs (see `anchors.order`);
        generations also as ``HALVES``: spans found in one half of the generations, counted in the other half.
    """
    rows = []
    for (model, prompt), unit in aligned.groupby(["model", "prompt"], sort=False):
        parts = {text: part for text, part in unit.groupby("text", sort=False)}
        for text, part in parts.items():
            other = HALVES[1 - HALVES.index(text)] if text in HALVES else text
            generations = list(parts[other].ids) if other in parts else []  # a single generation has no second half
            found = anchors.spans(matrix(part), share, length)
            places = anchors.starts(found, generations)
            row = {"model": model, "text": text, "prompt": prompt, "spans": len(found)}
            row |= {"tokens": sum(map(len, generations)), "covered": anchors.covered(found, places, generations)}
            rows.append(row | anchors.order(places)._asdict())
    return pd.DataFrame(rows)


def share_and_order(counts: pd.DataFrame) -> pd.DataFrame:
    """How much text lies in anchor spans, how many there are, and how often they keep their order, with intervals.

    The order in generations is measured on held-out halves. Spans in random order agree in half of the pairs.

    Args:
        counts: what `count_anchored` returns.

    Returns:
        measure (`COVERED`, `SPANS`, `ORDER`), model, text, estimate, low, high, unit, prompts; no row for the order
        if no generation has two spans.
    """
    rows = []
    halves = counts[counts.text.isin(HALVES)]
    kept = halves.groupby(["model", "prompt"], sort=False, as_index=False)[["agreeing", "pairs"]].sum()
    for (model, text), part in counts[counts.text.isin(TEXTS)].groupby(["model", "text"], sort=False):
        order = kept[kept.model == model] if text == GENERATIONS else part
        sums = {COVERED: part.loc[part.tokens > 0, ["covered", "tokens"]], SPANS: part[["spans"]].assign(one=1)}
        sums |= {ORDER: order.loc[order.pairs > 0, ["agreeing", "pairs"]]}
        for measure, each in sums.items():
            if len(each):
                value = stats.interval(each.to_numpy(float), lambda totals: totals[..., 0] / totals[..., 1])
                place = {"measure": measure, "model": model, "text": text}
                rows.append(place | vars(value) | {"unit": measure, "prompts": len(each)})
    return pd.DataFrame(rows)


def judge_beyond(frame: pd.DataFrame, generations: int = 100, per: Per = Per.TOKEN) -> Verdict:
    """C7 by our measure: do anchor spans, found in one half of RLHF's generations, keep their order in the other half?

    It holds if the share of pairs of spans in the common order lies above `CHANCE`, `all_above`. Without two spans in
    any generation there is no order, and it fails; with two spans in generations of one prompt only, it is undecided.

    Args:
        frame: what `share_and_order` returns.
        generations: how many there are of a prompt; of fewer than two it stays undecided.
        per: see `tokens.compared_per`; spans are of tokens, or of words.
    """
    unit = "share of pairs of RLHF's anchor spans in the common order, held out" + ", in words" * (per is Per.WORD)
    if generations < 2:
        return too_few(CLAIM, unit, generations, "book")
    kept = frame[(frame.measure == ORDER) & (frame.model == "RLHF") & (frame.text == GENERATIONS)]
    nothing = pd.Series({"estimate": 0.0, "low": 0.0, "high": 0.0, "prompts": 0})
    order = only(kept) if len(kept) else nothing
    verdict = all_above(pd.Series([order.low]), pd.Series([order.high]), nothing=CHANCE)
    return conclude(CLAIM, verdict, order, unit, int(order.prompts), CHANCE, "book")


def rung(counts: pd.DataFrame) -> Rung:
    """Share of tokens in anchor spans. Takes what `count_anchored` returns."""
    own = counts[counts.text == GENERATIONS]
    wide, steps = own.pivot(index="prompt", columns="model", values=["covered", "tokens"]), list(own.model.unique())
    spans = np.stack([wide["covered"][steps], wide["tokens"][steps]], 2).astype(float)
    return Rung(CLAIM.id, "share of tokens in anchor spans", [spans])
