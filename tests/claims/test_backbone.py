"""Alignments kept in the store, and what is measured on them, by hand and against the functions for one alignment."""

import shutil

import numpy as np
import pandas as pd
import pytest

from predact.claims import backbone, skeleton
from predact.claims.backbone import LEAST_OTHERS
from predact.claims.skeleton import COVERED, SPANS
from predact.errors import UserError
from predact.methods import alignment, alignments, ngrams
from predact.methods.alignments import HALVES, TEXTS
from predact.methods.ngrams import GENERATIONS, SHUFFLED

needs_mafft = pytest.mark.skipif(not shutil.which("mafft"), reason="needs MAFFT")


def written(texts, model="Base"):
    """Generations as `sampling.of_pair` gives them, without the columns that no one reads here."""
    rows = [
        {"model": model, "category": f"of {prompt}", "prompt": prompt, "sample": sample, "ids": np.array(ids, np.int64)}
        for prompt, generations in texts.items()
        for sample, ids in enumerate(generations)
    ]
    return pd.DataFrame(rows)


def own(seed, *parts):
    """A text of tokens that no other has around the passages given."""
    fresh = np.arange(1000 * (seed + 1), 1000 * (seed + 2))
    return [int(token) for place, part in enumerate(parts) for token in (*fresh[5 * place :][:5], *part)]


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


def test_curves_are_those_of_each_alignment_of_100_generations(tmp_path, pair):
    found = backbone.companion_curves(alignments.align_pair(tmp_path, pair), others=[1, 2], bins=20)
    assert set(found) == {(model, text) for model in ("Base", "RLHF") for text in TEXTS}
    samples = ngrams.samples(pair[pair.model == "RLHF"])
    for text in TEXTS:
        for place, rows in enumerate(samples[text]):
            expected = 100 / len(rows) * alignment.aligned_along(alignment.align(rows), [1, 2], 20)
            assert found["RLHF", text][place] == pytest.approx(expected)
    assert found["RLHF", GENERATIONS].shape == (3, 2, 20) and found["RLHF", GENERATIONS].any()


def test_curves_and_their_means_by_hand(tmp_path):
    texts = {"a": [[1, 2, 3, 4]] * 4, "b": [[1, 2, 5, 6], [1, 2, 7, 8], [9, 10, 11, 12], [13]]}
    found = backbone.companion_curves(alignments.align_pair(tmp_path, written(texts)))
    own = found["Base", GENERATIONS]
    assert own.shape == (2, len(LEAST_OTHERS), 100)
    assert (own[0, :3] == 100).all() and not own[:, 3:].any(), "each is aligned with three others"
    assert (own[1, 0, :38] == 50).all() and not own[1, 0, 38:].any() and not own[1, 1:].any(), "1, 2 in two of four"
    frame = backbone.mean_curves(found)
    assert frame.columns.tolist() == [
        *["others", "position", "model", "text", "unit", "prompts", "estimate", "low", "high"]
    ]
    frame = frame[frame.text == GENERATIONS]
    assert frame.position.tolist() == [percent + 0.5 for percent in range(100)] * len(LEAST_OTHERS)
    assert frame.others.tolist() == [m for m in LEAST_OTHERS for _ in range(100)]
    assert set(frame.prompts) == {2} and set(frame.unit) == {"generations of 100"}
    first = frame[frame.others == 1]
    assert first.estimate.tolist() == [75] * 38 + [50] * 62, "bin 37 is nearer to token 1 of 4 than to token 2"
    assert first.low.tolist() == [50] * 38 + [0] * 62 and (first.high == 100).all()
    assert (frame.estimate[frame.others.isin([2, 3])] == 50).all() and not frame.estimate[frame.others > 3].any()


def test_spans_of_one_half_are_looked_for_in_the_other(tmp_path):
    both, even, late = list(range(8)), list(range(50, 70)), list(range(80, 86))
    rows = [own(row, both, late) if row % 2 else own(row, both, even, late) for row in range(8)]
    found = skeleton.count_anchored(alignments.align_pair(tmp_path, written({"a": rows}))).set_index("text")
    assert found.columns.tolist() == ["model", "prompt", "spans", "tokens", "covered", "agreeing", "pairs"]
    odd_tokens, even_tokens = 4 * (10 + 14), 4 * (15 + 34)
    first, second = (found.loc[half, found.columns[2:]].tolist() for half in HALVES)
    assert first == [3, odd_tokens, 4 * 14, 4, 4], "what only the even ones have is not in the odd ones"
    assert second == [2, even_tokens, 4 * 14, 4, 4], "and is no span of the odd ones"
    whole = [3, odd_tokens + even_tokens, 8 * 14 + 4 * 20, 4 + 4 * 3, 4 + 4 * 3]
    assert found.loc[GENERATIONS, found.columns[2:]].tolist() == whole
    assert not found.loc[SHUFFLED, ["spans", "covered", "agreeing", "pairs"]].any()
    assert set(found.index) == {*TEXTS, *HALVES} and found.loc[SHUFFLED, "tokens"] == odd_tokens + even_tokens


def test_share_and_length_are_those_of_the_spans(tmp_path):
    rows = [own(row, range(6), range(50, 58)) if row < 2 else own(row, range(6)) for row in range(4)]
    aligned = alignments.align_pair(tmp_path, written({"a": rows}))
    found = [skeleton.count_anchored(aligned, *each).spans[0] for each in [(0.5, 5), (0.75, 5), (0.5, 7), (0.75, 7)]]
    assert found == [2, 1, 1, 0]


