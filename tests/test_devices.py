"""Every stage of every chapter on an emulated accelerator, and on two that share the layers: as on the CPU."""

from dataclasses import replace
from functools import partial

import emulated
import numpy as np
import pytest
import stages
import torch
from transformers import AutoModelForCausalLM

from predact.errors import UserError
from predact.methods import lowrank
from predact.models import loading, pairs, passages, scoring, tokens

ONE, TWO = (torch.device(emulated.DEVICE, number) for number in range(2))
HALVES = partial(stages.halves, str(ONE), str(TWO))
PLACES = {"cpu": lambda _: "cpu", "one device": lambda _: str(ONE), "two devices": HALVES}
APART = {"a device each": lambda model: str(TWO if model.source.endswith("rlhf") else ONE)}


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


def same(run, root, pair, place, alive=1):
    """Run a stage on the CPU and elsewhere, each with a store of its own; what comes out must be the same."""
    results = []
    for each in ("cpu", place):
        with stages.placed((PLACES | APART)[each], alive):
            results.append(stages.numbers(run(root / each, pair)))
    expected, found = results
    assert list(found) == list(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("place", list(PLACES)[1:])
@pytest.mark.parametrize("stage", stages.STAGES)
def test_a_stage_gives_what_it_gives_on_the_cpu(root, pair, place, stage):
    same(stages.STAGES[stage], root, pair, place)


@pytest.mark.parametrize("place", [*list(PLACES)[1:], *APART])
@pytest.mark.parametrize("stage", stages.POCKET)
def test_so_does_a_stage_of_the_pocket_world(root, place, stage):
    with stages.little():
        same(stages.POCKET[stage], root, pairs.pair("pocket"), place, alive=2)


def devices(model):
    return {each.device for each in model.parameters()}


def test_where_there_is_one_gpu_all_of_a_model_is_there(pair, monkeypatch):
    whole = AutoModelForCausalLM.from_pretrained

    def alone(*arguments, device_map, **options):
        assert device_map == "auto"
        return whole(*arguments, device_map=str(ONE), **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", alone)
    with stages.placed(lambda _: "auto"):
        assert devices(loading.load(pair.models["Base"])[0]) == {ONE}


@pytest.mark.parametrize("place", ["cpu", "disk"])
def test_a_model_too_large_for_the_gpus_is_not_put_on_the_cpu_in_silence(pair, monkeypatch, place):
    whole = AutoModelForCausalLM.from_pretrained

    def split(*arguments, device_map, **options):
        return whole(*arguments, device_map=stages.halves(str(ONE), place, pair.models["Base"]), **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", split)
    with stages.placed(lambda _: "auto"), pytest.raises(UserError, match="does not fit onto the GPUs here"):
        loading.load(pair.models["Base"])


@pytest.mark.parametrize(
    ("name", "parted"),
    [("pocket", HALVES), ("random", HALVES), ("random", lambda _: {"model": str(ONE), "lm_head": str(TWO)})],
    ids=["tied weights", "weights of its own", "alone on its device"],
)
def test_the_head_of_a_parted_model_of_half_precision_is_raised_to_float32(pair, name, parted):
    chosen = pair if name == "random" else pairs.pair(name)
    model, results = replace(chosen.models["RLHF"], dtype="bfloat16"), []
    for where in (PLACES["cpu"], parted):
        with stages.placed(where):
            loaded, tokenizer = loading.load(model)
        assert loaded.get_output_embeddings().weight.dtype == torch.float32
        assert loaded.get_input_embeddings().weight.dtype == torch.bfloat16
        ids = torch.tensor(tokens.encode(tokenizer, stages.TEXTS[:1]), device=loaded.device)
        with torch.inference_mode():
            logits = loaded(input_ids=ids).logits
        assert logits.dtype == torch.float32 and logits.device == loaded.device
        results.append((logits.cpu(), scoring.score(loaded, tokenizer, stages.TEXTS).nll))
    assert devices(loaded) == {ONE, TWO}
    torch.testing.assert_close(results[1][0], results[0][0], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(results[1][1], results[0][1], rtol=1e-5, atol=1e-5)


def test_a_trained_probe_is_where_its_layer_is(pair):
    with stages.placed(HALVES):
        model, tokenizer = loading.load(pair.models["Base"])
    texts = passages.gold_passages(tokenizer, [stages.CORPUS])
    probes = lowrank.train(model, len(tokenizer), texts, texts.take(range(8)), [0, 1, 2], rank=2)
    assert [devices(probe) for probe in probes] == [{ONE}, {ONE}, {TWO}]


REFUSED = {
    "a tensor of the CPU": lambda x: x + torch.ones(3),
    "one of another device": lambda x: x + torch.ones(3, device=TWO),
    "numpy": lambda x: x.numpy(),
    "an index of the CPU to gather by": lambda x: x.gather(0, torch.tensor([0])),
    "its index for a tensor of the CPU": lambda x: torch.ones(3)[x.long()],
    "a value of the CPU": lambda x: x.index_put_((torch.tensor([0, 1]),), torch.ones(2)),
}


@pytest.mark.parametrize("meet", REFUSED.values(), ids=list(REFUSED))
def test_the_emulated_device_refuses_what_a_gpu_does(meet):
    with pytest.raises((RuntimeError, TypeError)):
        meet(torch.zeros(3, device=ONE))


def test_the_emulated_device_takes_what_a_gpu_does():
    x = torch.arange(3, device=ONE) * torch.tensor(2.0)
    x[torch.tensor([0])] = 5
    x.view(3, 1)[2] = 7
    assert x.device == ONE and x.to(TWO).device == TWO and x.tolist() == x.cpu().tolist() == [5, 2, 7]
