"""Finetuning of random models: it learns, it is the same for all, it leaves no trace, it survives what goes wrong.

And what it reads: nothing lost, nothing twice, the same for every model.
"""

from dataclasses import replace
from itertools import pairwise

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from predact.errors import UserError
from predact.models import finetuning, loading, scoring
from predact.models.finetuning import FULL, LORA, Run, Settings

TRAIN = [f"the cat sat on the mat and the dog ran to the river {n}" for n in range(12)]
HELD_OUT = ["the dog ran to the river and the cat sat on the mat", "the cat sat on the mat and the dog ran"]
SHORT = Settings(updates=8, batch=200, rates=[3e-3], rank=4)


@pytest.fixture
def mine(make_model):
    """A model that a test may do anything with."""
    return make_model(3)


def finetune(model, tokenizer, train, validation, settings, rate, seed=0):
    """One run on texts; the rate is the only one that is tried."""
    (found,) = finetuning.search(model, tokenizer, train, validation, replace(settings, rates=[rate]), seed)
    return found


def state(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def gradients(model):
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def settings(method, **changes):
    return Settings(**{**vars(SHORT), "method": method, **changes})


@pytest.mark.parametrize("method", [FULL, LORA])
def test_a_finetuned_model_predicts_its_corpus_better_and_the_model_itself_is_as_it_was(mine, tokenizer, method):
    before, names = state(mine), [name for name, _ in mine.named_modules()]
    run = finetune(mine, tokenizer, TRAIN, HELD_OUT, settings(method, updates=40), 1e-2)
    assert same(state(mine), before) and [name for name, _ in mine.named_modules()] == names
    start = scoring.documents(scoring.score(mine, tokenizer, HELD_OUT), HELD_OUT).nll
    assert run.nll[0] == pytest.approx(start)
    assert run.nll[run.best].sum() < (0.5 if method == FULL else 0.8) * start.sum() and not run.failed
    with finetuning.weights(mine, settings(method)):
        finetuning.put(mine, run.weights)
        after = scoring.documents(scoring.score(mine, tokenizer, HELD_OUT), HELD_OUT).nll
    assert after.to_numpy() == pytest.approx(run.nll[run.best]), "the weights are those of the best evaluation"
    assert same(state(mine), before)


def test_only_adapters_learn_in_float32_beside_a_model_of_half_precision(tokenizer):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=64, initializer_range=0.3, **sizes)
    model = loading._float32_head(LlamaForCausalLM(config).bfloat16().eval())
    before = state(model)
    found = finetuning.search(model, tokenizer, TRAIN, HELD_OUT, settings(LORA, updates=24, rates=[1e-2]))
    (run,) = found
    assert same(state(model), before)
    attention, mlp = 4 * (32 + 32), 3 * (32 + 48)
    assert sum(each.numel() for each in run.weights.values()) == 2 * 4 * (attention + mlp)
    assert {each.dtype for each in run.weights.values()} == {torch.float32}
    assert all("lora" in name for name in run.weights)
    assert run.nll[run.best].sum() < 0.9 * run.nll[0].sum()


def test_full_finetuning_follows_lora_on_the_same_model(mine, tokenizer):
    """Adapters leave the weights frozen; a full finetuning after them must move them all the same."""
    finetune(mine, tokenizer, TRAIN, HELD_OUT, settings(LORA), 1e-2)
    run = finetune(mine, tokenizer, TRAIN, HELD_OUT, settings(FULL), 1e-3)
    assert set(run.weights) == set(dict(mine.named_parameters()))
    assert run.nll[-1].sum() < run.nll[0].sum()


def test_the_gradient_is_that_of_the_mean_loss_however_it_is_cut(mine, tokenizer):
    (rows,) = [
        [row for each in finetuning.rows(tokenizer, [(text, True) for text in TRAIN[:5] + ["on"]], 7) for row in each]
    ]
    size, found = len(tokenizer), []
    for room in (1, 10, 15, 1000):
        mine.zero_grad()
        assert finetuning.gradient(mine, rows, size, room) == room
        found.append(gradients(mine))
    mine.zero_grad()
    total = sum(len(row) - 1 for row in rows)
    loss = 0
    for row in rows:
        logits = mine(input_ids=torch.tensor([row[:-1]])).logits[0, :, :size].float()
        loss = loss - logits.log_softmax(1)[range(len(row) - 1), row[1:]].sum() / total
    loss.backward()
    for one in found:
        for name, gradient in gradients(mine).items():
            torch.testing.assert_close(one[name], gradient, atol=1e-5, rtol=1e-4)


