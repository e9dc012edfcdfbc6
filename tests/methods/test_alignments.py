"""Alignments kept in the store, and what is measured on them, by hand and against the functions for one alignment."""

import shutil

import numpy as np
import pandas as pd
import pytest

from predact.errors import UserError
from predact.methods import alignment, alignments, ngrams
from predact.methods.alignments import HALVES, TEXTS
from predact.methods.ngrams import ACROSS, GENERATIONS, SHUFFLED
from tests.made import written

NULLS = (ACROSS, SHUFFLED)
needs_mafft = pytest.mark.skipif(not shutil.which("mafft"), reason="needs MAFFT")


@pytest.fixture
def pair():
    """Two models, three prompts, 3 to 5 generations of few ids, one of them empty."""
    draw = np.random.default_rng(0)
    sizes = {"a": [9, 0, 12], "b": [30, 20, 10, 25, 8], "c": [5, 5, 7, 6]}
    texts = [
        {prompt: [draw.integers(0, 9, size).tolist() for size in each] for prompt, each in sizes.items()}
        for _ in range(2)
    ]
    return pd.concat([written(texts[0]), written(texts[1], "RLHF")], ignore_index=True)


@pytest.fixture
def calls(monkeypatch):
    """Counts what is aligned."""
    made = []
    monkeypatch.setitem(alignments.ENGINES, "native", lambda rows: made.append(rows) or alignment.align(rows))
    return made


def texts_of(aligned):
    keys = ["model", "prompt", "text"]
    return {key: [ids.tolist() for ids in part.ids] for key, part in aligned.groupby(keys, sort=False)}


@pytest.mark.parametrize("seed", [0, 1])
def test_generations_halves_and_nulls_are_aligned_as_they_would_be_alone(tmp_path, pair, seed):
    found = alignments.align_pair(tmp_path, pair, seed=seed)
    assert found.columns.tolist() == ["model", "category", "prompt", "text", "row", "ids", "columns"]
    assert (found.category == "of " + found.prompt).all()
    texts = {}
    for model, part in pair.groupby("model", sort=False):
        samples = ngrams.samples(part, seed)
        for place, prompt in enumerate("abc"):
            texts |= {(model, prompt, text): [list(ids) for ids in samples[text][place]] for text in TEXTS}
            generations = [ids.tolist() for ids in part.ids[part.prompt == prompt]]
            texts |= {(model, prompt, half): generations[first::2] for first, half in enumerate(HALVES)}
    assert texts_of(found) == texts
    shown = found.drop_duplicates(["model", "prompt", "text"])
    assert list(zip(shown.model, shown.prompt, strict=True)) == [key[:2] for key in texts]
    assert shown.text[shown.text.isin(TEXTS)].tolist() == list(TEXTS) * 2 * 3
    for (model, prompt, text), part in found.groupby(["model", "prompt", "text"], sort=False):
        assert part.row.tolist() == list(range(len(part)))
        assert np.array_equal(alignments.matrix(part), alignment.align(texts[model, prompt, text]))


def test_a_second_call_aligns_nothing_and_gives_the_same(tmp_path, pair, monkeypatch):
    first = alignments.align_pair(tmp_path, pair)
    monkeypatch.setitem(alignments.ENGINES, "native", lambda rows: 1 / 0)
    pd.testing.assert_frame_equal(alignments.align_pair(tmp_path, pair), first)
    pd.testing.assert_frame_equal(
        alignments.align_pair(tmp_path, pair[pair.model == "RLHF"]), first[first.model == "RLHF"].reset_index(drop=True)
    )
    with pytest.raises(ZeroDivisionError):
        alignments.align_pair(tmp_path, pair, seed=1)


def test_changed_generations_and_another_seed_are_aligned_anew(tmp_path, pair, calls):
    first = alignments.align_pair(tmp_path, pair)
    assert len(calls) == 2 * 3 * 5
    changed = pair.copy()
    changed.at[0, "ids"] = np.array([77, 78])
    second = alignments.align_pair(tmp_path, changed)
    assert len(calls) == 2 * 3 * 5 + 3 + 2 * 2, "own texts of one prompt, its nulls, and those that draw on it"
    assert texts_of(second)["Base", "a", GENERATIONS][0] == texts_of(second)["Base", "a", HALVES[0]][0] == [77, 78]
    other = alignments.align_pair(tmp_path, pair, seed=1)
    assert len(calls) == 2 * 3 * 5 + 3 + 2 * 2 + 2 * 3 * 2, "nulls alone"
    same = {key: texts == texts_of(first)[key] for key, texts in texts_of(other).items()}
    assert all(same[key] for key in same if key[2] in (GENERATIONS, *HALVES))
    assert not any(same[key] for key in same if key[2] == SHUFFLED)


def test_an_unknown_engine_and_an_absent_one_are_one_line(tmp_path, pair, monkeypatch):
    with pytest.raises(UserError, match=r"^engine: expected native or mafft, not 'muscle'\.$"):
        alignments.align_pair(tmp_path, pair, "muscle")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"^mafft: no such program .* native engine \(needs nothing\)\.$"):
        alignments.align_pair(tmp_path, pair, "mafft")


@needs_mafft
def test_mafft_aligns_the_same_texts_and_is_kept_apart(tmp_path, pair, calls):
    pair = pair[(pair.prompt == "b") & (pair.model == "RLHF")]
    found = alignments.align_pair(tmp_path, pair, "mafft")
    assert calls == [] and texts_of(found) == texts_of(alignments.align_pair(tmp_path, pair))
    assert len(calls) == 5, "none of them MAFFT's"
    for _, part in found.groupby(["model", "prompt", "text"]):
        rows = [ids.tolist() for ids in part.ids]
        assert np.array_equal(alignments.matrix(part), alignment.mafft(rows))


def decode(ids):
    return "".join("aé😀\ud800"[each % 4] * 2 for each in ids)


def test_characters_of_generations_and_nulls_are_aligned_as_they_would_be_alone(tmp_path, pair):
    found = alignments.align_characters(tmp_path, pair, dict.fromkeys(("Base", "RLHF"), decode), seed=1)
    texts = {}
    for model, part in pair.groupby("model", sort=False):
        samples = ngrams.samples(part, 1)
        for place, prompt in enumerate("abc"):
            texts |= {(model, prompt, text): [decode(ids) for ids in samples[text][place]] for text in TEXTS}
    told = {key: [alignments.text_of(ids) for ids in ids_of] for key, ids_of in texts_of(found).items()}
    assert told == texts, "tokens are shuffled, not their characters"
    for key, part in found.groupby(["model", "prompt", "text"], sort=False):
        assert np.array_equal(alignments.matrix(part), alignment.align([list(map(ord, text)) for text in texts[key]]))


def test_characters_are_aligned_once_and_nulls_only_if_wanted(tmp_path, pair, calls):
    decoders = dict.fromkeys(("Base", "RLHF"), decode)
    found = alignments.align_characters(tmp_path, pair, decoders, nulls=False)
    assert set(found.text) == {GENERATIONS} and len(calls) == 2 * 3
    alignments.align_characters(tmp_path, pair, decoders)
    assert len(calls) == 2 * 3 + 2 * 3 * 2, "the nulls alone"


def test_the_papers_engine_is_mafft_where_it_is_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(alignment, "mafft_version", lambda: "v7")
    assert alignments.paper_engine() == "mafft"
    monkeypatch.undo()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert alignments.paper_engine() == "native"
