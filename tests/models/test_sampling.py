import math
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import accumulate

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    FalconH1Config,
    FalconH1ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    MambaConfig,
    MambaForCausalLM,
)

from predact import remarks
from predact.errors import UserError
from predact.models import loading, pairs, runs, sampling, scoring, shannon, tokens
from predact.models.sampling import Generation, Settings
from predact.texts.prompts import Prompt

SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message.role[0] }} {{ message.content }}"
    "{% if message.role == 'assistant' %}{{ eos_token }}{% endif %} {% endfor %}"
    "{% if add_generation_prompt %}a {% endif %}"
)
PROMPTS = [
    Prompt("one", "short", "the cat"),
    Prompt("two", "long", "a dog and the river"),
    Prompt("three", "short", "café"),
    Prompt("four", "long", "the mat where the other cat sat"),
]
SETTINGS = Settings(generations=5, max_new_tokens=8)


def encode(tokenizer, text):
    return tokenizer(text, add_special_tokens=False).input_ids


def numbers_for(count, settings, room=10**9, seed=0):
    return sampling.uniforms(seed, [str(index) for index in range(count)], settings, room)


def kept_by_definition(p, settings):
    """Ids of the nucleus of probabilities: not as many and not as much may be more probable than a token."""
    floor, more = 1.0, []
    for value, count in sorted(Counter(p).items(), reverse=True):
        if 0 < settings.top_k <= len(more) or (settings.top_p < 1 and math.fsum(more) >= settings.top_p):
            break
        floor = value
        more += [value] * count
    return [index for index, value in enumerate(p) if value >= floor]


def draw_by_definition(p, number, settings):
    kept = kept_by_definition(p, settings)
    upto = list(accumulate(p[index] for index in kept))
    return next((index for index, sum in zip(kept, upto, strict=True) if sum > number * upto[-1]), kept[-1])


def many_logits():
    torch.manual_seed(0)
    peaked, underflow = torch.zeros(1500), torch.linspace(0, -300, 1500)
    peaked[700] = 20.0
    underflow[1:3] = -torch.inf
    ties = torch.randint(0, 5, (1500,)).float()
    return torch.stack([peaked, underflow, ties, torch.zeros(1500), torch.randn(1500) / 50, torch.randn(1500) * 3])


@pytest.mark.parametrize("top_p", [1.0, 0.9, 0.5, 0.001])
@pytest.mark.parametrize("top_k", [0, 1, 5, 100, 5000])
def test_the_nucleus_is_the_one_of_the_definition(top_p, top_k):
    settings, p = Settings(top_p=top_p, top_k=top_k), many_logits().softmax(1)
    floor = sampling.nucleus_floor(p.sort(1, descending=True).values, top_p, top_k)
    for row, kept in zip(p.tolist(), (p >= floor).tolist(), strict=True):
        assert [index for index, each in enumerate(kept) if each] == kept_by_definition(row, settings)


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("width", [64 * 128, 64 * 128 + 7])
def test_the_most_probable_are_those_of_a_sort(count, width):
    """Also where many are equal, and where the last ones stand beyond the last whole block."""
    torch.manual_seed(0)
    p = torch.stack([torch.rand(width), torch.randint(0, 4, (width,)).float(), torch.arange(width).float()])
    found, places = sampling._most(p, count)
    assert torch.equal(found, p.sort(1, descending=True).values[:, :count])
    assert torch.equal(p.gather(1, places), found) and all(len(set(row)) == count for row in places.tolist())


@pytest.mark.parametrize(
    ("top_p", "top_k", "kept"),
    [(0.5, 0, 1), (0.51, 0, 2), (0.75, 0, 2), (0.76, 0, 4), (1.0, 0, 4), (1.0, 2, 2), (1.0, 3, 4), (0.5, 3, 1)],
)
def test_a_token_is_kept_if_less_than_top_p_is_more_probable(top_p, top_k, kept):
    p = torch.tensor([[0.125, 0.5, 0.125, 0.25]])
    floor = sampling.nucleus_floor(p.sort(1, descending=True).values, top_p, top_k)
    assert int((p >= floor).sum()) == kept
    assert len(kept_by_definition(p[0].tolist(), Settings(top_p=top_p, top_k=top_k))) == kept


