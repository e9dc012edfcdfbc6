import errno
import json
import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch

from predact import store
from predact.errors import UserError, near

FRAME = pd.DataFrame({"a": [1, 2], "b": [0.5, float("nan")], "text": ["é", "<b>"]}).astype(
    {"a": "int32", "b": "float32"}
)


class Compute:
    """A computation that counts how often it runs."""

    def __init__(self, result=FRAME):
        self.result, self.calls = result, 0

    def __call__(self, *_):
        self.calls += 1
        return self.result


def files(root):
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_a_result_is_computed_once_and_comes_back_equal(tmp_path):
    compute = Compute()
    first = store.frame(tmp_path, "stage", {"x": 1, "y": [2]}, compute)
    again = store.frame(tmp_path, "stage", {"y": [2], "x": 1}, compute)
    pd.testing.assert_frame_equal(first, FRAME)
    pd.testing.assert_frame_equal(again, FRAME)
    assert compute.calls == 1
    assert [path.suffix for path in files(tmp_path)] == [".json", ".parquet"]
    assert re.fullmatch(r"[0-9a-f]{16}", files(tmp_path)[0].stem)


@pytest.mark.parametrize(
    ("stage", "inputs"), [("other", {"x": 1}), ("stage", {"x": 2}), ("stage", {"x": 1, "y": None})]
)
def test_another_stage_or_input_is_another_result(tmp_path, stage, inputs):
    compute = Compute()
    store.frame(tmp_path, "stage", {"x": 1}, compute)
    store.frame(tmp_path, stage, inputs, compute)
    assert compute.calls == 2


def test_another_format_is_another_result(tmp_path, monkeypatch):
    compute = Compute()
    store.frame(tmp_path, "stage", {}, compute)
    monkeypatch.setattr(store, "FORMAT", store.FORMAT + 1)
    store.frame(tmp_path, "stage", {}, compute)
    assert compute.calls == 2


def test_inputs_that_are_not_json_are_refused(tmp_path):
    for bad in (float("nan"), Path("x"), object()):
        with pytest.raises((ValueError, TypeError)):
            store.frame(tmp_path, "stage", {"x": bad}, Compute())


def test_sidecar(tmp_path):
    store.reset_used()
    store.frame(tmp_path, "stage", {"x": 1}, lambda: time.sleep(0.05) or FRAME)
    sidecar = json.loads(next(tmp_path.glob("stage/*.json")).read_text())
    assert sidecar["stage"] == "stage"
    assert sidecar["inputs"] == {"x": 1}
    assert sidecar["versions"]["torch"] == torch.__version__
    assert set(sidecar["versions"]) == {"python", "predact", "torch", "transformers", "numpy"}
    assert 0.05 <= sidecar["seconds"] < 5
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", sidecar["created"])
    assert store.used() == [sidecar]


def test_used_lists_what_was_read_or_written_once(tmp_path):
    store.frame(tmp_path, "before", {}, Compute())
    store.reset_used()
    for stage in ("one", "two", "one"):
        store.frame(tmp_path, stage, {}, Compute())
    assert [sidecar["stage"] for sidecar in store.used()] == ["one", "two"]
    store.reset_used()
    assert store.used() == []


def damage_data(data, sidecar):
    data.write_bytes(data.read_bytes()[:-1] + b"?")


def cut_data(data, sidecar):
    data.write_bytes(b"")


def damage_sidecar(data, sidecar):
    sidecar.write_text("{")


def replace_sidecar(data, sidecar):
    sidecar.write_text("[]")


@pytest.mark.parametrize("damage", [damage_data, cut_data, damage_sidecar, replace_sidecar])
def test_a_damaged_result_is_computed_again_with_a_warning(tmp_path, damage):
    compute = Compute()
    store.frame(tmp_path, "stage", {}, compute)
    sidecar, data = files(tmp_path)
    damage(data, sidecar)
    with pytest.warns(UserWarning, match="is damaged and is computed again"):
        assert store.frame(tmp_path, "stage", {}, compute).equals(FRAME)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.frame(tmp_path, "stage", {}, compute)
    assert compute.calls == 2


