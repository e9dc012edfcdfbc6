"""The accuracy of probes and its rule by hand, the crossed design's contrasts, and a whole run on random models."""

import json

import numpy as np
import pandas as pd
import pytest
import vl_convert

from predact.claims import foresight, materials
from predact.claims.foresight import AFTER, BEGINNINGS, CONTRASTS, OTHERS, QUESTIONS
from predact.figures import foresight as foresight_figures
from predact.methods import probes
from predact.methods.probes import AFFINE, SHUFFLED, SKIP, UNIGRAM, Design
from predact.methods.probing import OFFSETS
from predact.models import pairs, runs
from predact.models.passages import GOLD, OWN, own_passages
from predact.models.runs import Run
from predact.texts.corpora import Corpus
from tests.made import random_generations, shuffled
from tests.stages import TEXTS, random_pair

CORPUS = Corpus("tales", "narrative", ["the cat sat on the mat and the dog ran"] * 16, None, "tales")
WRITTEN = random_generations()


def test_the_token_n_places_after_the_one_being_predicted_has_offset_n_plus_one():
    grid = [(source, layer, offset) for source in (AFFINE, SHUFFLED) for layer in (1, 2) for offset in range(1, 9)]
    sums = pd.DataFrame(grid, columns=["source", "layer", "offset"])
    sums = sums.assign(kind=QUESTIONS, reader="Base", group=3, count=100.0, nll=1.0)
    sums["top-1"] = 10.0 * sums.layer + sums.offset
    sums = pd.concat([sums.assign(author="Base"), sums.assign(author=GOLD)])
    found = foresight.of_one_layer(sums, 2)
    assert found[["author", "n", "hits"]].to_numpy().tolist() == [["Base", 1, 22], ["Base", 2, 23], ["Base", 3, 24]]


def hits(given):
    """Hits of two prompts (of 10 and 30 positions), equal at every n but for 1 more of the second prompt's a step."""
    rows = [
        (kind, reader, author, n, group, count, each[group] - (n - 1) * group)
        for (kind, reader, author), each in given.items()
        for n in AFTER
        for group, count in enumerate((10, 30))
    ]
    return pd.DataFrame(rows, columns=["kind", "reader", "author", "n", "group", "count", "hits"])


CELLS = {("Base", "Base"): (2, 6), ("RLHF", "RLHF"): (4, 12), ("Base", "RLHF"): (3, 9), ("RLHF", "Base"): (1, 9)}
HITS = hits({(kind, *cell): each for kind in (BEGINNINGS, QUESTIONS) for cell, each in CELLS.items()})


def test_accuracy_by_hand():
    found = foresight.accuracy(HITS).set_index(["kind", "text", "model", "n"])
    assert len(found) == 2 * 2 * 2 * 3 and set(found.prompts) == {2} and set(found.positions) == {40}
    row = found.loc[BEGINNINGS, OWN, "RLHF", 1]
    assert (row.estimate, row.low, row.high) == (40, 40, 40)
    row = found.loc[QUESTIONS, OTHERS, "RLHF", 3]
    assert row.estimate == pytest.approx(100 * 8 / 40) and (row.low, row.high) == pytest.approx((10, 100 * 7 / 30))


def test_differences_are_paired_by_prompt_and_own_and_the_others_text_are_kept_apart():
    found = foresight.differences(HITS).set_index(["kind", "text", "n"])
    assert len(found) == 2 * 2 * 3 and set(found.prompts) == {2}
    for kind in (BEGINNINGS, QUESTIONS):
        row = found.loc[kind, OWN, 2]
        assert (row.estimate, row.low, row.high) == pytest.approx((20, 20, 20)), "the prompts differ, the models do not"
        row = found.loc[kind, OTHERS, 1]
        assert (row.estimate, row.low, row.high) == pytest.approx((-5, -20, 0))
    lacking = HITS[(HITS.group == 1) | (HITS.reader != HITS.author) | (HITS.reader == "Base")]
    with np.errstate(invalid="ignore"):  # some resamples of two prompts hold the lacking one alone
        row = foresight.differences(lacking).set_index(["kind", "text", "n"]).loc[QUESTIONS, OWN, 1]
    assert row.estimate == pytest.approx(100 * (12 / 30 - 8 / 40)), "a prompt tested with one text counts for that one"


