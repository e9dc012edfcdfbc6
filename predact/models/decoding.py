"""Decoding: rows that go on together, a token of each at a step.

On a GPU a step of a small model takes as long as the CPU needs to start its kernels, one after the other. So there, a
step is recorded once, as a CUDA graph, and then started as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor
from transformers import DynamicCache, StaticCache

from predact.models import cache as caches

_RECORDING = ("cuda",)  # kinds of devices
_unrecorded = WeakSet[Any]()  # models that were tried
_ROPE = ("default", "linear", "llama3", "yarn")  # rotations that do not change with the length


class Plain:
    """Rows that are decoded by calling the model. Ended rows leave some together, since that copies the cache."""

    def __init__(self, model: Any, cache: Any, rows: Tensor, mask: Tensor | None):
        """Begin after what was read, see `start`."""
        self.model, self.cache, self.mask = model, cache, mask
        self._begin(rows)

    def _begin(self, rows: Tensor) -> None:
        self.rows, self.ids = rows, torch.zeros_like(rows)[:, None]  # of the batch: those that go on

    def keep(self, going: Tensor) -> None:
        """Let only some of the rows go on."""
        self.rows = self.rows[going]
        if len(self.rows) <= 0.9 * len(self.ids):
            self.cache.reorder_cache(self.rows)
            self.mask = None if self.mask is None else self.mask[self.rows]
            self._begin(torch.arange(len(self.rows), device=self.rows.device))

    def step(self, tokens: Tensor) -> Tensor:
        """Read the next token of each row [rows]; return the logits [rows, V] of what comes after it."""
        self.ids[self.rows, 0] = tokens
        masked = {}
        if self.mask is not None:
            positions = self.mask.sum(1, keepdim=True)
            self.mask = torch.cat([self.mask, torch.ones_like(positions)], 1)
            masked = {"attention_mask": self.mask, "position_ids": positions}
        output = self.model(input_ids=self.ids, past_key_values=self.cache, use_cache=True, **masked)
        return output.logits[self.rows, -1]


class Graph:
    """Rows that are decoded by a CUDA graph. Half of them leave together, since that takes another graph."""

    def __init__(self, model: Any, cache: Any, mask: Tensor, room: int):
        """Begin after what was read, see `start`."""
        self.model, self.used = model, mask.shape[1]
        shape, unseen = (len(mask), 1, 1, self.used + room), torch.finfo(model.dtype).min
        seen = torch.full(shape, unseen, dtype=model.dtype, device=mask.device)
        seen[:, 0, 0, : self.used].masked_fill_(mask.bool(), 0)
        self._begin([(layer.keys, layer.values) for layer in cache.layers], seen, mask.sum(1, keepdim=True))

    def _begin(self, held: Sequence[tuple[Tensor, Tensor]], seen: Tensor, positions: Tensor) -> None:
        """Lay out what a step reads and writes, at addresses that stay, and record one."""
        self.seen, self.positions, self.ids = seen, positions, torch.zeros_like(positions)
        self.rows = torch.arange(len(seen), device=seen.device)
        self.cache = _static(self.model, seen.shape[3])
        for layer, (keys, values) in zip(self.cache.layers, held, strict=True):
            layer.lazy_initialization(keys, values)
            layer.keys[:, :, : self.used], layer.values[:, :, : self.used] = keys, values
            layer.cumulative_length.fill_(self.used)
        self.place = self.rows.new_tensor([self.used])
        if seen.is_cuda:
            self._record()

    def _record(self) -> None:
        before, stream = self.seen.clone(), torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            self._forward()  # libraries allocate what they need the first time, which must not be recorded
            self.seen.copy_(before)
            for counted in (self.positions, self.place, *(layer.cumulative_length for layer in self.cache.layers)):
                counted.sub_(1)
            self.graph = torch.cuda.CUDAGraph()
            self.graph.capture_begin()
            try:
                self.logits = self._forward()
            finally:
                self.graph.capture_end()
        torch.cuda.current_stream().wait_stream(stream)

    def _forward(self) -> Tensor:
        self.seen.index_fill_(3, self.place, 0)
        output = self.model(
            input_ids=self.ids,
            attention_mask=self.seen,
            position_ids=self.positions,
            past_key_values=self.cache,
            use_cache=True,
        )
        self.positions.add_(1)
        self.place.add_(1)
        return output.logits[:, -1]

    def keep(self, going: Tensor) -> None:
        """Let only some of the rows go on."""
        self.rows = self.rows[going]
        if len(self.rows) <= 0.5 * len(self.ids):
            held = [
                (layer.keys[self.rows, :, : self.used], layer.values[self.rows, :, : self.used])
                for layer in self.cache.layers
            ]
            self._begin(held, self.seen[self.rows], self.positions[self.rows])

    def step(self, tokens: Tensor) -> Tensor:
        """Read the next token of each row [rows]; return the logits [rows, V] of what comes after it."""
        self.ids[self.rows, 0] = tokens
        self.used += 1
        if self.seen.is_cuda:
            self.graph.replay()
        else:
            self.logits = self._forward()
        return self.logits[self.rows]


def start(model: Any, cache: Any, rows: Tensor, room: int, mask: Tensor | None = None) -> Plain | Graph:
    """Return what decodes rows after what they have read.

    Args:
        model: as `loading.load` returns it.
        cache: of `cache.empty`, with the keys and values of what was read; it belongs to the decoder from now on.
        rows: their numbers, 0 to n - 1, on the model's device.
        room: how many steps are taken at most.
        mask: what was read [rows, tokens]: 1 for a token, 0 for padding on the left; None if there is no padding.
    """
    if room and rows.device.type in _RECORDING and model not in _unrecorded and can_be_recorded(model, cache):
        read = rows.new_ones(len(rows), cache.get_seq_length())
        try:
            return Graph(model, cache, read if mask is None else mask, room)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # its step waits for the GPU somewhere
            _unrecorded.add(model)
    return Plain(model, cache, rows, mask)


def _static(model: Any, tokens: int) -> Any:
    return StaticCache(config=model.config, max_cache_len=tokens)


def can_be_recorded(model: Any, cache: Any) -> bool:
    """Return whether a step asks nothing of the CPU: plain attention, rotated by one rule, and no choice of experts."""
    if not isinstance(cache, DynamicCache):
        return False
    config = model.config.get_text_config()
    rotation = getattr(config, "rope_parameters", None) or {}
    return (
        len(set(getattr(model, "hf_device_map", {}).values())) < 2
        and all(type(layer) is caches.Layer for layer in cache.layers)
        and config._attn_implementation in ("sdpa", "eager")
        and rotation.get("rope_type") in _ROPE
        and not getattr(config, "alibi", False)
        and not any("expert" in name for name in config.to_dict())
    )
