"""Token ids of plain text: how a model is given a document, and whether two tokenizers agree."""

from enum import StrEnum
from typing import Any

from predact.errors import UserError
from predact.models import loading
from predact.models.pairs import AUTO, NONE, Pair

_PROBE = "It's 2024: naïve  café,\n\n\tprint('x') != 3.14159; 北京 🙂 don't WON'T"


class Per(StrEnum):
    """Unit per which models are compared: tokens if their tokenizers agree, else bytes; words of generations alone."""

    TOKEN = "token"
    BYTE = "byte"
    WORD = "word"


def compared_per(pair: Pair) -> Per:
    """Return whether a pair's models can be compared per token, or only per byte (see `difference`), or by words."""
    if pair.written:
        return Per.WORD
    first, *others = (loading.tokenizer(model) for model in pair.models.values())
    return Per.TOKEN if all(difference(first, other) is None for other in others) else Per.BYTE


def encode(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    """Return the token ids of texts, without special tokens; text that spells one is tokenized as plain text."""
    if not texts:
        return []
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]


def prefix_token(tokenizer: Any) -> int | None:
    """Return the id that stands before a document: what a pair file sets, else BOS, else EOS, else None.

    Raises:
        UserError: the pair file sets what is not one token.
    """
    text = getattr(tokenizer, "document_prefix", AUTO)  # see `loading.tokenizer`
    if text == AUTO:
        return tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if text == NONE:
        return None
    named = tokenizer.convert_tokens_to_ids(text)
    found = [named] if tokenizer.convert_ids_to_tokens(named or 0) == text else encode(tokenizer, [text])[0]
    if len(found) != 1:
        where = f"{text!r} is not one token of {tokenizer.name_or_path!r}, but {len(found)}"
        raise UserError(f"prefix: {where}; set the text of one token, `{NONE}` or `{AUTO}`.")
    return found[0]


def lead(tokenizer: Any) -> list[int]:
    """Return the ids that stand before a document: `prefix_token`, or none."""
    prefix = prefix_token(tokenizer)
    return [] if prefix is None else [prefix]


def window_lead(tokenizer: Any) -> list[int]:
    """Return the ids that stand before every later window of a document that is read in several: BOS, or none.

    Some models are lost without their BOS. An EOS in its place would say that another document begins; so it does not
    stand there, unless a pair file sets it.
    """
    begins = tokenizer.bos_token_id is not None or getattr(tokenizer, "document_prefix", AUTO) != AUTO
    return lead(tokenizer) if begins else []


def pair_lead(pair: Pair, step: str) -> list[int]:
    """Return the ids that stand before a document for one model of a pair: Base's, where the tokenizers agree.

    So all models read the same, also where one has made another token its BOS: a chat marker would be no plain text.
    Base's is not taken by a model in whose tokenizer the same id is another token.
    """
    return lead(_told_by(pair, step))


def pair_window_lead(pair: Pair, step: str) -> list[int]:
    """Return the ids that stand before every later window for one model of a pair: as `pair_lead`."""
    return window_lead(_told_by(pair, step))


def _told_by(pair: Pair, step: str) -> Any:
    """The tokenizer that tells what stands before a document for one model of a pair: Base's or its own."""
    base, own = (loading.tokenizer(pair.models[each]) for each in ("Base", step))
    first = lead(base)
    known = base.convert_ids_to_tokens(first) == own.convert_ids_to_tokens(first)
    return base if known and compared_per(pair) is Per.TOKEN else own


def difference(first: Any, second: Any) -> str | None:
    """Return None if two tokenizers cut plain text into the same ids, else a phrase that says how they differ.

    Added tokens (chat markers, padding) may differ: plain text never contains them.
    """
    vocabularies = [tokenizer.get_vocab() for tokenizer in (first, second)]
    changed = {index for _, index in vocabularies[0].items() ^ vocabularies[1].items()}
    if changed - first.added_tokens_decoder.keys() - second.added_tokens_decoder.keys():
        return f"their vocabularies differ ({len(vocabularies[0])} and {len(vocabularies[1])} tokens)"
    if encode(first, [_PROBE]) != encode(second, [_PROBE]):
        return "they cut the same text into different tokens"
    if len(lead(first)) != len(lead(second)):
        return "only one of them has a token that begins a document"
    return None
