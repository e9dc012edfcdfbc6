"""Sampling by a server: what it is asked for, what is made of its answers, and what is refused.

The server here is a stub that answers as vLLM does; `tests/vllm.sh` asks a real one.
"""

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from predact import store
from predact.errors import UserError
from predact.models import loading, pairs, sampling
from predact.models.engines import server
from predact.models.pairs import Engine
from predact.models.sampling import Settings
from predact.texts.prompts import Prompt

PROMPTS = [Prompt("one", "short", "the cat"), Prompt("two", "long", "a dog and the river")]
SETTINGS = Settings(generations=3, top_p=0.8, max_new_tokens=6)


TEMPLATE = "{% for message in messages %}{{ message.content }} {% endfor %}"


@pytest.fixture
def pair(tmp_path, make_model, make_tokenizer):
    found = {}
    for seed, (step, template) in enumerate({"Base": None, "RLHF": TEMPLATE}.items()):
        tokenizer = make_tokenizer(bos_token="<s>", eos_token="</s>", pad_token="<pad>")
        tokenizer.chat_template = template
        tokenizer.save_pretrained(tmp_path / step)
        make_model(seed).save_pretrained(tmp_path / step)
        found[step] = pairs.Model(str(tmp_path / step))
    return pairs.Pair("made", found)


class Stub:
    """What the stub does: it keeps what it is asked, and answers three generations, or what it is told to."""

    def __init__(self):
        self.asked, self.fails, self.changes = [], [], lambda answer: answer

    def answer(self, body, eos):
        if self.fails:
            return self.fails.pop(0), b"busy"
        self.asked.append(body)
        choices = [
            {
                "index": index,
                "token_ids": [5 + index, 6, *([eos] if index else [7])],
                "logprobs": {"token_logprobs": [-0.5 - index, -1.0, -2.0]},
                "finish_reason": "stop" if index else "length",
            }
            for index in range(body["n"])
        ]
        told = {"choices": choices[::-1], "usage": {"prompt_tokens": len(body["prompt"])}}
        return 200, json.dumps(self.changes(told)).encode()


@pytest.fixture
def stub(pair):
    """A stub, and the pair whose RLHF it samples."""
    made, eos = Stub(), loading.tokenizer(pair.models["RLHF"]).eos_token_id

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.reply(200, b'{"version": "0.32.0"}' if self.path == "/version" else b"")

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            assert self.path == "/v1/completions"
            self.reply(*made.answer(body, eos))

        def reply(self, state, answer):
            self.send_response(state)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_):
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    made.engine = Engine(f"http://127.0.0.1:{listening.server_port}/v1", "tuned")
    made.pair = replace(pair, models=pair.models | {"RLHF": replace(pair.models["RLHF"], engine=made.engine)})
    yield made
    listening.shutdown()
    listening.server_close()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(server, "_BACKOFF", 0.0)


def test_generations_are_those_that_the_server_tells(stub, tmp_path):
    frame = sampling.sample_pair(tmp_path, stub.pair, PROMPTS, SETTINGS, steps=["RLHF"])
    assert frame.prompt.tolist() == ["one"] * 3 + ["two"] * 3 and frame["sample"].tolist() == [0, 1, 2] * 2
    assert [list(ids) for ids in frame.ids[:3]] == [[5, 6, 7], [6, 6], [7, 6]], "without the token that ends it"
    assert frame.finish[:3].tolist() == ["length", "stop", "stop"]
    np.testing.assert_allclose(frame.log_probabilities[1], [-1.5, -1.0])
    asked = sorted(stub.asked, key=lambda body: len(body["prompt"]))
    assert [body["prompt"] for body in asked] == [list(frame.given[0]), list(frame.given[3])], "ids, not text"
    for body, name in zip(asked, ("one", "two"), strict=True):
        how = {"model": "tuned", "n": 3, "top_p": 0.8, "temperature": 1.0, "top_k": -1, "max_tokens": 6}
        assert how.items() <= body.items() and body["return_token_ids"] and body["logprobs"] == 1
        assert body["seed"] == server.seed_of(0, name) and stub.pair.models["RLHF"].engine
        assert loading.tokenizer(stub.pair.models["RLHF"]).eos_token_id in body["stop_token_ids"]
    store.reset_used()
    again = sampling.sample_pair(tmp_path, stub.pair, PROMPTS, SETTINGS, steps=["RLHF"])
    assert {each["device"] for each in store.used()} == {"server, version 0.32.0"}
    assert len(stub.asked) == 2 and again.ids.map(list).tolist() == frame.ids.map(list).tolist(), "from the store"


