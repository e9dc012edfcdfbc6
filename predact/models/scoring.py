"""Scoring: the nll, in nats, of every token of a text under a causal language model, and its sums by document.

The same pass over the logits tells the rank of the token: how many others the model thinks likelier. In a Shannon game,
these are the wrong guesses before the right one (Table 1).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate, chain, groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from predact import store
from predact.errors import UserError
from predact.models import loading, memory, tokens
from predact.models.pairs import Model, Pair
from predact.texts.corpora import Corpus

CONTEXT = 1024  # most positions read at once, where nothing else is told
ROOM = 256  # MB for logits and what is made of them, so that memory does not grow with batch, length or vocabulary
CACHED = 2**19  # logits at a time for what reads them several times: few enough to stay in the processor's cache
_COPIES = 4  # arrays as large as a chunk of float32 logits that are alive at once, at most
Observer = Callable[[np.ndarray, Tensor], None]
_SHARD = 10  # documents whose scores are stored together
_TOGETHER = 10  # shards that are scored together, so that batches are full


class Window(NamedTuple):
    """A stretch of a sequence: the model reads `lead` ids of its own, then [begin, stop - 1), scored on [first, stop).

    The first window of a sequence has no ids of its own: the sequence begins with those that stand before a document.
    """

    sequence: int
    begin: int
    first: int
    stop: int
    lead: int = 0

    @property
    def width(self) -> int:
        """How many ids are read."""
        return self.lead + self.stop - 1 - self.begin

    def read(self, sequences: Sequence[list[int]], window_lead: list[int]) -> list[int]:
        """Return the ids that are read."""
        return window_lead[: self.lead] + sequences[self.sequence][self.begin : self.stop - 1]


class Scores(NamedTuple):
    """Of tokens: nll [n] in nats (float32), and rank [n], the number of tokens with a higher logit (int32)."""

    nll: np.ndarray
    rank: np.ndarray


def windows(length: int, context: int, sequence: int = 0, given: int = 1, lead: int = 0) -> Iterator[Window]:
    """Yield windows that score every position of a sequence after the `given` ones (at least one) exactly once.

    A window reads at most `context` positions, the `lead` ids before every later one included; the next begins half a
    context later. So every position is scored with at least half a context on its left, or all there is.
    """
    begin, first, before = 0, 1, 0
    while first < length:
        stop = min(begin + context - before + 1, length)
        if stop > max(first, given):
            yield Window(sequence, begin, max(first, given), stop, before)
        begin, first, before = begin + max(1, context // 2), max(first, stop), min(lead, context - 1)


def score(
    model: Any,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    context: int = CONTEXT,
    batch_tokens: int | None = None,
    end: bool = False,
    lead: list[int] | None = None,
    window_lead: list[int] | None = None,
) -> pd.DataFrame:
    """Score every token of texts: nll = -log p(token | prefix token, earlier tokens of the text in the window).

    Every window begins with the prefix token, not only the first, where the tokenizer has a BOS (`prefix_every_window`,
    see `tokens.window_lead`).

    Its rank is the number of tokens whose logit lies strictly above its own: 0 for the likeliest. Ids at or above
    ``len(tokenizer)`` (padding of the embedding) take no probability. How texts are batched does not change a float32
    score by more than 1e-5.

    Args:
        model: a causal language model as `loading.load` returns it.
        tokenizer: its tokenizer.
        texts: the documents.
        context: most positions read at once; the model's own limit counts where it is lower.
        batch_tokens: positions in a batch of windows; by default what `memory.positions` says.
        end: score also the EOS token after each text, so that the sum is the nll of the document with its end.
        lead: ids that stand before each text; by default the tokenizer's own prefix token.
        window_lead: ids that stand before every later window of a text; by default the tokenizer's own BOS.

    Returns:
        A row per token: doc (int32, index into texts), position (int32, in the document), id (int32), nll (float32,
        nats), rank (int32). Where not scored, nll is NaN and rank is -1: the first token of a text when the tokenizer
        has neither BOS nor EOS.

    Raises:
        UserError: the context is not positive, or `end` is asked for and there is no EOS.
    """
    if context < 1:
        raise UserError(f"context: expected a whole number above 0, not {context}.")
    if end and tokenizer.eos_token_id is None:
        raise UserError("end: the tokenizer has no EOS token, so the end of a document cannot be scored.")
    lead = tokens.lead(tokenizer) if lead is None else lead
    ids = [each + [tokenizer.eos_token_id] * end for each in tokens.encode(tokenizer, list(texts))]
    sequences = [lead + each for each in ids]
    again = tokens.window_lead(tokenizer) if window_lead is None else window_lead
    given, size = [len(lead)] * len(ids), len(tokenizer)
    scores = score_ids(model, sequences, given, size, again, context=context, batch_tokens=batch_tokens)
    lengths = np.array([len(each) for each in ids], dtype=np.int64)
    doc = np.repeat(np.arange(len(ids)), lengths)
    starts = np.cumsum(lengths) - lengths
    columns = {"doc": doc, "position": np.arange(len(doc)) - starts[doc], "id": list(chain.from_iterable(ids))}
    return pd.DataFrame(columns).astype(np.int32).assign(**scores._asdict())


def score_ids(
    model: Any,
    sequences: Sequence[list[int]],
    given: Sequence[int],
    vocabulary: int,
    window_lead: list[int],
    *,
    context: int = CONTEXT,
    batch_tokens: int | None = None,
    room: float = ROOM,
    observe: Observer | None = None,
) -> Scores:
    """Score the ids of sequences after the given ones, in one pass over the logits.

    Args:
        model: a causal language model.
        sequences: ids, the given ones included.
        given: how many ids of each are read but not scored.
        vocabulary: ids from here on take no probability.
        window_lead: ids that stand before every window of a sequence but the first; see `tokens.window_lead`.
        context: most positions read at once; the model's own limit counts where it is lower.
        batch_tokens: positions in a batch of windows; by default what `memory.positions` says.
        room: MB, at most, for logits and what is made of them: they are formed for so many positions at a time.
        observe: called with the places (in the result) of some positions and their float32 logits [places, vocabulary],
            until all have been seen; it must not change them.

    Returns:
        Nll and rank, sequence after sequence; NaN and -1 for an id with nothing before it.

    Raises:
        UserError: the nll of any other id is not finite.
    """
    lengths = np.array([len(each) for each in sequences], dtype=np.int64) - np.asarray(given, dtype=np.int64)
    starts = np.cumsum(lengths) - lengths - given
    scores = Scores(np.full(lengths.sum(), np.nan, np.float32), np.full(lengths.sum(), -1, np.int32))
    context = min(context, loading.context_limit(model) or context)
    size = max(1, int(room * 2**20 / 4 / _COPIES / vocabulary))
    with tqdm(total=int(lengths.sum()), desc="scoring", unit="token", leave=False, disable=None) as bar:
        room_for = batch_tokens or memory.positions(model)
        for batch in _batches(sequences, given, context, room_for, len(window_lead)):
            places = np.concatenate([starts[w.sequence] + np.arange(w.first, w.stop) for w in batch])
            read = [each.read(sequences, window_lead) for each in batch]
            targets = [token for w in batch for token in sequences[w.sequence][w.first : w.stop]]
            scores.nll[places], scores.rank[places] = _score_batch(
                model, read, batch, targets, vocabulary, size, places, observe
            )
            _refuse_not_finite(model, batch, scores.nll[places])
            bar.update(len(places))
    return scores


def _refuse_not_finite(model: Any, batch: Sequence[Window], nll: np.ndarray) -> None:
    """Raise an error that names the first token of a batch whose nll is not finite."""
    if not np.isfinite(nll).all():
        place = np.flatnonzero(~np.isfinite(nll))[0]
        read = [(w.sequence, position) for w in batch for position in range(w.first, w.stop)]
        sequence, position = read[place]
        raise loading.not_finite(model, f"token {position + 1} of text {sequence + 1}")


def body(model: Any) -> Any:
    """Return the part of a causal language model whose output is the final hidden states."""
    found = model.base_model.get_decoder()
    inner = (each for each in model.children() if hasattr(each, "get_decoder"))
    return next(inner, model) if found is model else found  # Llama 4 takes itself for its decoder


def logits(model: Any, output: Any, hidden: Tensor) -> Tensor:
    """Return the float32 logits [n, V] of final hidden states [n, H].

    Whatever a model does after its body (a head, scaling, soft-capping) is left to the model itself: it is called with
    a body that returns these states.

    Args:
        model: a causal language model.
        output: what its body has returned for any input.
        hidden: final hidden states, of any positions.
    """
    states = replace(output, last_hidden_state=hidden[None])
    any_token = torch.zeros((1, 1), dtype=torch.long, device=model.device)
    with patch.object(body(model), "forward", lambda *_, **__: states):
        return model(input_ids=any_token, use_cache=False).logits[0].float()


def documents(tokens: pd.DataFrame, texts: Sequence[str]) -> pd.DataFrame:
    """Sum the scores of tokens by document.

    Returns:
        A row per text: doc, bytes (of its UTF-8), words (between white space), tokens (those scored), nll (nats, summed
        in float64).
    """
    scored = tokens[tokens.nll.notna()]
    return pd.DataFrame(
        {
            "doc": np.arange(len(texts)),
            "bytes": [len(text.encode()) for text in texts],
            "words": [len(text.split()) for text in texts],
            "tokens": np.bincount(scored.doc, minlength=len(texts)),
            "nll": np.bincount(scored.doc, weights=scored.nll.astype(np.float64), minlength=len(texts)),
        }
    )


def _batches(
    sequences: Sequence[list[int]], given: Sequence[int], context: int, batch_tokens: int, lead: int
) -> Iterator[list[Window]]:
    """Yield the windows of sequences, longest first, in batches of at most `batch_tokens` positions when padded."""
    pairs = enumerate(zip(sequences, given, strict=True))
    queue = [window for index, (each, count) in pairs for window in windows(len(each), context, index, count, lead)]
    queue.sort(key=lambda window: -window.width)
    while queue:
        size = max(1, batch_tokens // queue[0].width)
        yield queue[:size]
        del queue[:size]


@torch.inference_mode()
def _score_batch(
    model: Any,
    rows: Sequence[list[int]],
    batch: Sequence[Window],
    targets: Sequence[int],
    vocabulary: int,
    size: int,
    places: np.ndarray,
    observe: Observer | None,
) -> Scores:
    """Scores of the targets of windows, whose ids are the rows; logits are formed for `size` positions at a time.

    Padding stands on the right, where a causal model cannot see it, so no attention mask is needed.
    """
    width = max(map(len, rows))
    inputs = torch.zeros(len(rows), width, dtype=torch.long)
    for line, ids in zip(inputs, rows, strict=True):
        line[: len(ids)] = torch.tensor(ids)
    read = [row * width + np.arange(w.width - (w.stop - w.first), w.width) for row, w in enumerate(batch)]
    output = _read(model, inputs)
    hidden = output.last_hidden_state.flatten(0, 1)
    hidden = hidden[torch.from_numpy(np.concatenate(read)).to(hidden.device)]
    found = []
    for start in range(0, len(hidden), size):
        chunk = slice(start, start + size)
        formed = logits(model, output, hidden[chunk])[:, :vocabulary]
        if observe:
            observe(places[chunk], formed)
        found.append(_scored(formed, torch.tensor(targets[chunk])))
    return Scores(*(torch.cat(each).cpu().numpy() for each in zip(*found, strict=True)))


def _read(model: Any, inputs: Tensor) -> Any:
    """What a model's body returns for rows of ids; if memory runs out, they are read in two halves."""
    try:
        output = body(model)(input_ids=inputs.to(model.device), use_cache=False)
        if getattr(output, "last_hidden_state", None) is None:
            raise UserError(
                f"pair: no final hidden states of {type(model).__name__} are found, so it cannot be scored."
            )
        return output
    except torch.OutOfMemoryError:
        pass  # tensors of the failed attempt are freed when this block ends
    if len(inputs) == 1:
        raise UserError(f"context: {inputs.shape[1]} tokens do not fit into memory; lower context.")
    torch.cuda.empty_cache()
    halves = [_read(model, half) for half in inputs.chunk(2)]
    return replace(halves[0], last_hidden_state=torch.cat([half.last_hidden_state for half in halves]))


