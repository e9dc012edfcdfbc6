"""What fits into memory: the cache counted on a real one, and what happens where memory ends."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import DynamicCache

from predact.errors import UserError
from predact.models import memory, sampling, scoring

TEXTS = ["the cat sat on the mat", "a dog ran", "to the river where the other cat saw a naïve café owner", "the"]


@pytest.mark.parametrize("heads", [4, 2, 1])
def test_cache_bytes_are_those_of_a_cache(make_model, heads):
    model, cache = make_model(num_key_value_heads=heads), None
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(torch.zeros(3, 7, dtype=torch.long), past_key_values=cache, use_cache=True)
    held = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert held == 3 * 7 * memory.cache_bytes(model.config, 4)


def test_on_a_cpu_nothing_is_planned_by_what_is_free(model):
    assert memory.free(model) is None
    assert (memory.positions(model), memory.rows(model, 10**9, 7)) == (1024, 7)


def test_a_spread_model_has_as_much_room_as_its_fullest_gpu(model, monkeypatch):
    """Of 2 GPUs one has 8,000 bytes free and 2,000 kept for later, the other 6,000: each holds half of the cache."""
    places = [torch.device("cuda", number) for number in range(2)]
    spread = SimpleNamespace(device=places[0], config=model.config, dtype=torch.float32)
    spread.parameters = lambda: [SimpleNamespace(device=place) for place in (places[0], places[1], places[0])]
    told = {"mem_get_info": ((8_000, 0), (6_000, 0)), "memory_reserved": (2_500, 0), "memory_allocated": (500, 0)}
    for name, values in told.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, values=values: values[device.index])
    assert memory.free(spread) == 6_000
    assert memory.positions(spread) == 4_800 // (24 * 32 * 4)
    assert memory.rows(spread, 3, 100) == 9_600 // (3 * 512)
    spread.parameters = lambda: [SimpleNamespace(device=places[0])]
    assert memory.free(spread) == 10_000 and memory.rows(spread, 3, 100) == 8_000 // (3 * 512)


@pytest.mark.parametrize(("free", "positions", "rows"), [(10**12, 2**15, 100), (10**7, 2604, 10), (1, 1, 1)])
def test_on_a_gpu_as_much_is_done_as_fits(model, monkeypatch, free, positions, rows):
    monkeypatch.setattr(memory, "free", lambda _: free)
    assert memory.positions(model) == positions  # 80 % of what is free / (24 * 32 numbers of 4 bytes)
    assert memory.rows(model, 1500, 100) == rows  # ... / (1,500 tokens of 512 bytes)


def limited(forward, most, calls):
    """A forward pass with room for so many rows."""

    def run(*arguments, **options):
        calls.append(len(options["input_ids"]))
        if calls[-1] > most:
            raise torch.OutOfMemoryError("no room")
        return forward(*arguments, **options)

    return run


@pytest.mark.parametrize("most", [1, 2, 3])
def test_scores_are_the_same_where_memory_ends(model, tokenizer, monkeypatch, most):
    whole, calls, seen = scoring.score(model, tokenizer, TEXTS), [], []
    monkeypatch.setattr(scoring.body(model), "forward", limited(scoring.body(model).forward, most, calls))
    sequences = [[tokenizer.bos_token_id, *ids] for ids in tokenizer(TEXTS, add_special_tokens=False).input_ids]
    scores = scoring.score_ids(
        model, sequences, [1] * 4, len(tokenizer), [], observe=lambda places, _: seen.extend(places.tolist())
    )
    np.testing.assert_allclose(scores.nll, whole.nll, atol=1e-5)
    assert max(calls) == 4 and sorted(seen) == list(range(len(scores.nll))), "each position is observed once"


def test_a_text_that_does_not_fit_alone_is_refused(model, tokenizer, monkeypatch):
    monkeypatch.setattr(scoring.body(model), "forward", limited(scoring.body(model).forward, 0, []))
    with pytest.raises(UserError, match=r"^context: \d+ tokens do not fit into memory; lower context"):
        scoring.score(model, tokenizer, TEXTS)


@pytest.mark.parametrize("most", [1, 3, 7])
def test_generations_are_the_same_where_memory_ends(model, tokenizer, monkeypatch, most):
    settings = sampling.Settings(generations=9, max_new_tokens=12)
    numbers = sampling.uniforms(0, [str(place) for place in range(9)], settings, 12)
    given = tokenizer("the cat", add_special_tokens=False).input_ids
    whole, calls = sampling.sample(model, tokenizer, [given], numbers, settings), []
    monkeypatch.setattr(model, "forward", limited(model.forward, most, calls))
    made = sampling.sample(model, tokenizer, [given], numbers, settings)
    assert [each.ids for each in made] == [each.ids for each in whole]
    assert max(calls) > most
    with pytest.raises(UserError, match="^max_new_tokens: one generation does not fit into memory"):
        calls.clear()
        monkeypatch.setattr(model, "forward", lambda *_, **options: _fail(options, calls, model))
        sampling.sample(model, tokenizer, [given], numbers, settings)


def _fail(options, calls, model):
    """The prompt is read; nothing after it fits."""
    calls.append(1)
    if len(calls) > 1:
        raise torch.OutOfMemoryError("no room")
    return type(model).forward(model, **options)
