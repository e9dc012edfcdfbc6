"""The store: results of stages in files named by the hash of what they depend on, so nothing is computed twice.

A result is `<root>/<stage>/<hash>.parquet` (frames) or `.safetensors` (tensors) and beside it a JSON sidecar that says
where it came from. Files are written under a temporary name and renamed, the sidecar last: a killed process leaves no
half result. What fails its checksum is computed again. Reading never executes code.

Any number of processes may share a store. Who computes a result holds its lock, `<hash>.lock`, which goes with the
process however it ends; the others compute what is free, and read the result as soon as it is there.
"""

import hashlib
import io
import json
import os
import platform
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from filelock import FileLock, Timeout
from tqdm import tqdm

from predact.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

VERSIONS = {"scores": 2, "spread": 2}  # of stages, 1 where none is told: raised when older results must not be reused

_used: dict[Path, dict] = {}


class Codec(NamedTuple):
    """How results of one kind become a file, and again what they were."""

    suffix: str
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]


def _dump_frame(result: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    result.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def _load_frame(data: bytes) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(data))


def _dump_tensors(result: dict[str, "Tensor"]) -> bytes:
    from safetensors.torch import save

    return save(result)


def _load_tensors(data: bytes) -> dict[str, "Tensor"]:
    from safetensors.torch import load

    return load(data)


FRAMES = Codec(".parquet", _dump_frame, _load_frame)
TENSORS = Codec(".safetensors", _dump_tensors, _load_tensors)


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
    return shards(root, stage, [inputs], lambda _: [compute()])[0]


def tensors(root: Path, stage: str, inputs: dict, compute: Callable[[], dict[str, "Tensor"]]) -> dict[str, "Tensor"]:
    """Like `frame`, for named tensors (safetensors)."""
    return shards(root, stage, [inputs], lambda _: [compute()], kept=TENSORS)[0]


def shards(
    root: Path,
    stage: str,
    inputs: Sequence[dict],
    compute: Callable[[list[int]], Iterable[Any]],
    *,
    together: int = 1,
    kept: Codec = FRAMES,
    bar: tqdm | None = None,
) -> list[Any]:
    """Like `frame`, for a long stage: each shard is a result of its own, so a killed process loses little.

    What another process computes is left to it until everything else is there, then waited for.

    Args:
        root: folder of the store.
        stage: name of the computation.
        inputs: of each shard; equal ones are one.
        compute: called with the places of some missing shards; it gives their results, in that order. The `attrs` of a
            frame are kept among what tells where it comes from.
        together: how many shards are computed at a time, at most; no matter of the result.
        kept: what the results are: `FRAMES` or `TENSORS`.
        bar: shows how many are done; by default there is one where there are several.

    Returns:
        The results, in the order of `inputs`.
    """
    places = [Path(root) / stage / (_name(stage, each) + kept.suffix) for each in inputs]
    first = {path: place for place, path in reversed(list(enumerate(places)))}
    found = {path: result for path in first if (result := _read(path, kept)) is not None}
    with bar or tqdm(total=len(first), desc=stage, leave=False, disable=None if len(first) > 1 else True) as shown:
        shown.update(len(found))
        for size, timeout in ((together, 0), (1, -1)):
            left = [path for path in dict.fromkeys(places) if path not in found]
            while left:
                with ExitStack() as locks:
                    mine = _take(left, size, timeout, locks)
                    found |= {path: result for path in mine if (result := _read(path, kept, warns=True)) is not None}
                    todo = [path for path in mine if path not in found]
                    made = _timed(compute, [first[path] for path in todo]) if todo else []
                    for path, (result, seconds) in zip(todo, made, strict=True):
                        told = _sidecar(stage, inputs[first[path]], seconds) | getattr(result, "attrs", {})
                        found[path] = _write(path, kept, result, told)
                shown.update(len(mine))
    return [found[path] for path in places]


