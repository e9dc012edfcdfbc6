"""Several processes on one store: nothing is computed twice, nothing is damaged, and the numbers are those of one."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest

from predact import cli
from predact.build import execute, workers
from predact.claims import materials
from predact.errors import UserError
from predact.models import runs

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
PROGRAM = """
import os, sys, warnings
warnings.filterwarnings("error", message="store: ")
from predact import store
from tests.test_workers import measured

write, log = store._write, os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def noted(path, *rest):
    os.write(log, f"{path.name}\\n".encode())
    return write(path, *rest)

store._write = noted
print("ready", flush=True)
sys.stdin.readline()
for place, part in enumerate(measured(sys.argv[3], sys.argv[1])):
    part.to_pickle(f"{sys.argv[4]}.{place}")
"""


def measured(pair, root):
    """What several claims need of a pair, from a store or into it."""
    few = {"documents": 11, "prompts_limit": 2, "generations": 3, "max_new_tokens": 8, "positions": 50}
    run = runs.run(pair, "classroom", root=root, corpora=["encyclopedia", "forum"], **few)
    steps = materials.all_steps(run)
    parts = [materials.scores(run), materials.generations(run, steps), materials.aligned(run, steps)]
    return parts + [each.positions for each in materials.conditions(run, steps).values()]


def together(root, log, out, *pairs):
    """Run the program for each pair, all at once."""
    command = [sys.executable, "-c", PROGRAM, str(root), str(log)]
    started = [
        subprocess.Popen(
            [*command, pair, str(out / pair)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | ENVIRONMENT,
        )
        for pair in pairs
    ]
    for process in started:
        process.stdout.readline()
    said = [process.communicate("\n") for process in started]
    assert [process.returncode for process in started] == [0] * len(pairs), said
    assert not any("damaged" in err for _, err in said)


def test_two_processes_on_one_store_share_the_work_on_a_base(tmp_path):
    pairs = ("pocket-seed1", "pocket-seed2")
    together(tmp_path / "store", tmp_path / "log", tmp_path, *pairs)
    done = Counter((tmp_path / "log").read_text().split())
    assert set(done.values()) == {1}, "each result was computed by one of them"
    kept = {path.name for path in (tmp_path / "store").rglob("*.*") if path.suffix in (".parquet", ".safetensors")}
    assert kept == set(done) and not list((tmp_path / "store").rglob("*.lock"))
    for pair in pairs:
        for place, alone in enumerate(measured(pair, tmp_path / f"store of {pair}")):
            mine = pd.read_pickle(tmp_path / f"{pair}.{place}")
            pd.testing.assert_frame_equal(mine, alone, rtol=1e-4, atol=1e-5)


COMPUTE = """\
import os, time
from pathlib import Path
import pandas as pd
from predact import store as keep

def compute(places):
    for place in places:
        time.sleep(0.05)
        yield pd.DataFrame({"n": [place], "pid": [os.getpid()], "threads": [os.environ.get("OMP_NUM_THREADS", "")]})

Path(f"here-{os.getpid()}").touch()
latest = time.monotonic() + 120  # a busy machine starts a second worker late
while len(list(Path().glob("here-*"))) < int(os.environ.get("TOGETHER", 1)) and time.monotonic() < latest:
    time.sleep(0.05)
made = keep.shards(STORE, "toy", [{"n": n} for n in range(24)], compute)
print([int(part.n[0]) for part in made])"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with one notebook of 24 slow shards, and the work on it."""
    monkeypatch.chdir(tmp_path)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    cells = [
        nbformat.v4.new_code_cell("n: int = 1  # a parameter", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(COMPUTE.replace("STORE", '"_build/store"')),
        nbformat.v4.new_code_cell("from predact.build import notebook\nnotebook.provenance"),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    Path("notebooks").mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), "notebooks/01_toy.ipynb")
    return {Path("notebooks/01_toy.ipynb"): {}}


def shards():
    return pd.concat([pd.read_parquet(path) for path in Path("_build/store/toy").glob("*.parquet")])


def kernels():
    return [each for each in psutil.process_iter(["cmdline"]) if "ipykernel_launcher" in str(each.info["cmdline"])]


def test_two_workers_share_the_shards_of_a_notebook(project, capfd, monkeypatch):
    monkeypatch.setenv("TOGETHER", "2")
    before = len(kernels())
    with workers.beside(2, Path(), Path("out"), project):
        time.sleep(0.1)
        list(execute.run(Path(), Path("out"), project))
    made = shards()
    assert sorted(made.n) == list(range(24)), "each once"
    assert (made.pid.value_counts() > 3).sum() == 2, "by both"
    assert set(made.threads) == {"2"}, "which share the cores"
    shown = json.loads(Path("out/notebooks/01_toy.ipynb").read_text())["cells"][1]["outputs"][0]["text"]
    assert shown == [f"{list(range(24))}\n"]
    assert capfd.readouterr().err == ""
    assert not list(Path("_build/store").rglob("*.lock")) and "OMP_NUM_THREADS" not in os.environ
    for _ in range(50):
        if len(kernels()) <= before:
            return
        time.sleep(0.2)
    pytest.fail("a kernel was left behind")


