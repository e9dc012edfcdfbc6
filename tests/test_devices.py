"""Every stage of every chapter on an emulated accelerator, and on two that share the layers: as on the CPU."""

from functools import partial

import emulated
import numpy as np
import pytest
import stages
import torch

from predact import loading, models

ONE, TWO = (torch.device(emulated.DEVICE, number) for number in range(2))
PLACES = {"cpu": lambda _: "cpu", "one device": lambda _: str(ONE), "two devices": partial(stages.halves, str(ONE), str(TWO))}


@pytest.fixture(autouse=True)
def alone():
    """Autograd computes in this thread: it has threads of its own for one emulated device only."""
    with torch.autograd.set_multithreading_enabled(False):
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="module")
def pair(tmp_path_factory, make_model, make_tokenizer):
    tokenizer = make_tokenizer(bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    return stages.random_pair(tmp_path_factory.mktemp("random"), make_model, tokenizer)


def same(run, root, pair, place):
    """Run a stage on the CPU and elsewhere, each with a store of its own; what comes out must be the same."""
    results = []
    for each in ("cpu", place):
        with stages.placed(PLACES[each]):
            results.append(stages.numbers(run(root / each, pair)))
    expected, found = results
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("place", list(PLACES)[1:])
@pytest.mark.parametrize("stage", stages.STAGES)
def test_a_stage_gives_what_it_gives_on_the_cpu(root, pair, place, stage):
    same(stages.STAGES[stage], root, pair, place)


@pytest.mark.parametrize("place", list(PLACES)[1:])
@pytest.mark.parametrize("stage", stages.POCKET)
def test_so_does_a_stage_of_the_pocket_world(root, place, stage):
    with stages.little():
        same(stages.POCKET[stage], root, models.pair("pocket"), place)
