"""Streamed moments, ridge probes and their reading, against plain sums, explicit hat matrices and own logits."""

import numpy as np
import pytest
import torch
from transformers import (
    BartConfig,
    BartForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3nForCausalLM,
    Gemma3nTextConfig,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)

from predact.errors import UserError
from predact.methods import probing
from predact.methods.probing import OFFSETS, Moments, Probe
from predact.models.passages import Passages

TARGETS = OFFSETS + 1
SMALL = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
HEADS = {"num_key_value_heads": 2, "intermediate_size": 48, "initializer_range": 0.3}
CAPS = {"head_dim": 8, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "pad_token_id": 0}
PER_LAYER = {"head_dim": 8, "pad_token_id": 0, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 300}
PER_LAYER |= {"layer_types": ["sliding_attention", "full_attention"]}
ARCHITECTURES = {
    "Llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, **HEADS)),
    "GPT-2": lambda: GPT2LMHeadModel(GPT2Config(**SMALL, initializer_range=0.3, n_positions=64)),
    "GPT-NeoX": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL, intermediate_size=48, initializer_range=0.3)),
    "Gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**SMALL, **HEADS, **CAPS)),
    "Gemma4": lambda: Gemma4ForCausalLM(Gemma4TextConfig(**SMALL, **HEADS, **PER_LAYER)),  # more norms than one
}
STREAMS = PER_LAYER | {
    "num_kv_shared_layers": 0,
    "activation_sparsity_pattern": [0.0] * 2,
    "intermediate_size": [48] * 2,
}


def passages(lengths, given=None, seed=0):
    draw = np.random.default_rng(seed)
    sequences = [draw.integers(5, 290, length).tolist() for length in lengths]
    return Passages(sequences, given or [1] * len(lengths), list(range(len(lengths))))


def made(x, y):
    """Moments of states [n, H] and targets [n, TARGETS, H]."""
    flat = y.reshape(len(y), -1)
    sums = (x.sum(0), flat.sum(0), x.T @ x, x.T @ flat, (y**2).sum((0, 2)))
    return Moments(len(x), *map(torch.from_numpy, sums))


