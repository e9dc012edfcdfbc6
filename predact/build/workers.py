"""Workers: processes that execute the notebooks of one book side by side, on one store.

Each begins with another notebook, and leaves out those that another one has executed. Two that are at the same notebook
share the shards of its stages. If a worker fails or is killed, its work is left to the rest.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from predact.build import execute
from predact.errors import UserError
from predact.models.pairs import Pair

_MOST = 4  # workers, unless more are asked for: each takes about a gigabyte

Work = Mapping[Path, dict[str, Any]]  # values to inject, by notebook, as `execute.plan` returns them


def is_main() -> bool:
    """Whether this process makes the book: the first of those that torchrun or accelerate has started, or the only."""
    return int(os.environ.get("RANK") or os.environ.get("LOCAL_RANK") or 0) == 0


def usual(pair: Pair) -> int:
    """Return how many workers a book has if nobody says: without GPUs one for each core, for models that are small.

    A small model is computed faster by one thread in each of two processes than by two threads in one.
    """
    small = all(model.source.startswith("package:") for model in pair.models.values())
    return min(_MOST, os.cpu_count() or 1) if small and not _gpus() and _launched() == 1 else 1


@contextmanager
def beside(count: int, project: Path, out: Path, work: Work) -> Iterator[None]:
    """Let other workers execute the same notebooks for as long as the context lasts; each works with its `share`.

    Where torchrun or accelerate has started workers, this process takes its share, and starts none.

    Args:
        count: how many workers, this process among them.
        project: folder of the sources.
        out: folder of the book.
        work: what they execute.

    Raises:
        UserError: there are not so many GPUs here or, without GPUs, cores; or the workers are there already.
    """
    place = int(os.environ.get("LOCAL_RANK") or 0)
    launched = _launched()
    if launched > 1 and count != 1:
        raise UserError("workers: torchrun or accelerate has started them already; leave --workers out.")
    most, what = (len(_gpus()), "GPUs") if count > 1 and _gpus() else (os.cpu_count() or 1, "cores")
    if not 1 <= count <= most:
        raise UserError(f"workers: expected 1 to {most}, as many as there are {what} here, not {count}.")
    several = max(launched, count)
    with patch.dict(os.environ, share(place, several) if several > 1 else {}):
        for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            os.environ.pop(name, None)  # no library is to look for the others: the store is all they share
        with _started(count, project, out, work):
            yield


def share(place: int, count: int) -> dict[str, str]:
    """Return the environment of one worker of several: its GPUs, or one with others, and its part of the cores."""
    gpus, cores = _gpus(), os.cpu_count() or 1
    mine = gpus[place::count] or [gpus[place % len(gpus)]] if gpus else []
    threads = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, cores // count)))}
    return threads | ({"CUDA_VISIBLE_DEVICES": ",".join(mine)} if mine else {})


def assist(project: Path, out: Path, work: Work) -> None:
    """Execute notebooks as a worker that torchrun or accelerate has started; if it fails, that is one line of warning.

    An exit status would make the launcher stop the others, too.
    """
    try:
        _follow(project, out, work)
    except Exception as error:
        print(f"predact: a worker stopped early ({str(error).partition(chr(10))[0]}).", file=sys.stderr)


def _follow(project: Path, out: Path, work: Work) -> None:
    for _ in execute.run(project, out, work):
        pass


def from_place(work: Work, place: int, count: int) -> Work:
    """Return the work of one worker of several in its own order.

    Each begins at another notebook and comes round, every second one backwards.
    """
    items, begin = list(work.items()), len(work) * (place - place % 2) // count
    order = [*items[begin:], *items[:begin]]
    return dict(reversed(order) if place % 2 else order)


@contextmanager
def _started(count: int, project: Path, out: Path, work: Work) -> Iterator[None]:
    spawn = multiprocessing.get_context("spawn")
    others = [
        spawn.Process(
            target=_help, args=(share(place, count), project, out, from_place(work, place, count)), daemon=True
        )
        for place in range(1, count)
    ]
    for other in others:
        other.start()
    try:
        yield
        for number, other in enumerate(others, 2):
            if other.exitcode:
                print(f"predact: worker {number} stopped early; its work was left to the others.", file=sys.stderr)
    finally:
        for other in others:
            other.terminate()
        for other in others:
            other.join()


def _help(environment: dict[str, str], project: Path, out: Path, work: Work) -> None:
    """What a worker beside the main one does, in silence: for as long as that one lives."""
    os.environ |= environment
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # not killed, so that its kernel is not left behind
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _follow(project, out, work)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _launched() -> int:
    """How many processes torchrun or accelerate has started here."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or os.environ.get("WORLD_SIZE") or 1)


def _gpus() -> list[str]:
    """The GPUs that this process may use."""
    import torch

    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [each for each in told.split(",") if each] if told else list(map(str, range(torch.cuda.device_count())))