def test_a_worker_that_is_killed_is_one_line_of_warning(project, capfd):
    with workers.beside(2, Path(), Path("out"), project):
        (other,) = (each for each in psutil.Process().children() if "spawn_main" in str(each.cmdline()))
        other.kill()
        list(execute.run(Path(), Path("out"), project))
    assert sorted(shards().n) == list(range(24))
    assert capfd.readouterr().err == "predact: worker 2 stopped early; its work was left to the others.\n"


def test_each_worker_begins_at_another_notebook_and_what_one_has_executed_the_others_leave_out(project, monkeypatch):
    work = {Path(f"notebooks/{name}.ipynb"): {} for name in "abcde"}
    assert ["".join(path.stem for path in workers.from_place(work, place, 2)) for place in (0, 1)] == ["abcde", "edcba"]
    assert len({next(iter(workers.from_place(work, place, 3))) for place in range(3)}) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    (first,) = execute.run(Path(), Path("out"), project)
    (again,) = execute.run(Path(), Path("out"), project)
    assert (first.executed, again.executed) == (True, False) and not Path("out/failed").exists()


@pytest.mark.parametrize("count", [0, -1, 5])
def test_senseless_numbers_of_workers_are_refused(project, count):
    with pytest.raises(UserError, match=f"^workers: expected 1 to 4, as many as there are cores here, not {count}."):
        with workers.beside(count, Path(), Path("out"), project):
            pytest.fail("begun")


def test_each_worker_has_its_gpus_and_its_part_of_the_cores(project, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 8)
    found = [workers.share(place, 4)["CUDA_VISIBLE_DEVICES"] for place in range(4)]
    assert sorted(",".join(found).split(",")) == list("01234567")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert [workers.share(place, 3)["CUDA_VISIBLE_DEVICES"] for place in range(3)] == ["2", "5", "2"]
    with pytest.raises(UserError, match="expected 1 to 2, as many as there are GPUs here, not 3"):
        workers.beside(3, Path(), Path("out"), project).__enter__()
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert workers.share(0, 2)["OMP_NUM_THREADS"] == "3", "what the user says stays"


def test_what_torchrun_starts_are_workers(project, monkeypatch, capsys):
    assert workers.is_main()
    for name, value in {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "a,b")
    assert not workers.is_main()
    with pytest.raises(UserError, match="torchrun or accelerate has started them"):
        workers.beside(2, Path(), Path("out"), project).__enter__()
    with workers.beside(1, Path(), Path("out"), project):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "b" and os.environ["OMP_NUM_THREADS"] == "2"
        assert "WORLD_SIZE" not in os.environ
        workers.assist(Path(), Path("out"), project)
    assert sorted(shards().n) == list(range(24)) and Path("out/notebooks/01_toy.ipynb").exists()
    workers.assist(Path(), Path("out"), {Path("notebooks/missing.ipynb"): {}})
    assert capsys.readouterr().err.startswith("predact: a worker stopped early (")


@pytest.mark.parametrize("command", ["run", "book"])
def test_the_command_refuses_senseless_numbers_in_one_line(project, monkeypatch, capsys, command):
    Path("_toc.yml").write_text("parts: [{chapters: [{file: notebooks/01_toy}]}]")
    monkeypatch.setattr(sys, "argv", ["predact", command, "--workers", "0"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err == "predact: workers: expected 1 to 4, as many as there are cores here, not 0.\n"
    assert not Path("_build").exists()


MAIN = """
import sys
from pathlib import Path
from predact.build import execute, workers

if __name__ == "__main__":
    work = {Path("notebooks/01_toy.ipynb"): {}}
    with workers.beside(2, Path(), Path("out"), work):
        list(execute.run(Path(), Path("out"), work))
"""


def test_no_worker_outlives_a_main_process_that_is_killed(project):
    Path("main.py").write_text(MAIN)
    process = subprocess.Popen([sys.executable, "main.py"])
    while not list(Path("_build/store/toy").glob("*.json")):
        time.sleep(0.1)
    others = psutil.Process(process.pid).children(recursive=True)
    assert len(others) >= 2
    process.kill()
    process.wait()
    _, left = psutil.wait_procs(others, timeout=15)
    assert not left
