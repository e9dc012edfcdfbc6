"""Random models so small that every number can be computed again by hand."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before any import of a library that reads it: tests never reach for the network

import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

# PyTorch and transformers are imported where they are used: the process that hands out the tests needs neither.

WORDS = "the cat sat on the mat and the dog ran to the river where the other cat saw a naïve café owner"
LONGEST = ("test_workers.py", "test_exercises.py", "test_recipe.py")


def pytest_collection_modifyitems(items):
    """Begin with the files of the longest tests: none of them is to run alone at the end."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_tokenizer():
    """A function that trains a byte-level BPE tokenizer with the special tokens it is told."""
    from transformers import PreTrainedTokenizerFast

    def make(text=WORDS, vocabulary=300, **special):
        backend = Tokenizer(BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        backend.train_from_iterator(
            [text] * 5,
            BpeTrainer(
                vocab_size=vocabulary,
                special_tokens=list(special.values()),
                initial_alphabet=sorted(alphabet),
                show_progress=False,
            ),
        )
        return PreTrainedTokenizerFast(tokenizer_object=backend, **special)

    return make


@pytest.fixture(scope="session")
def tokenizer(make_tokenizer):
    return make_tokenizer(bos_token="<s>", eos_token="</s>", pad_token="<pad>")


@pytest.fixture(scope="session")
def make_model(tokenizer):
    """A function that makes a random Llama whose vocabulary is padded by seven ids unknown to the tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    def make(seed=0, **settings):
        torch.manual_seed(seed)
        sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        config = {"vocab_size": len(tokenizer) + 7, "max_position_embeddings": 64, "initializer_range": 0.3, **sizes}
        return LlamaForCausalLM(LlamaConfig(**{**config, **settings})).eval()

    return make


@pytest.fixture(scope="session")
def model(make_model):
    return make_model()


@pytest.fixture(scope="session")
def turning():
    """A model with LongRoPE: texts of more than 16 tokens it reads in another way than shorter ones."""
    import torch
    from transformers import Phi3Config, Phi3ForCausalLM

    torch.manual_seed(0)
    turned = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [6.0] * 4, "rope_theta": 1e4}
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "vocab_size": 320, "pad_token_id": 0, "initializer_range": 0.3}
    lengths = {"max_position_embeddings": 40, "original_max_position_embeddings": 16}
    return Phi3ForCausalLM(Phi3Config(**sizes, **lengths, rope_parameters=turned)).eval()


@pytest.fixture
def overflowing(make_model):
    """A model whose numbers overflow in float16."""
    model = make_model()
    for layer in model.model.layers:
        layer.mlp.up_proj.weight.data *= 1e4
        layer.mlp.gate_proj.weight.data *= 1e4
    model.name_or_path = "big"
    return model


@pytest.fixture(scope="session")
def folders(tmp_path_factory, make_model, tokenizer):
    """Folders of two random models that share a tokenizer: a Base and an RLHF."""
    root = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(("base", "rlhf")):
        make_model(seed).save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return root / "base", root / "rlhf"
