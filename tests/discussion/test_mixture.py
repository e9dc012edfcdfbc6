"""Mixtures: the ends are the two models, the middle a geometric mean; and what they lose at a matched reward."""

import numpy as np
import pandas as pd
import pytest
import torch
import vl_convert

from predact.discussion import frontier, mixture
from predact.figures import discussion as mixture_figures
from predact.models import loading, pairs, sampling, scoring
from predact.pocket import human, shipped, world
from predact.recipe import trajectory
from predact.recipe.answers import Answers
from predact.recipe.recipe import SCALES

SETTINGS = sampling.Settings(3, top_p=1.0, max_new_tokens=24)


@pytest.fixture(scope="module")
def pair():
    return pairs.pair("pocket")


@pytest.fixture(scope="module")
def both(pair):
    return tuple(loading.load(pair.models[step]) for step in ("Base", "RLHF"))


@pytest.fixture(scope="module")
def predicted(pair, tmp_path_factory):
    return mixture.mixture_documents(tmp_path_factory.mktemp("store"), pair, (0.0, 0.5, 1.0), documents=3)


def mixed(both, weight, prompts):
    (base, tokenizer), (rlhf, _) = both
    numbers = sampling.uniforms(0, [f"a/{number}" for number in range(3)], SETTINGS, 100)
    given = tuple([list(prompt)] * 3 for prompt in prompts)
    return mixture.sample_mixture(
        mixture.Mixture((base, rlhf)), tokenizer, given, [weight] * 3, numbers, SETTINGS
    ), numbers


@pytest.fixture(scope="module")
def prompts(pair, both):
    return sampling.ask(both[0][1], "How is harvest pie made?", pair.frame), sampling.ask(both[1][1], "How?", None)


@pytest.mark.parametrize("end", [0, 1])
def test_at_its_ends_a_mixture_is_one_of_its_models(both, prompts, end):
    found, numbers = mixed(both, float(end), prompts)
    model, tokenizer = both[end]
    expected = sampling.sample(model, tokenizer, [prompts[end]], numbers, SETTINGS)
    assert [each.ids for each in found] == [each.ids for each in expected]
    for mine, alone in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine.log_probabilities, alone.log_probabilities, atol=1e-4)


def test_in_the_middle_it_is_their_geometric_mean(both, prompts):
    found, _ = mixed(both, 0.5, prompts)
    with torch.inference_mode():
        for each in found:
            log_p = [
                model(input_ids=torch.tensor([[*given, *each.ids]])).logits[0, len(given) - 1 : -1].double()
                for (model, _), given in zip(both, prompts, strict=True)
            ]
            mean = (sum(logits[:, : len(both[0][1])].log_softmax(1) for logits in log_p) / 2).log_softmax(1)
            wanted = mean[range(len(each.ids)), each.ids]
            np.testing.assert_allclose(each.log_probabilities[: len(each.ids)], wanted, atol=1e-4)


