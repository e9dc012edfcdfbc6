"""The whole pipeline on random miniatures of eight architectures, with the tokenizers that real models come with.

And a table of many more: each is scored, sampled and probed as a plain pass over everything says, or refused in one
line.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from torch.nn.functional import log_softmax

from predact.build import check
from predact.errors import UserError
from predact.methods import probes, probing
from predact.methods.probes import Design
from predact.methods.probing import OFFSETS, Probe
from predact.models import (
    cache,
    decoding,
    distributions,
    finetuned,
    finetuning,
    loading,
    pairs,
    runs,
    sampling,
    scoring,
)
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
    asked = [Prompt(str(place), "kind", text) for place, text in enumerate(TEXTS[:4])]
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
        assert len(own) == 24 and own.ids.map(len).sum() > 200
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


# What the configurations of transformers call their sizes; each takes those that it knows.
WIDTHS = dict.fromkeys(("hidden_size", "d_model", "n_embd", "lru_width", "attention_hidden_size"), 32)
DEPTHS = dict.fromkeys(("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 2)
HEADS = dict.fromkeys(("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads"), 4)
HEADS |= dict.fromkeys(("num_key_value_heads", "num_kv_heads"), 2) | {"head_dim": 8, "v_head_dim": 8, "rotary_dim": 4}
INNER = dict.fromkeys(("intermediate_size", "ffn_dim", "n_inner", "dff"), 48)
INNER |= dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "hidden_size_per_layer_input"), 24)
CONTEXT = dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len", "context_length"), 64)
EXPERTS = dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4) | {"num_experts_per_tok": 2}
EXPERTS |= {"n_group": 1, "topk_group": 1, "first_k_dense_replace": 1}
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4}
STATES = {"state_size": 8, "time_step_rank": 4, "sliding_window": 8, "attention_window_size": 8}
SCALE = dict.fromkeys(("initializer_range", "init_std"), 0.3)
USUAL = WIDTHS | DEPTHS | HEADS | INNER | CONTEXT | EXPERTS | LATENT | STATES | SCALE
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_expand": 2, "mamba_chunk_size": 8}
ZAMBA = {"layers_block_type": ["mamba", "hybrid"], "n_mamba_heads": 8, "mamba_ngroups": 2, "mamba_d_state": 8}
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
LINEAR |= {"num_hidden_layers": 4, "initializer_range": 0.1}
LATENT_HEADS = {"num_key_value_heads": 4, "head_dim": 4, "n_shared_experts": 1}
BOTH_KINDS = {"layer_types": ["sliding_attention", "full_attention"]}
TURNED = {"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0] * 4, "rope_theta": 1e4}
TURNED |= {"original_max_position_embeddings": 56}
SHARED = {"num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2, "num_kv_shared_layers": 2}
TABLE: dict[str, dict] = dict.fromkeys(
    "apertus biogpt bitnet bloom codegen cohere ctrl diffllama ernie4_5 exaone4 falcon falcon_mamba gemma glm4 "
    "gpt_bigcode gptj granite granitemoe helium hunyuan_v1_dense jetmoe llama mamba mixtral mpt nemotron olmo olmo3 "
    "olmoe openai-gpt opt persimmon phi phi3 phimoe qwen2 qwen2_moe qwen3_moe rwkv seed_oss smollm3 stablelm "
    "starcoder2 xglm".split(),
    {},
) | {
    "bamba": MAMBA | {"num_hidden_layers": 3, "attn_layer_indices": [1]},
    "cohere2": BOTH_KINDS,
    "deepseek_v2": LATENT_HEADS,
    "deepseek_v3": LATENT_HEADS,
    "dots1": LATENT_HEADS,
    "falcon_h1": MAMBA | {"mamba_d_ssm": 64},
    "gemma3_text": BOTH_KINDS,
    "gemma3n_text": SHARED
    | {"laurel_rank": 4, "altup_num_inputs": 2, "activation_sparsity_pattern": [0.0] * 4}
    | {"intermediate_size": [48] * 4, "vocab_size_per_layer_input": 300},
    "gemma4_text": SHARED | {"global_head_dim": 8, "vocab_size_per_layer_input": 300},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]], "window_size": 8},
    "gpt_oss": BOTH_KINDS,
    "granitemoehybrid": MAMBA | {"layer_types": ["mamba", "attention"], "shared_intermediate_size": 24},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2, "mamba_d_state": 8},
    "lfm2": {"layer_types": ["conv", "full_attention"], "block_multiple_of": 8},
    "llama4_text": {"intermediate_size_mlp": 48, "attention_chunk_size": 8},
    "mamba2": {"num_heads": 8, "n_groups": 2, "chunk_size": 8},
    "minimax": {"layer_types": ["full_attention", "linear_attention"], "block_size": 8},
    "nemotron_h": {"layers_block_type": ["mamba", "attention"], "mamba_num_heads": 8, "mamba_head_dim": 8}
    | {"ssm_state_size": 8, "n_groups": 2, "chunk_size": 8, "initializer_range": 0.6},
    "phi3 (LongRoPE)": {"rope_parameters": TURNED, "original_max_position_embeddings": 56},
    "qwen3_5_text": LINEAR,
    "qwen3_next": LINEAR,
    "recurrent_gemma": {"num_hidden_layers": 3, "block_types": ["recurrent", "recurrent", "attention"]},
    "roberta": {"is_decoder": True},
    "xlstm": {"hidden_size": 128, "embedding_dim": 128, "qk_dim_factor": 0.5, "v_dim_factor": 1.0, "chunk_size": 8},
    "zamba2": ZAMBA | {"num_mem_blocks": 1, "attention_hidden_size": 64, "attention_head_dim": 16, "chunk_size": 8},
}
FORGET = {"bamba", "falcon_mamba", "mamba", "mamba2", "nemotron_h", "xlstm", "zamba2"}
KEEP_NO_CACHE = {"minimax", "openai-gpt", "recurrent_gemma", "rwkv"}
NO_NORM = {"openai-gpt", "roberta"}
PROPHET = {"is_decoder": True, "num_decoder_layers": 2, "num_decoder_attention_heads": 4}  # sees how much follows
SEE_THE_FUTURE = dict.fromkeys(("bert", "roformer", "xlm"), {}) | {"prophetnet": PROPHET}
RECORDED = {
    *("apertus", "bitnet", "cohere", "diffllama", "ernie4_5", "falcon", "gemma", "glm4", "granite", "helium"),
    *("hunyuan_v1_dense", "llama", "nemotron", "olmo", "persimmon", "phi", "qwen2", "seed_oss", "smollm3", "stablelm"),
}
FEW = Corpus("tales", "narrative", TEXTS[:4], None, "tales")


def miniature(name, folder, tokenizer):
    """Save a random model of an architecture, as small as its configuration allows."""
    kind = transformers.CONFIG_MAPPING[name.split()[0]]
    known = set(kind().to_dict()) | set(kind.attribute_map)
    sizes = {key: value for key, value in USUAL.items() if key in known and kind.attribute_map.get(key) not in USUAL}
    ids = {f"{each}_id": getattr(tokenizer, f"{each}_id") for each in ("bos_token", "eos_token", "pad_token")}
    torch.manual_seed(0)
    made = kind(vocab_size=len(tokenizer), **(sizes | (TABLE | SEE_THE_FUTURE).get(name, {}) | ids))
    transformers.AutoModelForCausalLM.from_config(made).eval().save_pretrained(folder / name)
    tokenizer.save_pretrained(folder / name)
    return pairs.Model(str(folder / name))


def far(found, plain):
    return float(np.abs(np.asarray(found) - np.asarray(plain)).max())


def scored_from_plain(loaded, tokenizer, _):
    found = scoring.score(loaded, tokenizer, FEW.texts)
    sequences = [[tokenizer.bos_token_id, *tokenizer(text).input_ids] for text in FEW.texts]
    plain = [-dense(loaded, len(tokenizer), ids)[range(len(ids) - 1), ids[1:]] for ids in sequences]
    return far(found.nll, torch.cat(plain))


def sampled_from_plain(loaded, tokenizer, _):
    given = [[tokenizer.bos_token_id, *tokenizer(text).input_ids][:7] for text in FEW.texts[:2]]
    settings = sampling.Settings(generations=3, max_new_tokens=16)
    numbers = sampling.uniforms(0, [str(place) for place in range(6)], settings, sampling.room_after(loaded, 7, ""))
    made = sampling.sample(loaded, tokenizer, given, numbers, settings)
    wholes = [[*before, *each.ids] for before, each in zip(sorted(given * 3, key=given.index), made, strict=True)]
    plain = [dense(loaded, len(tokenizer), ids[:-1])[range(6, len(ids) - 1), ids[7:]] for ids in wholes]
    assert sum(map(len, plain)) > 20
    return far(np.concatenate([each.log_probabilities for each in made]), torch.cat(plain))


def recorded_from_plain(loaded, tokenizer, _):
    """Sampled by the step that a GPU records; None if it records none of this architecture."""
    if not decoding.can_be_recorded(loaded, cache.empty(loaded)):
        return None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_RECORDING", ("cpu",))
        return sampled_from_plain(loaded, tokenizer, _)


def probed_from_plain(loaded, tokenizer, _):
    passages, depth = gold_passages(tokenizer, [FEW]), loaded.config.get_text_config().num_hidden_layers
    (held, *_), *_ = probing.states(loaded, passages, [depth], quiet=True)
    width = held[0].shape[-1]
    eye = torch.eye(width, dtype=torch.float64).expand(OFFSETS + 1, width, width)
    identity = Probe(eye, torch.zeros(OFFSETS + 1, width, dtype=torch.float64), torch.zeros(OFFSETS + 1))
    read = probing.read(loaded, len(tokenizer), passages, [depth], [identity])
    found = torch.cat([logits for _, target, _, logits, _ in read if target == 1])
    texts = sorted(zip(passages.sequences, passages.given, strict=True), key=lambda text: -len(text[0]))
    plain = [dense(loaded, len(tokenizer), ids)[given - 1 : len(ids) - OFFSETS] for ids, given in texts]
    return far(log_softmax(found.double(), -1), torch.cat(plain))


def checked(loaded, tokenizer, model):
    pair = pairs.Pair("alike", {"Base": model, "RLHF": model})
    found = check.findings(runs.Run("alike", pair, runs.checked({}), "full", Path(model.source), 0))
    refused = [finding.text for finding in found if finding.text.startswith("Not measured.")]
    if refused:
        raise UserError(refused[0])
    return 0.0


STAGES = {
    "scored": scored_from_plain,
    "sampled": sampled_from_plain,
    "recorded": recorded_from_plain,
    "probed": probed_from_plain,
    "checked": checked,
}


def outcomes(name, folder, tokenizer):
    """What comes of an architecture in each stage: how far it is from a plain pass, or the line that refuses it."""
    model, found = miniature(name, folder, tokenizer), {}
    loaded = loading.load(model)
    for stage, do in STAGES.items():
        try:
            found[stage] = do(*loaded, model)
        except UserError as error:
            found[stage] = str(error)
    return found


@pytest.mark.parametrize("name", TABLE)
def test_an_architecture_is_right_or_refused_in_one_line(name, tmp_path, tokenizer, monkeypatch):
    if name.split()[0] not in transformers.CONFIG_MAPPING:
        pytest.skip("this version of transformers does not know it")
    monkeypatch.setattr(check, "_rate", lambda run: run() / 1.0)  # once
    monkeypatch.setattr(check, "_WIDTH", 2)
    found = outcomes(name, tmp_path, tokenizer)
    found = {stage: outcome for stage, outcome in found.items() if outcome is not None}
    assert ("recorded" in found) == (name in RECORDED)
    refused = {stage: line for stage, line in found.items() if isinstance(line, str)}
    assert {stage: apart for stage, apart in found.items() if stage not in refused and not apart <= 1e-4} == {}
    assert all("pair: " in line and "\n" not in line for line in refused.values())
    assert ("sampled" in refused) == ("checked" in refused) == (name in FORGET | KEEP_NO_CACHE)
    assert ("probed" in refused) == (name in NO_NORM) and "scored" not in refused
    if name in FORGET | KEEP_NO_CACHE:
        assert ("forgets" if name in FORGET else "keeps no cache") in refused["sampled"]
        assert refused["checked"] == f"Not measured. {refused['sampled']}"


@pytest.mark.parametrize("name", sorted(loading.AFTER_PADDING))
def test_positions_that_begin_after_the_padding_token_are_fewer(name):
    sizes = WIDTHS | DEPTHS | HEADS | {"max_position_embeddings": 64, "intermediate_size": 48, "is_decoder": True}
    languages = {"languages": ["en"], "default_language": "en"} if name == "xmod" else {}
    torch.manual_seed(0)
    config = transformers.CONFIG_MAPPING[name](vocab_size=99, pad_token_id=3, **sizes, **languages)
    model, ids = transformers.AutoModelForCausalLM.from_config(config).eval(), torch.arange(4, 69)[None]
    limit = loading.context_limit(model)
    assert limit == 60 and model(ids[:, :limit]).logits.isfinite().all()
    with pytest.raises((IndexError, RuntimeError)):
        model(ids[:, : limit + 1])


def test_the_kinds_whose_positions_begin_after_the_padding_token_are_known():
    """As transformers' own code tells, whichever version it is."""
    from transformers.models.auto import configuration_auto, modeling_auto

    made, kinds = "self.create_position_ids_from_input_ids(input_ids, self.padding_idx, cache_length)\n", set()
    for kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        folder = Path(transformers.__file__).parent / "models" / configuration_auto.model_type_to_module_name(kind)
        kinds |= {kind for path in folder.glob("modeling_*.py") if made in path.read_text(encoding="utf-8")}
    assert kinds == loading.AFTER_PADDING


