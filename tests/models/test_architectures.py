"""The whole pipeline on random miniatures of eight architectures, with the tokenizers that real models come with."""

import numpy as np
import pytest
import torch
import transformers
from torch.nn.functional import log_softmax

from predact.build import check
from predact.methods import probes, probing
from predact.methods.probes import Design
from predact.methods.probing import OFFSETS, Probe
from predact.models import distributions, finetuned, finetuning, loading, pairs, runs, sampling, scoring
from predact.models.finetuning import FULL, LORA, Settings
from predact.models.passages import gold_passages
from predact.texts.corpora import Corpus
from predact.texts.prompts import Prompt

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.3}
LLAMA = SMALL | {"num_key_value_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64}
GEMMA = LLAMA | {"head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]}
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0}
NEOX = SMALL | {"intermediate_size": 48, "max_position_embeddings": 64}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "initializer_range": 0.3}

START = "{{ bos_token }}"
TURNS = (
    "{% for message in messages %}<{{ message.role }}> {{ message.content }} {% endfor %}"
    "{% if add_generation_prompt %}<assistant> {% endif %}"
)
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
END = {"eos_token": "</s>"}
BOTH = END | {"bos_token": "<s>"}
ALL = BOTH | {"pad_token": "<pad>"}

# name: configuration, ids of the output beyond the tokenizer, special tokens, chat template of RLHF
MINIATURES = {
    "Llama": (transformers.LlamaConfig, LLAMA, 0, BOTH, START + TURNS),  # no padding token, BOS also in the template
    "Gemma2": (transformers.Gemma2Config, GEMMA | CAPS, 0, ALL, NO_SYSTEM + START + TURNS),  # refuses a system role
    "Gemma3Text": (transformers.Gemma3TextConfig, GEMMA, 5, ALL, NO_SYSTEM + START + TURNS),
    "Olmo2": (transformers.Olmo2Config, LLAMA, 28, END | {"pad_token": "<pad>"}, TURNS),  # no BOS
    "Qwen3": (transformers.Qwen3Config, LLAMA | {"head_dim": 16}, 293, END | {"pad_token": "</s>"}, TURNS),  # EOS = pad
    "Mistral": (transformers.MistralConfig, LLAMA | {"sliding_window": 16}, 0, BOTH, START + TURNS),
    "GPT2": (transformers.GPT2Config, GPT2, 0, END, TURNS),  # EOS alone
    "GPTNeoX": (transformers.GPTNeoXConfig, NEOX, 9, {}, TURNS),  # nothing at all stands before a document
}
WORDS = "the cat sat on the mat and the dog ran to the river where the other cat saw a naïve café owner".split()
TEXTS = [" ".join(np.roll(WORDS, place)[: 8 + place % 13]) + f" {place}" for place in range(40)]
CORPUS = Corpus("tales", "narrative", TEXTS, None, "tales")
SAMPLED = sampling.Settings(generations=6, max_new_tokens=20)


@pytest.fixture(scope="module", params=MINIATURES)
def pair(request, tmp_path_factory, make_tokenizer):
    """A pair of random models of an architecture, saved as models are published."""
    config, sizes, beyond, special, template = MINIATURES[request.param]
    tokenizer, folder = make_tokenizer(**special), tmp_path_factory.mktemp(request.param)
    for seed, step in enumerate(("Base", "RLHF")):
        torch.manual_seed(seed)
        ids = {f"{name}_id": getattr(tokenizer, f"{name}_id") for name in ("bos_token", "eos_token", "pad_token")}
        made = config(vocab_size=len(tokenizer) + beyond, **sizes, **ids)
        transformers.AutoModelForCausalLM.from_config(made).eval().save_pretrained(folder / step)
        tokenizer.chat_template = template if step == "RLHF" else None
        tokenizer.save_pretrained(folder / step)
    return pairs.pair(f"{folder / 'Base'}::{folder / 'RLHF'}")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def written(pair, root):
    asked = [Prompt(str(place), "kind", text) for place, text in enumerate(TEXTS[:8])]
    return sampling.sample_pair(root, pair, asked, SAMPLED)


@torch.no_grad()
def dense(model, size, ids):
    """Log-probabilities [T, V] of what follows each of some ids, in one plain pass."""
    return log_softmax(model(torch.tensor([ids])).logits[0, :, :size].double(), -1)


