"""Remarks: what a reader has to know beside the figures, such as texts left out. Each is warned of, and kept."""

import warnings
from collections.abc import Hashable

_made: dict[Hashable, str] = {}


def remark(key: Hashable, text: str) -> None:
    """Keep a remark for the page, and warn of it if it is new.

    Args:
        key: of what the remark is; a later one with the same key takes its place.
        text: in one line; empty if there is nothing to say any more.
    """
    before = _made.pop(key, "")
    if text:
        _made[key] = text
        if text != before:
            warnings.warn(text, stacklevel=3)


def remarks() -> list[str]:
    """Return the remarks made since `reset`."""
    return list(_made.values())


def reset() -> None:
    """Forget all remarks."""
    _made.clear()