@pytest.mark.parametrize(("turned", "agreement"), [((), 1), ((2, 3), 0.5), ((1, 2, 3), 0.75), ((0, 1, 2, 3), 1)])
def test_an_order_turned_round_in_half_of_the_generations_agrees_in_half_of_the_pairs(tmp_path, turned, agreement):
    left, right = list(range(10)), list(range(50, 58))
    texts = {}
    for prompt in "ab":
        orders = [[right, left] if row // 2 % 4 in turned else [left, right] for row in range(16)]
        texts[prompt] = [own(row, *each) for row, each in enumerate(orders)]
    counts = skeleton.count_anchored(alignments.align_pair(tmp_path, written(texts)))
    assert counts.set_index("text").pairs[list(HALVES)].tolist() == [8] * 4, "both spans are found, wherever they stand"
    row = skeleton.share_and_order(counts).query("measure == @backbone.ORDER").iloc[0]
    assert (row.estimate, row.low, row.high, row.prompts) == (agreement, agreement, agreement, 2)


def counts(text, covered=(0, 0), tokens=(9, 9), spans=(0, 0), agreeing=(0, 0), pairs=(0, 0), model="Base"):
    columns = {"covered": covered, "tokens": tokens, "spans": spans, "agreeing": agreeing, "pairs": pairs}
    return pd.DataFrame({"model": model, "text": text, "prompt": ["a", "b"]} | columns)


def test_shares_numbers_and_order_by_hand():
    frame = pd.concat(
        [
            counts(GENERATIONS, (10, 40), (40, 60), (2, 5), agreeing=(0, 0), pairs=(99, 99)),
            counts(HALVES[0], (1, 1), (2, 2), (9, 9), agreeing=(3, 1), pairs=(4, 2)),
            counts(HALVES[1], (1, 1), (2, 2), (9, 9), agreeing=(4, 0), pairs=(4, 0)),
            counts(SHUFFLED, (0, 9), (9, 9), (0, 2), agreeing=(0, 1), pairs=(0, 3)),
            counts(GENERATIONS, (6, 6), (12, 12), (1, 1), model="RLHF"),
            *(counts(half, model="RLHF") for half in HALVES),
        ],
        ignore_index=True,
    )
    found = skeleton.share_and_order(frame)
    assert found.columns.tolist() == ["measure", "model", "text", "estimate", "low", "high", "unit", "prompts"]
    assert set(found.text) == {GENERATIONS, SHUFFLED} and (found.unit == found.measure).all()
    rows = found.set_index(["model", "text", "measure"])
    own = rows.loc["Base", GENERATIONS]
    assert own.loc[COVERED, ["estimate", "low", "high"]].tolist() == [0.5, 10 / 40, 40 / 60]
    assert own.loc[SPANS, ["estimate", "low", "high"]].tolist() == [3.5, 2, 5]
    assert own.loc[skeleton.ORDER, ["estimate", "low", "high"]].tolist() == [8 / 10, 1 / 2, 7 / 8], "of the halves"
    null = rows.loc["Base", SHUFFLED]
    assert null.estimate.tolist() == [0.5, 1, 1 / 3] and null.prompts.tolist() == [2, 2, 1], "order: where there is one"
    assert rows.loc["RLHF", GENERATIONS].estimate.to_dict() == {COVERED: 0.5, SPANS: 1}, "no two spans, no order"


def test_one_prompt_gives_estimates_without_intervals(tmp_path):
    made = written({"a": [own(row, range(6), range(50, 58)) for row in range(6)]})
    aligned = alignments.align_pair(tmp_path, pd.concat([made, made.assign(model="RLHF")], ignore_index=True))
    curves = backbone.mean_curves(backbone.companion_curves(aligned))
    order = skeleton.share_and_order(skeleton.count_anchored(aligned))
    for frame in (curves, order):
        assert (
            set(frame.prompts) == {1} and frame[["low", "high"]].isna().all(axis=None) and frame.estimate.notna().all()
        )
    assert order.query("model == 'RLHF' and text == @GENERATIONS").estimate.tolist() == [14 / 24, 2, 1]
    assert curves[(curves.others == 5) & (curves.text == GENERATIONS)].estimate.max() == 100


@pytest.mark.parametrize("generations", [[[], []], [[], [4], []]])
def test_texts_of_nothing_are_aligned_and_hold_nothing(tmp_path, generations):
    aligned = alignments.align_pair(tmp_path, written({"a": generations, "b": [[1, 2], [1, 3]]}))
    part = aligned[(aligned.prompt == "a") & (aligned.text == GENERATIONS)]
    assert np.array_equal(alignments.matrix(part), alignment.align(generations))
    assert not skeleton.count_anchored(aligned)[["spans", "covered", "agreeing", "pairs"]].any(axis=None)
    assert not backbone.companion_curves(aligned)["Base", GENERATIONS][0].any()


def test_one_generation_of_a_prompt_leaves_none_to_hold_out(tmp_path):
    aligned = alignments.align_pair(tmp_path, written({"a": [[1, 2, 3, 4, 5, 6]]}))
    assert not skeleton.count_anchored(aligned)[["spans", "covered", "pairs"]].any(axis=None)
