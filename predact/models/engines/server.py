"""Sampling by a server with the OpenAI completions API, such as vLLM, that takes and returns token ids.

A prompt is a request: its ids go out, and all of its generations come back as ids, with log-probabilities under the
model before temperature and truncation (vLLM's `logprobs_mode` of `raw_logprobs`, its default). Its seed is drawn from
the run's seed and the prompt; the server derives those of the single generations from it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from predact.errors import UserError, in_line, quoted
from predact.models.pairs import Engine

TOGETHER = 8  # requests under way at a time: the server batches them
_TRIES, _BACKOFF = 5, 1.0  # a request is sent so often; seconds before the second try, doubled before each later one
_SECONDS = (10, 3600)  # to connect; to answer
_PASSING = (408, 429, 500, 502, 503, 504)  # states of a server that may be over soon


def answers(engine: Engine, asked: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Yield the generations of each prompt, in order; some prompts are asked at a time.

    Args:
        engine: where the server is, and what it calls the model.
        asked: of each prompt `prompt` (its ids), `n`, `seed` and how to sample, in the words of the API.

    Returns:
        Of each generation: ids, log_probabilities (of these ids), finish_reason; as the server tells.

    Raises:
        UserError: the server does not answer, refuses, or does not return what was asked for.
    """
    with _session() as session, ThreadPoolExecutor(TOGETHER) as pool:
        yield from pool.map(lambda each: _choices(engine, _post(session, engine, each), each), asked)


def told(engine: Engine) -> str:
    """Return what a server is, and its version if it tells: `server, version 0.32.0`."""
    with _session() as session:
        try:
            found = session.get(f"{engine.url.removesuffix('/v1')}/version", timeout=_SECONDS)
            return f"server, version {in_line(str(found.json()['version']), 60)}"
        except (requests.RequestException, ValueError, KeyError, TypeError):
            return "server, version not told"


def seed_of(seed: int, prompt: str) -> int:
    """Return the seed of a prompt's request, from 0 to 2**31 - 1, drawn by the run's seed and the prompt's id."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{prompt}".encode()).digest()[:4]) >> 1


def _session() -> requests.Session:
    session = requests.Session()
    again = Retry(total=_TRIES - 1, backoff_factor=_BACKOFF, status_forcelist=_PASSING, allowed_methods=None)
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=again, pool_maxsize=TOGETHER))
    return session


def _post(session: requests.Session, engine: Engine, body: dict[str, Any]) -> Any:
    try:
        answer = session.post(f"{engine.url}/completions", json=body | {"model": engine.model}, timeout=_SECONDS)
    except requests.RequestException as error:
        why = f"it does not answer: {_reason(error)}"
        raise _unusable(engine, why, "start it and run the same command again") from error
    if answer.status_code != 200:
        raise _unusable(engine, f"it answers {answer.status_code}: {answer.text}", "see what it says") from None
    try:
        return answer.json()
    except ValueError as error:
        raise _unusable(engine, f"its answer is no JSON: {answer.text}", "name an API of completions") from error


def _reason(error: BaseException) -> str:
    """What the system says, in whatever errors of libraries that is wrapped."""
    told = getattr(error, "strerror", None)
    below = error.__cause__ or error.__context__
    return str(told) if told else _reason(below) if below else str(error)


def _choices(engine: Engine, answer: Any, body: dict[str, Any]) -> list[dict[str, Any]]:
    """The generations of an answer, in order; refused unless they are what was asked for."""
    try:
        choices = sorted(answer["choices"], key=lambda each: each["index"])
        ids = [[int(index) for index in each["token_ids"]] for each in choices]
        log_p = [[float(value) for value in each["logprobs"]["token_logprobs"]] for each in choices]
        ends = [str(each["finish_reason"]) for each in choices]
        read = int(answer["usage"]["prompt_tokens"])
    except (KeyError, TypeError, ValueError) as error:
        why = f"it does not return token ids with their log-probabilities ({type(error).__name__}: {error})"
        raise _unusable(engine, why, "take one that does, such as vLLM from 0.10.2 on") from error
    if read != len(body["prompt"]) or len(choices) != body["n"]:
        why = f"it read {read} tokens and wrote {len(choices)} generations, not {len(body['prompt'])} and {body['n']}"
        raise _unusable(engine, why, "take one that reads ids as they are")
    if list(map(len, ids)) != list(map(len, log_p)) or not np.isfinite(list(chain(*log_p))).all():
        raise _unusable(engine, "not every token has a log-probability", "take one that returns them, such as vLLM")
    keys = ("ids", "log_probabilities", "finish_reason")
    return [dict(zip(keys, each, strict=True)) for each in zip(ids, log_p, ends, strict=True)]


def _unusable(engine: Engine, why: str, advice: str) -> UserError:
    return UserError(f"engine: the server at {quoted(engine.url)} cannot be used ({in_line(why, 300)}); {advice}.")