def test_what_a_server_sampled_is_kept_apart(stub, pair):
    here, there = (sampling.key(each.models["RLHF"], SETTINGS, 0) for each in (pair, stub.pair))
    assert there == here | {"engine": "server"} and here["engine"] == "hf"
    assert server.seed_of(0, "one") != server.seed_of(1, "one") != server.seed_of(1, "two")
    assert all(0 <= server.seed_of(seed, "one") < 2**31 for seed in range(100))


def test_a_server_that_is_busy_is_asked_again_and_one_that_stays_so_is_told(stub, tmp_path):
    stub.fails = [503, 429, 500]
    sampling.sample_pair(tmp_path, stub.pair, PROMPTS[:1], SETTINGS, steps=["RLHF"])
    assert len(stub.asked) == 1
    stub.fails = [503] * 50
    with pytest.raises(UserError, match="it does not answer.*start it and run the same command again"):
        sampling.sample_pair(tmp_path, stub.pair, PROMPTS, SETTINGS, steps=["RLHF"])
    stub.fails = []
    sampling.sample_pair(tmp_path, stub.pair, PROMPTS, SETTINGS, steps=["RLHF"])
    assert len(stub.asked) == 2, "what was there is kept"


def test_no_server_and_one_that_refuses_are_one_line(stub):
    asked = [{"prompt": [5], "n": 1}]
    nobody = replace(stub.engine, url="http://127.0.0.1:9/v1")
    with pytest.raises(
        UserError, match=r"engine: the server at 'http://127.0.0.1:9/v1' cannot .*: Connection refused\)"
    ):
        list(server.answers(nobody, asked))
    stub.fails = [404]
    with pytest.raises(UserError, match=r"it answers 404: busy\); see what it says") as raised:
        list(server.answers(stub.engine, asked))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda told: told["choices"][0].pop("token_ids"), "it does not return token ids"),
        (lambda told: told["choices"][0].update(logprobs=None), "with their log-probabilities"),
        (lambda told: told["choices"][0]["logprobs"]["token_logprobs"].pop(), "not every token has a log-probability"),
        (
            lambda told: told["choices"][0]["logprobs"].update(token_logprobs=[0, 0, None]),
            "it does not return token ids",
        ),
        (lambda told: told["choices"].pop(), "wrote 2 generations, not 1 and 3"),
        (lambda told: told["usage"].update(prompt_tokens=9), "it read 9 tokens"),
    ],
)
def test_what_was_not_asked_for_is_refused(stub, change, why):
    stub.changes = lambda told: change(told) and told or told
    with pytest.raises(UserError, match=why) as raised:
        list(server.answers(stub.engine, [{"prompt": [5], "n": 3}]))
    assert "\n" not in str(raised.value)


def test_a_pair_file_names_the_server(tmp_path):
    (tmp_path / "pair.yaml").write_text(
        "engine: {url: 'http://localhost:8000/v1/'}\n"
        "models:\n  Base: org/base\n  RLHF: {source: org/chat, engine: {url: 'http://gpu:1/v1', model: mine}}\n"
    )
    models = pairs.pair(str(tmp_path / "pair.yaml")).models
    assert models["Base"].engine == Engine("http://localhost:8000/v1", "org/base")
    assert models["RLHF"].engine == Engine("http://gpu:1/v1", "mine")
    for engine, why in (
        ("here", "expected url, and model if"),
        ("{}", "'url' in 'pair'"),
        ("{url: localhost}", "expected an address such as"),
        ("{url: 'http://a/v1', modell: b}", "did you mean 'model'"),
    ):
        (tmp_path / "pair.yaml").write_text(f"engine: {engine}\nmodels: {{Base: a/b, RLHF: c/d}}\n")
        with pytest.raises(UserError, match=why):
            pairs.pair(str(tmp_path / "pair.yaml"))
