"""Sampling: generations of a causal language model, kept as token ids with their log-probabilities.

A generation depends on the model, its prompt, the settings and one seed of its own, not on what it was batched with:
the random numbers of a row are drawn from (run seed, prompt, sample) before anything is computed, one for each token,
and turned into a token by the inverse of the cumulative distribution in the order of ids. (Two batches may round a
logit differently in its last bit; only a random number that falls between the two would then give another token.)
"""

import copy
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from predact import store
from predact.errors import UserError
from predact.models import chat, decoding, loading, memory, tokens
from predact.models.engines import server
from predact.models.pairs import Engine, Model, Pair, frame_of
from predact.remarks import remark
from predact.texts.prompts import Prompt

TEMPERATURES = (1e-6, 1e6)  # beyond these, logits divided by one are no numbers, or all the same
_CANDIDATES = 8  # the most probable tokens looked at first; where the nucleus is larger, 8 times as many, and so on
_BLOCK = 64  # tokens of which only the most probable is looked at first
_CHECKED = 8  # tokens sampled and read again before a model is sampled
_APART = {torch.float32: 1e-4, torch.float16: 0.05, torch.bfloat16: 0.2}  # nats a token: more is no rounding
_ASKED = "What makes a good story? It begins where nobody looks."  # read before these tokens
_verified = WeakSet[Any]()  # models


@dataclass(frozen=True)
class Settings:
    """How to sample: nucleus sampling (Holtzman et al. 2020) with its three knobs, and how much of it."""

    generations: int = 100
    top_p: float = 0.9
    temperature: float = 1.0
    top_k: int = 0  # 0: no limit
    max_new_tokens: int = 256

    def __post_init__(self) -> None:
        """Raise UserError for a value out of range."""
        low, high = TEMPERATURES
        for name, good, expected in (
            ("generations", self.generations >= 1, "a whole number above 0"),
            ("top_p", 0 < self.top_p <= 1, "a number above 0 and at most 1"),
            ("temperature", low <= self.temperature <= high, f"a number from {low:g} to {high:g}"),
            ("top_k", self.top_k >= 0, "a whole number, 0 for no limit"),
            ("max_new_tokens", self.max_new_tokens >= 1, "a whole number above 0"),
        ):
            if not good:
                raise UserError(f"{name}: expected {expected}, not {getattr(self, name)}.")


class Generation(NamedTuple):
    """What was sampled after a prompt: ids without the stop token, each id's log-probability, how it ended."""

    ids: list[int]
    log_probabilities: list[float]  # nats, under the untruncated model at temperature 1
    finish: str  # "stop" or "length"


