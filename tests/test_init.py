"""What importing the package does to the environment."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE 0"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE 0")])
def test_threads_that_wait_sleep_unless_told_otherwise(given, expected):
    code = "import os, predact; print(os.environ['OMP_WAIT_POLICY'], os.environ['KMP_BLOCKTIME'])"
    kept = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "KMP_BLOCKTIME")}
    ran = subprocess.run([sys.executable, "-c", code], env=kept | given, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == expected


STORED = """
import sys
from pathlib import Path
import pandas as pd
from predact import cli, store
store.frame(Path(sys.argv[1]), "toy", {}, lambda: pd.DataFrame({"x": [1]}))
print([name for name in ("torch", "transformers", "numba") if name in sys.modules])
"""


def test_neither_the_command_nor_a_stored_result_waits_for_pytorch(tmp_path):
    """It takes two seconds to import: every start of a command or a kernel, and those that need no model."""
    found = subprocess.run([sys.executable, "-c", STORED, tmp_path], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n" and list(tmp_path.glob("toy/*.json"))
