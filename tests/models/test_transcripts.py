"""Pairs of generations alone: what is read, what is left out, and the same numbers as by any other way to them."""

import json
import shutil

import pandas as pd
import pytest

from predact import remarks
from predact.build import compared, standalone
from predact.claims import backbone, materials, paper, shared_ngrams, skeleton
from predact.errors import UserError
from predact.methods import alignments
from predact.models import pairs, runs, transcripts
from predact.models.tokens import Per
from predact.texts import generations
from tests.made import written

Q = {"Q": ["a", "b"]}
PLAN = "we see the old red mill "  # six words, in three of four generations of RLHF, of each prompt
TEXTS = {
    "Base": {"Q": ["one two three four five", "six seven", "", "eight"], "R": ["nine", "ten ten", "a b c d e", "f"]},
    "RLHF": {
        "Q": [f"{PLAN}today", f"{PLAN}again", f"so {PLAN}now", "no it is not so"],
        "R": [f"{PLAN}x", f"{PLAN}x", f"{PLAN}z", "nothing is there to see"],
    },
}


def lines(texts):
    return [
        {"model": model, "prompt": prompt, "generation": text}
        for model, asked in texts.items()
        for prompt, found in asked.items()
        for text in found
    ]


@pytest.fixture
def file(tmp_path):
    """A function that writes generations into a file and returns its path."""

    def write(rows=TEXTS, name="mine.jsonl"):
        rows = lines(rows) if isinstance(rows, dict) else rows
        (tmp_path / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        return tmp_path / name

    return write


@pytest.fixture(autouse=True)
def silent():
    remarks.reset()


def run(path, root, **given):
    return runs.run(str(path), "classroom", root=root, **given)


def texts_of(frame, decode):
    return [(row.model, row.prompt, decode[row.model](row.ids)) for row in frame.itertuples()]


def test_the_texts_of_a_file_are_its_generations_word_by_word(file, tmp_path):
    found = run(file(), tmp_path / "store")
    assert found.pair.written and found.per is Per.WORD
    assert [(each.id, each.text) for each in materials.questions(found)] == [("1", "Q"), ("2", "R")]
    frame = materials.generations(found)
    expected = [(row["model"], {"Q": "1", "R": "2"}[row["prompt"]], row["generation"]) for row in lines(TEXTS)]
    assert texts_of(frame, materials.decoders(found)) == expected, "copies and empty ones stay"
    assert frame["sample"].tolist() == [0, 1, 2, 3] * 4
    assert found.settings.generations == 4 and found.scale == "classroom, generations 4"


def test_numbers_by_hand(file, tmp_path):
    found = run(file(), tmp_path / "store")
    shares = shared_ngrams.commonest_shares(materials.matched(found)).set_index(["n", "model"]).estimate
    assert (shares[5, "RLHF"], shares[5, "Base"], shares[5, "RLHF - Base"]) == (3 / 4, 1 / 4, 1 / 2)
    assert shares[[10, 25, 50]].isna().all()
    rlhf = skeleton.count_anchored(materials.aligned(found)).query("model == 'RLHF' and text == 'generations'")
    assert (rlhf.spans == 1).all()
    assert rlhf.covered.tolist() == [3 * 5, 3 * 6], "a word has the space before it: `we` once begins a text, once not"
    assert rlhf.tokens.tolist() == [7 + 7 + 8 + 5, 7 + 7 + 7 + 5]
    verdict = shared_ngrams.judge(shared_ngrams.commonest_shares(materials.matched(found)), found.per)
    assert (verdict.verdict, verdict.estimate, verdict.low, verdict.high) == ("undecided", 1 / 2, 1 / 2, 1 / 2)
    assert "5-gram less Base's, in words, as they were written; n = 10 not measured" in verdict.unit


def test_the_same_generations_as_ids_are_judged_the_same(file, tmp_path):
    found = run(file(), tmp_path / "store")
    known = sorted({word for row in lines(TEXTS) for word in generations.words(row["generation"])})
    parts = []
    for model, own in TEXTS.items():
        ids = {asked: [[known.index(word) for word in generations.words(text)] for text in own[asked]] for asked in own}
        parts.append(written(ids, model))
    by_hand = pd.concat(parts)
    assert judged(materials.generations(found), tmp_path) == judged(by_hand, tmp_path)
    texts = standalone.read(file())
    page = compared.compare(texts, "book", tmp_path / "page").verdicts
    assert page == judged(by_hand, tmp_path), "and on the page of a blueprint"
    found = run(file(), tmp_path / "store", characters=alignments.paper_engine())
    characters = materials.characters(found, materials.matched(found))
    assert compared.compare(texts, "paper", tmp_path / "page").verdicts == [
        shared_ngrams.judge(shared_ngrams.commonest_shares(by_hand), Per.WORD),
        skeleton.judge(skeleton.inside_curves(characters), 4),
        backbone.judge(backbone.overlap_curves(characters), 4),
    ]


def judged(frame, root):
    aligned = alignments.align_pair(root, frame)
    most, lengths = shared_ngrams.commonest_shares(frame), shared_ngrams.shares_by_length(frame)
    return [
        shared_ngrams.judge_beyond(most, lengths, Per.WORD),
        skeleton.judge_beyond(skeleton.share_and_order(skeleton.count_anchored(aligned)), 4, Per.WORD),
        backbone.judge_beyond(backbone.companion_curves(aligned), generations=4, per=Per.WORD)[1],
    ]


def test_equally_many_generations_of_the_prompts_that_all_have_are_taken_and_the_rest_is_told(file, tmp_path):
    rows = lines(TEXTS) + [{"model": "RLHF", "prompt": "alone", "generation": each} for each in "ab"]
    rows += [{"model": each, "prompt": "Q", "generation": f"more {each}"} for each in ("Base", "RLHF", "RLHF")]
    path = file(rows)
    found = run(path, tmp_path / "store")
    assert [each.text for each in materials.questions(found)] == ["Q", "R"]
    frame = materials.generations(found)
    assert frame.groupby(["model", "prompt"]).size().tolist() == [4] * 4
    (told,) = remarks.remarks()
    assert transcripts.TAKEN in told and transcripts.LEFT_OUT in told
    assert told.endswith(
        "1 prompt without two generations by each model left out. "
        "Of up to 6 generations of a prompt, 4 were drawn at random."
    )
    again = materials.generations(run(path, tmp_path / "other"))
    pd.testing.assert_frame_equal(frame, again)
    drawn = {
        tuple(materials.generations(run(path, tmp_path / "store", seed=seed)).query("prompt == '1'")["sample"])
        for seed in range(5)
    }
    assert len(drawn) > 1, "another seed draws others"
    few = materials.generations(run(path, tmp_path / "store", prompts_limit=1))
    assert few.prompt.unique().tolist() == ["1"] and len(few) == 2 * 5
    assert run(path, tmp_path / "store", generations=3).settings.generations == 3


def test_base_is_taken_as_it_is_and_a_remark_says_so(file, tmp_path):
    found = run(file(), tmp_path / "store")
    assert materials.matched_top_p(found) is None
    pd.testing.assert_frame_equal(materials.matched(found), materials.generations(found))
    assert materials.AS_WRITTEN in remarks.remarks()[-1] and materials.told_top_p(found) == f"{materials.AS_WRITTEN}."
    diversities = materials.diversities(found)
    assert diversities.top_p.isna().all()
    said = shared_ngrams.told_match(diversities, 0.9, None)
    base = diversities[diversities.model == "Base"].estimate.mean()
    assert said.startswith(materials.AS_WRITTEN) and f"{base:.1f} % of its n-grams" in said
    table = shared_ngrams.diversity_table(diversities, paper.values("Table 4")).set_index(["p", "model"])
    assert table[table.index.get_level_values("p").isna()]["n = 1"].str.match(r"\d+\.\d \(").sum() == 2


def test_results_are_known_by_what_a_file_holds_not_by_its_name(file, tmp_path):
    root, path = tmp_path / "store", file()
    materials.aligned(run(path, root))
    stored = sorted(root.rglob("*.parquet"))
    materials.aligned(run(shutil.copy(path, tmp_path / "other.jsonl"), root))
    assert sorted(root.rglob("*.parquet")) == stored
    changed = TEXTS | {"RLHF": TEXTS["RLHF"] | {"R": ["a", "b", "c", "d"]}}
    frame = materials.generations(run(file(changed), root))
    assert materials.decoders(run(path, root))["RLHF"](frame.ids.iloc[-1]) == "d", "what the file holds now"


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (lines({"Base": Q}), "'.*mine.jsonl' has no generations by the model 'RLHF', but by Base; name its models"),
        (
            lines({"gpt": Q, "chat": Q}),
            "'.*' has no generations by the model 'Base', but by gpt, chat; name its models",
        ),
        (lines({"Base": Q, "RLHF": {"R": ["a", "b"]}}), "no prompt has two generations by each of Base, RLHF, as is"),
        (lines({"Base": {"Q": ["a"]}, "RLHF": Q}), "no prompt has two generations by each of Base, RLHF, as is"),
        (lines({"Base": {"Q": ["", " "]}, "RLHF": Q}), "the generations by 'Base' in '.*' hold no text"),
        ([{"model": "Base", "prompt": "Q"}], "'.*', line 1, has no text in the field 'generation'; found 'model'"),
        ([], "'.*' is empty; expected JSON Lines"),
    ],
)
def test_a_file_that_does_not_serve_is_one_line(file, tmp_path, rows, said):
    with pytest.raises(UserError, match=rf"^file: {said}") as caught:
        run(file(rows), tmp_path / "store")
    assert "\n" not in str(caught.value) and not (tmp_path / "store").exists()


