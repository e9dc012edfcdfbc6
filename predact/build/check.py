"""What to know about a pair before a run: do tokenizers agree, is there enough memory, how many tokens, how long.

Only configurations and tokenizers are read. If the weights are on this machine, Base is loaded and measured: for ten
seconds, or for one pass of each kind where that takes longer.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import psutil
import torch

from predact.claims import materials
from predact.claims.materials import Work
from predact.claims.verdict import claims
from predact.discussion import nudging
from predact.errors import UserError
from predact.models import chat, finetuned, loading, memory, sampling, scoring, tokens
from predact.models.pairs import AUTO, DTYPES, PRETRAINED, Model, Pair, frame_of
from predact.models.runs import Run
from predact.pocket import world

_HELD = {finetuned.FULL: (20, 83), finetuned.LORA: (0, 67)}  # bytes: per parameter; per position, layer and hidden unit
_SCORED, _WRITTEN, _ALIGNED = 9, 7, 9  # bytes in the store per token scored, written, aligned (measured)
_POSITION, _CURVE = 52, 8_800  # bytes in the store per measured position, and per mass curve
_SECONDS = 5  # of each of the two measurements
_BACKWARD = 3  # time of a training token, in scored tokens
_WIDTH = 32  # tokens of each generation in the measurement


class Finding(NamedTuple):
    """One finding: its topic, a line of text, and whether it is a warning."""

    topic: str
    text: str
    warns: bool = False


def findings(run: Run) -> Iterator[Finding]:
    """Yield what to know about a pair before its book is made.

    Args:
        run: the pair, and the scale of its book.

    Raises:
        UserError: a model is missing, or the hub cannot be reached.
    """
    pair = run.pair
    loading.keep_in(run.root)
    configs = {step: loading.config(model) for step, model in pair.models.items()}
    tokenizers = {step: loading.tokenizer(model) for step, model in pair.models.items()}
    sizes = {step: loading.parameters(model) for step, model in pair.models.items()}
    for step, model in pair.models.items():
        yield Finding("models", _about(step, model, configs[step], sizes[step]))
        if folder := loading.kept(model):
            text = f"{step}: a GGUF file takes long to read; what it holds is read once and kept in {folder}."
            yield Finding("models", text)
    if len({loading.fingerprint(model) for model in pair.models.values()}) < len(pair.models):
        yield Finding("models", "Two of them are the same: between these, every difference will be 0.", warns=True)
    if pair.midtrained:
        text = "Base has read texts like answers before it was tuned (mid-training), which the paper's had not."
        yield Finding("models", text + f" A step {PRETRAINED} before it tells what that changed.", warns=True)
    yield from _agreement(tokenizers)
    for step, tokenizer in tokenizers.items():
        yield from _tokens(step, tokenizer, configs[step], tokens.pair_lead(pair, step))
        if frame_of(pair, step) is None:
            yield from _template(step, tokenizer)
        elif tokenizer.chat_template:
            yield Finding("tokenizers", f"{step} has a chat template, too, of which no use is made.")
    yield from _memory(run, configs, sizes)
    work = total(run)
    yield Finding("work", f"Scale: {run.scale}.")
    yield Finding("work", f"{work.scored:,.0f} tokens to score, {work.sampled:,.0f} to sample at most, by all models.")
    yield Finding("work", f"{work.learned:,.0f} tokens to learn from, in finetuning.")
    yield _disk(run, configs["Base"].get_text_config(), sizes["Base"])
    yield from _time(pair, work)


def estimates(run: Run) -> dict[str, Any]:
    """Return what a scheduler must know of a book, as JSON data.

    Returns:
        memory (bytes: the weights and the cache of the largest model, or what its finetuning takes), disk (bytes),
        tokens (scored, sampled, learned), seconds (of the whole book; None where the weights are not here).

    Raises:
        UserError: a model is missing, or the hub cannot be reached.
    """
    loading.keep_in(run.root)
    base, models = run.pair.models["Base"], run.pair.models
    configs = {step: loading.config(model) for step, model in models.items()}
    sizes = {step: loading.parameters(model) for step, model in models.items()}
    needs, work = _needed(run, configs, sizes), total(run)
    stored = _stored(run, configs["Base"].get_text_config(), sizes["Base"])
    rates = measure_rates(*loading.load(base), run.pair.frame) if loading.at_hand(base) else None
    return {
        "memory": round(max(needs.weights + needs.cache, needs.learning)),
        "disk": round(sum(stored.values())),
        "tokens": {name: round(count) for name, count in work._asdict().items()},
        "seconds": book_seconds(work, rates) if rates else None,
    }


def _about(step: str, model: Model, config: Any, size: int) -> str:
    mark = loading.fingerprint(model)
    where = mark if "@" in mark else f"{loading.name(model)} ({mark[:12]})"
    limit = loading.limit(model)
    reads = f"reads {limit:,} tokens" if limit else "reads texts of any length"
    kind, base = type(config).__name__.removesuffix("Config"), loading.base_of(model)
    kind = kind if config.get_text_config() is config else f"the text model of {kind}"
    kind = f"an adapter on {loading.name(base)}, {kind}" if base else kind
    return f"{step}: {where}, {kind}, {_count(size)} parameters, {reads}."


def _agreement(tokenizers: Mapping[str, Any]) -> Iterator[Finding]:
    for step, tokenizer in tokenizers.items():
        why = tokens.difference(tokenizers["Base"], tokenizer)
        if why:
            lost = "perplexity per token, losses token by token and probes of the other's text are left out"
            text = f"Base and {step}: {why}. What can be compared is compared in bits per byte; {lost}."
            yield Finding("tokenizers", text, warns=True)
            return
    yield Finding("tokenizers", "They agree: all models cut plain text into the same tokens.")


def _tokens(step: str, tokenizer: Any, config: Any, lead: list[int]) -> Iterator[Finding]:
    """What is special about a tokenizer: beginning and end of texts, padding, size.

    Args:
        step: the model's.
        tokenizer: its own.
        config: its configuration.
        lead: ids that stand before a document.
    """
    begins, own = "nothing stands before a document, its first token is not scored", tokens.lead(tokenizer)
    if lead:
        kind = "EOS" if tokenizer.bos_token_id is None else "BOS"
        whose = "set by the pair" if tokenizer.document_prefix != AUTO else kind if lead == own else "as for Base"
        begins = f"{tokenizer.convert_ids_to_tokens(lead[0])} ({whose}) stands before a document"
    pads = {None: "no padding token", tokenizer.eos_token_id: "EOS is the padding token"}.get(tokenizer.pad_token_id)
    says = [begins] + ([f"{pads}, which harms nothing: padding is never read"] if pads else [])
    more = config.get_text_config().vocab_size - len(tokenizer)
    says += [f"{more} ids of the output have no token and get no probability"] if more > 0 else []
    yield Finding("tokenizers", f"{step}: {len(tokenizer):,} tokens; {'; '.join(says)}.")
    if lead != own:
        text = f"{step}: its own {kind}, {tokenizer.convert_ids_to_tokens(own[0])}, is not put before documents: "
        yield Finding("tokenizers", text + "all models of a pair read the same ones.", warns=True)
    if more < 0:
        yield Finding("tokenizers", f"{step}: {-more} tokens are beyond the model's {len(tokenizer) + more:,}.", True)


def _template(step: str, tokenizer: Any) -> Iterator[Finding]:
    if not tokenizer.chat_template:
        yield Finding("tokenizers", f"{step}: no chat template; it cannot be asked anything without one.", warns=True)
        return
    around = len(sampling.ask(tokenizer, "b", None)) - 1
    chat.closing(tokenizer)  # a second turn, which no template may refuse
    try:
        chat.render(tokenizer, [[{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]], prompt=False)
        system = "takes a system role, of which no use is made"
    except UserError:
        system = "takes no system role, and needs none"
    yield Finding("tokenizers", f"{step}: a chat template, {around} tokens around a prompt; {system}.")
    if why := chat.thinks(tokenizer):
        then = "What it thinks is measured as its answer, and cut off where it is long"
        yield Finding("tokenizers", f"{step}: {why}. {then}; a pair file may hold template: {{SWITCH: false}}.", True)


def _memory(run: Run, configs: Mapping[str, Any], sizes: Mapping[str, int]) -> Iterator[Finding]:
    """Compare the memory that the largest model needs with the memory that is free."""
    needs = _needed(run, configs, sizes)
    model, rows = run.pair.models[needs.step], run.settings.rows
    device, free = _device(model)
    fits = needs.weights < free
    text = f"{_bytes(needs.weights)} of weights in {model.dtype}, {_bytes(needs.cache)} of cache for {rows} generations"
    yield Finding("memory", f"{needs.step}: {text}; {device} has {_bytes(free)} free.", warns=not fits)
    if not fits:
        yield Finding("memory", "The weights do not fit: take more GPUs, or a dtype of fewer bytes.", warns=True)
    elif needs.weights + needs.cache > free:
        yield Finding("memory", "The cache does not fit whole: fewer generations are written at a time, more slowly.")
    text = (
        f"To finetune ({needs.method}): {_bytes(needs.learning)} for 2,048 tokens at a time; fewer if they do not fit."
    )
    yield Finding("memory", text, warns=needs.learning > free)


class Needed(NamedTuple):
    """Bytes of memory that the largest model of a pair needs, and the method by which it would be finetuned."""

    step: str
    weights: float
    cache: float
    method: str
    learning: float


def _needed(run: Run, configs: Mapping[str, Any], sizes: Mapping[str, int]) -> Needed:
    step = max(sizes, key=lambda each: sizes[each])
    config, item = configs[step].get_text_config(), DTYPES[run.pair.models[step].dtype]
    head = 4 * config.vocab_size * config.hidden_size if item < 4 else 0
    weights = sizes[step] * item + head
    tokens = run.settings.rows * (run.settings.max_new_tokens + 100)
    method = finetuned.LORA if sizes[step] >= finetuned.LARGE else finetuned.FULL
    each, width = _HELD[method]
    passing = width * 2**11 * config.num_hidden_layers * config.hidden_size
    cache = tokens * memory.cache_bytes(config, item)
    return Needed(step, weights, cache, method, (sizes[step] * each or weights) + passing)


def _device(model: Model) -> tuple[str, float]:
    """Return the device on which a model would run, and its free bytes."""
    if torch.cuda.is_available() and model.device != "cpu":
        count = torch.cuda.device_count()
        free = sum(torch.cuda.mem_get_info(number)[0] for number in range(count))
        return f"{count} x {torch.cuda.get_device_name()}", free
    return f"the CPU ({psutil.cpu_count()} cores)", psutil.virtual_memory().available


def _disk(run: Run, config: Any, size: int) -> Finding:
    held = _stored(run, config, size)
    parts = ", ".join(f"{_bytes(number)} of {name}" for name, number in held.items())
    return Finding("work", f"The store takes {_bytes(sum(held.values()))} at most: {parts}.")


def _stored(run: Run, config: Any, size: int) -> dict[str, float]:
    """Bytes that the store takes when the book is done, by what they hold.

    Args:
        run: the book.
        config: of the Base's text model.
        size: its parameters.
    """
    told, steps, work = run.settings, len(run.pair.models), works(run)
    groups = work["documents"].scored / materials.TOKENS + steps * len(materials.questions(run))  # of mass curves
    written = sum(work[name].sampled for name in ("generations", "matched generations"))
    held = {
        "scores": _SCORED * work["documents"].scored,
        "generations": _WRITTEN * written,
        "their alignments": _ALIGNED * written,
        "distributions": _CURVE * groups + 2 * steps * _POSITION * told.positions,
    }
    if told.keep_weights:
        inner = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
        adapters = told.rank * config.num_hidden_layers * (11 * config.hidden_size + 3 * inner)  # of seven linear maps
        method = finetuned.checked(run.pair, told.finetuning).method
        models = steps * materials.targets(run) * told.orders
        held["finetuned weights"] = 4 * models * (size if method == finetuned.FULL else adapters)
    packed = {folder: model for model in run.pair.models.values() if (folder := loading.kept(model))}
    if packed:
        weights = (loading.parameters(model) * DTYPES[model.dtype] for model in packed.values())
        held["dequantized GGUF files"] = sum(weights)
    return held


def _time(pair: Pair, work: Work) -> Iterator[Finding]:
    """Estimate how long the book takes, from a measurement with the largest model that can be loaded here."""
    base = pair.models["Base"]
    if not loading.at_hand(base):
        yield Finding("time", "Not measured: the weights are not here. A second check, once they are, will tell.")
        return
    yield Finding("time", "Loading Base and measuring it; this can take minutes if it is large.")
    start = time.perf_counter()
    try:
        model, tokenizer = loading.load(base)
        loaded = time.perf_counter()
        sampling.verify(model, tokenizer)
        rates = measure_rates(model, tokenizer, pair.frame)
    except UserError as error:
        yield Finding("time", f"Not measured. {error}", warns=True)
        return
    took = f"loaded in {loaded - start:,.0f} s, measured for {time.perf_counter() - loaded:,.0f} s"
    said = f"Base scores {rates.scored:,.0f} and samples {rates.sampled:,.0f} tokens/s here"
    hours = book_seconds(work, rates) / 3600
    yield Finding("time", f"{said} ({took}): about {_duration(hours)} for the book.")


def _duration(hours: float) -> str:
    return f"{hours:,.1f} hours" if hours >= 1 else f"{60 * hours:,.0f} minutes"


def _count(number: float) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e9 else f"{number / 1e6:.1f} million"


def _bytes(number: float) -> str:
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.0f} MB"


class Rates(NamedTuple):
    """Tokens per second that a model scores, and that it samples."""

    scored: float
    sampled: float


def total(run: Run) -> Work:
    """Count the tokens of a book: those of every claim (shared measurements once) and those of the discussion."""
    parts = [*works(run).values(), nudging.work(run)]
    return Work(*(sum(column) for column in zip(*parts, strict=True)))


def works(run: Run) -> dict[str, Work]:
    """Count the tokens of each material that claims of a book need."""
    return {name: work for claim in claims().values() for name, work in claim.work(run).items()}


def measure_rates(model: Any, tokenizer: Any, frame: str) -> Rates:
    """Score and sample for some seconds each, and return the rates."""
    texts = [world.document("stories", "test", place).text for place in range(8)]
    turn = sampling.ask(tokenizer, "What makes a good story?", frame)
    settings = sampling.Settings(generations=100, max_new_tokens=_WIDTH)
    room = sampling.room_after(model, len(turn), "frame: a prompt")
    numbers = sampling.uniforms(0, [str(place) for place in range(100)], settings, room)

    def scored() -> int:
        return len(scoring.score(model, tokenizer, texts))

    def sampled() -> int:
        return sum(len(each.ids) for each in sampling.sample(model, tokenizer, [turn], numbers, settings))

    return Rates(_rate(scored), _rate(sampled))


def book_seconds(work: Work, rates: Rates) -> float:
    """Return the time of a book: scoring, sampling, finetuning; a training token counts as `_BACKWARD` scored ones."""
    return (work.scored + _BACKWARD * work.learned) / rates.scored + work.sampled / rates.sampled


def _rate(run: Callable[[], int]) -> float:
    """Return the tokens processed per second, after one run to warm up, which counts where it takes long enough."""
    start = time.perf_counter()
    tokens = run()
    if time.perf_counter() - start < _SECONDS:
        start, tokens = time.perf_counter(), 0
        while time.perf_counter() - start < _SECONDS:
            tokens += run()
    return tokens / (time.perf_counter() - start)
