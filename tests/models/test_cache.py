"""A cache with room holds what the one of transformers holds, and copies only where its room ends."""

import pytest
import torch
from transformers import DynamicCache, FalconH1Config, Gemma2Config, LlamaConfig, MambaConfig

from predact.models import cache


def states(tokens, rows=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, 4, tokens, 8, generator=draw) for _ in range(2)]


@pytest.mark.parametrize("steps", [[5, 1, 1, 1], [1] * 5, [3, 70, 1], [2, *[1] * 70]])
def test_keys_and_values_are_those_that_were_appended(model, steps):
    mine, theirs = cache.empty(model), DynamicCache(config=model.config)
    for step, tokens in enumerate(steps):
        for layer in range(2):
            keys, values = states(tokens, seed=10 * step + layer)
            found, expected = (each.update(keys.clone(), values.clone(), layer) for each in (mine, theirs))
            assert all(map(torch.equal, found, expected))
    assert mine.get_seq_length() == theirs.get_seq_length() == sum(steps)


def test_a_token_is_written_in_place_while_there_is_room(model):
    mine = cache.empty(model)
    places = []
    for step in range(4 + cache._ROOM):
        keys, _ = mine.update(*states(1, seed=step), 0)
        places.append(keys.data_ptr())
    assert len(set(places)) <= 4 and len(set(places[2:50])) == 1


def test_what_is_written_in_place_is_what_copies_would_be(model):
    ours, theirs = cache.empty(model), DynamicCache(config=model.config)
    draw = torch.Generator().manual_seed(0)
    for step in range(150):
        keys, values = torch.randn(2, 6, 4, 3 if step == 0 else 1, 8, generator=draw)[:, : len(rows(ours, 6))]
        found, expected = (each.update(keys, values, 0) for each in (ours, theirs))
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
        if step in (20, 100):
            left = torch.arange(len(keys))[::2]
            for each in (ours, theirs):
                each.layers[0].reorder_cache(left)
    assert ours.get_seq_length() == theirs.get_seq_length() == 152


def rows(held, first):
    """Rows that a cache holds; so many where it is still empty."""
    keys = held.layers[0].keys
    return range(first if keys is None else len(keys))


def test_which_models_keep_more_than_keys_and_values():
    kinds = {kind: cache.holds_states(kind()) for kind in (LlamaConfig, Gemma2Config, MambaConfig, FalconH1Config)}
    assert kinds == {LlamaConfig: False, Gemma2Config: False, MambaConfig: True, FalconH1Config: True}
