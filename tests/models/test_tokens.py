"""Token ids of plain text, what stands before it, and whether two tokenizers cut text alike."""

import json
from dataclasses import replace

import pytest

from predact.errors import UserError
from predact.models import loading, pairs, tokens

STEPS = ("Base", "RLHF")
MARKS = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"}
KINDS = {  # special tokens of Base, and of RLHF
    "a chat marker as BOS": ({"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}, MARKS),
    "no BOS, another EOS": ({"eos_token": "<|endoftext|>"}, {"eos_token": "<|im_end|>"}),
}


@pytest.fixture(params=KINDS)
def pair_with(request, tmp_path, make_tokenizer):
    """A function that makes a pair whose tokenizers agree, with a prefix if one is told; and whether Base has a BOS."""
    for step, special in zip(STEPS, KINDS[request.param], strict=True):
        made = make_tokenizer(a="<|endoftext|>", **MARKS)
        made.bos_token = made.eos_token = None
        for name, token in special.items():
            setattr(made, name, token)
        made.save_pretrained(tmp_path / step)
        (tmp_path / step / "config.json").write_text('{"model_type": "llama"}')

    def make(**prefix):
        models = {step: {"source": step, "fingerprint": step} for step in STEPS}
        (tmp_path / "mine.json").write_text(json.dumps({"models": models, **prefix}))
        return pairs.pair(str(tmp_path / "mine.json"))

    return make, "bos_token" in KINDS[request.param][0]


def read(pair):
    """What stands before documents, and before later windows, as text: the same for all models."""
    tokenizer = loading.tokenizer(pair.models["Base"])
    leads = [(tokens.pair_lead(pair, step), tokens.pair_window_lead(pair, step)) for step in STEPS]
    assert leads[0] == leads[1] and tokens.compared_per(pair) is tokens.Per.TOKEN
    return tuple(tokenizer.convert_ids_to_tokens(each) for each in leads[0])


def test_one_prefix_token_for_a_pair(pair_with):
    """Base's, unless a pair file sets another one; only what is a BOS, or set, stands before later windows."""
    make, bos = pair_with
    own = [tokens.lead(loading.tokenizer(make().models[step])) for step in STEPS]
    assert own[0] != own[1], "each would read its own"
    assert read(make()) == read(make(prefix="auto")) == (["<|endoftext|>"], ["<|endoftext|>"] * bos)
    assert read(make(prefix="<|im_end|>")) == (["<|im_end|>"], ["<|im_end|>"])
    assert read(make(prefix="\n")) == (["Ċ"], ["Ċ"])
    assert read(make(prefix="none")) == ([], [])
    one = make(prefix="<|im_end|>").models["Base"]
    assert loading.key(one) == loading.key(replace(one, prefix="auto")) | {"prefix": "<|im_end|>"}


def test_a_prefix_that_is_not_one_token(pair_with):
    make, _ = pair_with
    with pytest.raises(
        UserError, match=r"^prefix: '<nosuch>' is not one token of '.*Base', but \d; set the text of one"
    ):
        read(make(prefix="<nosuch>"))


def test_prefix_token_and_context_limit(make_tokenizer, model):
    both, eos, none = (
        make_tokenizer(bos_token="<s>", eos_token="</s>"),
        make_tokenizer(eos_token="</s>"),
        make_tokenizer(),
    )
    assert tokens.prefix_token(both) == both.bos_token_id
    assert tokens.prefix_token(eos) == eos.eos_token_id
    assert tokens.prefix_token(none) is None
    assert loading.context_limit(model) == 64


def test_what_differs_between_two_tokenizers(make_tokenizer):
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    first, again = make_tokenizer(**special), make_tokenizer(**special)
    assert tokens.difference(first, again) is None
    again.add_special_tokens({"additional_special_tokens": ["<|user|>"]})
    assert tokens.difference(first, again) is None
    other = make_tokenizer("a river of words", vocabulary=280, **special)
    assert tokens.difference(first, other) == f"their vocabularies differ ({len(first)} and {len(other)} tokens)"
    lower = make_tokenizer(**special)
    from tokenizers.normalizers import Lowercase

    lower.backend_tokenizer.normalizer = Lowercase()
    assert tokens.difference(first, lower) == "they cut the same text into different tokens"
    headless = make_tokenizer(**special)
    headless.bos_token = headless.eos_token = None
    assert tokens.difference(first, headless) == "only one of them has a token that begins a document"


def test_encode_adds_nothing(tokenizer):
    assert tokens.encode(tokenizer, []) == []
    assert tokens.encode(tokenizer, ["", "the"]) == [[], tokenizer.convert_tokens_to_ids(["the"])]