def _scored(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """-log softmax(logits [n, V])[targets [n]] in float32, and ranks of targets in int32; the logits are used up."""
    rows = max(1, CACHED // logits.shape[1])
    room = torch.empty_like(logits[:rows])
    parts = zip(logits.split(rows), targets.to(logits.device)[:, None].split(rows), strict=True)
    nll, rank = zip(*(_scored_rows(*each, room) for each in parts), strict=True)
    return torch.cat(nll), torch.cat(rank)


def _scored_rows(logits: Tensor, targets: Tensor, room: Tensor) -> tuple[Tensor, Tensor]:
    wanted = logits.gather(1, targets)
    higher = torch.gt(logits, wanted, out=room[: len(logits)])  # as floats: summed five times as fast as booleans
    rank = higher.sum(1).int()
    top = logits.amax(1, keepdim=True)
    total = logits.sub_(top).exp_().sum(1, keepdim=True)
    return (total.log() + (top - wanted)).squeeze(1), rank


def later_windows(
    model: Model, lengths: Iterable[int], window_lead: list[int], context: int = CONTEXT
) -> dict[str, list[int]]:
    """Return what the key of a stored result tells of later windows: what they begin with, where there are any.

    Args:
        model: what reads.
        lengths: of the sequences that it reads, in ids.
        window_lead: ids that stand before later windows.
        context: most positions read at once.
    """
    limit = min(context, loading.limit(model) or context)
    return {"window_lead": window_lead} if window_lead and max(lengths, default=0) > limit + 1 else {}


def score_corpus(
    root: Path, model: Model, corpus: Corpus, *, context: int = CONTEXT, end: bool = False
) -> pd.DataFrame:
    """Return the scores of one model on one corpus, as `scoring.score`, from the store where they are there.

    The model is loaded only when something is missing. Ten documents are stored together, found again by their
    texts: more of a corpus, or fewer, are scored only as far as they are others.
    """
    own = loading.tokenizer(model)
    reader = _Reader(model, tokens.lead(own), tokens.window_lead(own))
    return _score_corpora(root, [(reader, corpus)], context, end)[0]


class _Reader(NamedTuple):
    """A model, and the ids that stand before a document and before its later windows."""

    model: Model
    lead: list[int]
    window_lead: list[int]

    def lengths(self, texts: list[str], end: bool) -> Iterator[int]:
        """Ids of texts, with what stands around them; texts are tokenized when the first length is asked for."""
        for ids in tokens.encode(loading.tokenizer(self.model), texts):
            yield len(self.lead) + len(ids) + end


def _score_corpora(root: Path, jobs: Sequence[tuple[_Reader, Corpus]], context: int, end: bool) -> list[pd.DataFrame]:
    """Scores of several readers on corpora."""
    parts = [
        (number, reader, corpus.texts[start : start + _SHARD])
        for number, (reader, corpus) in enumerate(jobs)
        for start in range(0, len(corpus.texts), _SHARD)
    ]
    keys = {reader.model: loading.key(reader.model) for reader, _ in jobs}
    inputs = [
        keys[reader.model]
        | {"lead": reader.lead, "texts": store.digest(texts), "context": context, "end": end}
        | later_windows(reader.model, reader.lengths(texts, end), reader.window_lead, context)
        for _, reader, texts in parts
    ]

    def compute(places: list[int]) -> Iterator[pd.DataFrame]:
        for reader, group in groupby((parts[place][1:] for place in places), key=lambda part: part[0]):
            several = [texts for _, texts in group]
            leads = {"lead": reader.lead, "window_lead": reader.window_lead}
            scored = score(*loading.loaded(reader.model), list(chain(*several)), context=context, end=end, **leads)
            for first, last in pairwise(accumulate(map(len, several), initial=0)):
                mine = scored[(scored.doc >= first) & (scored.doc < last)]
                yield mine.assign(doc=(mine.doc - first).astype(np.int32))

    made = store.shards(root, "scores", inputs, compute, together=_TOGETHER)
    found: list[list[pd.DataFrame]] = [[] for _ in jobs]
    for (number, *_), part in zip(parts, made, strict=True):
        found[number].append(part.assign(doc=(part.doc + _SHARD * len(found[number])).astype(np.int32)))
    return [pd.concat(each, ignore_index=True) for each in found]


def score_pair_tokens(
    root: Path, pair: Pair, corpora: Sequence[Corpus], *, context: int = CONTEXT, end: bool = False
) -> pd.DataFrame:
    """Score all models of a pair on corpora, each document after the token of `tokens.pair_lead`.

    Args:
        root: of the store.
        pair: the models.
        corpora: the texts.
        context: as `scoring.score`.
        end: likewise.

    Returns:
        corpus, model (as in the pair: Base, ..., RLHF), doc, position, id, nll, rank.

    Raises:
        UserError: the models' tokenizers look alike (`tokens.compared_per`), but cut one of these texts differently.
    """
    jobs = [(step, corpus) for step in pair.models for corpus in corpora]
    readers = {
        step: _Reader(model, tokens.pair_lead(pair, step), tokens.pair_window_lead(pair, step))
        for step, model in pair.models.items()
    }
    found = _score_corpora(root, [(readers[step], each) for step, each in jobs], context, end)
    parts = {(corpus.name, step): part for (step, corpus), part in zip(jobs, found, strict=True)}
    frame = pd.concat([part.assign(corpus=name, model=step) for (name, step), part in parts.items()], ignore_index=True)
    alike = all(_same_ids(part, parts[name, "Base"]) for (name, _), part in parts.items())
    if tokens.compared_per(pair) is tokens.Per.TOKEN and not alike:
        raise UserError(
            "pair: the tokenizers have one vocabulary, but cut these texts differently; give both the same one."
        )
    return frame[["corpus", "model", "doc", "position", "id", "nll", "rank"]]


def score_pair(root: Path, pair: Pair, corpora: Sequence[Corpus], **settings: Any) -> pd.DataFrame:
    """Sum the scores of all models of a pair by document.

    Args:
        root: of the store.
        pair: the models.
        corpora: the texts.
        **settings: `context` and `end`, as `scoring.score`.

    Returns:
        corpus, category, model, doc, bytes, words, tokens, nll (nats), world_nll (nats, NaN where the world is not
        known).
    """
    scores = score_pair_tokens(root, pair, corpora, **settings)
    parts = []
    for corpus in corpora:
        scored = scores[scores.corpus == corpus.name]
        world = np.nan if corpus.world_nll is None else corpus.world_nll
        for step in pair.models:
            sums = documents(scored[scored.model == step], corpus.texts)
            parts.append(sums.assign(corpus=corpus.name, category=corpus.category, model=step, world_nll=world))
    frame = pd.concat(parts, ignore_index=True)
    return frame[["corpus", "category", "model", "doc", "bytes", "words", "tokens", "nll", "world_nll"]]


def _same_ids(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    columns = ["doc", "id"]
    return first[columns].equals(second[columns]) and bool((first.nll.isna() == second.nll.isna()).all())