def test_when_memory_ends_fewer_rows_are_tried_and_the_result_is_the_same(mine, tokenizer, monkeypatch):
    rows = [row for each in finetuning.rows(tokenizer, [(text, True) for text in TRAIN], 64) for row in each]
    size, longest = len(tokenizer), max(len(row) - 1 for row in finetuning.rows(tokenizer, [(TRAIN[0], True)], 64)[0])
    finetuning.gradient(mine, rows, size, 10**6)
    expected, whole, calls = gradients(mine), finetuning._nll, []
    mine.zero_grad()

    def tight(model, some, vocabulary):
        calls.append(len(some))
        if len(some) > 3 or len(calls) == 3:  # once in the middle of a batch, too
            raise torch.OutOfMemoryError("no room")
        return whole(model, some, vocabulary)

    monkeypatch.setattr(finetuning, "_nll", tight)
    with pytest.warns(UserWarning, match=r"out of memory; \d+ tokens at a time now, the batch stays"):
        room = finetuning.gradient(mine, rows, size, 10**6)
    assert longest <= room <= 3 * (longest + 1)
    for name, gradient in gradients(mine).items():
        torch.testing.assert_close(gradient, expected[name], atol=1e-5, rtol=1e-4)
    monkeypatch.setattr(finetuning, "_nll", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError()))
    with pytest.warns(UserWarning), pytest.raises(UserError, match="context: .* tokens do not fit into memory"):
        finetuning.gradient(mine, rows, size, 10**6)


def test_a_rate_that_diverges_is_marked_and_the_others_go_on(mine, tokenizer):
    found = finetuning.search(mine, tokenizer, TRAIN, HELD_OUT, settings(FULL, rates=[1e-3, 30.0]))
    assert [run.failed for run in found if run.rate == 30.0] == [True]
    chosen = finetuning.best(found)
    assert not chosen.failed and chosen.nll[chosen.best].sum() < chosen.nll[0].sum()
    assert [bool(run.weights) for run in found] == [run is chosen for run in found]


def test_where_all_rates_diverge_the_model_is_left_as_it_was(mine, tokenizer):
    (run,) = finetuning.search(mine, tokenizer, TRAIN, HELD_OUT, settings(FULL, rates=[100.0]))
    assert run.failed and run.best == 0
    assert all(torch.equal(run.weights[name], each) for name, each in mine.named_parameters())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_run_before_it_spoils_the_weights(mine, tokenizer, monkeypatch, bad):
    whole, calls = finetuning._nll, []

    def spoiled(*arguments):
        calls.append(1)
        return whole(*arguments) * (bad if len(calls) == 3 else 1)

    monkeypatch.setattr(finetuning, "_nll", spoiled)
    run = finetune(mine, tokenizer, TRAIN, HELD_OUT, settings(FULL, batch=100), 1e-3)
    assert run.failed and np.isinf(run.nll[-1]).all() and len(calls) == 3
    assert all(each.isfinite().all() for each in run.weights.values())


def test_weights_that_are_no_numbers_do_not_look_like_a_perfect_score(mine, tokenizer):
    with torch.no_grad():
        mine.lm_head.weight.fill_(float("nan"))
    assert np.isinf(finetuning._read(mine, tokenizer, HELD_OUT, SHORT, done=1)).all()
    with pytest.raises(UserError, match="gives no finite probability"):
        finetuning._read(mine, tokenizer, HELD_OUT, SHORT)


def test_what_a_model_learns_from_does_not_depend_on_the_model(make_model, tokenizer, monkeypatch):
    seen, whole = [], finetuning._nll
    monkeypatch.setattr(finetuning, "_nll", lambda model, some, size: seen[-1].append(some) or whole(model, some, size))
    for seed in (0, 1):
        seen.append([])
        finetune(make_model(seed), tokenizer, TRAIN, HELD_OUT, SHORT, 1e-3, seed=5)
    first, second = (repr(each).encode() for each in seen)
    assert first == second and len(seen[0]) == SHORT.updates
    seen.append([])
    finetune(make_model(0), tokenizer, TRAIN, HELD_OUT, SHORT, 1e-3, seed=6)
    assert repr(seen[2]).encode() != first


@pytest.mark.parametrize("method", [FULL, LORA])
def test_the_same_seed_gives_the_same_run(mine, tokenizer, method):
    first, second = (finetune(mine, tokenizer, TRAIN, HELD_OUT, settings(method), 1e-2, seed=1) for _ in range(2))
    assert (first.nll == second.nll).all() and same(first.weights, second.weights)


def ladder(monkeypatch, least):
    """Replace runs by ones whose nll is lowest at a rate; returns the rates in the order of their runs."""
    tried = []

    def run(model, tokenizer, work, validation, settings, rate, rival):
        tried.append(rate)
        return Run(rate, np.array([0, 10]), np.array([[9.0], [abs(np.log(rate / least))]]), {"one": torch.ones(1)})

    monkeypatch.setattr(finetuning, "run", run)
    return tried