@pytest.mark.parametrize(
    "settings",
    [Settings(), Settings(top_p=1), Settings(top_p=0.5, temperature=0.7), Settings(top_p=1, top_k=7, temperature=2)],
    ids=lambda each: f"{each.top_p}-{each.top_k}-{each.temperature}",
)
def test_a_number_draws_the_token_of_the_inverse_cumulative_distribution(settings):
    numbers = np.append(np.linspace(0, 1, 20, endpoint=False), np.nextafter(1, 0))
    for logits in many_logits():
        p = (logits / settings.temperature).softmax(0).tolist()
        expected = [draw_by_definition(p, number, settings) for number in numbers]
        drawn = sampling.draw(logits.expand(len(numbers), -1), torch.from_numpy(numbers), settings)
        assert drawn.tolist() == expected
    every = many_logits()  # rows with nuclei of all sizes at once
    together = sampling.draw(every, torch.full((len(every),), 0.6, dtype=torch.float64), settings)
    assert together.tolist() == [
        draw_by_definition((row / settings.temperature).softmax(0).tolist(), 0.6, settings) for row in every
    ]


@torch.no_grad()
def next_logits(model, tokenizer, ids):
    """The dense way: one forward pass over all that came before."""
    return model(torch.tensor([ids])).logits[0, -1, : len(tokenizer)]


def chi_square(observed, p, least=5):
    """How many standard deviations the statistic is above its mean; cells that expect few are one cell."""
    total = sum(observed.values())
    assert not [cell for cell in observed if p[cell] == 0]
    large = [cell for cell in p if p[cell] * total >= least]
    cells = [(observed[cell], p[cell] * total) for cell in large]
    rest = total - sum(expected for _, expected in cells)
    if rest >= least:
        cells.append((total - sum(count for count, _ in cells), rest))
    assert len(cells) > 5
    statistic = sum((count - expected) ** 2 / expected for count, expected in cells)
    return (statistic - len(cells) + 1) / math.sqrt(2 * (len(cells) - 1))


@pytest.mark.parametrize("settings", [Settings(), Settings(top_p=0.8, temperature=1.5, top_k=60)])
def test_sampled_tokens_have_the_frequencies_of_the_nucleus(model, tokenizer, settings):
    given, count = encode(tokenizer, "the cat sat"), 6000
    made = sampling.sample(model, tokenizer, [given], numbers_for(count, settings, room=2), settings)
    stops = sampling.stop_ids(model, tokenizer)

    def expected(ids):
        p = (next_logits(model, tokenizer, ids) / settings.temperature).softmax(0).tolist()
        kept = kept_by_definition(p, settings)
        found = Counter({token: 0.0 for token in (-1, *range(len(p)))})
        for token in kept:
            found[-1 if token in stops else token] += p[token] / math.fsum(p[index] for index in kept)
        return found

    firsts = Counter((*each.ids, -1)[0] for each in made)
    assert chi_square(firsts, expected(given)) < 4
    often = next(token for token, _ in firsts.most_common() if token != -1)
    seconds = Counter((*each.ids, -1)[1] for each in made if each.ids[:1] == [often])
    assert chi_square(seconds, expected([*given, often])) < 4


def one_by_one(model, tokenizer, given, numbers, settings):
    """Generations by the definition: no cache, no batch, a forward pass over everything for each token."""
    made, stops = [], sampling.stop_ids(model, tokenizer)
    for row in numbers:
        ids, log_p, finish = [], [], "length"
        for number in row:
            logits = next_logits(model, tokenizer, given + ids)
            token = draw_by_definition((logits / settings.temperature).softmax(0).tolist(), number, settings)
            if token in stops:
                finish = "stop"
                break
            ids.append(token)
            log_p.append(float(logits.double().log_softmax(0)[token]))
        made.append(Generation(ids, log_p, finish))
    return made


