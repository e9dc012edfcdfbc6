"""The models of a laboratory: the two that were used last stay in memory, where two fit into it."""

from typing import Any

import psutil
import torch

from predact.models import loading
from predact.models.pairs import DTYPES, ENDS, Model, Pair

_SHARE = 0.7  # of the free memory may be taken by weights: a text and its answers need room beside them


class Held:
    """Loads models and keeps those used last, `most` of them."""

    def __init__(self, most: int = 2) -> None:
        """Hold nothing yet; a mixture needs two models at once."""
        self.most = most
        self._models: dict[Model, tuple[Any, Any]] = {}

    def __call__(self, model: Model) -> tuple[Any, Any]:
        """Return a model and its tokenizer, as `loading.load` does; room is made before another one is loaded.

        Raises:
            UserError: see `loading.load`.
        """
        if model in self._models:
            self._models[model] = self._models.pop(model)  # now the last
        else:
            while len(self._models) >= self.most:
                del self._models[next(iter(self._models))]
            self._models[model] = loading.load(model)
        return self._models[model]


def holding(pair: Pair) -> Held:
    """Return what holds two models of a pair where their weights fit into the free memory, else one.

    Raises:
        UserError: there is no such model.
    """
    models = [pair.models[step] for step in ENDS]
    needed = sum(loading.parameters(model) * DTYPES[model.dtype] for model in models)
    return Held(2 if needed <= _SHARE * _free(models) else 1)


def _free(models: list[Model]) -> int:
    """Bytes that are free where models are loaded to: on all GPUs, or beside the CPU."""
    if torch.cuda.is_available() and not any(model.device == "cpu" for model in models):
        return sum(torch.cuda.mem_get_info(place)[0] for place in range(torch.cuda.device_count()))
    return psutil.virtual_memory().available
