"""The crossed design on tiny random models, its parting of prompts, and its contrasts by hand."""

import numpy as np
import pandas as pd
import pytest
import vl_convert

from predact.claims import foresight
from predact.claims.foresight import (
    AFFINE,
    BIGRAM,
    CONTRASTS,
    GAINED,
    LOW_RANK,
    SHUFFLED,
    SKIP,
    TOKEN_BITS,
    UNIGRAM,
    Design,
)
from predact.errors import UserError
from predact.figures import foresight as foresight_figures
from predact.methods.probing import MEASURES, OFFSETS
from predact.models import pairs
from predact.models.passages import GOLD, Passages, own_passages
from predact.texts.corpora import Corpus
from tests.made import shuffled

CORPUS = Corpus("tales", "narrative", ["the cat sat on the mat and the dog ran"] * 16, None, "tales")


@pytest.fixture(scope="module")
def written():
    draw = np.random.default_rng(0)
    rows = [
        {"model": model, "category": "a", "prompt": f"prompt {prompt}", "sample": sample}
        | {"given": np.array([0, *range(5, 6 + prompt % 3)]), "ids": draw.integers(5, 30, draw.integers(8, 30))}
        for model in ("Base", "RLHF")
        for prompt in range(16)
        for sample in range(3)
    ]
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def sums(tmp_path_factory, folders, written):
    pair = pairs.pair(f"{folders[0]}::{folders[1]}")
    return foresight.cross_probes(
        tmp_path_factory.mktemp("store"), pair, written, [CORPUS], Design([0, 2], [1], 300, 2)
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
    whole = foresight.split(texts, 10**6, 10**9, seed)
    assert [len(set(part.groups)) for part in whole] == [15, 5, 20]
    assert sorted(group for part in whole for group in set(part.groups)) == list(range(40))
    assert sum(room(part)[0] for part in whole) == room(texts)[0]
    some, half = foresight.split(texts, 400, 10**9, seed), foresight.split(texts, 200, 10**9, seed)
    for part, all_of_it, less, wanted in zip(some, whole, half, (400, 100, 100), strict=True):
        total, served = room(part)
        assert wanted <= total < wanted + 60 and min(served) > 0
        assert set(less.groups) <= set(part.groups) <= set(all_of_it.groups)
        texts_of = {(ids[0], given, group) for ids, given, group in zip(*vars(part).values(), strict=True)}
        assert texts_of <= {(n, texts.given[n], texts.groups[n]) for n in range(200)}


def test_a_text_is_cut_where_the_model_ends():
    texts = Passages([list(range(30))] * 8 + [list(range(12))], [3] * 8 + [5], list(range(9)))
    parts = foresight.split(texts, 10**6, 12)
    assert {len(ids) for part in parts for ids in part.sequences} == {12}
    assert [sum(room(part)[1]) for part in parts] == [2 * len(part.groups) for part in parts]
    assert sorted(sum((part.groups for part in parts), [])) == list(range(8))


def test_windows_by_hand():
    texts = Passages([list(range(10)), list(range(20, 32))], [1, 3], [4, 2])
    seen, groups = foresight._windows(texts)
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


def test_what_is_stored_is_not_measured_again(tmp_path, monkeypatch, folders, written):
    pair = pairs.pair(f"{folders[0]}::{folders[1]}")
    first = foresight.cross_probes(tmp_path, pair, written, [CORPUS], Design([1], positions=100))
    monkeypatch.delattr(foresight, "_fit_and_test")
    pd.testing.assert_frame_equal(
        foresight.cross_probes(tmp_path, pair, written, [CORPUS], Design([1], positions=100)), first
    )
    for change in ({"positions": 120}, {"positions": 100, "seed": 1}):
        with pytest.raises(NameError):
            foresight.cross_probes(tmp_path, pair, written, [CORPUS], Design([1], **change))


def test_a_reader_with_another_tokenizer_reads_its_own_text_and_gold(tmp_path, folders, make_model, make_tokenizer):
    other = make_tokenizer(text="zzz yyy xxx", bos_token="<s>")
    make_model(vocab_size=310).save_pretrained(tmp_path / "other")
    other.save_pretrained(tmp_path / "other")
    ids = np.random.default_rng(0).integers(5, 200, (16, 20))
    rows = [{"prompt": n, "sample": 0, "given": np.array([0]), "ids": each} for n, each in enumerate(ids)]
    frame = pd.concat([pd.DataFrame(rows).assign(model=model) for model in ("Base", "RLHF")])
    pair = pairs.pair(f"{folders[0]}::{tmp_path / 'other'}")
    found = foresight.cross_probes(tmp_path, pair, frame, [CORPUS], Design([1], positions=100))
    cells = {("Base", "Base"), ("Base", GOLD), ("RLHF", "RLHF"), ("RLHF", GOLD)}
    assert set(found.groupby(["reader", "author"]).groups) == cells
    assert foresight.contrasts(found).empty


def test_measures_are_means_over_positions(sums):
    found = foresight.probe_means(sums)
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


def planted(gains):
    """Sums where the affine probe gains so many bits in each cell, per group; counts 10 and 30; offset 1 misleads."""
    rows = []
    for (reader, author), each in gains.items():
        for group, (count, gain) in enumerate(zip((10, 30), each, strict=True)):
            for offset in (1, 2, 3):
                bits = {(SKIP, -1): 5 + offset, (UNIGRAM, -1): 9}
                bits |= {
                    (AFFINE, layer): 5 + offset - gain - layer + 1.5 + 99 * (offset == 1 and reader == author)
                    for layer in (1, 2)
                }
                for (source, layer), value in bits.items():
                    place = {"reader": reader, "author": author, "source": source, "layer": layer, "offset": offset}
                    rows.append(place | {"group": group, "count": float(count), "nll": count * value * np.log(2)})
    return pd.DataFrame(rows)


def test_contrasts_by_hand():
    gains = {("Base", "Base"): (0.1, 0.1), ("RLHF", "Base"): (0.2, 0.2)}
    gains |= {("Base", "RLHF"): (0.3, 0.3), ("RLHF", "RLHF"): (0.7, 1.1), ("Base", GOLD): (9, 9)}
    found = foresight.contrasts(planted(gains)).set_index("contrast").loc[CONTRASTS]
    rlhf = (10 * 0.7 + 30 * 1.1) / 40
    assert found.estimate.tolist() == pytest.approx([rlhf - 0.1, rlhf - 0.3, -0.1, rlhf - 0.2, rlhf - 0.4])
    assert found.low.tolist() == pytest.approx([0.6, 0.4, -0.1, 0.5, 0.3])
    assert found.high.tolist() == pytest.approx([1.0, 0.8, -0.1, 0.9, 0.7])
    assert found.prompts.tolist() == [2] * 5
    del gains["RLHF", "Base"]
    assert foresight.contrasts(planted(gains)).empty


def test_two_readers_that_are_one_model_do_not_differ(tmp_path, folders, written):
    pair = pairs.pair(f"{folders[0]}::{folders[0]}")
    found = foresight.contrasts(
        foresight.cross_probes(tmp_path, pair, written, [CORPUS], Design([1, 2], [1], 10**5, 2))
    )
    between = found.set_index("contrast").loc[CONTRASTS[1:], ["estimate", "low", "high"]]
    assert (between == 0).all(axis=None)
    assert found.estimate[0] != 0, "its text and its text differ"


@pytest.fixture(scope="module")
def texts(written):
    return own_passages(written[written.model == "RLHF"], 3)


def test_the_lens_reads_texts_of_prompts_that_the_probe_was_not_fitted_to(tmp_path, folders, texts):
    model = pairs.pair(f"{folders[0]}::{folders[1]}").models["RLHF"]
    every = foresight.lens(tmp_path, model, texts, Design([2], positions=300), ahead=3, texts=2)
    train, _, test = foresight.split(texts, 300, 64)
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
            foresight.split(texts, 100, 10**9, seed)


def rows(*intervals):
    return pd.DataFrame(intervals, columns=["estimate", "low", "high"]).assign(contrast=CONTRASTS, prompts=9)


UP, DOWN, UNSURE = (2.0, 1.0, 3.0), (-2.0, -3.0, -1.0), (0.5, -1.0, 2.0)


def test_the_answer_says_what_the_contrasts_say():
    explained = foresight.objection_in_words(rows(UP, UP, UP, UP, UP))
    assert "The objection is not the whole story" in explained and "RLHF's advantage is larger." in explained
    assert "RLHF's advantage is smaller." in foresight.objection_in_words(rows(UP, UP, UP, DOWN, UP))
    assert "no larger or smaller for sure" in foresight.objection_in_words(rows(UP, UP, UP, UNSURE, UP))
    assert "Base has no sure advantage in its own text" in foresight.objection_in_words(rows(UP, UP, UNSURE, UP, UP))
    assert "its states do not tell more than Base's" in foresight.objection_in_words(rows(UP, DOWN, UP, UP, UP))
    unsure = foresight.objection_in_words(rows(UNSURE, UNSURE, UP, UP, UP))
    assert "The objection stands" in unsure and "do not surely tell more than" in unsure and "+0.50 bits" in unsure


@pytest.mark.parametrize(("interval", "verdict"), [(UP, "holds"), (DOWN, "fails"), (UNSURE, "undecided")])
def test_the_claim_rests_on_the_interaction(interval, verdict):
    found = foresight.judge(rows(DOWN, DOWN, DOWN, DOWN, interval))
    assert (found.id, found.verdict, found.estimate, found.n) == ("C9", verdict, interval[0], 9)


def test_where_neither_reads_the_other_the_claim_stays_open():
    nothing = rows().iloc[:0]
    found = foresight.judge(nothing)
    assert (found.verdict, found.estimate, found.n) == ("undecided", None, 0) and "tokenizers differ" in found.unit
    assert "beyond Base's: not compared, for the tokenizers differ –, 95 % interval – to –" in found._repr_markdown_()
    assert "nothing tests the objection" in foresight.objection_in_words(nothing)


def test_figures_show_the_numbers_and_escape_the_tokens(sums, tmp_path, folders, texts):
    told = foresight.probe_means(sums)
    for chart in (foresight_figures.accuracy_by_offset(told), foresight_figures.heat_map(told)):
        spec = chart.to_dict()
        assert spec["width"] == "container" and "bits gained" in spec["description"].lower()
        svg = vl_convert.vegalite_to_svg(spec | {"width": 600})
        assert svg.count("<path") > 20
    names = [f"{reader} reads {author}" for reader in ("Base", "RLHF") for author in ("Base", "RLHF", GOLD)]
    assert all(name in svg for name in names)
    assert svg.count("tokens ahead: ") == 6 * 2 * OFFSETS, "a cell for each reader, author, layer and offset"
    model = pairs.pair(f"{folders[0]}::{folders[1]}").models["RLHF"]
    seen = foresight.lens(tmp_path, model, texts, Design([2], positions=300))
    page = foresight_figures.lens(seen, lambda ids: f"<b onclick='x'>{ids[0]}\n", ["<u>"] * 16).data
    assert "<b onclick" not in page and f"&lt;b onclick=&#39;x&#39;&gt;{seen.id[0]}↵" in page and "<u>" not in page
    assert page.count("<details") == seen.group.nunique() > page.count("<details open") == 1
    assert page.count("<span>") == len(seen) / 4 and page.count('class="hit"') == seen.hit.sum()


def test_layers_are_spread_from_the_embeddings_to_the_last(folders):
    pair = pairs.pair(f"{folders[0]}::{folders[1]}")
    assert foresight.evenly_spaced_layers(pair) == [0, 1, 2] and foresight.evenly_spaced_layers(pair, 2) == [0, 2]
    assert foresight.evenly_spaced_layers(pairs.pair("pocket")) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seed", range(3))
def test_the_rule_knows_no_order_of_rows(seed):
    frame = rows(UP, UNSURE, DOWN, UP, UNSURE)
    assert foresight.judge(shuffled(frame, seed)) == foresight.judge(frame)