def assert_same(made, expected):
    assert [(each.ids, each.finish) for each in made] == [(each.ids, each.finish) for each in expected]
    for mine, theirs in zip(made, expected, strict=True):
        np.testing.assert_allclose(mine.log_probabilities, theirs.log_probabilities, atol=1e-4)


def biased(model, bias):
    """Add a bias to the logits of some ids."""
    added = torch.zeros(model.config.vocab_size)
    for token, value in bias.items():
        added[token] = value
    model.lm_head.register_forward_hook(lambda module, inputs, output: output + added)
    return model


@pytest.fixture
def soon_ending(make_model, tokenizer):
    """A model that ends soon, and that thinks nothing as probable as the ids that its tokenizer does not know."""
    padding = range(len(tokenizer), len(tokenizer) + 7)
    return biased(make_model(), {tokenizer.eos_token_id: 3.0, **dict.fromkeys(padding, 50.0)})


@pytest.mark.parametrize("settings", [Settings(), Settings(top_p=0.7, temperature=1.5, top_k=20)])
def test_a_generation_is_the_one_of_the_definition(soon_ending, tokenizer, settings):
    given, numbers = encode(tokenizer, "the dog ran"), numbers_for(12, settings, room=12)
    made = sampling.sample(soon_ending, tokenizer, [given], numbers, settings)
    assert_same(made, one_by_one(soon_ending, tokenizer, given, numbers, settings))
    assert {each.finish for each in made} == {"stop", "length"}
    assert len({len(each.ids) for each in made}) > 3


SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SMALL |= {"num_key_value_heads": 2, "head_dim": 8, "vocab_size": 320, "pad_token_id": 0, "initializer_range": 0.3}
MAMBA = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8}


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (Gemma2ForCausalLM, Gemma2Config(**SMALL, sliding_window=4)),
        (FalconH1ForCausalLM, FalconH1Config(**SMALL, **MAMBA)),
    ],
    ids=lambda each: getattr(each, "model_type", ""),
)
def test_caches_of_other_kinds_follow_their_rows(kind, config, tokenizer):
    torch.manual_seed(0)
    model = biased(kind(config).eval(), {tokenizer.eos_token_id: 4.0})
    given, settings = encode(tokenizer, "the cat sat on"), Settings(temperature=1.5)
    numbers = numbers_for(6, settings, room=12)
    made = sampling.sample(model, tokenizer, [given], numbers, settings, rows=5)
    assert_same(made, one_by_one(model, tokenizer, given, numbers, settings))
    assert len({len(each.ids) for each in made}) > 2


@pytest.fixture
def forgetful():
    """A function that makes a model whose cache transformers does not read."""

    def make():
        torch.manual_seed(0)
        sizes = {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "initializer_range": 0.3}
        model = MambaForCausalLM(MambaConfig(vocab_size=320, **sizes)).eval()
        model.name_or_path = "forgetful"
        return model

    return make


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_model_that_forgets_is_scored_but_not_sampled(forgetful, make_model, tokenizer, dtype):
    ids, settings = encode(tokenizer, "the cat sat"), Settings(max_new_tokens=4)
    model = forgetful().to(getattr(torch, dtype))
    with pytest.raises(UserError, match=r"^pair: the model 'forgetful' cannot be sampled: .* forgets .*") as refused:
        sampling.sample(model, tokenizer, [ids], numbers_for(2, settings), settings)
    assert "\n" not in str(refused.value) and model not in sampling._verified
    assert scoring.score(model, tokenizer, ["the cat sat"]).nll.notna().all()
    sampling.verify(make_model(3).to(getattr(torch, dtype)), tokenizer)


