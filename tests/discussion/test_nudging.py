"""Nudging: what is read of an answer against dense distributions, and the two tables by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
import vl_convert

from predact.discussion import nudging
from predact.discussion.nudging import BRANCHING, COUNTS, NUDGED, STRANGE
from predact.figures import discussion as nudging_figures
from predact.models import loading, pairs, sampling
from predact.models.tokens import Per
from predact.texts import prompts

SETTINGS = sampling.Settings(4, max_new_tokens=12)


@pytest.fixture(scope="module")
def pair():
    return pairs.pair("pocket")


@pytest.fixture(scope="module")
def asked(pair):
    return prompts.select(pair.prompts, 3)


@pytest.fixture(scope="module")
def read(pair, asked, tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    written = sampling.sample_pair(root, pair, asked, sampling.Settings(4, max_new_tokens=40))
    return root, written, nudging.read_answers(root, pair, asked, written, SETTINGS, each=3)


def dense(model, given, ids):
    """Entropy before each id, and its nll, in float64."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[*given, *ids]])).logits[0, len(given) - 1 : -1]
    log_p = logits[:, : len(loading.tokenizer(pairs.pair("pocket").models["Base"]))].double().log_softmax(1)
    return -(log_p.exp() * log_p).sum(1).numpy(), -log_p[range(len(ids)), list(ids)].numpy()


def test_own_answers_are_read_under_their_author_and_under_rlhf(pair, read):
    _, written, frame = read
    rlhf, base = (loading.loaded(pair.models[step])[0] for step in ("RLHF", "Base"))
    for step, author in (("RLHF", rlhf), ("Base", base)):
        row = written[(written.model == step) & (written.prompt == written.prompt[0])].iloc[0]
        ids = list(row.ids)[: SETTINGS.max_new_tokens]
        mine = frame[(frame.author == step) & (frame.prompt == row.prompt)].iloc[: len(ids)]
        assert mine.position.tolist() == list(range(len(ids))) and set(mine.nudge) == {0}
        np.testing.assert_allclose(mine.entropy, dense(author, row.given, ids)[0], atol=1e-3)
        question = written[(written.model == "RLHF") & (written.prompt == row.prompt)].given.iloc[0]
        np.testing.assert_allclose(mine.strange, dense(rlhf, question, ids)[1], atol=1e-3)


def test_base_goes_on_from_the_first_tokens_of_rlhf(pair, asked, read):
    root, written, frame = read
    (made,) = (pd.read_parquet(path) for path in root.glob("nudged/*.parquet"))
    assert set(made.nudge) == set(COUNTS) and len(made) == 3 * 3 * len(COUNTS)
    rlhf = written[(written.model == "RLHF") & (written["sample"] < 3)]
    framed = {each.id: sampling.ask(loading.tokenizer(pair.models["Base"]), each.text, pair.frame) for each in asked}
    for (prompt, count), part in made.groupby(["prompt", "nudge"]):
        begun = [framed[prompt] + list(ids)[:count] for ids in rlhf[rlhf.prompt == prompt].ids]
        assert list(map(list, part.given)) == begun
    row = made[made.nudge == 4].iloc[0]
    mine = frame[(frame.author == NUDGED) & (frame.nudge == 4) & (frame.prompt == row.prompt)].iloc[: len(row.ids)]
    assert mine.position.tolist() == list(range(4, 4 + len(row.ids)))
    base = loading.loaded(pair.models["Base"])[0]
    np.testing.assert_allclose(mine.entropy, dense(base, row.given, row.ids)[0], atol=1e-3)
    question = rlhf[rlhf.prompt == row.prompt].given.iloc[0]
    rlhf_model = loading.loaded(pair.models["RLHF"])[0]
    nll = dense(rlhf_model, [*question, *list(row.given)[-4:]], row.ids)[1]
    np.testing.assert_allclose(mine.strange, nll, atol=1e-3)


def test_a_stored_reading_loads_no_model(pair, asked, read, monkeypatch):
    root, written, frame = read
    monkeypatch.setattr(loading, "loaded", lambda *_: pytest.fail("a model was loaded"))
    pd.testing.assert_frame_equal(nudging.read_answers(root, pair, asked, written, SETTINGS, each=3), frame)


def tokens(author, nudge, entropies, strange=1.0, prompts=("a", "b")):
    parts = [
        pd.DataFrame({"position": range(nudge, nudge + len(entropies)), "entropy": entropies}).assign(prompt=prompt)
        for prompt in prompts
    ]
    return pd.concat(parts, ignore_index=True).assign(author=author, nudge=nudge, strange=strange)


def test_a_branching_factor_is_the_exponential_of_the_mean_entropy():
    frame = pd.concat([tokens("Base", 0, [np.log(2)] * 8 + [np.log(8)] * 8, prompts=range(20))])
    found = nudging.branching_by_position(frame)
    assert found[["first", "last"]].to_numpy().tolist() == [[0, 7], [8, 15]]
    assert found.prompts.tolist() == [20, 20]
    assert found.estimate.tolist() == pytest.approx([2, 8]) and found.low.tolist() == pytest.approx([2, 8])
    assert nudging.branching_by_position(frame[frame.prompt < 10]).empty, "80 tokens are too few"


def test_a_nudge_is_compared_with_the_same_positions():
    base, rlhf = [0.0] * 4 + [np.log(3)] * 60, [np.log(5)] * 4 + [np.log(7)] * 60
    frame = [tokens("Base", 0, base, 6.0), tokens("RLHF", 0, rlhf, 1.0)]
    frame += [tokens(NUDGED, 0, [np.log(4)] * 60, 5.0), tokens(NUDGED, 4, [np.log(9)] * 60, 2.0)]
    found = nudging.after_nudges(pd.concat(frame, ignore_index=True), horizon=8).set_index(
        ["measure", "model", "nudge"]
    )
    branching = found.estimate[BRANCHING]
    assert branching["Base"][0] == pytest.approx(np.sqrt(3)) and branching["Base"][4] == pytest.approx(3)
    assert branching["RLHF"][4] == pytest.approx(7) and branching[NUDGED].to_dict() == pytest.approx({0: 4, 4: 9})
    assert found.estimate[STRANGE][NUDGED].to_dict() == pytest.approx({0: 5, 4: 2})
    assert set(found.n) == {2}
    said = nudging.nudging_in_words(found.reset_index())
    assert "Given 4 tokens" in said and "is 9.00" in said and "**75 % of the way**" in said


def test_models_with_other_tokens_are_not_nudged(pair, asked, read, monkeypatch, tmp_path):
    _, written, _ = read
    monkeypatch.setattr(nudging, "compared_per", lambda _: Per.BYTE)
    frame = nudging.read_answers(tmp_path, pair, asked, written, SETTINGS, each=2)
    assert NUDGED not in set(frame.author) and frame.strange.isna().all() and frame.entropy.notna().all()
    after = nudging.after_nudges(frame)
    assert set(after.measure) == {BRANCHING} and "not nudged" in nudging.nudging_in_words(after)
    nudging_figures.branching_after_nudges(after).to_dict()


def test_figures_are_drawn(read):
    frame = pd.concat([read[2]] * 12)  # as if more prompts had been asked
    for chart in (
        nudging_figures.branching_along_answer(nudging.branching_by_position(frame)),
        nudging_figures.branching_after_nudges(nudging.after_nudges(frame)),
    ):
        assert vl_convert.vegalite_to_svg(chart.properties(width=700).to_json()).count("aria-roledescription") > 10
