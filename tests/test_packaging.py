"""The package's own description: dependencies, data files, versions, the same in every file that repeats them."""

import ast
import graphlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import predact

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAMES = {
    "IPython": "ipython",
    "yaml": "pyyaml",
    "huggingface_hub": "huggingface-hub",
    "jupyterlab_server": "jupyterlab-server",
    "vl_convert": "vl-convert-python",
}  # module: distribution
CONDA = {"torch": "pytorch", "huggingface-hub": "huggingface_hub"}  # on PyPI: on conda-forge


def test_version_is_the_same_everywhere():
    assert predact.__version__ == PROJECT["version"]
    assert str(yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"]) == PROJECT["version"]
    assert f"\n## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_import_is_declared():
    extras = PROJECT["optional-dependencies"]
    lines = PROJECT["dependencies"] + extras["book"] + extras["lab"] + extras["pdf"]
    declared = {re.match(r"[\w-]+", line)[0] for line in lines}
    imported = set()
    for path in (ROOT / "predact").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.split(".")[0])
    needed = {NAMES.get(name, name) for name in imported - set(sys.stdlib_module_names) - {"predact"}}
    assert needed <= declared


def test_modules_import_in_one_direction():
    graph = {}
    for path in (ROOT / "predact").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        inside = [node for node in nodes if node.module and node.module.startswith("predact")]
        graph[name] = {f"{node.module}.{alias.name}" for node in inside for alias in node.names}
        graph[name] |= {node.module for node in inside if node.module != "predact"}
    graphlib.TopologicalSorter(graph).prepare()  # raises CycleError


FLOORS = "cli build figures discussion claims methods models texts".split()
BESIDE = {"lab": "build", "recipe": "claims", "__main__": "cli"}
GROUND = {"errors", "exercises", "markup", "remarks", "pocket", "stats", "store"}


def floor(module):
    """How far down a module of the package stands; the ground is the same for all of it."""
    name = BESIDE.get(module.split(".")[1], module.split(".")[1])
    assert name in FLOORS or name in GROUND, f"{module} stands in no room of the house"
    return FLOORS.index(name) if name in FLOORS else len(FLOORS)


def test_a_module_uses_its_own_floor_and_those_below():
    for path in (ROOT / "predact").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if name == "predact":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("predact"):
                used = [node.module] if node.module != "predact" else [f"predact.{each.name}" for each in node.names]
                assert all(floor(each) >= floor(name) for each in used), f"{name} uses {used}"


def test_environment_is_in_step():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    wanted = {"python" + PROJECT["requires-python"], "pip", "mafft"}
    for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["book"]:
        name = re.match(r"[\w-]+", line)[0]
        wanted.add(line.replace(name, CONDA.get(name, name)))
    assert {entry for entry in conda if isinstance(entry, str)} == wanted
    assert conda[-1] == {"pip": ["-e ."]}


def test_data_files_are_packaged():
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["predact"]
    packaged = {path for pattern in patterns for path in (ROOT / "predact").glob(pattern)}
    tracked = [path for path in (ROOT / "predact").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path for path in tracked if path.suffix != ".py"} <= packaged


@pytest.mark.parametrize("target", ["book", "lab", "test", "serve", "bench"])
def test_make_knows_its_targets(target):
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ".venv/bin" in done.stdout


def test_make_refuses_an_old_python():
    done = subprocess.run(
        ["make", "--always-make", "PYTHON=", ".venv/installed"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stdout