@pytest.mark.parametrize(
    ("least", "expected"),
    [(1e-3, [1e-3, 3e-4, 1 / 300]), (3e-4, [1e-3, 3e-4, 9e-5]), (1e-5, [1e-3, 3e-4, 9e-5, 2.7e-5])],
)
def test_the_search_goes_on_beyond_the_grid_but_not_for_ever(mine, tokenizer, monkeypatch, least, expected):
    tried = ladder(monkeypatch, least)
    found = finetuning.search(mine, tokenizer, TRAIN, HELD_OUT, Settings())
    assert tried == pytest.approx(expected) and [run.rate for run in found] == sorted(tried)
    assert finetuning.best(found).rate == pytest.approx(min(expected, key=lambda rate: abs(np.log(rate / least))))
    assert [bool(run.weights) for run in found] == [run is finetuning.best(found) for run in found]


def test_a_single_rate_is_taken_as_given_and_the_middle_of_three_is_enough(mine, tokenizer, monkeypatch):
    tried = ladder(monkeypatch, 1e-9)
    finetuning.search(mine, tokenizer, TRAIN, HELD_OUT, Settings(rates=[5e-4]))
    assert tried == [5e-4]
    tried = ladder(monkeypatch, 3e-4)
    finetuning.search(mine, tokenizer, TRAIN, HELD_OUT, Settings(rates=[1e-4, 3e-4, 1e-3]))
    assert tried == [1e-3, 3e-4, 1e-4]


def scripted(monkeypatch, losses):
    """Replace the reading of validation texts: one number after the other, for two texts."""
    queue = [np.array([each, each]) for each in losses]
    monkeypatch.setattr(finetuning, "_read", lambda *_: queue.pop(0))
    return queue


@pytest.mark.parametrize(
    ("losses", "evaluations"),
    [
        ([9, 8, 7, 6, 5, 4, 3], 7),  # goes on getting better
        ([9, 8, 8.5, 8.5, 8.5], 5),  # after 1, 2, 3, 4 updates of 8: best after 1, given up at 4
        ([9, 9.5, 8, 8.5, 8.5, 8.5, 8.5], 7),  # best after 2 of 8 updates: just not too long ago
        ([9, 8, 18.5], 3),  # twice the first
    ],
)
def test_a_run_ends_early_when_it_is_past_its_best(mine, tokenizer, monkeypatch, losses, evaluations):
    queue = scripted(monkeypatch, losses)
    run = finetune(mine, tokenizer, TRAIN, HELD_OUT, SHORT, 1e-3)
    assert len(run.nll) == evaluations and not queue
    assert run.failed is (losses[-1] >= 18)
    assert run.tokens[0] == 0 and len(run.tokens) == len(finetuning.evaluations(SHORT.updates))


def test_a_run_that_is_surely_behind_is_given_up():
    rival = Run(1e-3, np.arange(3), np.array([[5.0, 6, 7], [4, 5, 6], [3, 4, 5]]), {})
    behind, unsure, ahead = [4.5, 5.6, 6.5], [3.5, 5.0, 6.8], [3.0, 4.0, 5.0]
    for last, expected in ((behind, True), (unsure, False), (ahead, False)):
        run = Run(1e-4, np.arange(3), np.array([[5.0, 6, 7], last]), {})
        assert finetuning._behind(run, rival) is expected
    longer = Run(1e-4, np.arange(3), np.array([behind] * 4), {})
    assert not finetuning._behind(longer, rival) and not finetuning._behind(longer, None)


def test_rows_beyond_the_context_of_the_model_are_cut(make_model, tokenizer):
    short = make_model(0, max_position_embeddings=8)
    run = finetune(short, tokenizer, TRAIN, HELD_OUT, settings(FULL, updates=2), 1e-3)
    assert np.isfinite(run.nll).all()


@pytest.mark.parametrize(("method", "dtype", "told"), [(LORA, torch.bfloat16, 67), (FULL, torch.float32, 83)])
def test_memory_for_the_gradient_is_what_the_book_says(method, dtype, told):
    """A quarter of Llama 2 7B's width and of the adapters' rank; the difference between two and three layers."""
    kept = []
    for layers in (2, 3):
        config = LlamaConfig(
            hidden_size=1024, intermediate_size=2752, num_hidden_layers=layers, num_attention_heads=8, vocab_size=300
        )
        model = loading._float32_head(LlamaForCausalLM(config).to(dtype).eval())
        with finetuning.weights(model, Settings(method, rank=4)):
            own = {each.untyped_storage().data_ptr() for each in model.parameters()}
            held = {}

            def pack(tensor, own=own, held=held):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in own:
                    held[storage.data_ptr()] = storage
                return tensor

            with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
                loss = finetuning._nll(model, [[1] * 97], 300)
            kept.append(sum(storage.nbytes() for storage in held.values()))
            del loss
    assert (kept[1] - kept[0]) / 96 / 1024 == pytest.approx(told, rel=0.05)
    page = (finetuning.__file__.rpartition("/predact/")[0]) + "/book/rerun.md"
    assert f"{told} bytes for each token, layer and unit of width" in open(page).read()