@pytest.mark.parametrize("name", SEE_THE_FUTURE)
def test_a_model_that_sees_what_it_is_to_predict_is_refused(name, tmp_path, tokenizer):
    model = miniature(name, tmp_path, tokenizer)
    with pytest.raises(UserError, match="^pair: the model .* cannot be loaded .*"):
        loading.load(model)
    pair = pairs.Pair("alike", {"Base": model, "RLHF": model})
    with pytest.raises(UserError, match="^pair: the model .* cannot be loaded .*"):
        scoring.score_pair_tokens(tmp_path / "store", pair, [FEW])


SEEING = {
    "gemma3": {"mm_tokens_per_image": 4, "image_token_index": 5, "boi_token_index": 6, "eoi_token_index": 7},
    "llava": {"image_token_index": 5},
}


@pytest.mark.parametrize("name", SEEING)
def test_a_model_of_text_and_images_reads_text_or_is_refused_in_one_line(name, tmp_path, tokenizer):
    text = LLAMA | {"model_type": "llama" if name == "llava" else "gemma3_text", "vocab_size": len(tokenizer)}
    seen = SMALL | {"intermediate_size": 48, "image_size": 28, "patch_size": 14}
    seen |= {"model_type": "clip_vision_model" if name == "llava" else "siglip_vision_model"}
    torch.manual_seed(0)
    config = transformers.CONFIG_MAPPING[name](text_config=text, vision_config=seen, **SEEING[name])
    whole = transformers.AutoModelForImageTextToText.from_config(config).eval()
    whole.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    if name == "llava":
        with pytest.raises(UserError, match="it reads more than text, and transformers has no class for its text"):
            loading.load(pairs.Model(str(tmp_path)))
        return
    loaded, own = loading.load(pairs.Model(str(tmp_path)))
    assert scored_from_plain(loaded, own, None) <= 1e-4 and sampled_from_plain(loaded, own, None) <= 1e-4
    ids = [own.bos_token_id, *own(FEW.texts[0]).input_ids]
    np.testing.assert_allclose(dense(loaded, len(own), ids), dense(whole, len(own), ids), atol=1e-5)
