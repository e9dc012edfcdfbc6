import errno
import json
import os
import re
import subprocess
import sys
import threading
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


def results(root):
    """All but locks, which a computation that fails leaves behind."""
    return [path for path in files(root) if path.suffix != ".lock"]


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


def test_another_version_of_a_stage_is_another_result_of_that_stage(tmp_path, monkeypatch):
    compute = Compute()
    for stage in ("one", "other"):
        store.frame(tmp_path, stage, {}, compute)
    monkeypatch.setitem(store.VERSIONS, "one", 2)
    store.frame(tmp_path, "other", {}, compute)
    assert compute.calls == 2
    store.frame(tmp_path, "one", {}, compute)
    assert compute.calls == 3


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


def copy_another(data, sidecar):
    """A whole result and its sidecar, of other inputs, under this one's name."""
    store.frame(data.parents[1], "stage", {"n": 2}, lambda: FRAME[:1])
    (other,) = (path for path in data.parent.glob("*.parquet") if path != data)
    data.write_bytes(other.read_bytes())
    sidecar.write_bytes(other.with_suffix(".json").read_bytes())


@pytest.mark.parametrize("damage", [damage_data, cut_data, damage_sidecar, replace_sidecar, copy_another])
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
    assert results(tmp_path) == []


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
    assert [path.suffix for path in results(tmp_path)] == [".parquet"]
    compute = Compute()
    assert store.frame(tmp_path, "stage", {}, compute).equals(FRAME)
    assert compute.calls == 1


def test_a_killed_process_loses_one_shard(tmp_path):
    program = """if True:
        import os, sys, pandas as pd
        from pathlib import Path
        from predact import store
        def one(place):
            if place == 2:
                os.kill(os.getpid(), 9)
            return pd.DataFrame({"key": ["abcd"[place]]})
        store.shards(Path(sys.argv[1]), "stage", [{"key": key} for key in "abcd"], lambda places: map(one, places))
    """
    killed = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True)
    assert killed.returncode == -9
    assert len(list(tmp_path.glob("stage/*.json"))) == 2
    assert len(list(tmp_path.glob("stage/*.lock"))) == 1, "its lock is left behind, and nobody's"
    calls, made = letters("abcd")
    assert text(store.shards(tmp_path, "stage", keys("abcd"), made)) == "abcd"
    assert calls == [[2], [3]]
    assert not list(tmp_path.glob("stage/*.lock"))


def keys(letters):
    return [{"key": key} for key in letters]


def letters(all_of_them):
    """A computation of shards that notes which it is asked for, and its notes."""
    calls = []

    def compute(places):
        calls.append(places)
        return [pd.DataFrame({"key": [all_of_them[place]]}) for place in places]

    return calls, compute


def text(frames):
    return "".join(key for frame in frames for key in frame.key)


def test_no_shards(tmp_path):
    assert store.shards(tmp_path, "stage", [], Compute()) == []


def test_shards_come_in_order_equal_ones_once_and_some_together(tmp_path):
    store.shards(tmp_path, "stage", keys("c"), letters("c")[1])
    calls, made = letters("abacde")
    assert text(store.shards(tmp_path, "stage", keys("abacde"), made, together=3)) == "abacde"
    assert calls == [[0, 1, 4], [5]]
    assert len(list(tmp_path.glob("stage/*.parquet"))) == 5


def test_of_shards_made_together_those_done_before_an_error_are_kept(tmp_path):
    def made(places):
        yield pd.DataFrame({"key": ["a"]})
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.shards(tmp_path, "stage", keys("ab"), made, together=2)
    calls, made = letters("ab")
    assert text(store.shards(tmp_path, "stage", keys("ab"), made)) == "ab" and calls == [[1]]


def test_shards_of_tensors(tmp_path):
    (found,) = store.shards(tmp_path, "stage", [{}], lambda _: [{"w": torch.ones(2)}], kept=store.TENSORS)
    assert torch.equal(found["w"], torch.ones(2)) and list(tmp_path.glob("stage/*.safetensors"))


def test_what_another_process_computes_is_left_to_it_and_waited_for(tmp_path):
    other = """if True:
        import sys, time, pandas as pd
        from pathlib import Path
        from predact import store
        def compute(places):
            print("begun", flush=True)
            sys.stdin.readline()
            return [pd.DataFrame({"key": ["b"]})]
        store.shards(Path(sys.argv[1]), "stage", [{"key": "b"}], compute)
    """
    command = [sys.executable, "-c", other, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        calls, compute = letters("abc")

        def made(places):
            if places == [2]:  # the last that is free
                process.stdin.write("\n")
                process.stdin.flush()
            return compute(places)

        store.reset_used()
        assert text(store.shards(tmp_path, "stage", keys("abc"), made)) == "abc"
    assert calls == [[0], [2]]
    assert len(store.used()) == 3, "what another process has made is used, too"
    assert [path.suffix for path in files(tmp_path)] == [".json", ".parquet"] * 3


def test_what_a_killed_process_had_begun_is_done_by_who_waits_for_it(tmp_path):
    other = """if True:
        import os, sys
        from pathlib import Path
        from predact import store
        def compute():
            print("begun", flush=True)
            sys.stdin.readline()
            os.kill(os.getpid(), 9)
        store.frame(Path(sys.argv[1]), "stage", {}, compute)
    """
    command = [sys.executable, "-c", other, tmp_path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        threading.Timer(0.2, lambda: (process.stdin.write("\n"), process.stdin.flush())).start()
        assert store.frame(tmp_path, "stage", {}, Compute()).equals(FRAME)


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
    assert results(tmp_path) == []


def test_an_error_of_the_computation_is_not_blamed_on_the_store(tmp_path):
    def compute():
        raise FileNotFoundError("a file of the user")

    with pytest.raises(FileNotFoundError, match="a file of the user"):
        store.frame(tmp_path, "stage", {}, compute)


def test_near():
    assert near("pokcet", ["pocket", "llama2-7b"]) == ", did you mean 'pocket'?"
    assert near("LLAMA2-7", ["llama2-7b", "llama2-70b", "pocket"]) == ", did you mean 'llama2-7b' or 'llama2-70b'?"
    assert near("zzz", ["pocket"]) == ""


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o027, 0o640), (0o002, 0o664)])
def test_a_file_has_the_permissions_that_the_user_gives_new_files(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        store.write(tmp_path / "new" / "page.html", b"text", "out")
        assert os.umask(mask) == mask, "unchanged"
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "page.html").stat().st_mode & 0o777 == mode