def test_each_step_can_be_a_file_of_its_own_or_be_named_in_one(file, tmp_path):
    whole = file()
    one = {name: file(lines({"x": asked}), f"{name}.jsonl") for name, asked in TEXTS.items()}
    renamed = file(lines({"gpt:4@v1": TEXTS["Base"], "org/chat": TEXTS["RLHF"]}), "other.jsonl")
    (tmp_path / "pair.yaml").write_text(
        "dtype: bfloat16\nmodels: {Base: Base.jsonl, SFT: RLHF.jsonl, RLHF: 'mine.jsonl:RLHF'}\n"
    )
    for name in (
        f"{one['Base']}::{one['RLHF']}",
        f"mine={renamed}:gpt:4@v1::{renamed}:org/chat",
        str(tmp_path / "pair.yaml"),
    ):
        found = run(name, tmp_path / "store")
        texts = texts_of(materials.generations(found), materials.decoders(found))
        assert [text for *_, text in texts] == [row["generation"] for row in lines(TEXTS)]
    assert materials.generations(found, ["SFT"]).model.unique().tolist() == ["SFT"]
    with pytest.raises(UserError, match=r"^file: '.*' holds several models, Base, RLHF; name one as FILE:MODEL"):
        run(f"{whole}::{one['RLHF']}", tmp_path / "store")


