"""Sampling against `generate` of `transformers`: the same prompts, settings and model, one prompt after the other.

python bench/sampling.py [pair] [prompts] [generations] [URL]

With the address of a server that serves the pair's RLHF under the name `pocket`, that one is compared instead.
"""

import sys
import tempfile
from dataclasses import replace

import torch
from rows import record, timed

from predact.models import loading, pairs, sampling
from predact.models.engines import server
from predact.models.pairs import Engine
from predact.texts import prompts

TOKENS = 256  # at most, of a generation
NAMES = {"Base": "sampling", "RLHF": "sampling-rlhf"}


def ours(model, tokenizer, given, key, settings):
    """Number of tokens in the generations after a prompt, without what ended them."""
    room = sampling.room_after(model, len(given), f"prompts: the prompt {key!r}")
    numbers = sampling.uniforms(0, [f"{key}/{index}" for index in range(settings.generations)], settings, room)
    return sum(len(each.ids) for each in sampling.sample(model, tokenizer, [given], numbers, settings))


def theirs(model, tokenizer, given, key, settings):
    """The same, as `generate` gives it."""
    room = sampling.room_after(model, len(given), f"prompts: the prompt {key!r}")
    stops = sorted(sampling.stop_ids(model, tokenizer))
    ids = torch.tensor([given], device=model.device)
    made = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        num_return_sequences=settings.generations,
        do_sample=True,
        top_p=settings.top_p,
        top_k=settings.top_k,
        temperature=settings.temperature,
        repetition_penalty=1.0,
        max_new_tokens=min(settings.max_new_tokens, room),
        eos_token_id=stops,
        pad_token_id=stops[0],
    )[:, len(given) :]
    ended = torch.isin(made, torch.tensor(stops, device=made.device)).cumsum(1)  # padding follows a stop token
    return int((ended == 0).sum())


def measured(pair, step, asked, settings):
    """The row of one model of a pair."""
    model, tokenizer = loading.load(pair.models[step])
    given = [sampling.ask(tokenizer, prompt.text, pair.frame if step == "Base" else None) for prompt in asked]
    tokens, seconds = {ours: 0, theirs: 0}, {ours: 0.0, theirs: 0.0}
    torch.manual_seed(0)
    for way in (ours, theirs):  # warm up
        way(model, tokenizer, given[0], asked[0].id, settings)
    for ids, prompt in zip(given, asked, strict=True):
        for way in (ours, theirs):
            written, took = timed(way, model, tokenizer, ids, prompt.id, settings)
            tokens[way] += written
            seconds[way] += took
    fast, slow = (tokens[way] / seconds[way] for way in (ours, theirs))
    work = f"{settings.generations} generations of at most {TOKENS} tokens of {len(asked)} prompts "
    work += f"({tokens[ours]} and {tokens[theirs]} tokens), {pair.name} {step}, {model.device}"
    peer = "transformers, generate with num_return_sequences"
    rate = {"unit": "tokens/s", "ours": fast, "theirs": slow, "ratio": fast / slow}
    return {"name": NAMES[step], "peer": peer, **rate, "work": work}


def served(pair, asked, settings, url):
    """The row of RLHF sampled by a server on the same cores, from the request to the stored result."""
    model = pair.models["RLHF"]
    there = replace(pair, models=pair.models | {"RLHF": replace(model, engine=Engine(url, "pocket"))})
    rates = []
    for each in (pair, there):
        with tempfile.TemporaryDirectory() as store:
            sampling.sample_pair(store, each, asked[:1], settings, seed=1, steps=["RLHF"])  # warm up
            frame, took = timed(sampling.sample_pair, store, each, asked, settings, 0, ["RLHF"])
            rates.append(frame.ids.map(len).sum() / took)
    work = f"{len(frame)} generations of at most {TOKENS} tokens, {pair.name} RLHF"
    rate = {"unit": "tokens/s", "ours": rates[0], "theirs": rates[1], "ratio": rates[0] / rates[1]}
    return {"name": "server", "peer": server.told(Engine(url, "")), **rate, "work": work}


def main(pair="pocket", limit="80", generations="100", url=""):
    found = pairs.pair(pair)
    settings = sampling.Settings(generations=int(generations), top_p=0.9, top_k=0, max_new_tokens=TOKENS)
    asked = prompts.select(found.prompts, int(limit))
    record([served(found, asked, settings, url)] if url else [measured(found, step, asked, settings) for step in NAMES])


if __name__ == "__main__":
    main(*sys.argv[1:])
