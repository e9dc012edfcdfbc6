"""The loss of a text in expectation over each of its drawn words: the same mean, less noise.

The world knows how probable every other word was where it drew one. So the negative log-likelihood of a drawn word
gives way to its mean over all words that could have been drawn. For the tokens t_1, t_2, ... of a drawn word, with q
the world's distribution over the words,

    loss at the place of t_j = - sum over tokens t of q(t | t_1 ... t_(j-1), the word goes on) log p(t | all before)

which is the expectation of - log p(t_j | all before), given what was chosen before. All other places keep theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from predact.pocket.grammar import Drawn, Grammar, Writer

LOGITS = 2**22  # formed at once: they stay in the cache


class Targets(NamedTuple):
    """What should follow at each position: tokens with their probabilities, as three arrays of one length."""

    position: np.ndarray
    token: np.ndarray
    probability: np.ndarray


class Spelled(NamedTuple):
    """The words of a class as ids, padded with -1: ``[words, longest]``; their first tokens, and which each has."""

    ids: np.ndarray
    first: np.ndarray
    which: np.ndarray


@dataclass
class Speller:
    """Texts of the world as ids and targets; knows each class of words by its ids."""

    tokenizer: PreTrainedTokenizerFast
    _classes: dict = field(default_factory=dict)
    _words: dict[str, list[int]] = field(default_factory=dict)

    def spell(self, texts: Sequence[Writer]) -> list[tuple[list[int], Targets]]:
        """Ids of each text between BOS and EOS, and what should follow at each position of it but the last."""
        encoded = self.tokenizer([each.text for each in texts], add_special_tokens=False, return_offsets_mapping=True)
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return [
            ([bos, *ids, eos], self._targets(text, ids, offsets, eos))
            for text, ids, offsets in zip(texts, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        ]

    def _targets(self, text: Writer, ids: list[int], offsets: list[tuple[int, int]], eos: int) -> Targets:
        starts = {start: place for place, (start, _) in enumerate(offsets)}
        soft: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        whole = text.text
        for drawn in text.drawn:
            space = " " if whole[drawn.place - 1 : drawn.place] == " " else ""
            place = starts.get(drawn.place - len(space))
            own = self._ids(space + drawn.written)
            if place is not None and ids[place : place + len(own)] == own:
                for j, (tokens, shares) in enumerate(self._expected(drawn, space, own)):
                    soft[place + j] = tokens, shares
        hard = np.ones(1)
        parts = [soft.get(place, (np.array([token]), hard)) for place, token in enumerate(ids)]
        parts.append((np.array([eos]), hard))
        sizes = [len(tokens) for tokens, _ in parts]
        return Targets(
            np.repeat(np.arange(len(parts)), sizes),
            np.concatenate([tokens for tokens, _ in parts]),
            np.concatenate([shares for _, shares in parts]),
        )

    def _expected(self, drawn: Drawn, space: str, own: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Tokens and their probabilities at each place of a drawn word that has the ids ``own``."""
        words, first, which = self._spelled(drawn, space)
        share = drawn.words.probabilities
        if drawn.without:
            share = share.copy()
            share[drawn.words.places[drawn.without]] = 0
        total = np.bincount(which, share, len(first))
        found = [(first, total / total.sum())]
        going = words[:, 0] == own[0]
        for place in range(1, len(own)):
            going &= words[:, place] >= 0
            tokens, which = np.unique(words[going, place], return_inverse=True)
            total = np.bincount(which, share[going])
            found.append((tokens, total / total.sum()))
            going &= words[:, place] == own[place]
        return found

    def _spelled(self, drawn: Drawn, space: str) -> Spelled:
        words = drawn.words.words
        key = id(words), drawn.path, space, drawn.capital
        if key not in self._classes:
            told = [Grammar.told(word, drawn.path) for word in words]
            rows = [self._ids(space + (each[0].upper() + each[1:] if drawn.capital else each)) for each in told]
            ids = np.full((len(rows), max(map(len, rows))), -1)
            for place, row in enumerate(rows):
                ids[place, : len(row)] = row
            self._classes[key] = words, Spelled(ids, *np.unique(ids[:, 0], return_inverse=True))  # words: kept alive
        return self._classes[key][1]

    def _ids(self, text: str) -> list[int]:
        if text not in self._words:
            self._words[text] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return self._words[text]


class _CrossEntropy(torch.autograd.Function):
    """Sum of cross-entropies, from hidden states on; the gradient is formed with the logits, some positions at a time.

    With logits z = h W', the loss of a position is logsumexp(z) - sum of q z, and its gradient by z is softmax(z) - q.
    """

    @staticmethod
    def forward(ctx, hidden, weight, position, token, probability):
        loss, by_hidden = 0.0, torch.empty_like(hidden)
        by_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        some = max(16, LOGITS // len(weight))
        ends = torch.searchsorted(position, torch.arange(0, len(hidden) + some, some, device=position.device))
        for chunk, start in enumerate(range(0, len(hidden), some)):
            part, these = hidden[start : start + some], slice(ends[chunk], ends[chunk + 1])
            logits = (part @ weight.T).float()
            normalizer = logits.logsumexp(1, keepdim=True)
            where = (position[these] - start) * logits.shape[1] + token[these]
            loss += normalizer.sum() - logits.view(-1)[where] @ probability[these]
            share = logits.sub_(normalizer).exp_()
            share.view(-1)[where] -= probability[these]  # no token stands twice at a position
            share = share.to(hidden.dtype)
            by_hidden[start : start + some] = share @ weight
            if by_weight is not None:
                by_weight.addmm_(share.T, part)
        ctx.save_for_backward(by_hidden, by_weight)
        return loss

    @staticmethod
    def backward(ctx, by_loss):
        by_hidden, by_weight = ctx.saved_tensors
        return by_loss * by_hidden, None if by_weight is None else by_loss * by_weight, None, None, None


def cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, position: torch.Tensor, token: torch.Tensor, probability: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy in nats of positions with several tokens as targets, each with a probability.

    Args:
        hidden: last hidden states ``[positions, width]``.
        weight: the head's ``[vocabulary, width]``.
        position: of each target, in ascending order.
        token: the target.
        probability: its probability; those of a position sum to 1.
    """
    return _CrossEntropy.apply(hidden, weight, position, token, probability) / len(hidden)
