"""The loss in expectation over drawn words: its targets by hand and by many draws, its gradient by autograd; Muon."""

import copy
import math
from itertools import islice

import numpy as np
import pytest
import torch

from predact.pocket.grammar import Grammar, Word, Words
from predact.recipe import training
from predact.recipe.expectation import Speller, cross_entropy
from predact.recipe.muon import Muon, orthogonal


@pytest.fixture(scope="module")
def texts():
    return list(islice(training.documents("train"), 60))


@pytest.fixture(scope="module")
def tokenizer(texts):
    return training.train_tokenizer([each.text for each in texts])


def targets_of(targets, place):
    here = targets.position == place
    return dict(zip(targets.token[here].tolist(), targets.probability[here].tolist(), strict=True))


def test_targets_by_hand(tokenizer):
    """At the first token of a drawn word stand the first tokens of all; behind it those of the words that begin so."""
    ids = {text: tokenizer(f" {text}", add_special_tokens=False)["input_ids"] for text in ("qux", "quy", "zz")}
    assert ids["qux"][0] == ids["quy"][0] and len(ids["qux"]) == len(ids["quy"]) == 2, "both begin alike"
    words = [Word(text) for text in ids]
    drawn = Words(dict(zip(words, (2.0, 1.0, 1.0), strict=True)))
    grammar = Grammar({}, {"word": lambda state: drawn})
    seed = next(seed for seed in range(99) if grammar.write("so <word>.", str(seed)).text == "so quy.")
    ((row, targets),) = Speller(tokenizer).spell([grammar.written("so <word>.", str(seed))])
    first = row.index(ids["quy"][0]) - 1
    assert targets_of(targets, first) == pytest.approx({ids["quy"][0]: 0.75, ids["zz"][0]: 0.25})
    assert targets_of(targets, first + 1) == pytest.approx({ids["qux"][1]: 2 / 3, ids["quy"][1]: 1 / 3})
    assert targets_of(targets, first + 2) == {row[first + 3]: 1.0}
    assert targets_of(targets, len(row) - 2) == {tokenizer.eos_token_id: 1.0}


def test_a_word_that_cannot_be_drawn_is_no_target(tokenizer):
    words = [Word("Anna"), Word("Berta"), Word("Cesar")]
    drawn = Words(dict.fromkeys(words, 1.0))
    grammar = Grammar({}, {"name": lambda state: drawn})
    written = grammar.written("{a:=name}{b:=name!a}{a} saw {b}.", "1")
    speller = Speller(tokenizer)
    ((row, targets),) = speller.spell([written])
    first, second = (each.written for each in written.drawn)
    place = len(tokenizer(f"{first} saw", add_special_tokens=False)["input_ids"])
    begin = {name: speller._ids(f" {name}")[0] for name in ("Anna", "Berta", "Cesar")}
    assert targets_of(targets, place)[begin[second]] == pytest.approx(0.5)
    assert targets_of(targets, place).get(begin[first], 0.0) == 0.0


def test_targets_of_the_world_sum_to_one_and_hold_what_was_written(texts, tokenizer):
    several = 0
    for ids, targets in Speller(tokenizer).spell(texts):
        assert np.bincount(targets.position, targets.probability) == pytest.approx(np.ones(len(ids) - 1))
        for place in range(len(ids) - 1):
            assert ids[place + 1] in targets.token[targets.position == place]
        several += (np.bincount(targets.position) > 1).sum()
    assert several > 1000


def test_the_loss_is_that_of_the_written_tokens_in_the_mean(tokenizer):
    """Over documents, their surprise at the written tokens differs from the expected one by noise alone."""
    differences = []
    speller = Speller(tokenizer)
    for document in islice(training.documents("train", 500), 200):
        for drawn in document.drawn:
            space = " " if document.text[drawn.place - 1 : drawn.place] == " " else ""
            own = speller._ids(space + drawn.written)
            for token, (tokens, share) in zip(own, speller._expected(drawn, space, own), strict=True):
                known = share[share > 0]
                surprise = -math.log(share[list(tokens).index(token)])
                differences.append(surprise + (known * np.log(known)).sum())
    error = np.std(differences) / math.sqrt(len(differences))
    assert len(differences) > 8_000 and abs(np.mean(differences)) < 4 * error < 0.1


def test_the_gradient_is_autograds(texts, tokenizer):
    rows = Speller(tokenizer).spell(texts[:4])
    batch = training.batch(rows, tokenizer.pad_token_id)
    torch.manual_seed(0)
    hidden = torch.randn(int(batch.learned.sum()), 16, requires_grad=True)
    weight = torch.randn(len(tokenizer), 16, requires_grad=True)
    loss = cross_entropy(hidden, weight, *batch[2:])
    loss.backward()
    found = hidden.grad.clone(), weight.grad.clone()
    hidden.grad = weight.grad = None
    log_p = (hidden @ weight.T).log_softmax(1)
    expected = -(log_p[batch.position, batch.token] * batch.probability).sum() / len(hidden)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-6)
    assert torch.allclose(found[0], hidden.grad, atol=1e-6) and torch.allclose(found[1], weight.grad, atol=1e-5)


def test_muon_is_pytorchs():
    """But for its bfloat16: after some steps the same weights."""
    torch.manual_seed(0)
    start = [torch.randn(12, 20), torch.randn(20, 12), torch.randn(12, 12)]
    gradients = [[torch.randn_like(each) for each in start] for _ in range(4)]
    ends = []
    for make in (
        lambda p: Muon(p, lr=0.02, weight_decay=0.1),
        lambda p: torch.optim.Muon(p, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
    ):
        weights = [torch.nn.Parameter(each.clone()) for each in start]
        optimizer = make(weights)
        for some in gradients:
            for weight, gradient in zip(weights, some, strict=True):
                weight.grad = gradient.clone()
            optimizer.step()
        ends.append(copy.deepcopy(weights))
    for ours, theirs, before in zip(*ends, start, strict=True):
        assert (ours - theirs).abs().max() < 0.03 * (theirs - before).abs().max()


def test_singular_values_come_near_one():
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(3, 20, 8)))
    assert values.shape == (3, 8) and 0.6 < values.min() and values.max() < 1.3
