"""Measures of variety, each on a case that can be done by hand, and the targets that they are held against."""

import json
import math

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from predact.methods import alignment, diversity
from predact.pocket import world
from predact.recipe import variety


def test_words_have_letters_and_inner_marks_only():
    assert variety.words("The well-kept cat's 3 paws, 'all' of them — été.") == [
        "the", "well-kept", "cat's", "paws", "all", "of", "them", "été",
    ]  # fmt: skip


def test_sentences_end_with_a_mark_or_a_line():
    text = 'He came. "Did he?" she asked.\nTitle\n\n1. 2.\nIt cost 3.5 crowns!'
    assert variety.sentence_lengths(text) == [2, 2, 2, 1, 3]


def test_type_token_ratio_by_hand():
    assert variety.type_token_ratio("a b A c. d e", window=4) == 0.75
    assert math.isnan(variety.type_token_ratio("a b c", window=4))


def test_slope_of_a_power_law_is_its_exponent():
    counts = 1e6 * np.arange(1, 5001) ** -1.1
    assert variety.zipf_slope(np.random.default_rng(0).permutation(counts)) == pytest.approx(-1.1)
    assert variety.zipf_slope([16, 4, 1], ranks=(1, 2)) == pytest.approx(-2), "16 at rank 1, 4 at rank 2"
    low, high = variety.zipf_slope([8, 4, 2], ranks=(1, 3)), variety.zipf_slope([8, 4, 8 / 3], ranks=(1, 3))
    assert low < high == pytest.approx(-1)


def test_a_sample_takes_as_much_of_each_corpus():
    assert variety.sample([["a b", "b c c c"], ["x"]], share=4) == {"a": 1, "b": 2, "c": 1, "x": 1}


def test_documents_by_hand():
    table = variety.of_documents(["One two. Three four five six.", "One. Two."])
    assert table.words["mean"] == 4 and table.sentence["mean"] == 2 and table.words["50%"] == 4


def test_answers_by_hand():
    alike = variety.of_answers(["a b c d e."] * 4, align=alignment.align)
    assert alike["unique1"] == pytest.approx(100 * 6 / 24) and alike["unique4"] == pytest.approx(100 * 3 / 12)
    assert (alike["common5"], alike["common10"], alike["overlap"]) == (100, 0, 0)  # fewer than five share a column
    texts, ids = ["aaaa bbbb"] * 4 + ["cccc dddd"] * 4, [[1, 2, 3, 4, 5]] * 6 + [[6] * 5] * 2
    halves = variety.of_answers(texts, ids, alignment.align)
    assert halves["common5"] == 75 and halves["unique1"] == pytest.approx(100 * 6 / 40)
    same = variety.of_answers(["a b c d e."] * 10, align=alignment.align)
    assert same["overlap"] == pytest.approx(100)


def test_targets_are_complete_and_name_corpora_that_there_are():
    told = variety.targets()
    assert all({"name", "of", "unit", "source"} < set(each) for each in told["targets"])
    assert all({"low", "high", "band", "as"} & set(each) for each in told["targets"])
    assert set(told["real"]["like"]) == set(world.CORPORA | world.HELD_OUT)
    assert {kind for kinds in told["real"]["like"].values() for kind in kinds} <= set(told["real"]["corpora"])
    bounds = {each["name"]: each for each in told["targets"]}
    assert all(f"unique{n}" in bounds for n in range(1, diversity.LONGEST + 1))
    assert all(f"common{n}" in bounds for n in variety.SHARED)


def test_the_command_measures_files(tmp_path):
    path = tmp_path / "few.jsonl"
    path.write_text("".join(json.dumps({"text": " ".join(f"w{chr(97 + i)}" for i in range(20))}) + "\n" for _ in "ab"))
    app = typer.Typer()
    app.command()(variety.main)
    shown = CliRunner().invoke(app, [str(path)])
    assert shown.exit_code == 0 and "40 words, 20 forms" in shown.output
