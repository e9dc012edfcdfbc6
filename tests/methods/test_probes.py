"""Probes of both models on texts of both, on tiny random models; the parting of prompts; a peer's probe."""

import numpy as np
import pandas as pd
import pytest
import torch

from predact.errors import UserError
from predact.methods import probes, probing
from predact.methods.probes import AFFINE, BIGRAM, GAINED, LOW_RANK, SHUFFLED, SKIP, TOKEN_BITS, UNIGRAM, Design
from predact.methods.probing import MEASURES, OFFSETS
from predact.models import loading, pairs
from predact.models.passages import GOLD, Passages, gold_passages, own_passages
from predact.texts import corpora
from predact.texts.corpora import Corpus
from tests.made import random_generations

CORPUS = Corpus("tales", "narrative", ["the cat sat on the mat and the dog ran"] * 16, None, "tales")
WRITTEN = random_generations()


@pytest.fixture(scope="module")
def sums(tmp_path_factory, folders):
    pair = pairs.pair(f"{folders[0]}::{folders[1]}")
    return probes.cross_probes(
        tmp_path_factory.mktemp("store"), pair, WRITTEN, [CORPUS], Design([0, 2], [1], 300, 75, rank=2)
    )


def room(passages):
    served = [
        max(0, len(ids) - given - OFFSETS + 1) for ids, given in zip(passages.sequences, passages.given, strict=True)
    ]
    return sum(served), served


@pytest.mark.parametrize("seed", range(3))
def test_no_prompt_is_in_two_parts_and_there_are_as_many_positions_as_wanted(seed):
    draw = np.random.default_rng(seed)
    sequences = [[number] * length for number, length in enumerate([60] * 40 + draw.integers(1, 60, 160).tolist())]
    groups = [*range(40), *draw.integers(0, 40, 160).tolist()]
    texts = Passages(sequences, draw.integers(1, 9, 200).tolist(), groups)
    whole = probes.split(texts, 10**6, 10**6, 10**9, seed)
    assert [len(set(part.groups)) for part in whole] == [15, 5, 20]
    assert sorted(group for part in whole for group in set(part.groups)) == list(range(40))
    assert sum(room(part)[0] for part in whole) == room(texts)[0]
    some, half = (probes.split(texts, wanted, 300, 10**9, seed) for wanted in (400, 200))
    for part, all_of_it, less, wanted in zip(some, whole, half, (400, 100, 300), strict=True):
        total, served = room(part)
        assert wanted <= total < wanted + 60 and min(served) > 0
        assert set(less.groups) <= set(part.groups) <= set(all_of_it.groups)
        texts_of = {(ids[0], given, group) for ids, given, group in zip(*vars(part).values(), strict=True)}
        assert texts_of <= {(n, texts.given[n], texts.groups[n]) for n in range(200)}


def test_every_prompt_gives_one_text_before_any_gives_two_and_the_same_prompts_are_tested_for_every_author():
    groups = [prompt for _ in range(4) for prompt in range(64)]
    one = Passages([[0] * 18] * 256, [1] * 256, groups)  # of ten positions each
    train, choose, test = probes.split(one, 400, 160, None)
    assert sorted(pd.Series(train.groups).value_counts()) == [1] * 8 + [2] * 16
    assert set(pd.Series(choose.groups).value_counts()) <= {1, 2} and len(set(test.groups)) == len(test.groups) == 16
    lacking = [[0] * (1 if place % 64 in (3, 63) else 18) for place in range(256)]
    other = probes.split(Passages(lacking, [1] * 256, groups), 400, 160, None)[2]
    assert len(set(test.groups) & set(other.groups)) >= 14, "two prompts have no text of this author"


def test_a_text_is_cut_where_the_model_ends():
    texts = Passages([list(range(30))] * 8 + [list(range(12))], [3] * 8 + [5], list(range(9)))
    parts = probes.split(texts, 10**6, 10**6, 12)
    assert {len(ids) for part in parts for ids in part.sequences} == {12}
    assert [sum(room(part)[1]) for part in parts] == [2 * len(part.groups) for part in parts]
    assert sorted(sum((part.groups for part in parts), [])) == list(range(8))


