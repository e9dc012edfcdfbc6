"""A cache with room holds what the one of transformers holds, and copies only where its room ends."""

import pytest
import torch
from transformers import DynamicCache

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


def test_rows_that_are_taken_out_go_on_alone(model):
    mine, theirs = cache.empty(model), DynamicCache(config=model.config)
    for each in (mine, theirs):
        each.update(*states(5), 0)
        each.update(*states(1, seed=1), 0)
        each.batch_select_indices(torch.tensor([2, 0]))
        each.update(*states(1, rows=2, seed=2), 0)
    assert torch.equal(mine.layers[0].keys, theirs.layers[0].keys)
    assert torch.equal(mine.layers[0].values, theirs.layers[0].values)
