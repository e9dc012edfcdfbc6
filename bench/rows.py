"""The file that every benchmark writes its rows into."""

import json
import sys
import time
from pathlib import Path

BENCH = Path("_build/bench.json")


def timed(function, *arguments):
    """What a function returns, and the seconds it took."""
    start = time.perf_counter()
    value = function(*arguments)
    return value, time.perf_counter() - start


def need(peer, found):
    """End with one line where a peer is not installed: its rows are not measured."""
    if not found:
        print(f"{sys.argv[0]}: {peer} is not installed, so nothing is compared with it")
        sys.exit()


def record(rows):
    """Merge rows into the file by their names, and print them."""
    known = json.loads(BENCH.read_text()) if BENCH.exists() else []
    merged = {row["name"]: row for row in [*known, *rows]}
    BENCH.parent.mkdir(parents=True, exist_ok=True)
    BENCH.write_text(json.dumps(list(merged.values()), indent=1) + "\n")
    for row in rows:
        print("{name}: {ours:.4g} against {theirs:.4g} {unit} ({peer}), ratio {ratio:.3g}; {work}".format(**row))