def test_a_model_is_tried_once_and_always_in_the_same_way(make_model, forgetful, tokenizer, monkeypatch):
    told = []
    for _ in range(2):
        with pytest.raises(UserError) as refused:
            sampling.verify(forgetful(), tokenizer)
        told.append(str(refused.value))
    assert told[0] == told[1]
    continued, calls, model = sampling.continued, [], make_model(4)
    monkeypatch.setattr(sampling, "continued", lambda *given: calls.append(given) or continued(*given))
    for _ in range(3):
        sampling.verify(model, tokenizer)
    ((_, _, _, numbers, _, stops),) = calls
    assert numbers.shape == (3, 8) and len(stops) == 0


def test_what_models_that_may_forget_wrote_before_they_were_tried_is_not_used(pair, turning, forgetful, monkeypatch):
    usual = sampling.key(pair.models["Base"], SETTINGS, 0)
    for model in (turning, forgetful()):
        monkeypatch.setattr(loading, "config", lambda _, model=model: model.config)
        assert sampling.key(pair.models["Base"], SETTINGS, 0) == usual | {"verified": True}
    assert "verified" not in usual


def test_a_cache_whose_rows_are_mixed_up_is_found(make_model, tokenizer, monkeypatch):
    monkeypatch.setattr("transformers.DynamicCache.reorder_cache", lambda *_: None)
    with pytest.raises(UserError, match="cannot be sampled"):
        sampling.verify(make_model(5), tokenizer)


@pytest.mark.parametrize(("given", "written"), [(5, 11), (10, 6), (15, 1)])
def test_a_generation_does_not_go_beyond_the_turn_of_longrope(turning, tokenizer, given, written):
    ids, settings = list(range(5, 5 + given)), Settings(max_new_tokens=100)
    numbers = numbers_for(2, settings, sampling.room_after(turning, given, "prompts: this"))
    made = sampling.sample(turning, tokenizer, [ids], numbers, settings)
    assert numbers.shape[1] == written
    assert_same(made, one_by_one(turning, tokenizer, ids, numbers, settings))
    with pytest.raises(UserError, match="the model reads at most 16"):
        sampling.room_after(turning, 16, "prompts: this")


def test_a_generation_across_the_turn_of_longrope_is_refused(turning, tokenizer):
    message = (
        r"^max_new_tokens: .* from 5 tokens to 17, but this model \(LongRoPE\) reads texts longer than 16 in another"
    )
    with pytest.raises(UserError, match=message):
        sampling.sample(turning, tokenizer, [[5] * 5], numbers_for(1, Settings(), room=13), Settings())


def test_ids_that_are_half_a_character_are_text_again(tokenizer):
    (cut,) = tokens.encode(tokenizer, ["a 🙂 naïve 北京"])
    for place in range(len(cut)):
        for part in (cut[place:], cut[:place]):
            text = tokenizer.decode(part)
            assert text.encode().decode() == text
            assert len(tokens.encode(tokenizer, [text])[0]) >= (text != "")
            assert isinstance(shannon._first_word(tokenizer, cut, part), str)


def test_stop_tokens_and_ids_without_a_token_are_not_in_generations(soon_ending, tokenizer):
    settings = Settings(top_p=1, max_new_tokens=30)
    numbers = numbers_for(100, settings)
    made = sampling.sample(soon_ending, tokenizer, [encode(tokenizer, "the")], numbers, settings)
    ids = [token for each in made for token in each.ids]
    assert max(ids) < len(tokenizer)
    assert not sampling.stop_ids(soon_ending, tokenizer) & set(ids)
    assert [each.finish for each in made] == ["stop" if len(each.ids) < 30 else "length" for each in made]