def test_rows_of_several_mixtures_do_not_mix(both, prompts):
    (base, tokenizer), (rlhf, _) = both
    weights = [0.0, 0.9, 1.0] * 3
    alone = {weight: mixed(both, weight, prompts)[0] for weight in (0.0, 0.9, 1.0)}
    numbers = np.repeat(mixed(both, 0.0, prompts)[1], 3, axis=0)
    given = tuple([list(prompt)] * 9 for prompt in prompts)
    found = mixture.sample_mixture(mixture.Mixture((base, rlhf)), tokenizer, given, weights, numbers, SETTINGS)
    for row, (weight, each) in enumerate(zip(weights, found, strict=True)):
        assert each.ids == alone[weight][row // 3].ids


def test_documents_are_predicted_by_the_ends_as_by_the_models(both, predicted):
    for weight, (model, tokenizer) in ((0.0, both[0]), (1.0, both[1])):
        for corpus in ("news", "config"):
            drawn = [world.document(corpus, "validation", place) for place in range(3)]
            texts = [each.text for each in drawn]
            alone = scoring.documents(scoring.score(model, tokenizer, texts), texts)
            mine = predicted[(predicted.weight == weight) & (predicted.corpus == corpus)]
            np.testing.assert_allclose(mine.nll, alone.nll, rtol=1e-5)
            assert mine.floor.tolist() == pytest.approx([-each.log_probability for each in drawn])
            assert mine.bytes.tolist() == alone.bytes.tolist()


def test_a_mixture_never_predicts_worse_than_the_mean_of_its_models(predicted):
    wide = predicted.pivot(index=["corpus", "doc"], columns="weight", values="nll")
    assert (wide[0.5] <= (wide[0.0] + wide[1.0]) / 2 + 1e-3).all(), "Hölder's inequality"


@pytest.fixture(scope="module")
def acted():
    """Answers of two mixtures to four questions: rewards that differ by question, one of them alike throughout."""
    rows = [
        {"weight": weight, "question": question, "ids": ids, "entropy": 2.0 * len(ids), "reward": reward, "text": ""}
        for weight, level in ((0.5, 0.4), (1.0, 0.7))
        for question, own in enumerate((-0.1, 0.1, -0.2, 0.2))
        for ids, reward in ((list(range(12)), level + own), (list(range(7 * (weight == 0.5), 12)), level + own))
    ]
    return pd.DataFrame(rows)


def test_where_a_mixture_stands_by_hand(acted, predicted):
    found = mixture.mixture_frontier(acted, predicted[predicted.weight > 0]).set_index(["weight", "measure"])
    assert found.estimate[0.5]["reward"] == pytest.approx(0.4) and found.estimate[1.0]["reward"] == pytest.approx(0.7)
    assert found.estimate[0.5]["share10"] == 0.5 and found.estimate[1.0]["share10"] == 1.0
    assert found.estimate[0.5]["entropy"] == pytest.approx(2)
    part = predicted[predicted.weight == 0.5]
    sums = part.assign(lost=part.nll - part.floor).groupby("corpus")[["lost", "bytes"]].sum()
    assert found.estimate[0.5]["excess"] == pytest.approx((sums.lost / sums.bytes).mean() / np.log(2))
    assert (found.low < found.estimate).loc[0.5]["reward"] and (found.high > found.estimate).loc[0.5]["reward"]


def test_what_is_bought_back_by_hand():
    rows = [(0.0, 0.1, -0.5), (0.5, 0.2, 0.0), (0.875, 0.4, 0.6), (1.0, 0.5, 0.7)]
    wide = pd.DataFrame(rows, columns=["weight", "excess", "reward"])
    told = mixture.near_rlhf_in_words(wide.melt("weight", var_name="measure", value_name="estimate"))
    assert "0.125 of Base" in told and "**25 %**" in told and "0.400 bits per byte instead of 0.500" in told
    assert "**8 %**" in told and "0.60 instead of 0.70" in told  # 0.1 of 1.2


def test_base_stands_where_the_mixture_with_weight_0_stands(predicted):
    rows = [(question, list(range(9)), 0.1 * question + 0.01 * place) for question in range(4) for place in range(2)]
    own = pd.DataFrame(rows, columns=["question", "ids", "reward"]).assign(weight=0.0, entropy=9.0, text="")
    base = mixture.of_base(mixture.mixture_frontier(own, predicted[predicted.weight == 0]))
    assert base["reward"] == pytest.approx(own.reward.mean()) and base["low"] < base["reward"] < base["high"]
    assert 0 < base["excess"] < 0.05, "near the world"


def run(levels):
    """A run whose reward on each of four questions is the mixtures' own deviation around a level of each step."""
    return pd.DataFrame({"rewards": [[level - 0.1, level + 0.1, level - 0.2, level + 0.2] for level in levels]})


def test_a_run_is_taken_where_it_first_earned_as_much(acted, predicted):
    path = pd.DataFrame({"run": "a", "excess": [0.2, 0.4, 0.3], "share10": [0.1, 0.5, 0.9], "entropy": [3.0, 2.0, 1.0]})
    found = mixture.against_runs(acted, predicted[predicted.weight > 0], {"a": run([0.3, 0.5, 0.5])}, path)
    assert set(found.weight) == {0.5}, "the other earns more than the run ever does"
    found = found.set_index("measure")
    assert found.stopped.to_dict() == pytest.approx({"excess": 0.3, "share10": 0.3, "entropy": 2.5})
    assert found.estimate.to_dict() == pytest.approx((found.mixture - found.stopped).to_dict())
    assert found.low["share10"] == pytest.approx(found.high["share10"]), "rewards move together: paired"
    assert "not" not in mixture.mixtures_in_words(found.reset_index()) and "earns 0.40" in mixture.mixtures_in_words(
        found.reset_index()
    )


def test_no_match_is_said(acted, predicted):
    path = pd.DataFrame({"run": "a", "excess": [0.2, 0.3], "share10": [0.1, 0.5], "entropy": [3.0, 2.0]})
    found = mixture.against_runs(acted, predicted[predicted.weight > 0], {"a": run([0.8, 0.9])}, path)
    assert found.empty and "No mixture" in mixture.mixtures_in_words(found)


def test_answers_to_the_questions_are_judged(pair, tmp_path, monkeypatch):
    asked = sorted(human.questions("validation")[:4], key=lambda each: -len(each.prompt))  # not as they are batched
    monkeypatch.setattr(human, "questions", lambda _: asked)
    made = mixture.mixture_answers(tmp_path, pair, (0.0, 0.9), samples=2)
    assert made.groupby(["weight", "question"]).size().tolist() == [2] * 8
    assert list(dict.fromkeys(made.question)) == [each.id for each in asked], "beside rewards of runs by question"
    known, eos = {each.id: each for each in asked}, loading.tokenizer(pair.models["Base"]).eos_token_id
    for row in made.itertuples():
        assert row.reward == human.judge(known[row.question], row.text)["reward"]
        assert row.text == loading.tokenizer(pair.models["Base"]).decode(row.ids, skip_special_tokens=True)
        assert len(row.ids) <= SCALES["full"].rlhf.tokens and (
            row.ids[-1] == eos or len(row.ids) == SCALES["full"].rlhf.tokens
        )
    monkeypatch.setattr(loading, "load", lambda *_: pytest.fail("a model was loaded"))
    pd.testing.assert_frame_equal(mixture.mixture_answers(tmp_path, pair, (0.0, 0.9), samples=2), made)


def test_rlhf_alone_is_measured_as_a_run_is_recorded(pair, both, tmp_path, monkeypatch):
    """One way for all: the recorder, given the answers of the mixture at 1, finds the same entropy."""
    asked = human.questions("validation")[:3]
    monkeypatch.setattr(human, "questions", lambda _: asked)
    made = mixture.mixture_answers(tmp_path, pair, (0.0, 1.0), samples=2)
    own, (rlhf, tokenizer) = made[made.weight == 1], both[1]
    known = {each.id: each for each in asked}
    questions = [known[name] for name in own.question]
    prompts = [sampling.ask(tokenizer, each.prompt, None) for each in questions]
    recorded = trajectory.distribution(rlhf, rlhf, tokenizer, Answers(questions, prompts, own.ids.map(list).tolist()))
    assert own.entropy.sum() / own.ids.map(len).sum() == pytest.approx(recorded["entropy"], rel=1e-4)


def test_the_figure_is_drawn(acted, predicted):
    paths = frontier.paths(shipped.runs(shipped.SHIPPED / "trajectories"))
    chart = mixture_figures.mixtures_on_frontier(
        mixture.mixture_frontier(acted, predicted[predicted.weight > 0]), paths
    )
    assert "mixtures by the weight of RLHF: 0.5: 0.40 at" in chart.description
    assert vl_convert.vegalite_to_svg(chart.properties(width=700).to_json()).count("aria-roledescription") > 50