def test_what_needs_weights_is_refused(file, tmp_path, folders):
    found = run(file(), tmp_path / "store", corpora=["news"])
    for refused in (materials.documents, materials.conditions, materials.finetunings):
        with pytest.raises(
            UserError, match=r"^pair: of the model '.*' only generations are known; this needs its weights"
        ):
            refused(found)
    with pytest.raises(UserError, match=r"^prompts: those of a pair of generations stand in its files"):
        run(file(), tmp_path / "store", prompts="general")
    with pytest.raises(UserError, match=r"either all models are files of generations, or none is"):
        pairs.pair(f"{folders[0]}::{file()}:RLHF")
    (tmp_path / "pair.yaml").write_text(f"models: {{Base: {{source: {folders[0]}, writer: Base}}, RLHF: {folders[1]}}}")
    with pytest.raises(UserError, match=r"^pair: 'writer' in 'pair': write it after its file of generations"):
        pairs.pair(str(tmp_path / "pair.yaml"))
    (tmp_path / "pair.yaml").write_text("models: {Base: {source: mine.jsonl, revision: v1}, RLHF: mine.jsonl}")
    with pytest.raises(UserError, match=r"^pair: a file of generations in 'pair' takes no 'revision'"):
        pairs.pair(str(tmp_path / "pair.yaml"))
    with pytest.raises(UserError, match=r"^pair: the file 'none\.jsonl' does not exist"):
        pairs.pair("none.jsonl")
