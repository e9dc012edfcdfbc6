"""C11: the rule by hand, and greedy generations of tiny random models."""

import json

import pytest
import torch

from predact.claims import greedy, materials
from predact.claims.materials import Work
from predact.models import loading
from predact.models.passages import GREEDY, MATCHED, OWN
from predact.models.runs import Run, Settings
from predact.models.tokens import Per
from tests import stages
from tests.made import crossing, measured


def conditions(base, rlhf):
    return {("Base", GREEDY): measured(base, 5), ("RLHF", OWN): measured(rlhf, 5), ("RLHF", GREEDY): measured(0.1, 5)}


@pytest.mark.parametrize(("base", "rlhf", "said"), [(0.4, 0.6, "holds"), (0.6, 0.4, "fails"), (0.5, 0.5, "fails")])
def test_the_rule(base, rlhf, said):
    table, verdict = greedy.judge(conditions(base, rlhf), Per.TOKEN)
    expected = [1.005 * (rlhf - base) * (1 - (k - 1) / 63) for k in (1, 5, 10, 20)]
    assert table.k.tolist() == [1, 5, 10, 20] and table.estimate.tolist() == pytest.approx(expected)
    assert (verdict.id, verdict.verdict, verdict.protocol, verdict.n) == ("C11", said, "paper", 2)
    assert verdict.estimate == pytest.approx(min(expected))
    each, open_one = greedy.judge(conditions(base, rlhf), Per.BYTE)
    assert len(each) == 4 and (open_one.verdict, open_one.estimate) == ("undecided", None)
    others = {("Base", MATCHED): measured(0.9, 5), ("Base", OWN): measured(0.2, 5)}
    more, same = greedy.judge(others | conditions(base, rlhf), Per.TOKEN)
    assert same == verdict, "what Base samples stands beside, and decides nothing"
    first = more[more.k == 1].set_index("base").estimate
    assert first.to_dict() == pytest.approx(
        {GREEDY: expected[0], MATCHED: 1.005 * (rlhf - 0.9), OWN: 1.005 * (rlhf - 0.2)}
    )


def test_a_base_that_is_surer_of_its_likeliest_token_alone_is_enough_to_fail():
    """As in the paper: greedy Base above RLHF at k = 1, below it at 5, 10, 20."""
    made = conditions(0.4, 0.6) | {("Base", GREEDY): crossing(measured(0.4, 5), {1: 0.7})}
    table, verdict = greedy.judge(made, Per.TOKEN)
    assert (table.estimate > 0).tolist() == [False, True, True, True] and verdict.verdict == "fails"
    assert verdict.estimate == pytest.approx(1.005 * 0.6 - 0.7) and "the 1 likeliest" in verdict.unit


def test_it_is_open_where_prompts_disagree():
    mixed = measured(0.6, 5)
    mixed.mass[0] *= 0.5
    table, verdict = greedy.judge(conditions(0.4, 0.6) | {("RLHF", OWN): mixed}, Per.TOKEN)
    assert verdict.verdict == "undecided" and (table.low < 0).any() and (table.high > 0).all()


@pytest.fixture
def run(tmp_path, make_model, tokenizer):
    asked = tmp_path / "prompts.jsonl"
    asked.write_text("".join(json.dumps({"id": each.id, "prompt": each.text}) + "\n" for each in stages.ASKED[:3]))
    pair = stages.random_pair(tmp_path, make_model, tokenizer)
    told = {"max_new_tokens": 7, "temperature": 2.0, "generations": 5, "measured": 2, "base_top_p": 0.5}
    settings = Settings(prompts=str(asked), **told)
    return Run("random", pair, settings, "full", tmp_path / "store", 0)


def test_a_greedy_generation_is_the_likeliest_token_time_after_time(run):
    made = greedy.generations(run)
    assert made.groupby(["model", "prompt"]).size().tolist() == [1] * 6
    for row in made.itertuples():
        model, tokenizer = loading.load(run.pair.models[row.model])
        ids = list(row.given)
        for wanted in row.ids:
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1, : len(tokenizer)].argmax()))
            assert ids[-1] == wanted


def test_greedy_text_is_measured_like_own_text(run):
    found = greedy.conditions(run)
    made = greedy.generations(run)
    assert list(found) == [("Base", GREEDY), ("RLHF", GREEDY), ("Base", MATCHED)]
    matched = materials.matched(run)
    first = matched[(matched.model == "Base") & (matched["sample"] < 2)]
    assert found.pop(("Base", MATCHED)).counts.sum() == first.ids.map(len).sum()
    for (model, _), each in found.items():
        lengths = made[made.model == model].ids.map(len)
        assert each.counts.tolist() == lengths.tolist() and (each.positions["rank"] == 0).all()
    assert greedy.work(run)["greedy"] == Work(scored=2 * 3 * 7 + 3 * 2 * 7, sampled=2 * 3 * 7)
