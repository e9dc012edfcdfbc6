"""The store: results of stages in files named by the hash of what they depend on, so nothing is computed twice.

A result is `<root>/<stage>/<hash>.parquet` (frames) or `.safetensors` (tensors) and beside it a JSON sidecar that says
where it came from. Files are written under a temporary name and renamed, the sidecar last: a killed process leaves no
half result. What fails its checksum is computed again. Reading never executes code.
"""

import hashlib
import io
import json
import os
import platform
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from tqdm import tqdm

from predact.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1  # part of every hash: raised when results of an older predact must not be reused

_used: dict[Path, dict] = {}


class _Codec(NamedTuple):
    suffix: str
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]


def frame(root: Path, stage: str, inputs: dict, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return the frame of a stage, from the store if it is there, else computed and stored.

    Args:
        root: folder of the store, made if missing.
        stage: name of the computation, a folder below the root.
        inputs: all that the result depends on, as JSON data: fingerprints, parameters, seeds.
        compute: called without arguments on a miss; the index of its frame is not kept.

    Raises:
        UserError: the store cannot be written (found out before the computation starts).
    """
    return _cached(root, stage, inputs, compute, _Codec(".parquet", _dump_frame, _load_frame))


def tensors(root: Path, stage: str, inputs: dict, compute: Callable[[], dict[str, "Tensor"]]) -> dict[str, "Tensor"]:
    """Like `frame`, for named tensors (safetensors)."""
    from safetensors.torch import load, save

    return _cached(root, stage, inputs, compute, _Codec(".safetensors", save, load))


def shards(
    root: Path, stage: str, inputs: dict, keys: Sequence[str], compute_one: Callable[[str], pd.DataFrame]
) -> pd.DataFrame:
    """Like `frame`, for a long stage computed and stored key by key: a killed process loses one shard.

    Returns:
        The frames of all keys, in their order, one below the other.
    """
    bar = tqdm(keys, desc=stage, leave=False, disable=None if len(keys) > 1 else True)
    parts = [frame(root, stage, {**inputs, "shard": key}, partial(compute_one, key)) for key in bar]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def digest(data: Any) -> str:
    """Return the SHA-256 of JSON data, to identify texts or ids that are too long for a sidecar."""
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()


def used() -> list[dict]:
    """Return the sidecars of the results that this process has read or written since `reset_used`, each once."""
    return list(_used.values())


def reset_used() -> None:
    """Forget which results were used."""
    _used.clear()


def _cached(root: Path, stage: str, inputs: dict, compute: Callable[[], Any], codec: _Codec) -> Any:
    canonical = json.dumps([stage, inputs, FORMAT], sort_keys=True, separators=(",", ":"), allow_nan=False)
    name = hashlib.sha256(canonical.encode()).hexdigest()[:16]
    path = Path(root) / stage / (name + codec.suffix)
    found = _read(path, codec)
    if found is not None:
        return found
    with _writing(path.parent) as folder:
        tempfile.TemporaryFile(dir=folder).close()
    start = time.perf_counter()
    data = codec.dump(compute())
    sidecar = _sidecar(stage, inputs, time.perf_counter() - start, data)
    write(path, data)
    write(path.with_suffix(".json"), json.dumps(sidecar, indent=1).encode())
    _used[path] = sidecar
    return codec.load(data)


def _read(path: Path, codec: _Codec) -> Any | None:
    """Return the stored result, or None where there is none or, with a warning, where it is damaged."""
    try:
        data = path.read_bytes()
        sidecar = json.loads(path.with_suffix(".json").read_bytes())
        intact = sidecar["sha256"] == hashlib.sha256(data).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        warnings.warn(f"store: {path} is damaged and is computed again", stacklevel=2)
        return None
    _used[path] = sidecar
    return codec.load(data)


def write(path: Path, data: bytes, parameter: str = "store") -> None:
    """Write a file whole or not at all, making its folder.

    Raises:
        UserError: it cannot be written; the message names the parameter that says where.
    """
    with _writing(path.parent, parameter) as folder:
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.chmod(temporary, 0o644)  # temporary files are private; results are readable by all
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


@contextmanager
def _writing(folder: Path, parameter: str = "store") -> Iterator[Path]:
    """Make the folder; turn an OSError, here or while a file in it is written, into a UserError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        reason = error.strerror or error
        raise UserError(
            f"{parameter}: cannot write to {folder} ({reason}); name a folder that can be written to."
        ) from error


def _sidecar(stage: str, inputs: dict, seconds: float, data: bytes) -> dict:
    """Where a result came from, as JSON data."""
    return {
        "stage": stage,
        "inputs": inputs,
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in ("predact", "torch", "transformers", "numpy")},
        "device": _device(),
        "seconds": round(seconds, 3),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "sha256": hashlib.sha256(data).hexdigest(),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"cpu ({os.cpu_count()} cores)"


def _dump_frame(result: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    result.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def _load_frame(data: bytes) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(data))