def test_a_failed_computation_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError):
        store.frame(tmp_path, "stage", {}, lambda: 1 / 0)
    assert files(tmp_path) == []


def test_killed_between_data_and_sidecar(tmp_path, monkeypatch):
    replace = os.replace

    def killed(source, target):
        if str(target).endswith(".json"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        store.frame(tmp_path, "stage", {}, Compute())
    monkeypatch.undo()
    assert [path.suffix for path in files(tmp_path)] == [".parquet"]
    compute = Compute()
    assert store.frame(tmp_path, "stage", {}, compute).equals(FRAME)
    assert compute.calls == 1


def test_a_killed_process_loses_one_shard(tmp_path):
    program = """if True:
        import os, sys, pandas as pd
        from pathlib import Path
        from predact import store
        def one(key):
            if key == "c":
                os.kill(os.getpid(), 9)
            return pd.DataFrame({"key": [key]})
        store.shards(Path(sys.argv[1]), "stage", {}, list("abcd"), one)
    """
    killed = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True)
    assert killed.returncode == -9
    assert len(list(tmp_path.glob("stage/*.json"))) == 2
    calls = []
    frame = store.shards(
        tmp_path, "stage", {}, list("abcd"), lambda key: calls.append(key) or pd.DataFrame({"key": [key]})
    )
    assert calls == ["c", "d"]
    assert frame.key.tolist() == list("abcd")
    assert frame.index.tolist() == [0, 1, 2, 3]


def test_no_shards(tmp_path):
    assert store.shards(tmp_path, "stage", {}, [], Compute()).empty


def test_tensors(tmp_path):
    compute = Compute({"w": torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)})
    store.tensors(tmp_path, "stage", {}, compute)
    again = store.tensors(tmp_path, "stage", {}, compute)
    assert compute.calls == 1
    assert torch.equal(again["w"], compute.result["w"])
    assert again["w"].dtype == torch.bfloat16


def test_a_store_that_cannot_be_written_is_found_out_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    compute = Compute()
    with pytest.raises(UserError, match=r"^store: cannot write to .*; name a folder that can be written to\.$"):
        store.frame(tmp_path / "file" / "store", "stage", {}, compute)
    assert compute.calls == 0


@pytest.mark.parametrize("reason", [errno.EROFS, errno.EACCES])
def test_a_read_only_store_gives_what_it_has(tmp_path, monkeypatch, reason):
    store.frame(tmp_path, "stage", {}, Compute())

    def refuse(*_, **__):
        raise OSError(reason, os.strerror(reason))

    monkeypatch.setattr(store.tempfile, "TemporaryFile", refuse)
    assert store.frame(tmp_path, "stage", {}, lambda: pytest.fail("computed")).equals(FRAME)
    with pytest.raises(UserError, match=os.strerror(reason)):
        store.frame(tmp_path, "stage", {"x": 1}, lambda: pytest.fail("computed"))


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError, match="No space left on device"):
        store.frame(tmp_path, "stage", {}, Compute())
    assert files(tmp_path) == []


def test_an_error_of_the_computation_is_not_blamed_on_the_store(tmp_path):
    def compute():
        raise FileNotFoundError("a file of the user")

    with pytest.raises(FileNotFoundError, match="a file of the user"):
        store.frame(tmp_path, "stage", {}, compute)


def test_near():
    assert near("pokcet", ["pocket", "llama2-7b"]) == ", did you mean 'pocket'?"
    assert near("LLAMA2-7", ["llama2-7b", "llama2-70b", "pocket"]) == ", did you mean 'llama2-7b' or 'llama2-70b'?"
    assert near("zzz", ["pocket"]) == ""


def test_what_is_written_can_be_read_by_others(tmp_path):
    store.write(tmp_path / "new" / "page.html", b"text", "out")
    assert (tmp_path / "new" / "page.html").stat().st_mode & 0o444 == 0o444
