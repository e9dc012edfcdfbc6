"""Mixtures at checkpoints: where the sliders can stand, and that their ends are the models themselves."""

import json
from types import SimpleNamespace

import pytest

from predact.errors import UserError
from predact.figures import laboratory as figures
from predact.lab import answers, ask, steer
from predact.lab.held import Held, holding
from predact.lab.steer import Place
from predact.models import loading, pairs
from predact.models.sampling import Generation, Settings
from predact.pocket import shipped

SETTINGS = Settings(generations=3, max_new_tokens=6)
QUESTION = "Where does the river begin?"


@pytest.fixture(scope="module")
def pair():
    return pairs.pair("pocket")


def test_the_stations_lead_from_base_to_rlhf_over_the_checkpoints_that_are_shipped(pair):
    found = steer.stations(pair)
    folders = sorted((shipped.SHIPPED / "models/checkpoints").glob("step*"))
    assert list(found) == ["SFT", *(f"step {int(each.name[4:])}" for each in folders), "RLHF"] and folders
    for folder, name in zip(folders, list(found)[1:-1], strict=True):
        assert json.loads((folder / "recipe.json").read_text())["step"] == int(name.split()[1])
        assert loading.config(found[name]).vocab_size == loading.config(pair.models["RLHF"]).vocab_size
    assert list(steer.stations(pairs.pair("pocket-dpo"))) == ["SFT", "RLHF"], "another run has no checkpoints"


@pytest.mark.parametrize(("weight", "step"), [(0.0, "Base"), (1.0, "RLHF")])
def test_at_the_ends_of_the_slider_one_model_answers_alone(pair, weight, step):
    held, found = Held(), []
    for room, write in (
        steer.writer(held, pair, "RLHF", [weight], QUESTION, SETTINGS),
        ask.writer(held, pair, step, QUESTION, SETTINGS),
    ):
        *_, made = answers.Answers().batches(step, QUESTION, SETTINGS, 0, room, write)
        found.append([each.ids for each in made])
    assert found[0] == found[1]


def test_what_is_shared_at_a_place_is_counted():
    long = list(range(12))
    found = [Generation(ids, [], "stop") for ids in (long, long, [99, *long], [1, 2])]
    assert steer.measured(Place(0.5, "SFT"), found) == {
        "station": "SFT",
        "weight": 0.5,
        "answers": 4,
        "different": 3,
        "sharing": 3,
    }


def test_places_are_shown_in_the_order_of_training_whatever_their_order_of_visits(pair):
    rows = {place: steer.measured(place, []) for place in (Place(1, "RLHF"), Place(0.5, "SFT"), Place(0, "RLHF"))}
    found = steer.visited(rows, pair)
    assert list(zip(found.station, found.weight, strict=True)) == [("SFT", 0.5), ("RLHF", 0), ("RLHF", 1)]


def test_a_sweep_visits_every_weight_with_every_station(pair):
    found = steer.sweep(Held(), pair, QUESTION, SETTINGS, 0, ["SFT", "RLHF"], (0.0, 1.0))
    assert list(zip(found.station, found.weight, strict=True)) == [(s, w) for s in ("SFT", "RLHF") for w in (0.0, 1.0)]
    assert (found.answers == 3).all() and found.different[0] == found.different[2], "at weight 0 it is Base alone"
    room, write = steer.writer(Held(), pair, "RLHF", [1.0], QUESTION, SETTINGS)
    *_, alone = answers.Answers().batches("RLHF", QUESTION, SETTINGS, 0, room, write)
    assert found.iloc[-1].to_dict() == steer.measured(Place(1.0, "RLHF"), alone), "as a slider finds it"
    told = figures.steering(found, steer.N).to_dict()["description"]
    assert f"SFT, weight 1: {found.sharing[1]} of 3" in told


def test_models_with_other_tokens_cannot_be_mixed(tmp_path, make_model, make_tokenizer, folders):
    make_model(2).save_pretrained(tmp_path)
    make_tokenizer("other words altogether", bos_token="<s>", eos_token="</s>").save_pretrained(tmp_path)
    other = pairs.pair(f"{folders[0]}::{tmp_path}")
    with pytest.raises(UserError, match="they cannot be mixed"):
        steer.writer(Held(), other, "RLHF", [0.5], QUESTION, SETTINGS)
    page = steer.page(Held(), other, QUESTION, SETTINGS, 0)
    assert "they cannot be mixed" in page.data


def test_where_only_one_model_fits_nothing_is_mixed(pair, monkeypatch):
    assert holding(pair).most == 2
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10**6))
    assert holding(pair).most == 1
    with pytest.raises(UserError, match="do not fit into memory together"):
        steer.writer(holding(pair), pair, "RLHF", [0.5], QUESTION, SETTINGS)