def digest(data: Any) -> str:
    """Return the SHA-256 of JSON data, to identify texts or ids that are too long for a sidecar."""
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file, computed once in a process as long as its size and time of change stay."""
    status = path.stat()
    return _checksum(path, status.st_size, status.st_mtime_ns)


@lru_cache
def _checksum(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def used() -> list[dict]:
    """Return the sidecars of the results that this process has read or written since `reset_used`, each once."""
    return list(_used.values())


def reset_used() -> None:
    """Forget which results were used."""
    _used.clear()


def _name(stage: str, inputs: dict) -> str:
    """Hash of what a result depends on."""
    told = [stage, VERSIONS.get(stage, 1), inputs]
    canonical = json.dumps(told, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _read(path: Path, kept: Codec, warns: bool = False) -> Any | None:
    """Return the stored result, or None where there is none or it is damaged, or another process is writing it."""
    try:
        data = path.read_bytes()
        sidecar = json.loads(path.with_suffix(".json").read_bytes())
        own = _name(sidecar["stage"], sidecar["inputs"]) == path.stem  # not that of another result, copied here
        intact = own and sidecar["sha256"] == hashlib.sha256(data).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError):
        intact = False
    if not intact:
        if warns:
            warnings.warn(f"store: {path} is damaged and is computed again", stacklevel=2)
        return None
    _used[path] = sidecar
    return kept.load(data)


def _take(left: list[Path], count: int, timeout: float, locks: ExitStack) -> list[Path]:
    """Take results off a list until so many locks could be had, and return whose; they are held as long as `locks`."""
    mine = list[Path]()
    while left and len(mine) < count:
        path = left.pop(0)
        with suppress(Timeout):
            locks.enter_context(lock(path, timeout))
            mine.append(path)
    return mine


@contextmanager
def lock(path: Path, timeout: float = -1) -> Iterator[None]:
    """Hold the lock of a result, if it can be had in time (seconds; below 0: wait for it)."""
    file = path.with_suffix(".lock")
    with writing(path.parent) as folder:
        tempfile.TemporaryFile(dir=folder).close()
        held = FileLock(file, timeout=timeout).acquire()
    with held:
        try:
            yield
        finally:
            with suppress(OSError):  # where an open file cannot be removed it stays, and harms nothing
                file.unlink()  # whoever waits for it or makes it anew finds the result, or computes it


def _write(path: Path, kept: Codec, result: Any, sidecar: dict) -> Any:
    """Keep a result whose lock is held, and return it as it will be read."""
    data = kept.dump(result)
    sidecar["sha256"] = hashlib.sha256(data).hexdigest()
    write(path, data)
    write(path.with_suffix(".json"), json.dumps(sidecar, indent=1).encode())
    _used[path] = sidecar
    return kept.load(data)


def _timed(compute: Callable[[list[int]], Iterable[Any]], places: list[int]) -> Iterator[tuple[Any, float]]:
    """Yield what is computed with the seconds that each took."""
    start = time.perf_counter()
    for result in compute(places):
        yield result, time.perf_counter() - start
        start = time.perf_counter()


def write(path: Path, data: bytes, parameter: str = "store") -> None:
    """Write a file whole or not at all, making its folder.

    Raises:
        UserError: it cannot be written; the message names the parameter that says where.
    """
    with writing(path.parent, parameter) as folder:
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.chmod(temporary, 0o666 & ~_umask())  # temporary files are private; others are what the user's are
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def _umask() -> int:
    """The permissions that the user takes from new files; to read it is to set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


@contextmanager
def writing(folder: Path, parameter: str = "store") -> Iterator[Path]:
    """Make the folder; turn an OSError, here or while something in it is written, into a UserError.

    Args:
        folder: what is written to.
        parameter: says where it is.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except Timeout:  # a lock that another process holds
        raise
    except OSError as error:
        copied = isinstance(error, shutil.Error)  # of many files: the first one's reason
        reason = error.args[0][0][2] if copied else error.strerror or error
        raise UserError(
            f"{parameter}: cannot write to {folder} ({reason}); name a folder that can be written to."
        ) from error


def _sidecar(stage: str, inputs: dict, seconds: float) -> dict:
    """Where a result comes from, as JSON data."""
    return {
        "stage": stage,
        "inputs": inputs,
        "versions": {"python": platform.python_version()}
        | {name: _version(name) for name in ("predact", "torch", "transformers", "numpy")},
        "device": _device(),
        "seconds": round(seconds, 3),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _device() -> str:
    torch = sys.modules.get("torch")  # without it no GPU has taken part
    return torch.cuda.get_device_name() if torch and torch.cuda.is_available() else f"cpu ({os.cpu_count()} cores)"