def test_windows_by_hand():
    texts = Passages([list(range(10)), list(range(20, 32))], [1, 3], [4, 2])
    seen, groups = probes._windows(texts)
    assert seen[:, 0].tolist() == [0, 1, 22, 23] and groups.tolist() == [4, 4, 2, 2]
    assert (seen - seen[:, :1] == np.arange(9)).all()


def test_every_source_of_a_cell_is_judged_at_the_same_positions(sums):
    columns = {"source", "layer", "offset", "group", "count", *MEASURES, "reader", "author"}
    assert set(sums) == columns
    for (reader, author), cell in sums.groupby(["reader", "author"]):
        found = cell[["source", "layer"]].drop_duplicates().apply(tuple, axis=1)
        own = {(LOW_RANK, 1)} if reader == author else set()
        baselines = {(source, -1) for source in (UNIGRAM, BIGRAM, SKIP)}
        assert set(found) == {(source, layer) for source in (AFFINE, SHUFFLED) for layer in (0, 2)} | baselines | own
        assert (cell.groupby("group")["count"].nunique() == 1).all()
        assert (cell.groupby(["source", "layer", "group"]).offset.apply(sorted).map(tuple) == tuple(range(1, 9))).all()
        assert cell.groupby("group")["count"].first().sum() >= (75 if author != GOLD else 1)
    assert set(sums.groupby(["reader", "author"]).groups) == {
        (reader, author) for reader in ("Base", "RLHF") for author in ("Base", "RLHF", GOLD)
    }
    assert (sums["top-1"] <= sums["top-5"]).all() and (sums["top-5"] <= sums["count"]).all() and (sums.nll > 0).all()


def test_what_is_stored_is_not_measured_again(tmp_path, monkeypatch, folders):
    pair = pairs.pair(f"{folders[0]}::{folders[1]}")
    first = probes.cross_probes(tmp_path, pair, WRITTEN, [CORPUS], Design([1], positions=100))
    monkeypatch.delattr(probes, "_fit_and_test")
    pd.testing.assert_frame_equal(
        probes.cross_probes(tmp_path, pair, WRITTEN, [CORPUS], Design([1], positions=100)), first
    )
    for change in ({"positions": 120}, {"positions": 100, "tested": 9}, {"positions": 100, "seed": 1}):
        with pytest.raises(NameError):
            probes.cross_probes(tmp_path, pair, WRITTEN, [CORPUS], Design([1], **change))


def test_measures_are_means_over_positions(sums):
    found = probes.probe_means(sums)
    assert (found[(found.source == SKIP) & (found.measure == GAINED)][["estimate", "low", "high"]] == 0).all(axis=None)
    assert (found.low <= found.estimate + 1e-12).all() and (found.estimate <= found.high + 1e-12).all()
    keys = ["reader", "author", "source", "layer", "offset"]
    total = sums.groupby(keys)[["count", *MEASURES]].sum()
    wide = found.pivot(index=keys, columns="measure", values="estimate").loc[total.index]
    np.testing.assert_allclose(wide["top-5"], total["top-5"] / total["count"])
    np.testing.assert_allclose(wide[TOKEN_BITS], total.nll / total["count"] / np.log(2))
    skip = wide.loc["Base", "RLHF", SKIP, -1][TOKEN_BITS]
    gained = wide.loc["Base", "RLHF", AFFINE, 2]
    np.testing.assert_allclose(gained[GAINED], skip - gained[TOKEN_BITS], atol=1e-9)


@pytest.fixture(scope="module")
def texts():
    return own_passages(WRITTEN[WRITTEN.model == "RLHF"], 3)


