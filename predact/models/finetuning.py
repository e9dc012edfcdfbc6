"""Finetuning: a model is trained further on texts; other texts select its learning rate and when to stop.

Every model of a pair is given the same texts in the same batches, in the same order; so that none is handicapped, each
gets the learning rate that suits it. The loss is the mean nll of the tokens of an update, ends of documents included;
AdamW without weight decay, the gradient's norm clipped to 1, dropout off. The learning rate is warmed up, held, and
falls to zero in the last third (Hägele et al. 2024): what happens before does not depend on how long the run is meant
to be.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain, count
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm

from predact.errors import NotFinite, UserError
from predact.models import loading, scoring, tokens

FULL, LORA = "full", "lora"
_DIVERGED = 2  # times the validation nll at the start
_BEYOND = 2  # learning rates that may be tried outside the grid
Rows = list[list[int]]


@dataclass(frozen=True)
class Settings:
    """How every model of a pair is finetuned."""

    method: str = FULL  # full: all weights, in float32; lora: low-rank adapters beside the linear maps (Hu et al. 2022)
    rates: Sequence[float] = (3e-4, 1e-3)  # learning rates to begin with; see `search`
    updates: int = 64  # of a run, at most
    batch: int = 4096  # bytes of text that an update learns from, at most
    context: int = 1024  # tokens that a model may look back on, at most
    rank: int = 16  # of the adapters
    lead: list[int] | None = None  # ids that stand before a document; None: the tokenizer's own prefix token
    window_lead: list[int] | None = None  # ids that stand before every later window or row; None: its own BOS


@dataclass(frozen=True)
class Run:
    """One run: how it did on the validation texts on its way, and the weights that did best."""

    rate: float
    tokens: np.ndarray  # [evaluations] learned from by then, of all that were planned
    nll: np.ndarray  # [evaluations, texts] in nats, as far as the run went
    weights: dict[str, Tensor]  # those that finetuning changes, at the best evaluation

    @property
    def best(self) -> int:
        """The evaluation with the least nll: 0 if finetuning helped nothing."""
        return int(self.nll.sum(1).argmin())

    @property
    def failed(self) -> bool:
        """Whether the run diverged: its last nll is twice that of its beginning, or infinite."""
        return not self.nll[-1].sum() < _DIVERGED * self.nll[0].sum()


def search(
    model: Any, tokenizer: Any, train: Sequence[str], validation: Sequence[str], settings: Settings, seed: int = 0
) -> list[Run]:
    """Finetune with several learning rates; return the runs by learning rate, with weights only for the best one.

    Where the best rate stands at an end of the grid, rates beyond are tried, two at most: a model that needs another
    rate than expected shall not be handicapped. A single rate is taken as given. A run is given up if past a quarter
    of its updates it is surely behind the best one so far (by two standard errors of the paired difference, as in
    successive halving), or if past half of them it was at its best with a quarter of what it has done.

    Args:
        model: a causal language model; afterwards it is as it was.
        tokenizer: its tokenizer.
        train: the texts to learn from.
        validation: the texts to choose by.
        settings: how.
        seed: of the order of the texts, and of the adapters' first weights.

    Raises:
        UserError: a single text does not fit into memory.
    """
    context = min(settings.context, loading.context_limit(model) or settings.context)
    leads = settings.lead, settings.window_lead
    work = plan_updates(tokenizer, train, settings.batch, settings.updates, context, seed, *leads)
    runs, rates, chosen = list[Run](), sorted(settings.rates), None
    while rates:
        torch.manual_seed(seed)
        runs.append(run(model, tokenizer, work, validation, settings, rates.pop(), chosen))
        chosen = best(runs)
        runs = [each if each is chosen else replace(each, weights={}) for each in sorted(runs, key=lambda it: it.rate)]
        if not rates and len(runs) < len(settings.rates) + _BEYOND:
            rates = _beyond(runs)
    return runs


def best(runs: Sequence[Run]) -> Run:
    """Return the run with the least nll on the validation texts at its best evaluation."""
    return min(runs, key=lambda each: each.nll[each.best].sum())


def _beyond(runs: Sequence[Run]) -> list[float]:
    """The next rate beyond that end of the grid where the best one stands, as a list; none if it stands inside."""
    rates = [each.rate for each in runs]
    place = rates.index(best(runs).rate)
    if len(rates) < 2 or 0 < place < len(rates) - 1:
        return []
    return [rates[place] ** 2 / rates[-2 if place else 1]]


def run(
    model: Any,
    tokenizer: Any,
    work: Sequence[Rows],
    validation: Sequence[str],
    settings: Settings,
    rate: float,
    rival: Run | None = None,
) -> Run:
    """Finetune with one learning rate, on what `plan_updates` returns; `rival` is the best run so far, see `search`."""
    tokens = np.cumsum([0] + [sum(len(row) - 1 for row in batch) for batch in work])
    points = evaluations(len(work))
    found, at, kept = list[np.ndarray](), 0, dict[str, Tensor]()
    with weights(model, settings) as changed:
        for done, fine in learn(model, changed, work, len(tokenizer), rate):
            if fine and done not in points:
                continue
            if not fine:
                found.append(np.full(len(validation), np.inf))
            else:  # all runs begin alike
                found.append(_read(model, tokenizer, validation, settings, done) if done or not rival else rival.nll[0])
            if found[-1].sum() <= min(each.sum() for each in found):
                at, kept = done, {name: weight.detach().to("cpu", copy=True) for name, weight in changed.items()}
            so_far = Run(rate, tokens[points], np.stack(found), kept)
            share = done / len(work)
            if so_far.failed or (share >= 1 / 4 and _behind(so_far, rival)) or (share >= 1 / 2 and done >= 4 * at):
                break
    return so_far


def _behind(run: Run, rival: Run | None) -> bool:
    """Whether the last evaluation of a run is surely worse than the same one of its rival, if that got so far."""
    place = len(run.nll) - 1
    if rival is None or place >= len(rival.nll):
        return False
    more = run.nll[place] - rival.nll[place]
    return bool(more.mean() > 2 * more.std(ddof=1) / len(more) ** 0.5)


def _read(model: Any, tokenizer: Any, texts: Sequence[str], settings: Settings, done: int = 0) -> np.ndarray:
    """Nll of each text in nats, infinite if the updates `done` have led to numbers that are not finite."""
    try:
        tokens = score(model, tokenizer, texts, settings)
    except NotFinite:
        if done:
            return np.full(len(texts), np.inf)
        raise
    return scoring.documents(tokens, texts).nll.to_numpy()


def score(model: Any, tokenizer: Any, texts: Sequence[str], how: Settings) -> pd.DataFrame:
    """Score texts as they are read while a model is finetuned: see `scoring.score`."""
    return scoring.score(model, tokenizer, texts, context=how.context, lead=how.lead, window_lead=how.window_lead)


@contextmanager
def weights(model: Any, settings: Settings) -> Iterator[dict[str, Tensor]]:
    """Make a model's weights trainable, or add adapters; yield the trainable tensors; restore the model afterwards."""
    if settings.method == LORA:
        import peft

        config = peft.LoraConfig(r=settings.rank, lora_alpha=2 * settings.rank, target_modules="all-linear")
        adapted = peft.get_peft_model(model, config)  # puts its adapters into the model itself, in float32
        try:
            yield {name: each for name, each in model.named_parameters() if each.requires_grad}
        finally:
            adapted.unload()
    else:
        model.requires_grad_(True)
        before = {name: each.detach().clone() for name, each in model.named_parameters()}
        try:
            yield dict(model.named_parameters())
        finally:
            put(model, before)