def noisy(n, hidden, seed=0):
    """States on very different scales, and targets that follow them through more noise the further ahead they are."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(n, hidden)) * 10.0 ** np.linspace(-2, 1, hidden) + 3
    noise = draw.normal(size=(n, TARGETS, hidden)) * 10.0 ** np.linspace(-3, 2, TARGETS)[:, None]
    return x, np.einsum("ni,kih->nkh", x, draw.normal(size=(TARGETS, hidden, hidden))) + noise - 1


def identity(hidden):
    eye = torch.eye(hidden, dtype=torch.float64).expand(TARGETS, hidden, hidden)
    return Probe(eye, torch.zeros(TARGETS, hidden, dtype=torch.float64), torch.zeros(TARGETS))


def test_states_come_with_what_the_head_needs_and_not_with_those_of_all_layers():
    model = ARCHITECTURES["Llama"]()
    for held, last, _, _, (output, _, _) in probing.states(model, passages([20, 12]), [0, 2]):
        assert len(held) == 2 and held[1] is last and output.hidden_states is None


def test_the_penalty_is_the_best_of_the_grid_by_an_explicit_hat_matrix():
    x, y = noisy(40, 6)
    centred = x - x.mean(0)
    gram = centred.T @ centred
    grid = probing.PENALTIES * np.trace(gram) / 6
    errors = []
    for penalty in grid:
        hat = 1 / 40 + centred @ np.linalg.solve(gram + penalty * np.eye(6), centred.T)
        residual = y - np.einsum("nm,mkh->nkh", hat, y)
        errors.append((residual**2).sum((0, 2)) / 40 / (1 - np.trace(hat) / 40) ** 2)
    best = grid[np.argmin(errors, 0)]
    np.testing.assert_allclose(probing.fit(made(x, y)).penalty, best, rtol=1e-9)
    assert len(set(best)) > 2, "targets differ in what they need"


def test_a_fit_is_ridge_regression_at_its_penalty():
    x, y = noisy(60, 6, seed=1)
    probe = probing.fit(made(x, y))
    for target, penalty in enumerate(probe.penalty.tolist()):
        rows = np.vstack([np.column_stack([x, np.ones(60)]), np.diag([penalty**0.5] * 6 + [0])])
        wanted = np.linalg.lstsq(rows, np.vstack([y[:, target], np.zeros((7, 6))]), rcond=None)[0]
        np.testing.assert_allclose(probe.weight[target], wanted[:-1], rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(probe.bias[target], wanted[-1], rtol=1e-6, atol=1e-8)


def test_a_fit_agrees_with_scikit_learn():
    linear = pytest.importorskip("sklearn.linear_model")
    x, y = noisy(60, 6, seed=2)
    probe = probing.fit(made(x, y))
    for target, penalty in enumerate(probe.penalty.tolist()):
        ridge = linear.Ridge(alpha=penalty).fit(x, y[:, target])
        np.testing.assert_allclose(probe.weight[target].T, ridge.coef_, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(probe.bias[target], ridge.intercept_, rtol=1e-6, atol=1e-8)


def test_what_is_affine_is_recovered_and_where_nothing_is_told_the_mean_is_predicted():
    draw = np.random.default_rng(0)
    x, weight, bias = draw.normal(size=(50, 8)), draw.normal(size=(TARGETS, 8, 8)), draw.normal(size=(TARGETS, 8))
    probe = probing.fit(made(x, np.einsum("ni,kih->nkh", x, weight) + bias))
    np.testing.assert_allclose(probe.weight, weight, atol=1e-6)
    np.testing.assert_allclose(probe.bias, bias, atol=1e-6)
    y = draw.normal(size=(50, TARGETS, 8)) + bias
    probe = probing.fit(made(x, y))
    told = np.einsum("ni,kih->nkh", x, probe.weight.numpy()) + probe.bias.numpy()
    assert np.median(((told - y.mean(0)) ** 2).mean((0, 2))) < 0.01, "unpenalised 8 / 50 of the variance"


@pytest.mark.parametrize("room", [4096, 50])
def test_moments_are_sums_over_positions(monkeypatch, model, room):
    monkeypatch.setattr(probing, "_MEMORY", 8 * TARGETS * 32 * room)
    texts = passages([12, 30, 8, 9, 70, 30, 21], given=[1, 4, 1, 1, 50, 22, 14])
    sums = [0] * 3
    for sequence, given in zip(texts.sequences, texts.given, strict=True):
        caught, ids = [], torch.tensor([sequence[:64]])
        hook = model.model.layers[-1].register_forward_hook(lambda *seen, caught=caught: caught.append(seen[2]))
        with torch.no_grad():
            first, second, _ = model(ids, output_hidden_states=True).hidden_states
        hook.remove()
        last = (caught[0][0] if isinstance(caught[0], tuple) else caught[0])[0].double()
        for t in range(given - 1, ids.shape[1] - OFFSETS):
            y = last[t : t + OFFSETS].flatten()
            for place, x in enumerate((first[0, t].double(), second[0, t].double(), last[t])):
                sums[place] += np.array([1, x, y, torch.outer(x, x), torch.outer(x, y)], dtype=object)
    found = probing.moments(model, texts, [0, 1, 2])
    assert [each.count for each in found] == [sums[0][0]] * 3 == [4 + 19 + 1 + 7 + 1] * 3
    for each, (_, x, y, xx, xy) in zip(found, sums, strict=True):
        ahead = OFFSETS * 32
        torch.testing.assert_close(each.x, x, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(each.xx, xx, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(each.y, torch.cat([y, y[:32]]), rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(each.xy[:, :ahead], xy, rtol=1e-4, atol=1e-3)
        assert not torch.allclose(each.xy[:, ahead:], xy[:, :32], rtol=1e-2), "shuffled"
        torch.testing.assert_close(each.yy[0], found[2].xx.trace())


def test_what_cannot_be_probed_is_told_in_one_line(model):
    for layer in (-1, 3):
        with pytest.raises(UserError, match=rf"^layers, probe_layer: expected numbers from 0 to 2, not {layer}\.$"):
            probing.moments(model, passages([20]), [0, layer])
    after = BartForCausalLM(BartConfig(vocab_size=300, d_model=32, decoder_layers=2, decoder_attention_heads=4))
    with pytest.raises(UserError, match="^pair: a model has no final norm that could be found"):
        probing.moments(after, passages([20]), [0])
    several = Gemma3nForCausalLM(Gemma3nTextConfig(**SMALL | HEADS | STREAMS)).eval()
    with pytest.raises(
        UserError, match="^layers, probe_layer: a model has several states at a layer; only its last can"
    ):
        probing.moments(several, passages([20]), [1, 2])
    assert probing.moments(several, passages([20]), [2])
    with pytest.raises(UserError, match="positions: no text has 8 tokens after a position; give longer texts.$"):
        probing.moments(model, passages([8, 12], given=[1, 5]), [0])


def test_tokens_are_judged_by_hand():
    logits = torch.tensor([[5.0, 4, 3, 2, 1, 0, -1], [1, 1, 0, 0, 0, 0, -1], [0, 2, 2, 2, 2, 2, 1]])
    found = probing.judged(logits, torch.tensor([[0, 4, 5], [1, 5, 6], [5, 6, 0]]))
    assert found[..., 0].tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]
    assert found[..., 1].tolist() == [[1, 1, 0], [1, 1, 0], [1, 0, 0]]
    total = np.log(np.exp(logits.numpy()).sum(1))
    np.testing.assert_allclose(found[..., 2], total[:, None] - [[5, 1, 0], [1, 0, -1], [2, 1, 0]], rtol=1e-6)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_last_state_read_out_gives_a_models_own_predictions(name):
    torch.manual_seed(0)
    model = ARCHITECTURES[name]().eval()
    text = passages([40], given=[3])
    with torch.no_grad():
        own = model(torch.tensor(text.sequences)).logits[0, 2:32, :290]
    read = list(probing.read(model, 290, text, [1, 2], [identity(32)] * 2))
    assert [(place, target) for place, target, *_ in read] == [(p, t) for p in (0, 1) for t in (*range(1, 9), 0)]
    for place, target, groups, logits, wanted in read:
        came = np.array(text.sequences[0])[np.arange(2, 32)[:, None] + ([target] if target else np.arange(1, 9))]
        assert wanted.tolist() == came.tolist() and groups.tolist() == [0] * 30
        assert torch.allclose(logits, own, atol=1e-4) == (place == 1)
    probes = [probing.fit(each) for each in probing.moments(model, passages([60] * 9), [0, 1, 2])]
    np.testing.assert_allclose(probes[2].weight[0], np.eye(32), atol=1e-4)
    assert probing.calibrate(model, 290, text, [0, 1, 2], probes).shape == (3, TARGETS)
    first = next(logits for place, _, _, logits, _ in probing.read(model, 290, text, [0, 1, 2], probes) if place == 2)
    torch.testing.assert_close(first, own, atol=1e-3, rtol=1e-3)


def test_groups_follow_their_positions_through_sorting_and_padding(model):
    texts = passages([10, 20, 12], given=[1, 9, 1])
    _, _, groups, logits, wanted = next(probing.read(model, 307, texts, [2], [identity(32)]))
    assert groups.tolist() == [1] * 4 + [2] * 4 + [0] * 2
    came = [texts.sequences[1][9:13], texts.sequences[2][1:5], texts.sequences[0][1:3]]
    assert wanted[:, 0].tolist() == sum(came, [])
    with torch.no_grad():
        torch.testing.assert_close(logits[-2:], model(torch.tensor(texts.sequences[:1])).logits[0, :2])


def test_a_head_four_times_too_sure_is_calibrated_by_a_quarter(monkeypatch, make_model):
    monkeypatch.setattr(probing, "_SOME", 1)
    model, draw = make_model(), torch.Generator().manual_seed(0)
    ids = torch.full((50, 1), 7)
    with torch.no_grad():
        for _ in range(40):
            chosen = model(ids).logits[:, -1].softmax(1).multinomial(1, generator=draw)
            ids = torch.cat([ids, chosen], 1)
        model.lm_head.weight *= 4
    texts = Passages(ids.tolist(), [1] * 50, list(range(50)))
    assert probing.calibrate(model, 307, texts, [2], [identity(32)])[0, 0] == 0.25


def test_memory_is_what_the_moments_take(model):
    found = probing.moments(model, passages([20]), [0, 1])
    assert probing.memory(32, 2) == sum(8 * (each.xx.numel() + each.xy.numel()) for each in found)
    assert round(probing.memory(4096, 32) / 1e9) == 43