def test_the_lens_reads_texts_of_prompts_that_the_probe_was_not_fitted_to(tmp_path, folders, texts):
    model = pairs.pair(f"{folders[0]}::{folders[1]}").models["RLHF"]
    every = probes.lens(tmp_path, model, texts, Design([2], positions=300), ahead=3, texts=2)
    train, _, test = probes.split(texts, 300, 10_000, 64)
    assert every.group.unique().tolist() == sorted(set(test.groups))[:2] and not set(every.group) & set(train.groups)
    for group, seen in every.groupby("group"):
        place = test.groups.index(group)
        ids, first = test.sequences[place], test.given[place] - 1
        assert len(seen) == 3 * (len(ids) - first - OFFSETS) and seen.p.between(0, 1).all()
        assert seen[seen.offset == 2].id.tolist() == ids[first : len(ids) - OFFSETS]
        came = [ids[first + row.position + row.offset] for row in seen.itertuples()]
        assert seen.hit.tolist() == [row == token for row, token in zip(seen.seen, came, strict=True)]


def test_too_few_prompts_to_part_are_one_line():
    texts = Passages([list(range(20))] * 7, [1] * 7, list(range(7)))
    with pytest.raises(UserError, match=r"^prompts_limit, documents: probes need eight prompts and eight documents"):
        for seed in range(8):  # whichever part is the empty one
            probes.split(texts, 100, 100, 10**9, seed)


@pytest.mark.parametrize("layer", [0, 3, 4])
def test_a_peers_linear_probe_is_right_as_often_on_the_same_tokens(tmp_path, layer):
    linear = pytest.importorskip("sklearn.linear_model")
    reader = pairs.pair("pocket").models["Base"]
    model, tokenizer = loading.loaded(reader)
    texts = gold_passages(tokenizer, corpora.select(["stories"], 32))
    sums = probes.fit_and_test(tmp_path, reader, texts, Design([layer], positions=600, tested=300))
    train, _, test = probes.split(texts, 600, 300, loading.context_limit(model))
    penalties = probing.fit(probing.moments(model, train, [layer])[0]).penalty
    for offset in (2, 3, 4):
        x, y, *_ = by_hand(model, train, layer, offset)
        peer = linear.Ridge(alpha=float(penalties[offset - 1])).fit(x, y)
        x, _, wanted, groups = by_hand(model, test, layer, offset)
        hidden = torch.tensor(peer.predict(x), dtype=torch.float32)
        with torch.no_grad():
            guessed = model.lm_head(model.model.norm(hidden))[:, : len(tokenizer)].argmax(1).numpy()
        mine = sums[(sums.source == AFFINE) & (sums.offset == offset)].set_index("group")
        assert mine["count"].to_dict() == pd.Series(groups).value_counts().to_dict()
        assert mine["top-1"].to_dict() == pd.Series(guessed == wanted).groupby(groups).sum().to_dict()
        assert 0.05 < mine["top-1"].sum() / mine["count"].sum() < 0.95


def by_hand(model, texts, layer, offset):
    """States of a layer, the states from which the model predicts the token at an offset, that token, and the prompt.

    The state at t has seen the token at t; the model predicts the one at t + offset from the state before it.
    """
    rows = []
    for sequence, given, group in zip(texts.sequences, texts.given, texts.groups, strict=True):
        caught, ids = [], sequence[: loading.context_limit(model)]
        hook = model.model.norm.register_forward_pre_hook(lambda _, inputs, caught=caught: caught.append(inputs[0][0]))
        with torch.no_grad():
            held = model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        hook.remove()
        last = caught[0]
        state = last if layer == len(held) - 1 else held[layer][0]
        for t in range(given - 1, len(ids) - OFFSETS):
            rows.append((state[t].double(), last[t + offset - 1].double(), ids[t + offset], group))
    x, y, wanted, groups = zip(*rows, strict=True)
    return torch.stack(x).numpy(), torch.stack(y).numpy(), np.array(wanted), np.array(groups)
