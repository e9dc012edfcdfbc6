"""The models of a laboratory: the two that were used last stay in memory."""

from typing import Any

from predact.models import loading
from predact.models.pairs import Model

MOST = 2  # models in memory: what a mixture needs


class Held:
    """Loads models and keeps `MOST` of them, those used last."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._models: dict[Model, tuple[Any, Any]] = {}

    def __call__(self, model: Model) -> tuple[Any, Any]:
        """Return a model and its tokenizer, as `loading.load` does; room is made before another one is loaded.

        Raises:
            UserError: see `loading.load`.
        """
        if model in self._models:
            self._models[model] = self._models.pop(model)  # now the last
        else:
            while len(self._models) >= MOST:
                del self._models[next(iter(self._models))]
            self._models[model] = loading.load(model)
        return self._models[model]
