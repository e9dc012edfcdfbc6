"""Passages: texts as ids of one model, with what is only given: gold text, and what a model has written."""

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


@dataclass(frozen=True)
class Passages:
    """Texts as ids, how many of each are only given, and to which document or prompt (a number) each belongs."""

    sequences: list[list[int]]
    given: list[int]
    groups: list[int]

    def take(self, places: Iterable[int]) -> "Passages":
        """Return some of the texts, by their places."""
        chosen = [(self.sequences[place], self.given[place], self.groups[place]) for place in places]
        return Passages(*map(list, zip(*chosen, strict=True)) if chosen else ([], [], []))

    @property
    def digest(self) -> str:
        """What stands for all of it among the inputs of a stored result."""
        return store.digest([self.sequences, self.given, self.groups])


def gold_passages(tokenizer: Any, corpora: Sequence[Corpus], lead: list[int] | None = None) -> Passages:
    """The documents of corpora, each a group, after `lead`: by default the tokenizer's own prefix token."""
    lead = tokens.lead(tokenizer) if lead is None else lead
    ids = tokens.encode(tokenizer, list(chain.from_iterable(corpus.texts for corpus in corpora)))
    given = max(1, len(lead))  # where nothing stands before a document, its first token is not predicted
    return Passages([lead + each for each in ids], [given] * len(ids), list(range(len(ids))))


def own_passages(generations: pd.DataFrame, each: int) -> Passages:
    """The first generations of every prompt, `each` of them; a prompt is a group.

    Args:
        generations: of one model, as `sampling.of_pair` returns them.
        each: how many.
    """
    numbered = generations.assign(group=pd.factorize(generations.prompt)[0])
    first = numbered[(numbered["sample"] < each) & (numbered.ids.map(len) > 0)]
    sequences = [np.concatenate(pair).tolist() for pair in zip(first.given, first.ids, strict=True)]
    return Passages(sequences, first.given.map(len).tolist(), first.group.tolist())
