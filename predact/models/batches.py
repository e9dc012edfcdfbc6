"""What a finetuning reads and when: passages of texts, the same batches for every model, learning rates, pauses."""

import re
from collections.abc import Sequence
from itertools import chain, count
from typing import Any

import numpy as np

from predact.models import loading

Rows = list[list[int]]


def work(tokenizer: Any, texts: Sequence[str], size: int, updates: int, context: int, seed: int) -> list[Rows]:
    """Return the rows of ids that each update learns from.

    Args:
        tokenizer: the model's.
        texts: the documents.
        size: bytes of text in an update, at most.
        updates: how many.
        context: ids that a model reads at once, at most.
        seed: of the order.
    """
    pieces = [piece for text in texts for piece in passages(text, size)]
    read = rows(tokenizer, pieces, context)
    plan = batches([len(text.encode()) for text, _ in pieces], size, updates, seed)
    return [[row for place in places for row in read[place]] for places in plan]


def passages(text: str, size: int) -> list[tuple[str, bool]]:
    """Cut a text at white space into passages of at most `size` characters, each with whether the text ends there."""
    found = re.findall(rf"(?s).{{1,{size}}}(?=\s|$)|.{{1,{size}}}", text)
    return [(passage, place == len(found)) for place, passage in enumerate(found, 1)]


def batches(sizes: Sequence[int], most: int, updates: int, seed: int) -> list[list[int]]:
    """Return for each update which texts it learns from: all in random order, again when through, not more than fit.

    Only sizes and seed decide, so that models with different tokenizers learn from the same texts.

    Args:
        sizes: of the texts, in bytes.
        most: bytes of an update; a longer text stands alone.
        updates: how many.
        seed: of the order.
    """
    draw, found, total = np.random.default_rng(seed), [list[int]()], 0
    for place in chain.from_iterable(draw.permutation(len(sizes)).tolist() for _ in count()):
        if found[-1] and total + sizes[place] > most:
            if len(found) == updates:
                break
            found.append([])
            total = 0
        found[-1].append(place)
        total += sizes[place]
    return found


def rows(tokenizer: Any, pieces: Sequence[tuple[str, bool]], context: int) -> list[Rows]:
    """Return for each passage what a model reads: a prefix token, its ids, EOS if a document ends; cut to the context.

    A row has one id more than the context: its first one is read and not learned.
    """
    lead = loading.lead(tokenizer)
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    encoded = loading.encode(tokenizer, [text for text, _ in pieces])
    whole = [lead + ids + (end if last else []) for ids, (_, last) in zip(encoded, pieces, strict=True)]
    return [[ids[at : at + context + 1] for at in range(0, len(ids) - 1, context)] for ids in whole]


def schedule(update: int, updates: int) -> float:
    """Share of the learning rate in an update (from 1 on): warmed up in an eighth, falling in the last third."""
    return min(1.0, update / (updates / 8), (updates - update + 1) / (updates / 3))


def evaluations(updates: int) -> list[int]:
    """Return after how many updates a model is tested: 0, 1, 2, 4, ... up to a quarter, then every root of two."""
    late = {round(updates / 2 ** (half / 2)) for half in range(5)}
    return sorted({0} | late | {2**power for power in range(updates.bit_length()) if 2**power < updates / 4})
