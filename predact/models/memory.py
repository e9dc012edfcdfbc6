"""Memory: what a model's cache takes, how much is free, and how much to process at once so that it fits."""

from typing import Any

import torch

_SHARE = 0.8  # of the free memory is used, at most
_WIDTHS = 24  # numbers that a pass without gradient holds at its peak, for each position and unit of width


def cache_bytes(config: Any, itemsize: int) -> int:
    """Bytes that a model keeps of each token it has read: keys and values of every layer and head; 0 without heads."""
    text = config.get_text_config()
    heads = getattr(text, "num_key_value_heads", None) or getattr(text, "num_attention_heads", None)
    if not heads:
        return 0
    size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return 2 * text.num_hidden_layers * heads * size * itemsize


def free(model: Any) -> int | None:
    """Bytes free on the fullest GPU that a model is on, including PyTorch's cached memory; None on a CPU."""
    if model.device.type != "cuda":
        return None
    return min(_free(device) for device in devices(model))


def _free(device: torch.device) -> int:
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def devices(model: Any) -> set[torch.device]:
    """Return the devices that a model's layers are spread over, about evenly."""
    return {each.device for each in model.parameters()}


def positions(model: Any) -> int:
    """How many positions a model reads at once when it scores: 1,024 on a CPU, on a GPU what fits, at most 32,768."""
    room = free(model)
    if room is None:
        return 2**10
    each = _WIDTHS * model.config.get_text_config().hidden_size * model.dtype.itemsize
    return max(1, min(2**15, int(_SHARE * room) // each))


def rows(model: Any, length: int, most: int) -> int:
    """How many texts of `length` tokens a model writes at once: `most`, or as many as have room for their cache.

    Each GPU that the model is spread over keeps the cache of its own layers.
    """
    room = free(model)
    if room is None:
        return most
    each = max(1, length * cache_bytes(model.config, model.dtype.itemsize))
    return max(1, min(most, int(_SHARE * room) * len(devices(model)) // each))
