"""Passages: gold text or generations as token ids of one model, of which the first ones may be given, not predicted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from predact import store
from predact.models import tokens
from predact.texts.corpora import Corpus

GOLD, OWN = KINDS = "gold text", "own generations"
GREEDY = "greedy generations"  # always the likeliest token: what a model writes where chance has no part
MATCHED = "generations of matched diversity"  # Base's, as varied as RLHF's


@dataclass(frozen=True)
class Passages:
    """Texts as ids, how many first ids of each are given, not predicted, and the number of its document or prompt."""

    sequences: list[list[int]]
    given: list[int]
    groups: list[int]

    def take(self, places: Iterable[int]) -> "Passages":
        """Return some of the texts, by their places."""
        chosen = [(self.sequences[place], self.given[place], self.groups[place]) for place in places]
        return Passages(*map(list, zip(*chosen, strict=True)) if chosen else ([], [], []))

    @property
    def digest(self) -> str:
        """Return a hash of the passages, for the inputs of a stored result."""
        return store.digest([self.sequences, self.given, self.groups])


def gold_passages(tokenizer: Any, corpora: Sequence[Corpus], lead: list[int] | None = None) -> Passages:
    """Return the documents of corpora, each a group, after `lead`: by default the tokenizer's own prefix token."""
    lead = tokens.lead(tokenizer) if lead is None else lead
    ids = tokens.encode(tokenizer, list(chain.from_iterable(corpus.texts for corpus in corpora)))
    given = max(1, len(lead))  # without a prefix token, the first token of a document is not predicted
    return Passages([lead + each for each in ids], [given] * len(ids), list(range(len(ids))))


def own_passages(generations: pd.DataFrame, each: int) -> Passages:
    """Return the first `each` generations of every prompt; a prompt is a group.

    Args:
        generations: of one model, as `sampling.sample_pair` returns them.
        each: how many.
    """
    numbered = generations.assign(group=pd.factorize(generations.prompt)[0])
    first = numbered[(numbered["sample"] < each) & (numbered.ids.map(len) > 0)]
    sequences = [np.concatenate(pair).tolist() for pair in zip(first.given, first.ids, strict=True)]
    return Passages(sequences, first.given.map(len).tolist(), first.group.tolist())
