"""Ask: a model answers one question many times; what do its answers share, word for word?"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from predact.claims import backbone, shared_ngrams, skeleton
from predact.errors import UserError
from predact.figures import backbone as backbone_figures
from predact.figures import shared_ngrams as shared_ngrams_figures
from predact.figures import skeleton as skeleton_figures
from predact.lab.answers import Write
from predact.lab.held import Held
from predact.methods import alignments, blueprint, ngrams, overlap
from predact.methods.blueprint import Blueprint
from predact.methods.ngrams import GENERATIONS
from predact.models import loading, sampling
from predact.models.pairs import Pair, frame_of
from predact.models.sampling import Generation, Settings

LENGTHS = (5, 10, 25)  # tokens of the n-grams that the table counts


class Shared(NamedTuple):
    """What answers share: the blueprint, a table with a row for each model, and figures."""

    drawn: Blueprint
    table: pd.DataFrame
    figures: list[alt.LayerChart]


def checked(text: str) -> str:
    """Return a question without white space around it.

    Raises:
        UserError: there is none.
    """
    if not text.strip():
        raise UserError("question: write one, then ask.")
    return text.strip()


def writer(held: Held, pair: Pair, step: str, question: str, settings: Settings) -> tuple[int, Write]:
    """Return how many tokens a model of a pair can write after a question, and what samples its answers.

    Raises:
        UserError: the question leaves no room, or the model cannot be asked.
    """
    model, tokenizer = held(pair.models[step])
    given = sampling.ask(tokenizer, question, frame_of(pair, step))
    room = sampling.room_after(model, len(given), "question: it")

    def write(numbers: np.ndarray) -> list[Generation]:
        return sampling.sample(model, tokenizer, [given], numbers, settings)

    return room, write


def decoders(pair: Pair, steps: Sequence[str]) -> dict[str, Any]:
    """For each model, the function that turns its ids into text without special tokens."""
    return {step: partial(loading.tokenizer(pair.models[step]).decode, skip_special_tokens=True) for step in steps}


def shared(written: pd.DataFrame, decode: Mapping[str, Any], question: str, share: float, length: int) -> Shared:
    """Find out what the answers of each model share.

    Args:
        written: what `answers.frame` returns, or generations for one prompt: of each model two answers at least.
        decode: what `decoders` returns.
        question: what was asked.
        share: of the answers that must hold an anchor span, see `anchors.spans`.
        length: in tokens, of the shortest anchor span.
    """
    aligned = alignments.align_here(written, [GENERATIONS])
    drawn = blueprint.blueprint(aligned, decode, share, length)
    by_length = shared_ngrams.shares_by_length(written)
    along = backbone.mean_curves(backbone.companion_curves(aligned))
    figures = [
        skeleton_figures.sankey({"book": drawn}, {str(written.prompt.iloc[0]): question}, list(written.model.unique())),
        shared_ngrams_figures.shares(by_length[by_length.text == GENERATIONS]),
        backbone_figures.companions_along_text(along),
    ]
    return Shared(drawn, table(written, aligned, decode, share, length), figures)


def table(
    written: pd.DataFrame, aligned: pd.DataFrame, decode: Mapping[str, Any], share: float, length: int
) -> pd.DataFrame:
    """Count what the answers of each model share: facts about these answers, not estimates.

    Returns:
        A row for each model: model, answers, different ones, anchor spans, tokens in them (percent), overlap (percent
        of pairs of answers that have the same token, mean over the columns of their alignment), for each n of `LENGTHS`
        the answers with the commonest n-gram, and the commonest 10-gram.
    """
    counts = skeleton.count_anchored(aligned, share, length).set_index("model")
    rows = []
    for model, part in written.groupby("model", sort=False):
        ids, word = list(part.ids), decode[str(model)]
        own: Any = counts.loc[model]
        matching = overlap.matching(alignments.matrix(aligned[aligned.model == model]), least=2)
        shares = ngrams.shares(ids, max(LENGTHS))
        row: dict[str, Any] = {"model": model, "answers": len(ids), "different": len({tuple(each) for each in ids})}
        row |= {"anchor spans": own.spans, "tokens in them, %": round(100 * own.covered / max(1, own.tokens))}
        row |= {"overlap, %": round(100 * float(matching.mean())) if len(matching) else 0}
        row |= {f"with the commonest {n}-gram": round(shares[n - 1] * len(ids)) for n in LENGTHS}
        rows.append(row | {"commonest 10-gram": word(ngrams.most_shared(ids, 10)[0].tolist())})
    return pd.DataFrame(rows)