def told(own, others):
    """What `foresight.differences` returns: one interval decides, all others lie far above 0."""
    rows = [
        (kind, text, n, *(decides if (kind, n) == (QUESTIONS, 2) else (9.0, 8.0, 10.0)), "points", 7)
        for kind in (BEGINNINGS, QUESTIONS)
        for text, decides in ((OWN, own), (OTHERS, others))
        for n in AFTER
    ]
    return pd.DataFrame(rows, columns=["kind", "text", "n", "estimate", "low", "high", "unit", "prompts"])


def test_a_reader_with_another_tokenizer_reads_its_own_text_and_gold(tmp_path, folders, make_model, make_tokenizer):
    other = make_tokenizer(text="zzz yyy xxx", bos_token="<s>")
    make_model(vocab_size=310).save_pretrained(tmp_path / "other")
    other.save_pretrained(tmp_path / "other")
    ids = np.random.default_rng(0).integers(5, 200, (16, 20))
    rows = [{"prompt": n, "sample": 0, "given": np.array([0]), "ids": each} for n, each in enumerate(ids)]
    frame = pd.concat([pd.DataFrame(rows).assign(model=model) for model in ("Base", "RLHF")])
    pair = pairs.pair(f"{folders[0]}::{tmp_path / 'other'}")
    found = probes.cross_probes(tmp_path, pair, frame, [CORPUS], Design([1], positions=100))
    cells = {("Base", "Base"), ("Base", GOLD), ("RLHF", "RLHF"), ("RLHF", GOLD)}
    assert set(found.groupby(["reader", "author"]).groups) == cells
    assert foresight.contrasts(found).empty


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


def test_two_readers_that_are_one_model_do_not_differ(tmp_path, folders):
    pair = pairs.pair(f"{folders[0]}::{folders[0]}")
    found = foresight.contrasts(
        probes.cross_probes(tmp_path, pair, WRITTEN, [CORPUS], Design([1, 2], [1], 10**5, rank=2))
    )
    between = found.set_index("contrast").loc[CONTRASTS[1:], ["estimate", "low", "high"]]
    assert (between == 0).all(axis=None)
    assert found.estimate[0] != 0, "its text and its text differ"


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
    found = foresight.judge_beyond(rows(DOWN, DOWN, DOWN, DOWN, interval))
    assert (found.id, found.protocol, found.verdict, found.estimate) == ("C9", "book", verdict, interval[0])
    assert found.n == 9


def test_where_neither_reads_the_other_the_claim_stays_open():
    nothing = rows().iloc[:0]
    found = foresight.judge_beyond(nothing)
    assert (found.verdict, found.estimate, found.n) == ("undecided", None, 0) and "tokenizers differ" in found.unit
    assert "not compared, for the tokenizers differ" in found._repr_html_() and "– to –" in found._repr_html_()
    assert "nothing tests the objection" in foresight.objection_in_words(nothing)


def test_figures_show_the_numbers_and_escape_the_tokens(tmp_path, folders):
    pair = pairs.pair(f"{folders[0]}::{folders[1]}")
    means = probes.probe_means(probes.cross_probes(tmp_path, pair, WRITTEN, [CORPUS], Design([0, 2], [1], 300, rank=2)))
    for chart in (foresight_figures.accuracy_by_offset(means), foresight_figures.heat_map(means)):
        spec = chart.to_dict()
        assert spec["width"] == "container" and "bits gained" in spec["description"].lower()
        svg = vl_convert.vegalite_to_svg(spec | {"width": 600})
        assert svg.count("<path") > 20
    names = [f"{reader} reads {author}" for reader in ("Base", "RLHF") for author in ("Base", "RLHF", GOLD)]
    assert all(name in svg for name in names)
    assert svg.count("tokens ahead: ") == 6 * 2 * OFFSETS, "a cell for each reader, author, layer and offset"
    texts = own_passages(WRITTEN[WRITTEN.model == "RLHF"], 3)
    seen = probes.lens(tmp_path, pair.models["RLHF"], texts, Design([2], positions=300))
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
    assert foresight.judge_beyond(shuffled(frame, seed)) == foresight.judge_beyond(frame)


