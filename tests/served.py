"""What a real vLLM samples is what we sample: `tests/vllm.sh` installs one and runs this.

The pocket pair's models are served on the CPU, in float32. Both samples are drawn at random, so they are compared by
two-sample tests; a test fails by chance once in ten thousand times.
"""

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import requests
import torch
from scipy import stats

from predact.errors import UserError
from predact.models import loading, pairs, sampling
from predact.models.engines import server
from predact.models.pairs import Engine
from predact.models.sampling import Settings
from predact.texts import prompts

VLLM = os.environ.get("PREDACT_VLLM", "")
SETTINGS = Settings(generations=100, top_p=0.9, max_new_tokens=64)
CHANCE = 1e-4

pytestmark = pytest.mark.skipif(not VLLM, reason="tests/vllm.sh says where vLLM is")


@contextmanager
def serving(step, log):
    """Serve a model of the pocket pair; yields the process and the pair that asks it."""
    pair = pairs.pair("pocket")
    source, _ = loading._place(pair.models[step])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [VLLM, "serve", source, "--dtype", "float32", "--enforce-eager", "--port", str(port)]
    command += ["--host", "127.0.0.1", "--served-model-name", "pocket", "--max-logprobs", "1"]
    command += ["--no-enable-chunked-prefill"]  # in chunks, a request with a seed stops vLLM 0.32 on the CPU
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    with open(log, "a") as told:
        running = subprocess.Popen(command, stdout=told, stderr=told, env=os.environ | settings, start_new_session=True)
    engine = Engine(f"http://127.0.0.1:{port}/v1", "pocket")
    try:
        for _ in range(600):
            try:
                requests.get(f"http://127.0.0.1:{port}/health", timeout=1).raise_for_status()
                break
            except requests.RequestException:
                assert running.poll() is None, f"vLLM ended: see {log}"
                time.sleep(0.5)
        yield running, replace(pair, models=pair.models | {step: replace(pair.models[step], engine=engine)})
    finally:
        kill(running)


def kill(running):
    """End a server and all that it has started."""
    if running.poll() is None:
        os.killpg(running.pid, 9)
    running.wait()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("served")


def asked(count):
    return prompts.select(pairs.pair("pocket").prompts, count)


def apart(here, there):
    """The p-value that two samples of tokens, prompt by prompt, come from one distribution."""
    values, freedom = 0.0, 0
    for one, other in zip(here, there, strict=True):
        kinds = np.unique([*one, *other])
        table = np.array([[np.sum(np.array(each) == kind) for kind in kinds] for each in (one, other)])
        rare = table.sum(0) < 10
        table = np.column_stack([table[:, ~rare], table[:, rare].sum(1)])
        table = table[:, table.sum(0) > 0]
        if table.shape[1] > 1:
            found = stats.chi2_contingency(table, correction=False)
            values, freedom = values + found.statistic, freedom + found.dof
    return stats.chi2.sf(values, freedom)


@pytest.mark.parametrize("step", ["Base", "RLHF"])
def test_its_generations_are_distributed_as_ours(step, root):
    own = sampling.sample_pair(root, pairs.pair("pocket"), asked(16), SETTINGS, seed=1, steps=[step])
    with serving(step, root / f"{step}.log") as (_, pair):
        start = time.perf_counter()
        theirs = sampling.sample_pair(root, pair, asked(16), SETTINGS, seed=1, steps=[step])
        seconds = time.perf_counter() - start
    assert [list(ids) for ids in own.given] == [list(ids) for ids in theirs.given]
    print(f"\n{step}: {len(theirs)} generations, {theirs.ids.map(len).sum() / seconds:,.0f} tokens/s by the server")
    firsts = [
        [[next(iter(ids), -1) for ids in rows.ids] for _, rows in frame.groupby("prompt")] for frame in (own, theirs)
    ]
    lengths = [frame.ids.map(len).to_numpy() for frame in (own, theirs)]
    same = apart(*firsts), stats.ks_2samp(*lengths).pvalue
    print(f"first tokens p = {same[0]:.3f}, lengths p = {same[1]:.3f}")
    assert min(same) > CHANCE
    assert (theirs.finish == "stop").any()
    again = np.concatenate([plain(pair.models[step], row.given, row.ids) for row in theirs[::40].itertuples()])
    off = np.abs(again - np.concatenate(list(theirs.log_probabilities[::40])))
    print(f"log-probabilities: {off.max():.1e} from ours at most, {len(off)} tokens")
    assert off.max() < 1e-3


def plain(model, given, ids):
    """Log-probabilities of ids after given ones, in one pass of our own."""
    loaded, tokenizer = loading.loaded(replace(model, engine=None))
    whole = torch.tensor([[*given, *ids]])
    with torch.inference_mode():
        logits = loaded(input_ids=whole).logits[0, :, : len(tokenizer)].float().log_softmax(1)
    return logits[range(len(given) - 1, whole.shape[1] - 1), list(ids)].numpy()


def test_a_server_that_is_killed_loses_nothing(root):
    many, stored = asked(80), root / "killed"
    with serving("RLHF", root / "killed.log") as (running, pair):
        watch = threading.Thread(target=lambda: kill_after(running, stored / "generations", 16))
        watch.start()
        with pytest.raises(UserError, match="engine: the server at .* cannot be used") as told:
            sampling.sample_pair(stored, pair, many, SETTINGS, steps=["RLHF"])
        watch.join()
    assert "\n" not in str(told.value)
    kept = {path: path.stat().st_mtime_ns for path in stored.rglob("*.parquet")}
    assert 16 <= len(kept) < 80
    with serving("RLHF", root / "killed.log") as (_, pair):
        frame = sampling.sample_pair(stored, pair, many, SETTINGS, steps=["RLHF"])
    assert len(frame) == 80 * SETTINGS.generations
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())
    print(f"\nkilled after {len(kept)} of 80 prompts, then the other {80 - len(kept)}: {told.value}")


def kill_after(running, folder, results):
    """Kill a server when so many results are stored."""
    while len(list(folder.glob("*.parquet"))) < results:
        time.sleep(0.05)
    kill(running)


def test_a_thousand_generations_beside_ours(root):
    """How long they take on the same cores: a row of the benchmarks."""
    with serving("RLHF", root / "fast.log") as (_, pair):
        engine = pair.models["RLHF"].engine
        assert server.told(engine) == "server, version 0.32.0+cpu"
        bench = [sys.executable, "bench/sampling.py", "pocket", "10", "100", engine.url]
        print("\n" + subprocess.run(bench, check=True, capture_output=True, text=True).stdout)
