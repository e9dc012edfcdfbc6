"""Decoding as a step that can be recorded gives what the model gives; on a GPU it is recorded: `make gpu`."""

import pytest
import torch

from predact.models import cache, decoding

LEFT = {7: [0, 1, 3], 9: [1, 2]}  # of the rows, after so many tokens


def read(model, ids, mask):
    held = cache.empty(model)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    model(input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=held)
    return held


@pytest.mark.parametrize("kind", ["plain", "graph"])
@torch.inference_mode()
def test_a_step_gives_the_logits_of_a_plain_pass(make_model, kind):
    """Rows of different lengths, some of which leave."""
    model, tokens = make_model(0), torch.randint(10, 60, (4, 12), generator=torch.Generator().manual_seed(1))
    padding = torch.tensor([0, 2, 0, 3])
    mask = (torch.arange(5) >= padding[:, None]).long()
    rows = torch.arange(4)
    if kind == "plain":
        decoder = decoding.start(model, read(model, tokens[:, :5], mask), rows, 7, mask)
        assert isinstance(decoder, decoding.Plain)
    else:
        decoder = decoding.Graph(model, read(model, tokens[:, :5], mask), mask, 7)
    for place in range(5, 12):
        if place in LEFT:
            decoder.keep(torch.tensor(LEFT[place]))
            rows = rows[LEFT[place]]
        found = decoder.step(tokens[rows, place])
        for row, logits in zip(rows.tolist(), found, strict=True):
            whole = model(input_ids=tokens[row : row + 1, padding[row] : place + 1]).logits[0, -1]
            torch.testing.assert_close(logits, whole, rtol=1e-4, atol=1e-4)
    assert rows.tolist() == [1, 3]


def test_a_model_whose_step_cannot_be_recorded_is_called_step_by_step(make_model, monkeypatch):
    def fail(*_):
        tried.append(1)
        raise RuntimeError("operation not permitted when stream is capturing")

    model, tried, rows = make_model(0), [], torch.arange(2)
    mask = torch.ones(2, 5, dtype=torch.long)
    monkeypatch.setattr(decoding, "_RECORDING", ("cpu",))
    monkeypatch.setattr(decoding.Graph, "_begin", fail)
    for _ in range(2):
        held = read(model, torch.full((2, 5), 11), mask)
        assert isinstance(decoding.start(model, held, rows, 3, mask), decoding.Plain)
    assert len(tried) == 1
