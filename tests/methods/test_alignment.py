"""Multiple alignment of ids: what is planted is found, what is optimal is reached, and agreement counted by hand."""

import shutil
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predact.errors import UserError
from predact.methods import alignment
from predact.methods.alignment import GAP

needs_mafft = pytest.mark.skipif(not shutil.which("mafft"), reason="needs MAFFT")
ENGINES = [alignment.align, pytest.param(alignment.mafft, marks=needs_mafft)]
sequences_of = st.lists(st.lists(st.sampled_from([0, 1, 2, 3, 900, 2**40]), max_size=12), max_size=7)
HAND = np.array(  # the 7s in one column, the 8s in two; row 3 has one token, row 4 none
    [
        [7, 8, GAP, 5],
        [7, GAP, 8, 5],
        [7, 8, GAP, 6],
        [GAP, 9, GAP, GAP],
        [GAP, GAP, GAP, GAP],
    ]
)


def same_rows(made, sequences):
    """Whether an alignment holds what it was made of, and no column of gaps."""
    held = [row[row != GAP].tolist() for row in made]
    return made.dtype == np.int64 and held == [list(each) for each in sequences] and (made != GAP).any(0).all()


def planted(seed, generations=30, skeleton=60, most=4):
    """A skeleton of ids that occur nowhere else, random ids of a large vocabulary between them; where the ids went."""
    draw = np.random.default_rng(seed)
    rows = []
    for _ in range(generations):
        row = []
        for place in range(skeleton):
            row += draw.integers(10**6, 10**7, draw.integers(most + 1)).tolist() + [place]
        rows.append(row)
    return rows


def longest_common(left, right):
    table = np.zeros((len(left) + 1, len(right) + 1), int)
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    return table[-1, -1]


@settings(max_examples=60, deadline=None)
@given(sequences_of)
def test_without_gaps_every_row_is_its_sequence_and_no_column_is_empty(sequences):
    made = alignment.align(sequences)
    assert len(made) == len(sequences) and same_rows(made, sequences)
    assert np.array_equal(made, alignment.align(sequences))


@settings(max_examples=60, deadline=None)
@given(*[st.lists(st.integers(0, 3), max_size=10)] * 2)
def test_two_sequences_agree_in_as_many_tokens_as_the_best_alignment_of_all(left, right):
    assert alignment.pairs(alignment.align([left, right])) == longest_common(left, right)


def test_a_planted_skeleton_is_recovered():
    rows = planted(0)
    made = alignment.align(rows)
    assert same_rows(made, rows)
    where = [np.unique(np.nonzero(made == place)[1]) for place in range(60)]
    assert [len(columns) for columns in where] == [1] * 60, "each planted id stands in one column"
    assert alignment.pairs(made) == 60 * 30 * 29 // 2


def test_with_deletions_substitutions_and_repeats_as_much_agrees_as_when_laid_on_the_known_skeleton():
    draw = np.random.default_rng(1)
    skeleton = draw.integers(0, 40, 80)  # every id about twice
    rows = [
        [int(token) if draw.random() < 0.9 else int(draw.integers(40, 80)) for token in skeleton if draw.random() < 0.9]
        for _ in range(40)
    ]
    made = alignment.align(rows)
    true = sum((a == b).sum() for a, b in combinations(_columns_of(rows, skeleton), 2))
    assert same_rows(made, rows) and alignment.pairs(made) >= 0.95 * true


def _columns_of(rows, skeleton):
    """Each row laid on the skeleton as well as can be, ids that are not there left out: [rows] arrays."""
    for number, row in enumerate(rows):
        both = alignment.align([row, skeleton])
        laid = both[0, both[1] != GAP]
        yield np.where(laid == skeleton, laid, -1 - number)


def test_identical_sequences_share_every_column():
    rows = [[5, 5, 7, 5]] * 9
    assert np.array_equal(alignment.align(rows), rows)
    assert alignment.pairs_per_column(alignment.align(rows)) == 36 and alignment.share_aligned(np.array(rows), 8) == 1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("rows", [[], [[]], [[], []], [[4]], [[], [4], []], [[4, 5, 6], [], [5]], [[3] * 5, [3]]])
def test_empty_short_and_single_sequences(engine, rows):
    made = engine(rows)
    assert made.shape == (len(rows), max(map(len, rows), default=0)) and same_rows(made, rows)


