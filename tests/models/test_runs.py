"""Runs: which settings a scale has, what a user may set, and the one line that says what is wrong."""

import json
import math
from pathlib import Path

import pytest

from predact.errors import UserError
from predact.models import pairs, runs
from predact.models.runs import Settings
from predact.models.tokens import Per

ORDER = ("classroom", "laptop", "full")


def refused(said, *parts, **given):
    with pytest.raises(UserError) as error:
        runs.run("pocket", **given)
    told = str(error.value)
    assert told.startswith(f"{said}: ") and "\n" not in told and told[-1] in ".?"
    assert all(part in told for part in parts), told


def test_a_run_is_that_of_its_pair_unless_told_otherwise():
    run = runs.run("pocket", "full")
    assert (run.name, run.scale, run.root, run.seed, run.per) == ("pocket", "full", Path("_build/store"), 0, Per.TOKEN)
    assert run.pair == pairs.pair("pocket") and run.settings == Settings()
    assert runs.run("pocket").scale == pairs.pair("pocket").scale
    assert runs.run("a::b").scale == pairs.pair("a::b").scale == "full"
    assert runs.run("x=a::b").name == "x=a::b" and runs.run("x=a::b").pair.name == "x"
    other = runs.run("pocket", "laptop", 3, "elsewhere")
    assert (other.seed, other.root) == (3, Path("elsewhere"))


def test_the_text_of_the_scale_says_what_was_set_otherwise():
    usual = runs.scales()["laptop"]["documents"]
    assert runs.run("pocket", "laptop", documents=usual).scale == "laptop", "that is what the scale has"
    run = runs.run("pocket", "laptop", documents=usual + 1, temperature=1.0, top_p=0.5, corpora=["news"])
    assert run.scale == f"laptop, documents {usual + 1}, top_p 0.5, corpora ['news']"
    assert run.settings.documents == usual + 1 and run.settings.positions == runs.scales()["laptop"]["positions"]


def test_an_unknown_scale_is_named_with_the_near_one_and_all():
    refused("scale", "'labtop' is not known, did you mean 'laptop'?", "full, laptop, classroom", scale="labtop")
    refused("scale", "'xyz' is not known. Expected", scale="xyz")


def test_an_unknown_setting_is_named_with_the_near_one():
    refused("documnts", "no such setting, did you mean 'documents'?", documnts=7)
    refused("zzz", "no such setting.", zzz=7)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("documents", "7", "a valid integer"),
        ("documents", 7.5, "a valid integer"),
        ("documents", True, "a valid integer"),
        ("top_p", "much", "a valid number"),
        ("prompts", 3, "a valid string"),
        ("corpora", "news", "a valid list"),
        ("layers", [1, "two"], "a valid integer"),
        ("rates", ["fast"], "a valid number"),
    ],
)
def test_a_value_of_another_type_is_refused(name, value, expected):
    refused(name, expected, ", not ", **{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("documents", 0),
        ("prompts_limit", -1),
        ("generations", 0),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("base_top_p", -0.1),
        ("base_top_p", 1.1),
        ("diversity_prompts", -1),
        ("temperature", 0.0),
        ("top_k", -1),
        ("share", 0.0),
        ("share", 1.5),
        ("length", 1),
        ("orders", 0),
        ("window", 0),
        ("temperature", math.nan),
        ("mixtures", math.nan),
        ("mixtures", -math.inf),
        ("rates", math.inf),
        ("rates", 0.0),
    ],
)
def test_a_value_out_of_range_is_refused(name, value):
    several = name in ("mixtures", "rates")
    refused(name, "expected", f"{value}", **{name: [0.5, value] if several else value})


@pytest.mark.parametrize(("name", "value"), [("method", "lore"), ("engine", "muscle"), ("others", 4)])
def test_what_is_none_of_the_choices_is_refused_with_these(name, value):
    choices = {"method": "'auto', 'full' or 'lora'", "engine": "'native' or 'mafft'", "others": "30 or 50"}
    refused(name, "expected", choices[name], repr(value), **{name: value})


def test_the_first_of_several_mistakes_is_told():
    refused("documents", "expected", documents=0, top_p=7.0)


def test_numbers_without_a_point_pass_for_those_with_one():
    assert runs.checked({"temperature": 2, "top_p": 1}).temperature == 2


def test_settings_do_not_change():
    with pytest.raises(ValueError):
        Settings().documents = 3


def test_settings_reach_what_samples_and_finetunes():
    told = runs.checked(
        {"generations": 3, "top_p": 0.5, "top_k": 7, "max_new_tokens": 9, "rates": [0.1], "context": 64}
    )
    sampling, finetuning = told.sampling, told.finetuning
    assert (sampling.generations, sampling.top_p, sampling.top_k, sampling.max_new_tokens) == (3, 0.5, 7, 9)
    assert (finetuning.rates, finetuning.context, finetuning.updates) == ([0.1], 64, 64)


def test_every_setting_says_what_it_is_and_every_scale_sets_only_settings():
    assert all(field.description for field in Settings.model_fields.values())
    assert list(runs.scales()) == ["full", "laptop", "classroom"] and runs.scales()["full"] == {}
    for scale in runs.scales().values():
        assert runs.checked(scale) and scale.keys() <= Settings.model_fields.keys()
    assert json.loads(json.dumps(Settings().model_dump())) == Settings().model_dump(), "the store keeps them as JSON"


def test_a_smaller_scale_takes_less_of_everything_but_never_fewer_generations():
    settings = [runs.run("pocket", scale).settings for scale in ORDER]
    assert {each.generations for each in settings} == {100}
    assert {each.max_new_tokens for each in settings} == {256} and {each.measured for each in settings} == {20}
    for name in Settings.model_fields:
        values = [getattr(each, name) for each in settings]
        if name == "mixtures":
            assert set(values[0]) < set(values[1]) < set(values[2])
        elif isinstance(values[-1], (int, float)):
            all_at_0 = name.endswith("_limit") or name == "diversity_prompts"
            sizes = [each or float("inf") if all_at_0 else each for each in values]
            assert sizes == sorted(sizes), f"{name}: a smaller scale takes more"
        else:
            other = name in ("rates", "characters")
            assert other or values[1] == values[2], f"{name}: is something else at a smaller scale"


def test_every_pair_has_a_scale_that_is_known():
    assert {pair.scale for pair in pairs.pairs()} <= runs.scales().keys()