@torch.no_grad()
def put(model: Any, values: dict[str, Tensor]) -> None:
    """Give weights of a model, by name, other values."""
    own = dict(model.named_parameters())
    for name, value in values.items():
        own[name].copy_(value)


def learn(
    model: Any, changed: dict[str, Tensor], work: Sequence[Rows], vocabulary: int, rate: float
) -> Iterator[tuple[int, bool]]:
    """Do one update after the other; yields before the first and after each how many are done, and if all is finite.

    Args:
        model: the model.
        changed: its weights that learn.
        work: the rows of ids of each update.
        vocabulary: ids from here on take no probability.
        rate: the highest learning rate.
    """
    optimizer = torch.optim.AdamW(changed.values(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    room = 2**9 if model.device.type == "cpu" else min(2**14, 2**28 // vocabulary)  # logits of at most 1 GB
    yield 0, True
    for done, batch in enumerate(tqdm(work, desc=f"learning rate {rate:.1g}", leave=False, disable=None), 1):
        optimizer.param_groups[0]["lr"] = rate * schedule(done, len(work))
        optimizer.zero_grad()
        room = gradient(model, batch, vocabulary, room)
        norm = torch.nn.utils.clip_grad_norm_(changed.values(), 1.0)
        if norm.isfinite():
            optimizer.step()
        yield done, bool(norm.isfinite())


def gradient(model: Any, batch: Rows, vocabulary: int, room: int) -> int:
    """Add up the gradient of the mean nll of a batch, as many rows at a time as fit into memory.

    Args:
        model: the model, its gradients zero.
        batch: rows of ids.
        vocabulary: ids from here on take no probability.
        room: positions, padded, that are tried at once: on a CPU few, so that little is padded. If they do not fit,
            half as many are, with a warning.

    Returns:
        How many positions fitted.

    Raises:
        UserError: a single row does not fit.
    """
    ordered, total = sorted(batch, key=len, reverse=True), sum(len(row) - 1 for row in batch)
    while True:
        size = max(1, room // (len(ordered[0]) - 1))
        try:
            for some in _together(ordered, room):
                (_nll(model, some, vocabulary) / total).backward()
            return room
        except torch.OutOfMemoryError:
            pass  # tensors of the failed attempt are freed when this block ends
        if size == 1:
            raise UserError(
                f"context: {len(ordered[0]) - 1} tokens do not fit into memory for finetuning; "
                "lower context or batch, or set method to lora."
            )
        model.zero_grad()
        torch.cuda.empty_cache()
        room = max(1, min(room, len(ordered) * (len(ordered[0]) - 1)) // 2)
        warnings.warn(f"finetuning: out of memory; {room} tokens at a time now, the batch stays.", stacklevel=2)


def _together(ordered: Rows, room: int) -> Iterator[Rows]:
    """Split rows, the longest first, into batches of at most `room` positions when padded, or of a single row."""
    while ordered:
        size = max(1, room // (len(ordered[0]) - 1))
        yield ordered[:size]
        ordered = ordered[size:]


def _nll(model: Any, some: Rows, vocabulary: int) -> Tensor:
    """Sum of the nll of rows of ids in nats. Padding stands on the right, where a causal model cannot see it."""
    ids = pad_sequence([torch.tensor(row) for row in some], batch_first=True, padding_value=-1).to(model.device)
    output = scoring.body(model)(input_ids=ids[:, :-1].clamp(min=0), use_cache=False)
    real = ids[:, 1:] >= 0  # logits are formed for these alone
    hidden = output.last_hidden_state
    logits = scoring.logits(model, output, hidden[real.to(hidden.device)])[:, :vocabulary]
    return torch.nn.functional.cross_entropy(logits, ids[:, 1:][real].to(logits.device), reduction="sum")


def plan_updates(
    tokenizer: Any,
    texts: Sequence[str],
    size: int,
    updates: int,
    context: int,
    seed: int,
    lead: list[int] | None = None,
    window_lead: list[int] | None = None,
) -> list[Rows]:
    """Return the rows of ids that each update learns from.

    Args:
        tokenizer: the model's.
        texts: the documents.
        size: bytes of text in an update, at most.
        updates: how many.
        context: ids that a model reads at once, at most.
        seed: of the order.
        lead: ids that stand before a document; by default the tokenizer's own prefix token.
        window_lead: ids that stand before every later row of a passage; by default the tokenizer's own BOS.
    """
    pieces = [piece for text in texts for piece in passages(text, size)]
    read = rows(tokenizer, pieces, context, lead, window_lead)
    plan = plan_batches([len(text.encode()) for text, _ in pieces], size, updates, seed)
    return [[row for place in places for row in read[place]] for places in plan]


def passages(text: str, size: int) -> list[tuple[str, bool]]:
    """Cut a text at white space into passages of at most `size` characters, each with whether the text ends there."""
    found = re.findall(rf"(?s).{{1,{size}}}(?=\s|$)|.{{1,{size}}}", text)
    return [(passage, place == len(found)) for place, passage in enumerate(found, 1)]


def plan_batches(sizes: Sequence[int], most: int, updates: int, seed: int) -> list[list[int]]:
    """Return the texts of each update: as many as fit, from all texts in random order, passed through repeatedly.

    Only sizes and seed decide, so that models with different tokenizers learn from the same texts.

    Args:
        sizes: of the texts, in bytes.
        most: bytes of an update; a longer text is an update of its own.
        updates: how many.
        seed: of the order.
    """
    draw, found, total = np.random.default_rng(seed), [list[int]()], 0
    for place in chain.from_iterable(draw.permutation(len(sizes)).tolist() for _ in count()):
        if found[-1] and total + sizes[place] > most:
            if len(found) == updates:
                break
            found.append([])
            total = 0
        found[-1].append(place)
        total += sizes[place]
    return found


def rows(
    tokenizer: Any,
    pieces: Sequence[tuple[str, bool]],
    context: int,
    lead: list[int] | None = None,
    window_lead: list[int] | None = None,
) -> list[Rows]:
    """Return for each passage what a model reads: a prefix token, its ids, EOS if a document ends; cut to the context.

    A row has one id more than the context: its first one is read and not learned. It is the BOS, if there is one, else
    the last id of the row before.
    """
    lead = tokens.lead(tokenizer) if lead is None else lead
    again = tokens.window_lead(tokenizer) if window_lead is None else window_lead
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    encoded = tokens.encode(tokenizer, [text for text, _ in pieces])
    whole = [lead + ids + (end if last else []) for ids, (_, last) in zip(encoded, pieces, strict=True)]
    return [
        [(at > 1 and again or ids[at - 1 : at]) + ids[at : at + context] for at in range(1, len(ids), context)]
        for ids in whole
    ]


def schedule(update: int, updates: int) -> float:
    """Share of the learning rate in an update (from 1 on): warmed up in an eighth, falling in the last third."""
    return min(1.0, update / (updates / 8), (updates - update + 1) / (updates / 3))


def evaluations(updates: int) -> list[int]:
    """Return after how many updates a model is tested: 0, 1, 2, 4, ... up to a quarter, then every root of two."""
    late = {round(updates / 2 ** (half / 2)) for half in range(5)}
    return sorted({0} | late | {2**power for power in range(updates.bit_length()) if 2**power < updates / 4})