def test_nothing_in_common_gives_no_pair_and_no_more_columns_than_the_longest():
    rows = [list(range(start, start + 30 + start // 1000)) for start in range(0, 20_000, 1000)]
    made = alignment.align(rows)
    assert alignment.pairs(made) == 0 and alignment.share_aligned(made, 1) == 0 and made.shape == (20, 49)


def test_shuffled_tokens_agree_far_less_than_a_shared_order():
    draw = np.random.default_rng(2)
    rows = [[int(each) for each in draw.permutation(60) if draw.random() < 0.9] for _ in range(30)]
    sorted_rows = [sorted(row) for row in rows]
    shares = [alignment.share_aligned(alignment.align(each)) for each in (rows, sorted_rows)]
    assert shares[1] == 1 and shares[0] < 0.5


def test_the_order_of_the_sequences_changes_nothing():
    """Sequences are put in an order of their own first, so the tolerance is none."""
    draw = np.random.default_rng(3)
    rows = [draw.integers(0, 12, draw.integers(0, 25)).tolist() for _ in range(15)]
    made = alignment.align(rows)
    order = draw.permutation(15)
    again = alignment.align([rows[place] for place in order])
    assert len({tuple(row) for row in rows}) == 15, "equal sequences could stand for each other"
    assert np.array_equal(again, made[order]) and alignment.pairs(made) > 0


def test_long_unlike_sequences_are_packed_on_the_way(monkeypatch):
    draw = np.random.default_rng(4)
    rows = [draw.integers(0, 300, 40).tolist() for _ in range(25)]
    free = alignment.align(rows)
    monkeypatch.setattr(alignment, "_WIDEST", 1)
    tight = alignment.align(rows)
    assert same_rows(free, rows) and same_rows(tight, rows)
    assert not np.array_equal(free, tight) and alignment.pairs(tight) > 0.7 * alignment.pairs(free)


def test_taking_sequences_out_and_adding_them_again_finds_more(monkeypatch):
    draw = np.random.default_rng(6)
    rows = [
        [int(each) for each in range(50) if draw.random() < 0.5] + draw.integers(0, 50, 9).tolist() for _ in range(20)
    ]
    refined = alignment.pairs(alignment.align(rows))
    monkeypatch.setattr(alignment, "_ROUNDS", 0)
    assert refined > alignment.pairs(alignment.align(rows))


@pytest.mark.parametrize("engine", ENGINES)
def test_ids_below_zero_are_refused_in_one_line(engine):
    with pytest.raises(UserError, match=r"^sequences: expected token ids, none below 0\.$"):
        engine([[1, -1], [1]])


def test_pairs_by_hand():
    assert alignment.pairs(HAND) == 3 + 1 + 1
    assert alignment.pairs_per_column(HAND) == 5 / 4
    assert alignment.pairs(HAND[:0]) == alignment.pairs_per_column(HAND[:0]) == 0


def test_aligned_by_hand():
    one = [[True, True, True], [True, False, True], [True, True, False], [False] * 3, [False] * 3]
    two = [[True, False, False]] * 3 + [[False] * 3] * 2
    assert alignment.aligned(HAND, 1).tolist() == one and alignment.aligned(HAND, 2).tolist() == two
    assert alignment.share_aligned(HAND, 1) == 7 / 10 and alignment.share_aligned(HAND, 2) == 3 / 10
    assert alignment.share_aligned(HAND) == 0 and alignment.share_aligned(HAND[:, :0]) == 0


def test_along_by_hand():
    found = alignment.aligned_along(HAND, others=[1, 2], bins=2)
    # three tokens in two bins: the first two, the third
    assert found.tolist() == [[1 + 0.5 + 1, 1 + 1 + 0], [0.5 * 3, 0]]
    # six bins for three tokens: those of 0, 2 and 4; each other bin lies between two and takes the earlier
    assert alignment.aligned_along(HAND, others=[1], bins=6).tolist() == [[3, 3, 2, 2, 2, 2]]
    assert alignment.aligned_along(np.array([[7], [7]]), [1]).tolist() == [[2] * 100], "one token fills every bin"
    assert alignment.aligned_along(HAND[4:], [0]).tolist() == [[0] * 100]


@needs_mafft
def test_mafft_aligns_more_ids_than_it_has_symbols():
    draw = np.random.default_rng(5)
    rows = [draw.integers(0, 5000, draw.integers(30, 60)).tolist() for _ in range(20)]
    rows = [[*row, *range(9000, 9040)] for row in rows]
    made = alignment.mafft(rows)
    assert len({token for row in rows for token in row}) > 700 and same_rows(made, rows)
    assert alignment.pairs(made) > 0.9 * 40 * 20 * 19 // 2, "the shared end is among the symbols"


@needs_mafft
def test_ids_that_share_the_overflow_symbol_do_not_agree():
    shared = list(range(247))
    rows = [[*shared, 1000 + place] for place in range(4)]
    made = alignment.mafft(rows)
    assert np.array_equal(made, rows), "one symbol, hence one column"
    assert alignment.pairs(made) == 247 * 6 and not alignment.aligned(made, 1)[:, 247].any()


@needs_mafft
def test_a_mafft_that_fails_or_is_absent_is_one_clear_line(tmp_path, monkeypatch):
    assert alignment.mafft_version().startswith("v")
    program = tmp_path / "mafft"
    program.write_text("#!/bin/sh\necho out of memory >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match=r"^mafft: .*out of memory.* native engine\.$"):
        alignment.mafft([[1, 2], [2, 1]])
    program.unlink()
    assert alignment.mafft_version() is None
    with pytest.raises(UserError, match=r"^mafft: no such program .* native engine \(needs nothing\)\.$"):
        alignment.mafft([[1, 2], [2, 1]])


def test_a_path_whose_trace_is_made_in_parts_is_the_same(monkeypatch):
    draw = np.random.default_rng(3)
    rows = [draw.integers(0, 9, 60 + row).tolist() for row in range(6)]
    whole = alignment.align(rows)
    monkeypatch.setattr(alignment, "_TRACE", 500)  # bytes: eight columns at a time
    assert np.array_equal(alignment.align(rows), whole) and alignment.pairs(whole) > 200
