import os
import subprocess
import sys

import pytest
import torch
from transformers import DynamicCache

from predact import cache


def test_what_is_written_in_place_is_what_copies_would_be(model):
    ours, theirs = cache.empty(model), DynamicCache(config=model.config)
    draw = torch.Generator().manual_seed(0)
    for step in range(150):
        keys, values = torch.randn(2, 6, 4, 3 if step == 0 else 1, 8, generator=draw)[:, : len(rows(ours, 6))]
        found, expected = (each.update(keys, values, 0) for each in (ours, theirs))
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
        if step in (20, 100):
            left = torch.arange(len(keys))[::2]
            for each in (ours, theirs):
                each.layers[0].reorder_cache(left)
    assert ours.get_seq_length() == theirs.get_seq_length() == 152


def rows(held, first):
    """Rows that a cache holds; so many where it is still empty."""
    keys = held.layers[0].keys
    return range(first if keys is None else len(keys))


@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE 0"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE 0")])
def test_threads_that_wait_sleep_unless_told_otherwise(given, expected):
    code = "import os, predact; print(os.environ['OMP_WAIT_POLICY'], os.environ['KMP_BLOCKTIME'])"
    kept = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "KMP_BLOCKTIME")}
    ran = subprocess.run([sys.executable, "-c", code], env=kept | given, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == expected
