"""Verdicts on two models of which a file holds generations: one is taken as Base, the other as RLHF."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from predact.claims import backbone, shared_ngrams, skeleton
from predact.claims.verdict import Protocol, Verdict
from predact.methods import alignments
from predact.models.pairs import ENDS
from predact.models.tokens import Per
from predact.models.transcripts import Texts
from predact.texts import generations


class Compared(NamedTuple):
    """The verdicts on two of the models of a file, and what is to be said of them, each a sentence."""

    verdicts: list[Verdict]
    notes: list[str]


def compare(texts: Texts, protocol: Protocol, root: Path) -> Compared:
    """Judge C6, C7 and C8 by the rules of a protocol on two models of a file: see `ends`.

    They are judged on the prompts of which both have two generations or more, and on equally many of each. Alignments
    of characters are kept below `root`.
    """
    base, rlhf = ends(list(dict.fromkeys(texts.written.model)))
    if base == rlhf:
        return Compared([], [])
    named = f"Taken as Base is {base}, as RLHF {rlhf}: where no name tells, the order in the file does."
    taken = [] if (base, rlhf) == ENDS else [named]
    own = texts.written[texts.written.model.isin([base, rlhf])]
    frame, left = generations.shared(own.assign(model=own.model.map({base: "Base", rlhf: "RLHF"})))
    if frame.empty:
        return Compared([], [*taken, "No prompt has two generations by each, so there is no verdict."])
    sizes = frame.groupby(["model", "prompt"]).size()
    count = int(sizes.min())
    notes = [*taken, *left]
    if sizes.max() > count:
        notes.append(f"Of up to {sizes.max():,} generations of a prompt {count:,} were drawn at random.")
    even = generations.drawn(frame, count).sort_values("model", kind="stable")
    return Compared(_judged(even, texts, protocol, count, root), notes)


def ends(names: list[str]) -> tuple[str, str]:
    """Which of some models is taken as Base, and which as RLHF: those of these names, else the first and the last."""
    base = "Base" if "Base" in names else next((each for each in names if each != "RLHF"), names[0])
    return base, "RLHF" if "RLHF" in names else next((each for each in reversed(names) if each != base), base)


def _judged(frame: pd.DataFrame, texts: Texts, protocol: Protocol, count: int, root: Path) -> list[Verdict]:
    """C6, C7 and C8 by the rules of the chapters, `count` generations of a prompt."""
    most = shared_ngrams.commonest_shares(frame)
    if protocol == "paper":
        aligned = characters(root, frame, texts)
        return [
            shared_ngrams.judge(most, Per.WORD),
            skeleton.judge(skeleton.inside_curves(aligned), count),
            backbone.judge(backbone.overlap_curves(aligned), count),
        ]
    aligned = alignments.align_here(frame, [*alignments.TEXTS, *alignments.HALVES])
    ordered = skeleton.share_and_order(skeleton.count_anchored(aligned))
    return [
        shared_ngrams.judge_beyond(most, shared_ngrams.shares_by_length(frame), Per.WORD),
        skeleton.judge_beyond(ordered, count, Per.WORD),
        backbone.judge_beyond(backbone.companion_curves(aligned), generations=count, per=Per.WORD)[1],
    ]


def characters(root: Path, written: pd.DataFrame, texts: Texts) -> pd.DataFrame:
    """Generations and nulls, aligned character by character by the paper's engine where it is installed.

    Args:
        root: of the store.
        written: some of the generations of a file.
        texts: all of them.
    """
    engine = alignments.paper_engine()
    return alignments.align_characters(root, written, dict.fromkeys(written.model, texts.decode), engine)
