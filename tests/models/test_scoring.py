import copy
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    CohereConfig,
    FalconH1Config,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    GraniteConfig,
    Llama4TextConfig,
    ModernBertDecoderConfig,
    OPTConfig,
)

from predact.errors import UserError
from predact.models import loading, pairs, scoring, tokens
from predact.models.tokens import Per, compared_per
from predact.texts import corpora

TEXTS = [
    "the cat sat on the mat",
    "",
    "the naïve café owner ran 🙂",
    "a",
    "the dog saw the river and the other cat" * 6,
]


def brute_force(model, tokenizer, text, context, end=False):
    """Nll and rank of every token of one text, by the definition: one forward pass for each token."""
    ids = tokenizer(text, add_special_tokens=False).input_ids + [tokenizer.eos_token_id] * end
    prefix = [index for index in (tokenizer.bos_token_id, tokenizer.eos_token_id) if index is not None][:1]
    bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    sequence, nll, ranks, begin, reach, again = prefix + ids, [], [], 0, context, []
    for position in range(1, len(sequence)):
        while position > reach:
            begin, again = begin + context // 2, bos
            reach = begin + context - len(bos)
        read = again + sequence[begin:position]
        assert len(read) <= context
        with torch.no_grad():
            row = model(torch.tensor([read])).logits[0, -1, : len(tokenizer)].double()
        nll.append(float(row.logsumexp(0) - row[sequence[position]]))
        ranks.append(row.argsort(descending=True).tolist().index(sequence[position]))
    first = int(not prefix and bool(ids))
    return ids, [math.nan] * first + nll, [-1] * first + ranks


@pytest.mark.parametrize("end", [False, True])
def test_every_token_is_scored_as_by_definition(model, tokenizer, end):
    tokens = scoring.score(model, tokenizer, TEXTS, context=16, end=end)
    assert tokens.dtypes.astype(str).to_dict() == {
        "doc": "int32",
        "position": "int32",
        "id": "int32",
        "nll": "float32",
        "rank": "int32",
    }
    for doc, text in enumerate(TEXTS):
        ids, nll, ranks = brute_force(model, tokenizer, text, 16, end)
        mine = tokens[tokens.doc == doc]
        assert mine.id.tolist() == ids
        assert mine.position.tolist() == list(range(len(ids)))
        np.testing.assert_allclose(mine.nll, nll, atol=1e-5)
        assert mine["rank"].tolist() == ranks


@pytest.mark.parametrize("rows", [1, 2, 100])
def test_nll_and_rank_by_hand(monkeypatch, rows):
    """Three tokens of 1/2, 1/4, 1/4 and one of none: of equal ones, none is above the other."""
    monkeypatch.setattr(scoring, "CACHED", 4 * rows)
    logits = torch.tensor([0.5, 0.25, 0.25, 0]).log().repeat(4, 1) + 3
    nll, rank = scoring._scored(logits, torch.arange(4))
    np.testing.assert_allclose(nll, [math.log(2), math.log(4), math.log(4), math.inf], rtol=1e-6)
    assert rank.tolist() == [0, 1, 1, 3]


def test_rank_and_nll_tell_of_one_distribution(model, tokenizer):
    """A token of rank r has at most the probability 1 / (r + 1)."""
    tokens = scoring.score(model, tokenizer, TEXTS)
    assert (tokens.nll + 1e-5 >= np.log(tokens["rank"] + 1)).all() and tokens["rank"].nunique() > 20


def test_nll_of_a_uniform_model_is_the_log_of_the_known_vocabulary(make_model, tokenizer):
    model = make_model()
    torch.nn.init.zeros_(model.lm_head.weight)
    tokens = scoring.score(model, tokenizer, ["the cat"])
    np.testing.assert_allclose(tokens.nll, math.log(len(tokenizer)), rtol=1e-6)
    assert (tokens["rank"] == 0).all()


