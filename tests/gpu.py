"""Every stage of every chapter on the GPUs that are here, against the CPU, and how fast a model is on one: `make gpu`.

Where there are two GPUs or more, also with half of the layers on a second one. A GPU rounds differently: generations
must be the same, numbers nearly.
"""

import time
from functools import partial

import numpy as np
import pytest
import stages
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from predact.build import check
from predact.models import cache as caches
from predact.models import decoding, loading, pairs

COUNT = torch.cuda.device_count()
TOLERANCE = 1e-2  # mean difference, in mean sizes: training and ranks make more of what rounding leaves
PLACES = {"all GPUs": loading._device_map} | ({"two GPUs": partial(stages.halves, 0, 1)} if COUNT > 1 else {})
SIZES = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
SIZES |= {"num_key_value_heads": 8, "vocab_size": 128_256, "max_position_embeddings": 8192}

pytestmark = pytest.mark.skipif(COUNT == 0, reason="PyTorch finds no GPU here")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="module")
def pair(tmp_path_factory, make_model, make_tokenizer):
    tokenizer = make_tokenizer(bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    return stages.random_pair(tmp_path_factory.mktemp("random"), make_model, tokenizer)


def near(run, root, pair, place, alive=1):
    """Run a stage on the CPU and on the GPUs, each with a store of its own."""
    results = []
    for name, where in (("cpu", lambda _: "cpu"), (place, PLACES[place])):
        with stages.placed(where, alive):
            results.append(stages.numbers(run(root / name, pair)))
    expected, found = results
    assert list(found) == list(expected)
    for name, wanted in expected.items():
        assert found[name].shape == wanted.shape, name
        if name in ("given", "ids"):
            np.testing.assert_array_equal(found[name], wanted, err_msg=name)
        elif name not in ("seen", "hit"):  # the likeliest token of a probe that is unsure
            wanted, off = wanted.astype(float), found[name] - wanted.astype(float)
            np.testing.assert_array_equal(np.isnan(off), np.isnan(wanted), err_msg=name)
            assert np.nansum(np.abs(off)) <= TOLERANCE * np.nansum(np.abs(wanted)), name


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("stage", stages.STAGES)
def test_a_stage_gives_what_it_gives_on_the_cpu(root, pair, place, stage):
    near(stages.STAGES[stage], root, pair, place)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("stage", stages.POCKET)
def test_so_does_a_stage_of_the_pocket_world(root, place, stage):
    with stages.little():
        near(stages.POCKET[stage], root, pairs.pair("pocket"), place, alive=2)


def seconds(run, times=10):
    """Seconds that something takes on the GPU, after once to warm up."""
    run()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(times):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / times


def peaks():
    """FLOP/s of one large product of matrices in bfloat16, and bytes/s of a copy, read and written."""
    square = torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda")
    block = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    return 2 * len(square) ** 3 / seconds(lambda: square @ square), 2 * len(block) / seconds(block.clone)


@torch.inference_mode()
def test_a_recorded_step_gives_what_a_plain_one_gives(make_model):
    """Also after half of the rows have left, and with weights that have changed since."""
    model, more = make_model(0).cuda(), torch.randint(10, 60, (8, 12), device="cuda")
    mask = (torch.arange(5, device="cuda") >= torch.tensor([0, 1, 0, 3] * 2, device="cuda")[:, None]).long()
    for _ in range(2):
        found = []
        for recorded in (True, False):
            rows = torch.arange(8, device="cuda")
            held = caches.empty(model)
            model(input_ids=more[:, :5], attention_mask=mask, position_ids=mask.cumsum(1) - 1, past_key_values=held)
            assert decoding.can_be_recorded(model, held)
            decoder = decoding.Graph(model, held, mask, 7) if recorded else decoding.Plain(model, held, rows, mask)
            logits = [decoder.step(more[:, place]) for place in (5, 6, 7)]
            for place, left in (8, [0, 1, 3, 4, 5, 7]), (9, [1, 2, 4]):
                rows = rows[left]
                decoder.keep(torch.tensor(left, device="cuda"))
                logits.append(decoder.step(more[rows, place]))
            found.append(logits)
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        for weight in model.parameters():
            weight.mul_(1.1)


def test_how_fast_a_model_of_a_billion_parameters_is(capsys):
    """Scoring is told as a share of what a product of matrices reaches here, sampling of what copying does."""
    pair = pairs.pair("pocket")
    with torch.device("cuda"):
        model = loading._float32_head(LlamaForCausalLM(LlamaConfig(**SIZES)).bfloat16().eval())
    rates = check.measure_rates(model, loading.tokenizer(pair.models["Base"]), pair.frame)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_RECORDING", ())
        plain = check.measure_rates(model, loading.tokenizer(pair.models["Base"]), pair.frame).sampled
    read = [each for each in model.parameters() if each is not model.get_input_embeddings().weight]
    computed = 2 * sum(each.numel() for each in read) * rates.scored
    moved = sum(each.nbytes for each in read) * rates.sampled / 100  # 100 rows read all weights together
    product, copied = peaks()
    with capsys.disabled():
        print(f"\n{torch.cuda.get_device_name()}: {model.num_parameters() / 1e9:.2f} billion parameters in bfloat16")
        print(f"scoring: {rates.scored:,.0f} tokens/s, {computed / product:.0%} of {product / 1e12:,.0f} TFLOP/s")
        print(f"sampling: {rates.sampled:,.0f} tokens/s, {moved / copied:.0%} of {copied / 1e12:.2f} TB/s")
        print(f"sampling step by step: {plain:,.0f} tokens/s")
    assert rates.scored > 0 and rates.sampled > 0
