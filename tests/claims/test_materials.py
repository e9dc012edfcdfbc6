"""Materials: what a run's settings make of them; corpora in turns; one name for what several claims need."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from predact.claims import materials, self_reading
from predact.claims.materials import Work
from predact.methods import alignments
from predact.models import runs
from predact.models.pairs import ENDS
from predact.texts import corpora
from predact.texts.corpora import Corpus


def corpus(name, category):
    return Corpus(name, category, ["a"], None, name)


@pytest.mark.parametrize(
    ("given", "turns"),
    [
        ("a1 a2 b1 b2 c1", "a1 b1 c1 a2 b2"),
        ("a1 a2 a3 b1", "a1 b1 a2 a3"),
        ("a1 b1 a2 b2", "a1 b1 a2 b2"),
        ("b1 a1 a2", "b1 a1 a2"),
        ("a1", "a1"),
    ],
)
def test_categories_take_turns_in_the_order_of_their_corpora(given, turns):
    found = materials.by_turns([corpus(name, name[0]) for name in given.split()])
    assert " ".join(each.name for each in found) == turns


def test_texts_and_questions_are_those_of_the_pair_unless_told_otherwise(tmp_path):
    usual = runs.run("pocket", "classroom", root=tmp_path)
    assert {each.name for each in materials.texts(usual)} > {"news", "stories"}
    assert len(materials.questions(usual)) == usual.settings.prompts_limit
    (tmp_path / "mine.txt").write_text("one two\n\nthree")
    other = runs.run("pocket", "classroom", root=tmp_path, corpora=[str(tmp_path / "mine.txt")], prompts="general")
    assert [each.category for each in materials.texts(other)] == ["file"]
    assert materials.questions(other)[0] != materials.questions(usual)[0]
    another = runs.run("pocket", "classroom", 1, tmp_path, corpora=["news"])
    assert (
        materials.texts(another)[0].texts
        != materials.texts(runs.run("pocket", "classroom", 0, corpora=["news"]))[0].texts
    )


def test_figures_three_to_five_read_the_eleven_sources_of_the_paper_where_its_nine_are_read(tmp_path):
    run = runs.run("llama2-7b", "classroom", root=tmp_path)
    eleven = corpora.expanded(materials.collapse_names(run))
    assert set(eleven) - set(corpora.expanded(run.pair.corpora)) == {"lima", "vicuna"} and len(eleven) == 11
    gold = 11 * run.settings.documents * materials.TOKENS
    own = run.settings.prompts_limit * run.settings.measured * run.settings.max_new_tokens
    assert materials.conditions_work(run)["conditions"].scored == 2 * (gold + own)
    assert self_reading.completions_work(run)["completions"].sampled == 2 * 13 * 4 * run.settings.completion_tokens
    mine = runs.run("llama2-7b", "classroom", root=tmp_path, corpora=["mine.txt", "paper"])
    assert materials.collapse_names(mine) == ["mine.txt", "paper-self"]


def test_decoders_are_of_each_model_named(tmp_path):
    run = runs.run("pocket", root=tmp_path)
    assert list(materials.decoders(run)) == list(ENDS) and materials.all_steps(run) == ["Base", "SFT", "RLHF"]
    decode = materials.decoders(run, materials.all_steps(run))
    assert set(decode) == {"Base", "SFT", "RLHF"} and isinstance(decode["SFT"]([30, 31]), str)


def test_what_is_scored_is_stored_and_summed_by_document(tmp_path):
    run = runs.run("pocket", root=tmp_path, corpora=["news", "config"], documents=2)
    tokens, documents = materials.scores(run), materials.documents(run)
    assert documents.groupby(["corpus", "model"]).size().tolist() == [2] * 6
    sums = tokens.dropna().groupby(["corpus", "model", "doc"]).nll.sum()
    found = documents.set_index(["corpus", "model", "doc"]).nll[sums.index]
    np.testing.assert_allclose(found, sums, rtol=1e-5)


def test_finetuning_takes_some_targets_in_turns(tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(materials.finetuned, "finetune_pair", lambda *arguments: given.append(arguments))
    told = {"finetuning_documents": 3, "corpora": ["news", "config"]}
    for more in ({}, {"targets": ["stories", "config"]}, {"targets_limit": 1}):
        materials.finetunings(runs.run("pocket", "full", 5, tmp_path, **told | more))
    named = [[each.name for each in texts] for _, _, texts, *_ in given]
    assert named == [["news", "config"], ["stories", "config"], ["news"]]
    assert all(len(each.texts) == 3 for _, _, texts, *_ in given for each in texts)
    root, _, _, settings, orders, seed, *_ = given[0]
    assert (root, orders, seed, settings.updates) == (tmp_path, 2, 5, 64)


LITTLE = {"generations": 3, "max_new_tokens": 12, "prompts_limit": 3, "diversity_prompts": 2}


def test_matched_generations_are_those_of_base_at_the_chosen_p_and_of_rlhf_at_the_runs(tmp_path, monkeypatch):
    run = runs.run("pocket", "classroom", root=tmp_path, **LITTLE)
    made, stored, shards = [], materials.sampling._sampled, materials.generations(run)
    monkeypatch.setattr(
        materials.sampling,
        "_sampled",
        lambda model, asked, settings, *rest: (
            made.extend((settings.top_p, name) for name, _ in asked) or stored(model, asked, settings, *rest)
        ),
    )
    table = materials.diversities(run)
    asked = [question.id for question in materials.questions(run)]
    others = [0.5, 0.6, 0.7, 0.8, 1.0, 0.6, 0.7, 0.8, 1.0]
    assert sorted(made) == sorted((p, name) for p in others for name in asked[:2]), "p = 0.9 is there, for both"
    assert table.groupby(["model", "top_p"]).size().to_dict() == {
        (model, p): 4 for model, nuclei in materials.NUCLEI.items() for p in nuclei
    }
    few = shards[shards.prompt.isin(asked[:2])]
    own = materials.diversity.unique_ngrams(few)
    usual = table[table.top_p == 0.9].reset_index(drop=True)[own.columns]
    pd.testing.assert_frame_equal(usual, own)
    monkeypatch.setattr(materials.diversity, "matched_top_p", lambda *given: made.append(given[1:]) or 0.6)
    made.clear()
    found = materials.matched(run)
    assert made[0] == (0.9, materials.NUCLEI["Base"]) and made[1:] == [(0.6, asked[2])]
    pd.testing.assert_frame_equal(
        found[found.model == "RLHF"].reset_index(drop=True), shards[shards.model == "RLHF"].reset_index(drop=True)
    )
    assert found.columns.equals(shards.columns) and found.model.unique().tolist() == list(ENDS)
    assert found[found.model == "Base"].prompt.unique().tolist() == asked


def test_a_given_p_is_taken_and_nothing_measured_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(materials, "diversities", lambda _: pytest.fail("diversity was measured"))
    run = runs.run("pocket", "classroom", root=tmp_path, base_top_p=0.9, **LITTLE)
    assert materials.matched_top_p(run) == 0.9
    pd.testing.assert_frame_equal(materials.matched(run), materials.generations(run))
    assert materials.matched_top_p(runs.run("pocket", root=tmp_path, base_top_p=0.35)) == 0.35


def test_a_p_of_the_run_that_is_not_in_the_table_is_measured_too(tmp_path):
    run = runs.run("pocket", "classroom", root=tmp_path, top_p=0.75, **LITTLE)
    assert 0.75 in materials.diversities(run).query("model == 'RLHF'").top_p.unique()
    assert materials.matched_top_p(run) in materials.NUCLEI["Base"]


@pytest.mark.parametrize(
    ("told", "answered"),  # prompts sampled beyond those of `generations`: nuclei * first prompts, and the rest
    [
        ({}, 9 * 2 + 1),
        ({"base_top_p": 0.7}, 9 * 2 + 1),
        ({"base_top_p": 0.9}, 9 * 2),
        ({"base_top_p": 0.65}, 9 * 2 + 3),
        ({"top_p": 0.95}, 11 * 2 + 1),
        ({"diversity_prompts": 0}, 9 * 3),
        ({"diversity_prompts": 7}, 9 * 3),
    ],
)
def test_work_of_matching_is_what_generations_do_not_hold(told, answered):
    run = runs.run("pocket", **LITTLE | told)
    work = materials.matched_work(run)
    assert work["matched generations"] == Work(sampled=answered * 3 * 12)
    assert work["generations"] == materials.generations_work(run)["generations"]


def test_work_is_counted_by_the_settings():
    run = runs.run("pocket", corpora=["news", "config"], documents=10, generations=7, max_new_tokens=5, measured=2)
    assert materials.documents_work(run) == {"documents": Work(scored=3 * 2 * 10 * 500)}
    questions = len(materials.questions(run))
    assert materials.generations_work(run) == {"generations": Work(sampled=3 * questions * 7 * 5)}
    conditions = materials.conditions_work(run)
    assert conditions["conditions"] == Work(scored=3 * (2 * 10 * 500 + questions * 2 * 5))
    assert conditions["generations"] == materials.generations_work(run)["generations"]
    told = {"targets": ["a", "b", "c"], "targets_limit": 2, "orders": 3, "updates": 9, "batch": 450}
    work = materials.finetunings_work(runs.run("pocket", "full", **told))
    assert work == {"finetunings": Work(learned=3 * 2 * 3.5 * 9 * 100)}


def test_characters_are_aligned_by_the_engine_that_is_set(tmp_path, monkeypatch):
    run = runs.run("pocket", "classroom", root=tmp_path)
    engines = []
    monkeypatch.setattr(alignments, "align_characters", lambda *given: engines.append(given[3]))
    monkeypatch.setattr(alignments, "paper_engine", lambda: "the paper's")
    written = pd.DataFrame({"model": ["Base", "RLHF"]})
    for engine in ("native", "mafft", "auto"):
        materials.characters(replace(run, settings=run.settings.model_copy(update={"characters": engine})), written)
    assert engines == ["native", "mafft", "the paper's"]
    assert run.settings.characters == "native" and runs.run("pocket", "full").settings.characters == "auto"