@pytest.mark.parametrize("lead", [0, 1])
@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 24, 25, 100])
@pytest.mark.parametrize("context", [1, 2, 3, 7, 8])
def test_windows_score_each_position_once_and_far_enough_from_their_beginning(length, context, lead):
    found = list(scoring.windows(length, context, lead=lead))
    scored = [position for window in found for position in range(window.first, window.stop)]
    assert scored == list(range(1, length))
    for window in found:
        assert 0 < window.width <= context and window.lead == (lead if window.begin and context > 1 else 0)
        assert window.lead + window.first - window.begin >= min(window.first, context - context // 2)


def test_every_window_begins_with_the_prefix_token(model, tokenizer):
    """By hand: at context 16, the second window reads BOS and 15 ids from the ninth on, the third from the 17th on."""
    bos, (ids,) = tokenizer.bos_token_id, tokens.encode(tokenizer, [TEXTS[4]])
    sequence, own = [bos, *ids], scoring.score(model, tokenizer, [TEXTS[4]], context=16).nll
    for begin, first, stop in ((0, 1, 17), (8, 17, 24), (16, 24, 32)):
        read = ([bos] if begin else []) + sequence[begin : stop - 1]
        with torch.no_grad():
            log_p = model(torch.tensor([read])).logits[0, :, : len(tokenizer)].log_softmax(-1)
        wanted = sequence[first:stop]
        nll = -log_p[range(len(read) - len(wanted), len(read)), wanted]
        assert len(read) == 16
        np.testing.assert_allclose(own[first - 1 : stop - 1], nll, atol=1e-5)
    without = scoring.score(model, tokenizer, [TEXTS[4]], context=16, window_lead=[]).nll
    assert np.allclose(own[:16], without[:16], atol=1e-5) and not np.allclose(own[16:], without[16:], atol=1e-2)


def test_the_key_of_a_result_tells_what_later_windows_begin_with_only_where_there_are_any(folders):
    model = pair_of(*folders).models["Base"]  # reads 64 positions
    assert scoring.later_windows(model, [3, 65], [0]) == scoring.later_windows(model, [66], []) == {}
    assert scoring.later_windows(model, [3, 66], [0]) == {"window_lead": [0]}
    assert scoring.later_windows(model, [17], [0], context=16) == {}
    assert scoring.later_windows(model, [18], [0], context=16) == {"window_lead": [0]}


@pytest.mark.parametrize("batch_tokens", [1, 40, 100_000])
def test_batches_do_not_change_scores(model, tokenizer, batch_tokens):
    alone = pd.concat([scoring.score(model, tokenizer, [text], context=16) for text in TEXTS], ignore_index=True)
    together = scoring.score(model, tokenizer, TEXTS, context=16, batch_tokens=batch_tokens)
    np.testing.assert_allclose(together.nll, alone.nll, atol=1e-5)
    assert together.id.tolist() == alone.id.tolist()


def test_context_is_irrelevant_when_the_document_fits_and_not_when_it_does_not(model, tokenizer):
    short, long = [scoring.score(model, tokenizer, [text], context=64).nll for text in (TEXTS[0], TEXTS[4])]
    np.testing.assert_allclose(scoring.score(model, tokenizer, [TEXTS[0]], context=30).nll, short, atol=1e-5)
    assert not np.allclose(scoring.score(model, tokenizer, [TEXTS[4]], context=8).nll, long, atol=1e-3)


def test_the_model_s_own_limit_bounds_the_context(model, tokenizer):
    text = [TEXTS[4] * 3]
    assert scoring.score(model, tokenizer, text, context=10**6).equals(
        scoring.score(model, tokenizer, text, context=64)
    )


def test_memory_bound_on_logits_does_not_change_scores(model, tokenizer, monkeypatch):
    whole = scoring.score(model, tokenizer, TEXTS)
    sequences = [[tokenizer.bos_token_id, *ids] for ids in tokens.encode(tokenizer, TEXTS)]
    heights = []
    original = scoring._scored
    monkeypatch.setattr(
        scoring, "_scored", lambda logits, targets: heights.append(len(logits)) or original(logits, targets)
    )
    memory = 3 * len(tokenizer) * 4 * scoring._COPIES / 2**20
    scores = scoring.score_ids(model, sequences, [1] * len(TEXTS), len(tokenizer), sequences[1], room=memory)
    np.testing.assert_allclose(scores.nll, whole.nll, atol=1e-5)
    assert scores.rank.tolist() == whole["rank"].tolist()
    assert max(heights) == 3


PEAK = """
import resource, torch
from transformers import LlamaConfig, LlamaForCausalLM
from predact.models import distributions, scoring
sizes = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
model = LlamaForCausalLM(LlamaConfig(vocab_size=50_257, max_position_embeddings=1024, **sizes)).eval()
sequences = torch.randint(50_257, (2, 257)).tolist()
observe = lambda places, logits: distributions.summarize(logits)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
model(torch.tensor([sequences[0][:9]])), distributions.summarize(torch.randn(2, 50_257))
before = peak()
scoring.score_ids(model, sequences, [1] * 2, 50_257, [], room=32, observe=observe)
print(peak() - before)
"""


def test_memory_for_a_vocabulary_of_fifty_thousand_is_bounded():
    """512 positions have 103 MB of logits; asked to make do with 32 MB, one pass over them does."""
    told = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    assert float(told.stdout) < 32


def test_a_long_text_changes_no_other_of_a_model_with_longrope(turning):
    """It reads texts of more than 16 tokens in another way: in one batch the short one would be read so, too."""
    short = list(range(5, 15))
    alone = scoring.score_ids(turning, [short], [1], 300, []).nll
    beside = scoring.score_ids(turning, [short, list(range(60))], [1, 1], 300, []).nll
    np.testing.assert_allclose(beside[: len(alone)], alone, atol=1e-5)


def test_given_ids_are_read_but_not_scored(model, tokenizer):
    sequence, again = [tokenizer.bos_token_id, *tokens.encode(tokenizer, [TEXTS[4]])[0]], [tokenizer.bos_token_id]
    for context in (4, 16, 64):
        whole = scoring.score_ids(model, [sequence], [1], len(tokenizer), again, context=context)
        for given in (2, 9, len(sequence) - 1, len(sequence)):
            part = scoring.score_ids(model, [sequence, [0]], [given, 0], len(tokenizer), again, context=context)
            np.testing.assert_allclose(part.nll[:-1], whole.nll[given - 1 :], atol=1e-5)
            assert part.rank[:-1].tolist() == whole.rank[given - 1 :].tolist()
            assert np.isnan(part.nll[-1]) and part.rank[-1] == -1


def test_an_observer_sees_every_scored_position_once_with_its_logits(model, tokenizer):
    sequences = [[1, 5, 6, 7], [1, 9], [1, 8, 8, 8, 8, 8]]
    seen = {}
    scoring.score_ids(
        model,
        sequences,
        [1, 1, 3],
        len(tokenizer),
        [],
        room=2 * len(tokenizer) * 4 * scoring._COPIES / 2**20,
        observe=lambda places, logits: seen.update(zip(places.tolist(), logits.clone(), strict=True)),
    )
    wanted = [(0, t) for t in (0, 1, 2)] + [(1, 0)] + [(2, t) for t in (2, 3, 4)]
    assert sorted(seen) == list(range(len(wanted)))
    for place, (row, position) in enumerate(wanted):
        with torch.no_grad():
            logits = model(torch.tensor([sequences[row]])).logits[0, position, : len(tokenizer)]
        np.testing.assert_allclose(seen[place], logits, atol=1e-5)


def test_without_prefix_token_only_the_first_token_of_a_document_is_not_scored(model, make_tokenizer):
    tokenizer = make_tokenizer()
    tokens = scoring.score(model, tokenizer, TEXTS, context=8)
    assert tokens.nll.isna().equals(tokens.position == 0) and (tokens["rank"] == -1).equals(tokens.position == 0)
    for doc in (0, 2, 4):
        np.testing.assert_allclose(
            tokens[tokens.doc == doc].nll, brute_force(model, tokenizer, TEXTS[doc], 8)[1], atol=1e-5
        )
    with pytest.raises(UserError, match="no EOS"):
        scoring.score(model, tokenizer, TEXTS, end=True)


def test_eos_is_the_prefix_where_there_is_no_bos(model, make_tokenizer):
    """But not before later windows: it would say that another document begins."""
    tokenizer = make_tokenizer(eos_token="</s>")
    for text, context in ((TEXTS[0], 1024), (TEXTS[4], 16)):
        tokens = scoring.score(model, tokenizer, [text], context=context)
        np.testing.assert_allclose(tokens.nll, brute_force(model, tokenizer, text, context)[1], atol=1e-5)


def test_a_text_that_spells_a_special_token_is_text(model, tokenizer):
    tokens = scoring.score(model, tokenizer, ["cat</s>dog"])
    assert tokenizer.eos_token_id not in tokens.id.tolist()
    assert tokenizer.decode(tokens.id.tolist()) == "cat</s>dog"


SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL |= {"num_key_value_heads": 2, "head_dim": 8, "vocab_size": 320, "pad_token_id": 0}
CONFIGS = [
    Gemma2Config(**SMALL, final_logit_softcapping=2.0, sliding_window=8),
    CohereConfig(**SMALL, logit_scale=0.25),
    GraniteConfig(**SMALL, logits_scaling=3.0),
    FalconH1Config(**SMALL, lm_head_multiplier=0.5, mamba_d_ssm=32, mamba_n_heads=4, mamba_d_head=8, mamba_d_state=8),
    GPT2Config(n_embd=32, n_layer=2, n_head=4, vocab_size=320),
    GPTNeoXConfig(**{**SMALL, "num_key_value_heads": None}),
    OPTConfig(
        hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=320, word_embed_proj_dim=16
    ),
    ModernBertDecoderConfig(**{**SMALL, "num_key_value_heads": None}, local_attention=8),
    Llama4TextConfig(**SMALL, num_local_experts=2),  # takes itself for its decoder
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.model_type)
def test_what_an_architecture_does_to_its_logits_is_honoured(config, tokenizer):
    torch.manual_seed(0)
    config.initializer_range = 0.5
    model = AutoModelForCausalLM.from_config(config).eval()
    tokens = scoring.score(model, tokenizer, TEXTS, context=16)
    for doc in (0, 4):
        expected = brute_force(model, tokenizer, TEXTS[doc], 16)[1]
        np.testing.assert_allclose(tokens[tokens.doc == doc].nll, expected, atol=2e-5)


def test_documents_sums_in_float64_and_counts_bytes_words_and_scored_tokens():
    tokens = pd.DataFrame({"doc": [0, 0, 2], "nll": np.array([np.nan, 0.1, 2.5], dtype=np.float32)})
    frame = scoring.documents(tokens, ["né 🙂", "", "a b\n c"])
    assert frame.bytes.tolist() == [8, 0, 6]
    assert frame.words.tolist() == [2, 0, 3]
    assert frame.tokens.tolist() == [1, 0, 1]
    assert frame.nll.tolist() == [float(np.float32(0.1)), 0.0, 2.5]


def test_bad_context(model, tokenizer):
    with pytest.raises(UserError, match="context: expected a whole number above 0, not 0"):
        scoring.score(model, tokenizer, ["a"], context=0)


@pytest.fixture
def texts():
    return corpora.Corpus("made", "file", ["the cat sat", "the dog ran 🙂", "on"], np.array([1.0, 2.0, 3.0]), "made-1")


def pair_of(base, rlhf):
    return pairs.pair(f"{base}::{rlhf}")


def test_measure_loads_no_model_for_what_is_stored(tmp_path, folders, texts, monkeypatch):
    model = pair_of(*folders).models["Base"]
    first = scoring.score_corpus(tmp_path, model, texts)
    monkeypatch.setattr(loading, "load", lambda model: pytest.fail("the model was loaded"))
    loading._held.clear()
    assert scoring.score_corpus(tmp_path, model, texts).equals(first)
    with pytest.raises(pytest.fail.Exception):
        scoring.score_corpus(tmp_path, model, texts, context=8)


def test_measure_keeps_finished_shards_when_killed(tmp_path, folders, texts, monkeypatch):
    model = pair_of(*folders).models["Base"]
    whole = scoring.score_corpus(tmp_path / "whole", model, texts)
    for name in ("_SHARD", "_TOGETHER"):
        monkeypatch.setattr(scoring, name, 1)
    score, calls = scoring.score, []

    def killed(*arguments, **settings):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(*arguments, **settings)

    monkeypatch.setattr(scoring, "score", killed)
    with pytest.raises(KeyboardInterrupt):
        scoring.score_corpus(tmp_path / "cut", model, texts)
    again = scoring.score_corpus(tmp_path / "cut", model, texts)
    assert len(calls) == 4
    assert again.drop(columns="nll").equals(whole.drop(columns="nll"))
    np.testing.assert_allclose(again.nll, whole.nll, atol=1e-5)


def test_pair_documents(tmp_path, folders, texts):
    pair = pair_of(*folders)
    frame = scoring.score_pair(tmp_path, pair, [texts])
    assert compared_per(pair) is Per.TOKEN
    assert frame.model.tolist() == ["Base"] * 3 + ["RLHF"] * 3
    assert frame.world_nll.tolist() == [1.0, 2.0, 3.0] * 2
    assert frame.bytes.tolist() == [11, 16, 2] * 2
    tokens = scoring.score(*loading.load(pair.models["RLHF"]), texts.texts)
    mine = frame[(frame.model == "RLHF") & (frame.doc == 1)].nll.item()
    assert mine == pytest.approx(tokens[tokens.doc == 1].nll.sum(), abs=1e-4)
    assert not np.allclose(frame.nll[:3], frame.nll[3:])


def test_a_model_beside_itself_scores_exactly_the_same(tmp_path, folders, texts):
    frame = scoring.score_pair(tmp_path, pair_of(folders[0], folders[0]), [texts])
    assert frame.nll[:3].tolist() == frame.nll[3:].tolist()


def test_tokenizers_that_differ_are_noticed(tmp_path, folders, texts, make_model, make_tokenizer):
    make_model(1).save_pretrained(tmp_path / "other")
    make_tokenizer("ran ran on on dog dog", bos_token="<s>", eos_token="</s>").save_pretrained(tmp_path / "other")
    pair = pair_of(folders[0], tmp_path / "other")
    frame = scoring.score_pair(tmp_path / "store", pair, [texts])
    assert compared_per(pair) is Per.BYTE
    assert frame.tokens[:3].tolist() != frame.tokens[3:].tolist()


def test_numbers_that_overflow_are_refused_and_never_left_out(overflowing, tokenizer):
    assert np.isfinite(scoring.score(overflowing, tokenizer, ["the cat", "a dog"]).nll[1:]).all()
    told = r"^pair: the model 'big' in float16 gives no finite probability to token \d of text \d: .*dtype: bfloat16"
    with pytest.raises(UserError, match=told):
        scoring.score(overflowing.half(), tokenizer, ["the cat", "a dog"])


def test_one_token_that_has_no_probability_is_refused_by_its_place(model, tokenizer):
    damaged, ids = copy.deepcopy(model), [[5, 6, 7], [5, 6, 8, 9]]
    bias = torch.zeros(damaged.config.vocab_size)
    bias[8] = -torch.inf
    damaged.lm_head.register_forward_hook(lambda _, __, logits: logits + bias)
    assert np.isfinite(scoring.score_ids(damaged, ids[:1], [1], len(tokenizer), []).nll).all()
    with pytest.raises(UserError, match="token 3 of text 2"):
        scoring.score_ids(damaged, ids, [1, 1], len(tokenizer), [])
