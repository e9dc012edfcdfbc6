"""Token ids of plain text, and whether two tokenizers cut text alike."""

from predact.models import loading, tokens


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
