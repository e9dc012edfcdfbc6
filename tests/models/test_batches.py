"""What a finetuning reads: nothing lost, nothing twice, the same for every model."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predact.models import finetuning


@given(st.text(alphabet="ab é\n🙂", max_size=60), st.integers(1, 9))
@settings(deadline=None)
def test_passages_are_the_text_in_pieces(text, size):
    found = finetuning.passages(text, size)
    assert "".join(passage for passage, _ in found) == text
    assert all(0 < len(passage) <= size for passage, _ in found)
    assert [last for _, last in found] == [False] * (len(found) - 1) + [True] * bool(found)


def test_passages_end_at_white_space_where_there_is_some():
    assert [passage for passage, _ in finetuning.passages("one two three", 8)] == ["one two", " three"]
    assert [passage for passage, _ in finetuning.passages("abcdefgh ij", 3)] == ["abc", "def", "gh", " ij"]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(1, 60), st.integers(1, 9), st.integers(0, 3))
@settings(deadline=None)
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


@pytest.mark.parametrize("context", [2, 3, 100])
def test_every_token_is_learned_exactly_once(make_tokenizer, context):
    tokenizer = make_tokenizer(bos_token="<s>", eos_token="</s>")
    pieces = [*finetuning.passages("the cat sat on the mat and the dog ran", 20), ("a café", True)]
    found = finetuning.rows(tokenizer, pieces, context)
    for (text, last), rows in zip(pieces, found, strict=True):
        whole = [tokenizer.bos_token_id, *tokenizer(text)["input_ids"], *[tokenizer.eos_token_id] * last]
        assert rows[0][0] == whole[0] and [one for row in rows for one in row[1:]] == whole[1:]
        assert all(len(row) <= context + 1 for row in rows)
        assert all(row[-1] == after[0] for row, after in zip(rows, rows[1:], strict=False))


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
