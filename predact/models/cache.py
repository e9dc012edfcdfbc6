"""A cache with spare room: the keys and values of a new token are written in place, without copying the others."""

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 64  # tokens


class Layer(DynamicLayer):
    """Keys and values of one layer; the class of transformers copies all of them for each new token."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append the keys and values of the next tokens, and return all."""
        if self.keys is None or self.values is None:
            return super().update(key_states, value_states)
        self.keys, self.values = _appended(self.keys, key_states), _appended(self.values, value_states)
        return self.keys, self.values


def empty(model: Any) -> DynamicCache:
    """Return an empty cache for a model; layers with a sliding window keep their own class."""
    cache = DynamicCache(config=model.config)
    cache.layers = [Layer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def holds_states(config: Any) -> bool:
    """Whether a model of this configuration keeps more than keys and values: the states of a recurrent layer, say."""
    layers = DynamicCache(config=config).layers
    return any("Linear" in type(layer).__name__ for layer in layers)  # by name: not every version has these classes


def _appended(held: Tensor, more: Tensor) -> Tensor:
    """Append `more` to `held` [rows, heads, tokens, size], in place if the tensor that holds `held` has room for it."""
    rows, heads, length, size = held.shape
    total = length + more.shape[2]
    if held.stride(1) < total * size:
        roomy = held.new_empty(rows, heads, total + _ROOM, size)
        roomy[:, :, :length] = held
        held = roomy[:, :, :length]
    grown = held.as_strided((rows, heads, total, size), held.stride())
    grown[:, :, length:] = more
    return grown