def test_log_probabilities_do_not_depend_on_what_the_nucleus_leaves_out(model, tokenizer):
    given, settings = encode(tokenizer, "the cat"), Settings(top_p=0.5, temperature=0.7, max_new_tokens=20)
    for each in sampling.sample(model, tokenizer, [given], numbers_for(10, settings), settings):
        with torch.no_grad():
            logits = model(torch.tensor([given + each.ids])).logits[0, len(given) - 1 : -1, : len(tokenizer)]
        expected = logits.log_softmax(1)[range(len(each.ids)), each.ids]
        np.testing.assert_allclose(each.log_probabilities, expected, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_batches_do_not_change_generations(soon_ending, tokenizer, rows):
    settings, count = Settings(max_new_tokens=20), 10
    texts = ["the cat sat", "the mat ran", "the cat cat"]
    given = [encode(tokenizer, text) for text in texts]
    assert len({len(ids) for ids in given}) == 1
    numbers = np.concatenate([numbers_for(count, settings, seed=seed) for seed in range(len(texts))])
    together = sampling.sample(soon_ending, tokenizer, given, numbers, settings, rows=rows)
    alone = [
        sampling.sample(soon_ending, tokenizer, [ids], part, settings)
        for ids, part in zip(given, np.split(numbers, len(texts)), strict=True)
    ]
    assert_same(together, sum(alone, []))
    assert len({len(each.ids) for each in together}) > 5


@pytest.mark.parametrize("end", ["<|end|>", "<|bye|>"])
def test_whatever_ends_a_turn_is_a_stop_token(make_model, make_tokenizer, end):
    model, tokenizer = make_model(), make_tokenizer(**SPECIAL)
    tokenizer.add_tokens([end, "<|other|>"], special_tokens=True)
    model.generation_config.eos_token_id = [5, 6]
    assert sampling.stop_ids(model, tokenizer) == {tokenizer.eos_token_id, 5, 6}
    tokenizer.chat_template = TEMPLATE.replace("{{ eos_token }}", f" {end}<|other|>")
    assert sampling.stop_ids(model, tokenizer) == {tokenizer.eos_token_id, 5, 6, len(tokenizer) - 2}


def test_without_a_stop_token_generations_are_as_long_as_they_may_be(make_model, make_tokenizer):
    model, tokenizer = make_model(), make_tokenizer()
    model.generation_config.eos_token_id = None
    made = sampling.sample(model, tokenizer, [encode(tokenizer, "the")], numbers_for(20, SETTINGS), SETTINGS)
    assert {(len(each.ids), each.finish) for each in made} == {(8, "length")}


@pytest.mark.parametrize(
    ("name", "value"),
    [("generations", 0), ("top_p", 0), ("top_p", 1.1), ("top_p", math.nan), ("top_k", -1), ("max_new_tokens", 0)]
    + [("temperature", value) for value in (0, -1, 1e-45, 1e-7, 1e7, math.inf, math.nan)],
)
def test_a_setting_out_of_range_is_named(name, value):
    with pytest.raises(UserError, match=rf"^{name}: expected a (whole )?number.*, not {value}\.$"):
        Settings(**{name: value})
    with pytest.raises(UserError, match=rf"^{name}: expected .*, not {value}\.$"):
        runs.checked({name: value})


@pytest.mark.parametrize("how", [{"temperature": 1e-6}, {"top_p": 5e-324}])
def test_the_smallest_temperature_and_top_p_draw_the_likeliest_token(model, tokenizer, how):
    runs.checked(how)
    given, settings = encode(tokenizer, "the cat"), Settings(max_new_tokens=10, **how)
    made = sampling.sample(model, tokenizer, [given], numbers_for(3, settings), settings)
    greedy = Settings(max_new_tokens=10, top_k=1)
    assert_same(made, one_by_one(model, tokenizer, given, numbers_for(3, greedy), greedy))
    numbers = torch.linspace(0, 1, 7, dtype=torch.float64)[:-1]
    for logits in many_logits()[[0, 4, 5]]:
        assert set(sampling.draw(logits.expand(6, -1), numbers, settings).tolist()) == {int(logits.argmax())}


def test_the_largest_temperature_draws_any_token():
    logits, numbers = torch.tensor([[-80.0, 0.0, 80.0, 20.0]]).expand(4, -1), torch.tensor([0.1, 0.3, 0.6, 0.8])
    assert sampling.draw(logits, numbers.double(), Settings(top_p=1, temperature=1e6)).tolist() == [0, 1, 2, 3]


@pytest.fixture
def with_bos(make_tokenizer):
    """A tokenizer that puts BOS before every text, as Llama's does."""
    tokenizer = make_tokenizer(**SPECIAL)
    bos = (tokenizer.bos_token, tokenizer.bos_token_id)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{bos[0]} $A", special_tokens=[bos])
    assert tokenizer("a").input_ids[0] == tokenizer.bos_token_id
    return tokenizer


@pytest.mark.parametrize("more", ["", "{{ bos_token }}"])
def test_a_chat_begins_with_one_bos(with_bos, more):
    with_bos.chat_template = more + TEMPLATE
    ids = sampling.ask(with_bos, "the cat", None)
    assert ids == [with_bos.bos_token_id, *encode_plainly(with_bos, "u the cat a ")]


def test_a_framed_prompt_begins_with_one_prefix_token_and_is_text(with_bos, make_tokenizer):
    ids = sampling.ask(with_bos, "cat</s>{prompt}", "{Q}: {prompt}\nA:")
    assert ids == [with_bos.bos_token_id, *encode_plainly(with_bos, "{Q}: cat</s>{prompt}\nA:")]
    assert with_bos.eos_token_id not in ids
    plain = make_tokenizer()
    assert sampling.ask(plain, "cat", "the {prompt}") == encode(plain, "the cat")


def encode_plainly(tokenizer, text):
    return tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids


def test_a_template_without_system_turns_is_enough(model, make_tokenizer):
    tokenizer = make_tokenizer(**SPECIAL)
    refuse = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    tokenizer.chat_template = refuse + TEMPLATE
    given = sampling.ask(tokenizer, "the cat", None)
    assert tokenizer.decode(given) == "<s>u the cat a "
    made = sampling.sample(model, tokenizer, [given], numbers_for(5, SETTINGS), SETTINGS)
    assert any(each.ids for each in made)


def test_a_model_without_a_chat_template_cannot_be_asked(tokenizer):
    with pytest.raises(UserError, match="^pair: .*chat template"):
        sampling.ask(tokenizer, "the cat", None)


@pytest.fixture(scope="module")
def pair(tmp_path_factory, make_model, make_tokenizer):
    """Two random models: a Base that continues text and an RLHF with a chat template."""
    root, found = tmp_path_factory.mktemp("pair"), {}
    for seed, (step, template) in enumerate({"Base": None, "RLHF": TEMPLATE}.items()):
        tokenizer = make_tokenizer(**SPECIAL)
        tokenizer.chat_template = template
        tokenizer.save_pretrained(root / step)
        make_model(seed).save_pretrained(root / step)
        found[step] = pairs.Model(str(root / step))
    return pairs.Pair("made", found, frame="the {prompt} ran")


def by_key(frame):
    """Everything sampled, by what it was sampled for."""
    keys = zip(frame.model, frame.prompt, frame["sample"], strict=True)
    return dict(zip(keys, zip(map(tuple, frame.ids), frame.finish, strict=True), strict=True))


def test_base_continues_the_frame_and_rlhf_answers_in_its_template(tmp_path, pair):
    frame = sampling.sample_pair(tmp_path, pair, PROMPTS[:2], SETTINGS)
    assert frame.model.tolist() == ["Base"] * 10 + ["RLHF"] * 10
    assert frame.prompt.tolist() == (["one"] * 5 + ["two"] * 5) * 2
    assert frame.category.tolist() == (["short"] * 5 + ["long"] * 5) * 2
    assert frame["sample"].tolist() == list(range(5)) * 4
    decoded = {step: loading.tokenizer(model).decode for step, model in pair.models.items()}
    asked = [decoded[row.model](row.given.tolist()) for row in frame.itertuples()]
    assert asked[::5] == ["<s>the the cat ran", "<s>the a dog and the river ran"] + [
        "<s>u the cat a ",
        "<s>u a dog and the river a ",
    ]
    for row in frame.itertuples():
        assert len(row.ids) == len(row.log_probabilities) == (8 if row.finish == "length" else len(row.ids))
    assert by_key(sampling.sample_pair(tmp_path, pair, PROMPTS[:2], SETTINGS, steps=["RLHF"])) == {
        key: value for key, value in by_key(frame).items() if key[0] == "RLHF"
    }


def test_an_earlier_checkpoint_of_base_is_asked_as_base_is(tmp_path, pair):
    earlier = replace(pair, models={pairs.PRETRAINED: pair.models["Base"], **pair.models})
    frame = sampling.sample_pair(tmp_path, earlier, PROMPTS[:2], SETTINGS)
    assert list(frame.model.unique()) == ["Pretrained", "Base", "RLHF"]
    first, second = (frame[frame.model == step].reset_index(drop=True) for step in ("Pretrained", "Base"))
    assert first.given.map(list).tolist() == second.given.map(list).tolist()
    assert first.ids.map(list).tolist() == second.ids.map(list).tolist(), "it is the same model here"


def test_answers_that_are_cut_off_are_remarked_whatever_the_store_holds(tmp_path, pair):
    for _ in range(2):
        remarks.reset()
        with pytest.warns(UserWarning, match="cut off after 1 tokens"):
            cut = sampling.sample_pair(tmp_path, pair, PROMPTS, replace(SETTINGS, max_new_tokens=1))
        assert (cut.finish == "length").mean() > 0.5
        assert remarks.remarks() == ["max_new_tokens: most answers of RLHF are cut off after 1 tokens."]
    ended = cut.assign(finish="stop")
    sampling._remark_on_ends(ended, pair, replace(SETTINGS, max_new_tokens=1))
    assert remarks.remarks() == []


def test_a_generation_depends_on_its_own_prompt_and_number_only(tmp_path, pair):
    whole = by_key(sampling.sample_pair(tmp_path / "a", pair, PROMPTS, SETTINGS))
    part = by_key(sampling.sample_pair(tmp_path / "b", pair, PROMPTS[:0:-1], replace(SETTINGS, generations=3)))
    assert len(part) == 2 * 3 * 3
    assert part.items() <= whole.items()
    other = by_key(sampling.sample_pair(tmp_path / "a", pair, PROMPTS, SETTINGS, seed=1))
    assert sum(other[key] == whole[key] for key in whole) < 3
    assert len(set(whole.values())) > 0.9 * len(whole)


def test_prompts_of_the_same_text_are_answered_independently(tmp_path, pair):
    same = [Prompt(id, "same", "the cat") for id in ("first", "second")]
    found = by_key(sampling.sample_pair(tmp_path, pair, same, SETTINGS))
    assert sum(found[step, "first", index] == found[step, "second", index] for step, _, index in found) < 4


def test_a_killed_run_goes_on_where_it_was(tmp_path, pair, monkeypatch):
    alone = partial(sampling.sample_pair, pair=pair, prompts=PROMPTS, settings=SETTINGS, rows=SETTINGS.generations)
    whole = alone(tmp_path / "whole")
    sample, calls = sampling.sample, []

    def killed(*arguments, **settings):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return sample(*arguments, **settings)

    monkeypatch.setattr(sampling, "sample", killed)
    with pytest.raises(KeyboardInterrupt):
        alone(tmp_path / "cut")
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cut").rglob("*.[jp]*")}
    assert len(written) == 2 * 2
    again = alone(tmp_path / "cut")
    assert by_key(again) == by_key(whole)
    assert len(calls) == 2 * len(PROMPTS) + 1
    assert {path: path.stat().st_mtime_ns for path in written} == written


def test_prompts_equally_long_are_sampled_together_but_for_those_stored(tmp_path, pair, monkeypatch):
    texts = ("the cat", "the dog", "the mat ran", "the the", "a cat", "the mat")
    asked = [Prompt(text, "short", text) for text in texts]
    alone = sampling.sample_pair(tmp_path / "alone", pair, asked, SETTINGS, steps=["Base"], rows=1)
    sizes = alone.drop_duplicates("prompt").given.map(len).tolist()
    sampling.sample_pair(tmp_path / "some", pair, asked[:2], SETTINGS, steps=["Base"])
    sample, calls = sampling.sample, []

    def counted(model, tokenizer, prompts, *others):
        calls.append(len(prompts))
        return sample(model, tokenizer, prompts, *others)

    monkeypatch.setattr(sampling, "sample", counted)
    again = sampling.sample_pair(tmp_path / "some", pair, asked, SETTINGS, steps=["Base"])
    pd.testing.assert_frame_equal(again.drop(columns="log_probabilities"), alone.drop(columns="log_probabilities"))
    assert sorted(calls) == sorted(Counter(sizes[2:]).values())


def test_a_run_that_is_stored_loads_no_model(tmp_path, pair, monkeypatch):
    first = sampling.sample_pair(tmp_path, pair, PROMPTS, SETTINGS)
    monkeypatch.setattr(loading, "loaded", lambda model: pytest.fail("the model was loaded"))
    assert by_key(sampling.sample_pair(tmp_path, pair, PROMPTS, SETTINGS)) == by_key(first)
    for other, settings in ((pair, replace(SETTINGS, top_p=0.8)), (replace(pair, frame="{prompt}"), SETTINGS)):
        with pytest.raises(pytest.fail.Exception):
            sampling.sample_pair(tmp_path, other, PROMPTS, settings)


def test_generations_without_a_token_are_stored(tmp_path, pair, make_model, tokenizer, monkeypatch):
    silent = biased(make_model(), {tokenizer.eos_token_id: 100.0})
    monkeypatch.setattr(loading, "loaded", lambda model: (silent, tokenizer))
    for _ in range(2):
        frame = sampling.sample_pair(tmp_path, pair, PROMPTS[:1], SETTINGS, steps=["Base"])
        assert frame.ids.map(len).tolist() == frame.log_probabilities.map(len).tolist() == [0] * 5
        assert set(frame.finish) == {"stop"}


def test_a_prompt_that_nearly_fills_the_context_is_answered_shortly(tmp_path, pair):
    plain, settings = replace(pair, frame="{prompt}"), Settings(generations=20)
    for length, room in ((60, 3), (62, 1)):  # a "q" is a token, BOS another; the model reads 64
        prompt = Prompt(f"q{length}", "q", "q" * length)
        frame = sampling.sample_pair(tmp_path, plain, [prompt], settings, steps=["Base"])
        assert set(frame.given.map(len)) == {64 - room}
        assert set(frame[frame.finish == "length"].ids.map(len)) == {room}
        assert (frame[frame.finish == "stop"].ids.map(len) < room).all()


@pytest.mark.parametrize("length", [63, 500])
def test_a_prompt_that_fills_the_context_is_named(tmp_path, pair, length):
    plain, prompt = replace(pair, frame="{prompt}"), Prompt("too long", "q", "q" * length)
    message = rf"^prompts: the prompt 'too long' has {length + 1} tokens, the model reads at most 64; shorten it\.$"
    with pytest.raises(UserError, match=message):
        sampling.sample_pair(tmp_path, plain, [prompt], SETTINGS)


def test_numbers_that_overflow_are_refused(overflowing, tokenizer):
    numbers = sampling.uniforms(0, ["a/0"], sampling.Settings(1, max_new_tokens=4), 9)
    assert sampling.sample(overflowing, tokenizer, [[5, 6]], numbers, sampling.Settings(1, max_new_tokens=4))
    with pytest.raises(UserError, match="in float16 gives no finite probability to a generation's token 1"):
        sampling.sample(overflowing.half(), tokenizer, [[5, 6]], numbers, sampling.Settings(1, max_new_tokens=4))