def test_scores_are_those_of_a_plain_pass(pair, root):
    tokens = scoring.score_pair_tokens(root, pair, [CORPUS], context=64)
    for step, model in pair.models.items():
        loaded, tokenizer = loading.load(model)
        own = tokens[tokens.model == step]
        for doc in (0, 12, 39):
            ids = tokenizer(TEXTS[doc], add_special_tokens=False).input_ids
            before = [token for token in (tokenizer.bos_token_id, tokenizer.eos_token_id) if token is not None][:1]
            nll = -dense(loaded, len(tokenizer), before + ids)[range(len(before + ids) - 1), (before + ids)[1:]]
            found = own[own.doc == doc]
            assert found.id.tolist() == ids
            np.testing.assert_allclose(found.nll.dropna(), nll, atol=1e-4)
            assert found.nll.isna().sum() == 1 - len(before)


def test_generations_have_the_probabilities_that_they_are_drawn_with(pair, written):
    for step, model in pair.models.items():
        loaded, tokenizer = loading.load(model)
        own = written[written.model == step]
        assert len(own) == 48 and own.ids.map(len).sum() > 200
        assert own.ids.map(lambda ids: max(ids, default=0)).max() < len(tokenizer)
        for row in own[own["sample"] == 3].itertuples():
            ids = [*row.given, *row.ids]
            drawn = dense(loaded, len(tokenizer), ids)[range(len(row.given) - 1, len(ids) - 1), list(row.ids)]
            np.testing.assert_allclose(row.log_probabilities, drawn, atol=1e-4)
        starts = [list(given).count(tokenizer.bos_token_id) for given in own.given]
        assert set(starts) == {0 if tokenizer.bos_token_id is None else 1}


def test_a_generation_is_the_same_in_any_company(pair, root, written, tmp_path):
    asked = [Prompt("3", "kind", TEXTS[3])]
    alone = sampling.sample_pair(tmp_path, pair, asked, SAMPLED, rows=2)
    together = written[written.prompt == "3"].reset_index(drop=True)
    assert [list(ids) for ids in alone.ids] == [list(ids) for ids in together.ids]


def test_all_probability_is_on_tokens_that_exist(pair, root, written):
    for (step, _), measured in distributions.measure_pair(root, pair, [CORPUS], written, 500).items():
        tokenizer = loading.tokenizer(pair.models[step])
        assert measured.ranks[-1] == len(tokenizer)
        np.testing.assert_allclose(measured.mass_of(len(tokenizer)) / measured.counts, 1, atol=1e-5)


def test_the_state_before_the_final_norm_is_read_out_as_the_model_itself_does(pair):
    eye = torch.eye(32, dtype=torch.float64).expand(OFFSETS + 1, 32, 32)
    identity = Probe(eye, torch.zeros(OFFSETS + 1, 32, dtype=torch.float64), torch.zeros(OFFSETS + 1))
    for model in pair.models.values():
        loaded, tokenizer = loading.load(model)
        size, passages = len(tokenizer), gold_passages(tokenizer, [CORPUS])
        read = probing.read(loaded, size, passages, [loading.depth(model)], [identity])
        found = torch.cat([logits for _, target, _, logits, _ in read if target == 1])
        texts = sorted(zip(passages.sequences, passages.given, strict=True), key=lambda text: -len(text[0]))
        plain = [dense(loaded, size, ids)[given - 1 : len(ids) - OFFSETS] for ids, given in texts]
        torch.testing.assert_close(log_softmax(found.double(), -1), torch.cat(plain), atol=1e-4, rtol=1e-4)


def test_probes_of_all_readers_and_authors(pair, root, written):
    depth = loading.depth(pair.models["Base"])
    sums = probes.cross_probes(root, pair, written, [CORPUS], Design([0, depth], [1], 200, rank=2))
    assert len(sums[["reader", "author"]].drop_duplicates()) == 6 and np.isfinite(sums.nll).all()


@pytest.mark.parametrize("method", [FULL, LORA])
def test_finetuning_learns(pair, root, method):
    settings = Settings(method, rates=[1e-2], updates=12, batch=400, context=64, rank=4)
    documents, curves = finetuned.finetune_pair(root, pair, [CORPUS], settings)
    after = documents.groupby(["model", "when"]).nll.sum().unstack()
    assert (after.after < 0.97 * after.before).all() and not curves.failed.any()
    assert finetuned.checked(pair, Settings(finetuned.AUTO)).method == finetuning.FULL


def test_check_has_no_objection(pair, monkeypatch):
    monkeypatch.setattr(check, "_SECONDS", 0.01)
    found = list(check.findings(runs.run(pair.name)))
    assert [finding.text for finding in found if finding.warns] == []
    assert {finding.topic for finding in found} == {"models", "tokenizers", "memory", "work", "time"}
