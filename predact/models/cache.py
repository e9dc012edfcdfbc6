"""A cache whose keys and values have room behind them: the next token is written in place, the others stay."""

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 64  # tokens


class _Layer(DynamicLayer):
    """Keys and values of one layer; that of transformers copies all of them for each token more."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Take what belongs to the next tokens, and return all."""
        if self.keys is None or self.values is None:
            return super().update(key_states, value_states)
        self.keys, self.values = _appended(self.keys, key_states), _appended(self.values, value_states)
        return self.keys, self.values


def empty(model: Any) -> DynamicCache:
    """Return the cache with which a model begins to read; layers that keep only a window stay as they are."""
    cache = DynamicCache(config=model.config)
    cache.layers = [_Layer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _appended(held: Tensor, more: Tensor) -> Tensor:
    """Put `more` behind `held` [rows, heads, tokens, size], which is the beginning of something longer or all of it."""
    rows, heads, length, size = held.shape
    total = length + more.shape[2]
    if held.stride(1) < total * size:
        roomy = held.new_empty(rows, heads, total + _ROOM, size)
        roomy[:, :, :length] = held
        held = roomy[:, :, :length]
    grown = held.as_strided((rows, heads, total, size), held.stride())
    grown[:, :, length:] = more
    return grown
