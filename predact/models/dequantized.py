"""GGUF files as folders of safetensors: dequantized once, kept in the store, and read from there in a moment.

A folder has a list of its files with their checksums. It is written under another name and renamed, so none is half
there; one that is damaged is made again.
"""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from predact import store

STAGE = "dequantized"
_LIST = "checksums.json"


def folder(root: Path, key: dict[str, Any]) -> Path:
    """Return where the model of a key is kept, or will be."""
    return root / STAGE / store.digest(key)[:16]


def is_whole(kept: Path) -> bool:
    """Whether a folder is there with all that was written into it."""
    try:
        listed = json.loads((kept / _LIST).read_bytes())
        return bool(listed) and all(store.checksum(kept / name) == told for name, told in listed.items())
    except (OSError, ValueError, AttributeError):
        return False


def keep(kept: Path, model: Any, tokenizer: Any) -> None:
    """Keep a model with its tokenizer in a folder, unless another process has done so meanwhile.

    Nothing is kept where the tokenizer would be another one when it is read again.

    Raises:
        UserError: the store cannot be written.
    """
    from transformers import AutoTokenizer

    part = kept.with_suffix(".part")
    with store.lock(kept), store.writing(kept.parent):
        if is_whole(kept):
            return
        if kept.exists():
            warnings.warn(f"store: {kept} is damaged and is made again", stacklevel=2)
        for left in (part, kept):
            shutil.rmtree(left, ignore_errors=True)
        try:
            model.save_pretrained(part)
            tokenizer.save_pretrained(part)
            if _content(AutoTokenizer.from_pretrained(part)) == _content(tokenizer):
                listed = {path.name: store.checksum(path) for path in part.iterdir()}
                store.write(part / _LIST, json.dumps(listed).encode())
                part.rename(kept)
        except SafetensorError as error:  # the disk is full, say
            raise OSError(str(error)) from error
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _content(tokenizer: Any) -> tuple[Any, ...]:
    """All on which depends what a tokenizer makes of texts."""
    return tokenizer.backend_tokenizer.to_str(), tokenizer.chat_template, tokenizer.special_tokens_map