def sample_pair(
    root: Path,
    pair: Pair,
    prompts: Sequence[Prompt],
    settings: Settings,
    seed: int = 0,
    steps: Iterable[str] = (),
    rows: int = 256,
) -> pd.DataFrame:
    """Return generations of the models of a pair, from the store if they are there, a shard for every prompt.

    Base continues the prompt as plain text in the pair's frame, the others answer in their chat template (`frame_of`).

    Args:
        root: of the store.
        pair: the models.
        prompts: what they are asked.
        settings: how to sample.
        seed: of the run.
        steps: which models; all if empty.
        rows: how many generations are sampled together, at most; the result does not depend on it.

    Returns:
        A row per generation: model, category, prompt (id), sample, given (the prompt's ids), ids, log_probabilities
        (float32), finish; see `Generation`.

    Raises:
        UserError: a prompt leaves no room in a model's context, or a model cannot be asked or sampled (`verify`).
    """
    used, texts = tuple(steps) or tuple(pair.models), [prompt.text for prompt in prompts]
    jobs = [(step, prompt) for step in used for prompt in prompts]
    asked = [ids for step in used for ids in ask_all(loading.tokenizer(pair.models[step]), texts, frame_of(pair, step))]
    keys = {step: key(pair.models[step], settings, seed) for step, _ in jobs}
    order = sorted(range(len(jobs)), key=lambda place: (jobs[place][0], len(asked[place])))  # equally long: together
    inputs = [
        keys[jobs[place][0]] | {"prompt": jobs[place][1].id, "given": store.digest(asked[place])} for place in order
    ]
    served = [step for step in used if pair.models[step].engine]

    def alike(place: int) -> tuple[str, int]:
        """What prompts that are sampled together have in common: the model, and, but for a server, their length."""
        step = jobs[place][0]
        return step, 0 if step in served else len(asked[place])

    bar, written = tqdm(total=len(jobs), unit="prompt", leave=False, disable=None), list[int]()

    def compute(shards: list[int]) -> Iterator[pd.DataFrame]:
        for (step, _), places in groupby((order[shard] for shard in shards), key=alike):
            bar.set_description(f"sampling {step}")
            given = [(jobs[place][1].id, asked[place]) for place in places]
            for made in _sampled(pair.models[step], given, settings, seed, rows):
                written.append(int(made.ids.map(len).sum()))
                bar.set_postfix_str(f"{sum(written) / max(bar.format_dict['elapsed'], 1e-9):,.0f} tokens/s")
                yield made

    together = max(server.TOGETHER if served else 1, rows // settings.generations)
    made = dict(zip(order, store.shards(root, "generations", inputs, compute, together=together, bar=bar), strict=True))
    parts = [
        made[place].assign(model=step, category=prompt.category, prompt=prompt.id)
        for place, (step, prompt) in enumerate(jobs)
    ]
    frame = pd.concat(parts, ignore_index=True)
    _remark_on_ends(frame, pair, settings)
    return frame[["model", "category", "prompt", "sample", "given", "ids", "log_probabilities", "finish"]]


def _remark_on_ends(frame: pd.DataFrame, pair: Pair, settings: Settings) -> None:
    """Remark if a model that answers in its chat template is cut off in most of its answers."""
    for step, ends in frame.groupby("model").finish:
        cut = frame_of(pair, str(step)) is None and (ends == "length").mean() > 0.5
        text = f"max_new_tokens: most answers of {step} are cut off after {settings.max_new_tokens} tokens."
        remark(("cut off", step, settings.max_new_tokens), text if cut else "")


def key(model: Model, settings: Settings, seed: int) -> dict[str, Any]:
    """Return what stands for sampling from a model among the inputs of a stored result; given ids are to be added.

    What models that may forget have written is found only where they were tried before (`verify`).
    """
    from predact.models import cache as caches

    stops, config = stop_ids(loading.generation_config(model), loading.tokenizer(model)), loading.config(model)
    tried = {"verified": True} if loading.turn(config) or caches.holds_states(config) else {}
    engine = {"engine": loading.SERVER} if model.engine else tried
    return loading.key(model) | {"stops": sorted(stops), "seed": seed, **asdict(settings)} | engine


def _sampled(
    model: Model, asked: Sequence[tuple[str, list[int]]], settings: Settings, seed: int, rows: int
) -> Iterator[pd.DataFrame]:
    """Sample after equally long prompts (id, ids) together; of each: sample, given, the fields of `Generation`."""
    if model.engine:
        yield from _served(model, model.engine, asked, settings, seed)
        return
    loaded, tokenizer = loading.loaded(model)
    room = room_after(loaded, len(asked[0][1]), f"prompts: the prompt {asked[0][0]!r}")
    count = settings.generations
    numbers = uniforms(seed, [f"{name}/{index}" for name, _ in asked for index in range(count)], settings, room)
    made = sample(loaded, tokenizer, [given for _, given in asked], numbers, settings, rows)
    for place, (_, given) in enumerate(asked):
        yield _frame(given, made[place * count : (place + 1) * count])


def _served(
    model: Model, engine: Engine, asked: Sequence[tuple[str, list[int]]], settings: Settings, seed: int
) -> Iterator[pd.DataFrame]:
    """Like `_sampled`, by a server, and after prompts of any length."""
    stops = stop_ids(loading.generation_config(model), loading.tokenizer(model))
    how = {
        "n": settings.generations,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": settings.top_k or -1,
        "stop_token_ids": sorted(stops),
        "logprobs": 1,
        "return_token_ids": True,
        "skip_special_tokens": False,
    }
    requests = []
    for name, given in asked:
        room = _room(loading.limit(model), len(given), f"prompts: the prompt {name!r}")
        longest = {"max_tokens": min(settings.max_new_tokens, room)}
        requests.append(how | longest | {"prompt": given, "seed": server.seed_of(seed, name)})
    where = server.told(engine)
    for (_, given), made in zip(asked, server.answers(engine, requests), strict=True):
        frame = _frame(given, [_generation(each, stops) for each in made])
        frame.attrs["device"] = where
        yield frame


def _generation(told: dict[str, Any], stops: set[int]) -> Generation:
    """A generation that a server tells of, without the token that ended it."""
    ids, log_p, ended = told["ids"], told["log_probabilities"], told["finish_reason"] == "stop"
    if ended and ids and ids[-1] in stops:
        ids, log_p = ids[:-1], log_p[:-1]
    return Generation(ids, log_p, "stop" if ended else "length")


def _frame(given: list[int], generations: Sequence[Generation]) -> pd.DataFrame:
    """The generations of one prompt: sample, given, the fields of `Generation`."""
    count = len(generations)
    return pd.DataFrame({"sample": range(count), "given": [given] * count, **columns(generations)})


def columns(generations: Sequence[Generation]) -> dict[str, list]:
    """The fields of generations, as columns of a frame; log-probabilities, computed in float32, are kept as such."""
    found = {name: [getattr(each, name) for each in generations] for name in Generation._fields}
    return found | {"log_probabilities": [np.array(p, np.float32) for p in found["log_probabilities"]]}


def ask(tokenizer: Any, prompt: str, frame: str | None) -> list[int]:
    """Return the ids that a model continues when it is asked one prompt; see `ask_all`."""
    return ask_all(tokenizer, [prompt], frame)[0]


def ask_all(tokenizer: Any, prompts: Sequence[str], frame: str | None) -> list[list[int]]:
    """Return the ids that a model continues: the prefix token and a frame around a prompt, or a chat's first turn.

    Args:
        tokenizer: the model's.
        prompts: the user's words.
        frame: plain text in which ``{prompt}`` stands for them; None for the tokenizer's chat template.

    Raises:
        UserError: there is neither a frame nor a chat template, the template fails or leaves out a prompt, or a text
            holds half a character.
    """
    if frame is not None:
        texts = [frame.replace("{prompt}", prompt) for prompt in prompts]
        return [tokens.lead(tokenizer) + ids for ids in tokens.encode(tokenizer, _whole(texts))]
    if not tokenizer.chat_template:
        raise UserError("pair: a model after Base has no chat template, so it cannot be asked; give it one.")
    if not prompts:
        return []
    texts = chat.render(tokenizer, [[{"role": "user", "content": prompt}] for prompt in prompts], prompt=True)
    read = tokenizer(_whole(texts), add_special_tokens=False, verbose=False)["input_ids"]
    return [ids[1:] if ids[:2] == [tokenizer.bos_token_id] * 2 else ids for ids in read]


def _whole(texts: list[str]) -> list[str]:
    """The texts, if every one can be written in UTF-8."""
    for text in texts:
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise UserError(f"prompts: {text[:60]!r} holds half a character (a lone surrogate); write it whole.")
    return texts


def room_after(model: Any, given: int, what: str) -> int:
    """Return how many tokens a model can still write after `given` ones.

    Raises:
        UserError: there is no room; `what` names what is too long.
    """
    return _room(loading.context_limit(model), given, what)


def _room(limit: int | None, given: int, what: str) -> int:
    limit = limit or 10**9
    if given >= limit:
        raise UserError(f"{what} has {given:,} tokens, the model reads at most {limit:,}; shorten it.")
    return limit - given


def uniforms(seed: int, keys: Sequence[str], settings: Settings, room: int) -> np.ndarray:
    """Random numbers in [0, 1) for every token that may be written ``[keys, tokens]``, each row drawn by its key."""
    digests = (hashlib.sha256(f"{seed}/{key}".encode()).digest()[:16] for key in keys)
    streams = (np.random.Generator(np.random.Philox(key=int.from_bytes(digest))) for digest in digests)
    return np.stack([stream.random(min(settings.max_new_tokens, room)) for stream in streams])


def stop_ids(model: Any, tokenizer: Any) -> set[int]:
    """Return the ids that end a generation: every EOS of model and tokenizer, and what ends a turn of the template.

    Args:
        model: as `loading.load` returns it, or only its configuration for generation.
        tokenizer: its tokenizer.

    Raises:
        UserError: its chat template fails, or refuses a second turn.
    """
    configured = getattr(getattr(model, "generation_config", model), "eos_token_id", None) or []
    found = {tokenizer.eos_token_id, *([configured] if isinstance(configured, int) else configured)} - {None}
    if tokenizer.chat_template:
        after = chat.closing(tokenizer)
        found |= {index for token, index in tokenizer.get_added_vocab().items() if after.startswith(token)}
    return found


@torch.inference_mode()
def sample(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[list[int]],
    numbers: np.ndarray,
    settings: Settings,
    rows: int = 256,
) -> list[Generation]:
    """Sample continuations of prompts that all have the same number of ids.

    Each prompt is read once; its samples share what was computed. Rows that have ended leave the batch.

    Args:
        model: as `loading.load` returns it; ids at or above ``len(tokenizer)`` are never sampled.
        tokenizer: its tokenizer.
        prompts: their ids.
        numbers: of `uniforms`, equally many rows per prompt, prompt after prompt; their width limits the tokens.
        settings: top_p, top_k and temperature.
        rows: how many are sampled together, at most; fewer if memory runs out. The result does not depend on it.

    Raises:
        UserError: the model cannot be sampled (`verify`), one generation does not fit into memory, or a number is not
            finite.
    """
    verify(model, tokenizer)
    stops = torch.tensor(sorted(stop_ids(model, tokenizer)), device=model.device)
    given = torch.tensor([list(prompt) for prompt in prompts], device=model.device)
    turn, end = loading.turn(model.config), given.shape[1] + numbers.shape[1] - 1
    if turn is not None and turn < end:
        raise UserError(
            f"max_new_tokens: a generation would go on from {given.shape[1]:,} tokens to {end:,}, but this model "
            f"(LongRoPE) reads texts longer than {turn:,} in another way; lower max_new_tokens, context or the prompt."
        )
    cache, first = _begun(model, given, len(tokenizer))
    owner = torch.arange(len(prompts), device=model.device).repeat_interleave(len(numbers) // len(prompts))
    draws = torch.from_numpy(numbers).to(model.device)
    done: list[Generation] = []
    width = memory.rows(model, end + 1, rows)
    while len(done) < len(owner):
        some = slice(len(done), len(done) + width)
        try:
            start = copy.deepcopy(cache)
            start.reorder_cache(owner[some])  # type: ignore[arg-type]
            done += continued(model, start, first[owner[some]], draws[some], settings, stops)
            continue
        except torch.OutOfMemoryError:
            start = None  # frees the cache; other tensors are freed when this block ends
        if width == 1:
            raise UserError("max_new_tokens: one generation does not fit into memory; lower it.")
        width = max(1, min(width, len(owner)) // 2)
        torch.cuda.empty_cache()
    return done


@torch.inference_mode()
def verify(model: Any, tokenizer: Any) -> None:
    """Refuse a model that forgets: its first sampled tokens are read again in one plain pass, without a cache.

    This is done once for a loaded model. It reads three short rows, so that it costs about as much as to sample eight
    tokens; one of two prompts is continued twice, so a cache that cannot be shared by rows is found as well.

    Args:
        model: as `loading.load` returns it.
        tokenizer: its tokenizer.

    Raises:
        UserError: it keeps no cache, or the log-probabilities of the two differ by more than rounding does.
    """
    if model in _verified:
        return
    room = max(2, (loading.context_limit(model) or 10**9) // 2)
    lead, ids = tokens.lead(tokenizer), tokens.encode(tokenizer, [_ASKED])[0][: min(2 * _CHECKED, room - 1)]
    size, owner = len(tokenizer), torch.tensor([1, 0, 1], device=model.device)
    given = torch.tensor([lead + ids, lead + ids[::-1]], device=model.device)
    settings = Settings(max_new_tokens=_CHECKED)
    room = room_after(model, given.shape[1], "pair: a text to try the model with")
    draws = torch.from_numpy(uniforms(0, ["a", "b", "c"], settings, room))
    try:
        cache, first = _begun(model, given, size)
        cache.reorder_cache(owner)
        made = continued(model, cache, first[owner], draws.to(model.device), settings, owner.new_empty(0))
        written = torch.tensor([each.ids for each in made], device=model.device)
        whole = torch.cat([given[owner], written], 1)
        plain = model(input_ids=whole[:, :-1], use_cache=False).logits[:, given.shape[1] - 1 :, :size].float()
        again = plain.log_softmax(2).gather(2, written[:, :, None])[:, :, 0].cpu()
    except (UserError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # a model without a cache fails in a way of its own
        raise _cannot(model, f"keeps no cache that rows can share ({type(error).__name__})") from error
    apart = float((again - torch.tensor([each.log_probabilities for each in made])).abs().mean())
    if not apart <= _APART[model.dtype]:
        what = "forgets what it has read: when that is read again, its tokens have other nlls"
        raise _cannot(model, f"{what} (by {apart:.2g} nats, where {_APART[model.dtype]:g} is rounding)")
    _verified.add(model)


def _begun(model: Any, given: Tensor, vocabulary: int) -> tuple[Any, Tensor]:
    """The cache of given ids [rows, tokens], and the logits [rows, V] of what comes next."""
    from predact.models import cache as caches

    cache = caches.empty(model)
    output = model(input_ids=given, past_key_values=cache, use_cache=True, logits_to_keep=1)
    if getattr(output, "past_key_values", None) is None:
        raise _cannot(model, "keeps no cache that rows can share")
    return cache, output.logits[:, -1, :vocabulary].float()


def _cannot(model: Any, why: str) -> UserError:
    return UserError(
        f"pair: the model {model.name_or_path!r} cannot be sampled: in this version of transformers it {why}. It can "
        "be scored (`predact run --only 02`); for the other chapters take a model of another architecture."
    )


def continued(
    model: Any, cache: Any, logits: Tensor, numbers: Tensor, settings: Settings, stops: Tensor
) -> list[Generation]:
    """Sample one token after the other, from the logits [rows, V] of the first on."""
    rows, width = numbers.shape
    ids, log_p = torch.zeros(rows, width, dtype=torch.long), torch.zeros(rows, width)
    lengths, stopped = torch.full((rows,), width), torch.zeros(rows, dtype=torch.bool)
    going = torch.arange(rows, device=numbers.device)
    decoder = decoding.start(model, cache, going, width - 1)
    for place in range(width):
        total = logits.logsumexp(1, keepdim=True)
        if not total.isfinite().all():
            raise loading.not_finite(model, f"a generation's token {place + 1}")
        token = draw(logits, numbers[going, place], settings)
        row = going.cpu()
        ids[row, place] = token.cpu()
        log_p[row, place] = (logits.gather(1, token[:, None]) - total)[:, 0].cpu()
        ended = torch.isin(token, stops)
        over = row[ended.cpu()]
        lengths[over], stopped[over] = place, True
        left = (~ended).nonzero()[:, 0]
        if len(left) == 0 or place + 1 == width:
            break
        if len(left) < len(going):
            going, token = going[left], token[left]
            decoder.keep(left)
        logits = decoder.step(token)[:, : logits.shape[1]].float()
    finish = ["stop" if each else "length" for each in stopped.tolist()]
    parts = zip(ids.tolist(), log_p.tolist(), lengths.tolist(), finish, strict=True)
    return [Generation(row[:length], p[:length], end) for row, p, length, end in parts]


def draw(logits: Tensor, numbers: Tensor, settings: Settings) -> Tensor:
    """Turn a random number in [0, 1) into a token of the nucleus, for each row of logits [n, V]: ids [n].

    The nucleus is looked for among the most probable tokens, so that no other token is sorted or summed up.
    """
    scaled = logits if settings.temperature == 1 else logits / settings.temperature
    peak = scaled.amax(1, keepdim=True)
    likely = (scaled - peak).exp_()
    total = likely.sum(1, keepdim=True)
    size, top_k = logits.shape[1], settings.top_k
    if settings.top_p == 1 and not 0 < top_k < size:
        return _at(likely / total, numbers)
    token, rows = torch.zeros_like(numbers, dtype=torch.long), torch.arange(len(numbers), device=numbers.device)
    count = max(_CANDIDATES, top_k + 1)
    while len(rows):
        count = min(size, count)
        found, ids = _most(likely, count)
        p = found / total
        floor = nucleus_floor(p, settings.top_p, top_k)
        ids, order = ids.sort(1)  # a number counts up the tokens in the vocabulary's order
        kept = p.where(p >= floor, 0).gather(1, order)
        token[rows] = ids.gather(1, _at(kept, numbers)[:, None])[:, 0]
        # where the floor is the last of them, the nucleus may be larger: these rows are drawn again
        left = (p[:, -1] == floor[:, 0]).nonzero()[:, 0] if count < size else rows[:0]
        rows, likely, total, numbers = (each[left] for each in (rows, likely, total, numbers))
        count *= 8
    return token


def _at(p: Tensor, numbers: Tensor) -> Tensor:
    """The place at which the running sum of a row of probabilities [n, places] passes a share of its total: [n]."""
    upto = p.cumsum(1, dtype=torch.float64)
    total = upto[:, -1:]
    wanted = torch.minimum(numbers[:, None] * total, total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(upto, wanted, right=True)[:, 0]


def _most(p: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest of each row [n, V], the largest first, and their places: both [n, count].

    They lie in the blocks with the largest maxima, as many as are asked for; a maximum costs less than a place in an
    order.
    """
    blocks = p.shape[1] // _BLOCK
    if 8 * count > blocks:
        found = p.topk(count)
        return found.values, found.indices
    inside = torch.arange(_BLOCK, device=p.device)
    best = p.unfold(1, _BLOCK, _BLOCK).amax(2).topk(count).indices
    rest = torch.arange(blocks * _BLOCK, p.shape[1], device=p.device).expand(len(p), -1)
    places = torch.cat([(best[:, :, None] * _BLOCK + inside).flatten(1), rest], 1)
    found = p.gather(1, places).topk(count)
    return found.values, places.gather(1, found.indices)


def nucleus_floor(p: Tensor, top_p: float, top_k: int = 0) -> Tensor:
    """Return the probability from which on tokens are kept, for each row of the most probable ones [n, count]: [n, 1].

    A token is kept if the tokens more probable than it sum to less than top_p (and are fewer than top_k, where that is
    not 0). So equally probable tokens are kept or left out together, and with top_p = 1 none is left out. If the floor
    is the last probability of a row, tokens beyond the row may be kept, too.

    Args:
        p: probabilities, the largest first.
        top_p: see above.
        top_k: see above.
    """
    upto = p.cumsum(1, dtype=torch.float64)
    before = torch.cat([torch.zeros_like(upto[:, :1]), upto[:, :-1]], 1)
    keep = (before < top_p) if top_p < 1 else torch.ones_like(before, dtype=torch.bool)
    keep &= torch.arange(p.shape[1], device=p.device) < (top_k or p.shape[1])
    return p.gather(1, keep.sum(1, keepdim=True) - 1)