@pytest.mark.parametrize(("interval", "verdict"), [("UP", "holds"), ("DOWN", "fails"), ("UNSURE", "undecided")])
def test_by_the_papers_measure_every_case_counts_and_the_least_is_told(interval, verdict):
    interval = {"UP": UP, "DOWN": DOWN, "UNSURE": UNSURE}[interval]
    frame = told(interval, DOWN)
    found = foresight.judge(frame)
    assert (found.id, found.protocol, found.verdict, found.estimate, found.n) == (
        "C9",
        "paper",
        verdict,
        interval[0],
        7,
    )
    assert foresight.judge(shuffled(frame)) == found


def test_shares_of_different_tokens_are_not_compared():
    alone = HITS[HITS.reader == HITS.author]
    assert foresight.differences(alone).empty and len(foresight.accuracy(alone)) == 2 * 2 * 3
    found = foresight.judge(foresight.differences(alone))
    assert (found.verdict, found.protocol, found.estimate) == ("undecided", "paper", None)
    assert "not compared, for the tokenizers differ" in found.unit


@pytest.fixture(scope="module")
def run(tmp_path_factory, make_model, tokenizer):
    folder = tmp_path_factory.mktemp("run")
    (folder / "tales.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    given = {"corpora": [str(folder / "tales.jsonl")], "prompts": str(folder / "asked.jsonl"), "documents": 16}
    given |= {"generations": 3, "max_new_tokens": 14, "completion_tokens": 20, "prefix": 3, "probe_positions": 120}
    (folder / "asked.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in TEXTS[:16]))
    pair = random_pair(folder, make_model, tokenizer)
    return Run("random", pair, runs.checked(given | {"layers": [0], "probe_rank": 2}), "full", folder / "store", 0)


def test_a_run_fits_a_probe_once_for_every_reader_author_and_kind_of_prompts(run, monkeypatch):
    fitted, fit = [], probes._fit_and_test

    def counted(model, passages, design):
        fitted.append((model.source[-4:], tuple(design.layers), design.tested))
        return fit(model, passages, design)

    monkeypatch.setattr(probes, "_fit_and_test", counted)
    sums = foresight.crossed(run)
    assert len(fitted) == 6 and {each[1:] for each in fitted} == {((0, 1), 30)}, "the layer of Figure 6 is added"
    found = foresight.one_layer(run)
    assert len(fitted) == 10 and {each[1:] for each in fitted[6:]} == {((1,), 120)}
    assert len(found.groupby(["kind", "reader", "author"])) == 8 and set(found.n) == set(AFTER)
    both = ["reader", "author"]
    asked = sums[(sums.source == AFFINE) & (sums.layer == 1) & (sums.offset == 3) & (sums.author != GOLD)]
    shared = found[(found.kind == QUESTIONS) & (found.n == 2)]
    assert shared.groupby(both).hits.sum().to_dict() == asked.groupby(both)["top-1"].sum().to_dict()
    assert len(foresight.differences(found)) == 12


def test_both_continue_the_same_beginnings_once_and_there_are_enough_of_them(run):
    made = foresight.beginnings(run)
    assert made.groupby("model").size().to_dict() == {"Base": 24, "RLHF": 24}, "4 * 120 / 20 documents of one corpus"
    base, rlhf = (made[made.model == step].set_index("prompt") for step in ("Base", "RLHF"))
    assert [list(each) for each in base.given] == [list(each) for each in rlhf.given]
    assert {len(each) for each in made.given} == {4} and max(map(len, made.ids)) == 20
    assert len({tuple(each) for each in base.ids}) > 12, "other random numbers for every beginning"


def test_documents_begin_like_pretraining_text_where_corpora_are_told_apart():
    names = {name: foresight._corpora(runs.run("pocket", corpora=[name])) for name in ("paper", "pocket")}
    assert set(names["paper"]) == {"wikipedia", "c4", "arxiv"} and len(names["pocket"]) == 9


def test_the_layer_is_the_papers_share_of_the_depth_unless_told(run):
    assert foresight.probe_layer(runs.run("pocket")) == 3
    assert foresight.probe_layer(runs.run("pocket", probe_layer=1)) == 1
    assert 32 * 7 // 8 == 28, "the paper's"
    assert foresight.design(runs.run("pocket", layers=[4, 2], probe_layer=1)).layers == [1, 2, 4]
    assert foresight.design(runs.run("pocket", layers=[4, 2])).trained == [2]


def test_work_is_what_a_run_may_take(run):
    work = foresight.probes_work(run)
    assert work["beginnings"].sampled == 2 * 24 * 20 and work["probes"].scored == 30 * 120
    assert work["generations"] == materials.generations_work(run)["generations"]