@given(st.text(alphabet="ab é\n🙂", max_size=60), st.integers(1, 9))
@hypothesis.settings(deadline=None)
def test_passages_are_the_text_in_pieces(text, size):
    found = finetuning.passages(text, size)
    assert "".join(passage for passage, _ in found) == text
    assert all(0 < len(passage) <= size for passage, _ in found)
    assert [last for _, last in found] == [False] * (len(found) - 1) + [True] * bool(found)


def test_passages_end_at_white_space_where_there_is_some():
    assert [passage for passage, _ in finetuning.passages("one two three", 8)] == ["one two", " three"]
    assert [passage for passage, _ in finetuning.passages("abcdefgh ij", 3)] == ["abc", "def", "gh", " ij"]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(1, 60), st.integers(1, 9), st.integers(0, 3))
@hypothesis.settings(deadline=None)
def test_every_text_is_learned_from_once_before_any_comes_again(sizes, most, updates, seed):
    found = finetuning.plan_batches(sizes, most, updates, seed)
    assert len(found) == updates and all(found)
    order = [place for batch in found for place in batch]
    for start in range(0, len(order), len(sizes)):
        epoch = order[start : start + len(sizes)]
        assert len(set(epoch)) == len(epoch)
    assert all(sum(sizes[place] for place in batch) <= most or len(batch) == 1 for batch in found)
    assert finetuning.plan_batches(sizes, most, updates, seed) == found


def test_a_batch_is_as_full_as_it_can_be_in_its_order():
    sizes = [3, 4, 5, 6, 7]
    found = finetuning.plan_batches(sizes, 10, 8, 0)
    for batch, after in zip(found, found[1:], strict=False):
        assert sum(sizes[place] for place in batch) + sizes[after[0]] > 10
    assert finetuning.plan_batches(sizes, 10, 8, 1) != found


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("context", [2, 3, 100])
def test_every_token_is_learned_exactly_once(make_tokenizer, context, bos):
    """The rest of a passage is read after BOS; without one, after the last token of the row before."""
    tokenizer = make_tokenizer(**{"bos_token": "<s>"} if bos else {}, eos_token="</s>")
    pieces = [*finetuning.passages("the cat sat on the mat and the dog ran", 20), ("a café", True)]
    found = finetuning.rows(tokenizer, pieces, context)
    for (text, last), rows in zip(pieces, found, strict=True):
        first = tokenizer.bos_token_id if bos else tokenizer.eos_token_id
        whole = [first, *tokenizer(text)["input_ids"], *[tokenizer.eos_token_id] * last]
        assert rows[0][0] == whole[0] and [one for row in rows for one in row[1:]] == whole[1:]
        assert all(len(row) <= context + 1 for row in rows)
        assert all(after[0] == (first if bos else row[-1]) for row, after in pairwise(rows))


def test_without_special_tokens_the_first_one_is_only_read(make_tokenizer):
    tokenizer = make_tokenizer()
    (rows,) = finetuning.rows(tokenizer, [("the cat", True)], 10)
    assert rows == [tokenizer("the cat")["input_ids"]]


def test_the_schedule_by_hand():
    shares = [finetuning.schedule(update, 24) for update in (1, 2, 3, 4, 16, 17, 18, 21, 24)]
    assert shares == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1, 7 / 8, 4 / 8, 1 / 8])
    assert finetuning.schedule(1, 1) == 1


@pytest.mark.parametrize("updates", [*range(1, 40), 64, 1000])
def test_evaluations_begin_with_none_end_with_all_and_get_no_sparser_than_doubling(updates):
    found = finetuning.evaluations(updates)
    assert found[0] == 0 and found[-1] == updates and found == sorted(set(found))
    assert all(after <= 2 * before + 1 for before, after in zip(found, found[1:], strict=False))
    assert np.diff(found).max() <= max(1, 0.3 * updates + 1)


def test_evaluations_by_hand():
    assert finetuning.evaluations(64) == [0, 1, 2, 4, 8, 16, 23, 32, 45, 64]
