"""Anchor spans by hand, planted ones recovered, and the choice of spans against all choices on tiny alignments."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from predact.errors import UserError
from predact.methods import alignment, anchors
from predact.methods.alignment import GAP


def found(rows, **settings):
    return [span.tolist() for span in anchors.spans(np.array(rows), **settings)]


def hidden(seed, sizes, holders, generations):
    """Passages in one order, each in so many generations drawn by chance; before, between and after them random ids."""
    draw = np.random.default_rng(seed)
    passages = [list(range(100 * place, 100 * place + size)) for place, size in enumerate(sizes)]
    holds = [set(draw.choice(generations, holder, replace=False)) for holder in holders]
    rows = [draw.integers(10**6, 10**7, draw.integers(1, 9)).tolist() for _ in range(generations)]
    for passage, held in zip(passages, holds, strict=True):
        for number, row in enumerate(rows):
            row += passage * (number in held) + draw.integers(10**6, 10**7, draw.integers(1, 9)).tolist()
    return passages, holds, rows


def most(rows, share, length):
    """Σ (tokens - 1)·(generations) of the best of all choices of runs whose columns do not overlap, by brute force."""
    holders = {}
    for number, row in enumerate(rows):
        columns = np.flatnonzero(row != GAP).tolist()
        for first in range(len(columns)):
            for last in range(first + length, len(columns) + 1):
                run = tuple((column, row[column]) for column in columns[first:last])
                holders.setdefault(run, set()).add(number)
    runs = {run: len(held) for run, held in holders.items() if len(held) >= max(2, share * len(rows))}

    def best(after):
        rest = ((len(run) - 1) * count + best(run[-1][0] + 1) for run, count in runs.items() if run[0][0] >= after)
        return max(rest, default=0)

    return best(0)


def test_a_span_is_side_by_side_in_the_texts_and_column_by_column_in_the_alignment():
    rows = [
        [1, 2, 3, GAP, 4, 5, 6],
        [1, 2, 3, GAP, 4, 5, 7],
        [1, 2, 3, 9, 4, 5, 8],
    ]
    assert found(rows) == [[1, 2, 3, 4, 5]], "in two of three: 4 · 2"
    assert found(rows, length=3) == [[1, 2, 3, 4, 5]], "4 · 2 is more than 2 · 3"
    assert found(rows, length=2) == [[1, 2, 3], [4, 5]], "2 · 3 + 1 · 3 is more than 4 · 2"
    assert found(rows, share=1) == [] and found(rows, share=1, length=3) == [[1, 2, 3]]
    assert found([[1, 2, 3, 4, 5, GAP], [GAP, 1, 2, 3, 4, 5]]) == [], "the same ids in other columns"


def test_a_passage_goes_on_with_most_and_ends_where_most_leave_it():
    whole, own = list(range(20)), [list(range(1000 * row, 1000 * row + 20)) for row in range(1, 11)]
    rows = {stay: [whole[:10] + (whole if row < stay else own[row])[10:] for row in range(10)] for stay in (3, 2)}
    assert found(rows[3]) == [whole[:10], whole[10:]], "9 · 10 + 9 · 3 is more than 19 · 3"
    assert found(rows[2]) == [whole[:10]], "two are less than a quarter of ten"
    early = [whole[:5] + (whole if row < 9 else own[row])[5:] for row in range(10)]
    assert found(early) == [whole], "19 · 9 is more than 4 · 10 + 14 · 9"


def test_a_passage_at_two_places_is_one_span_where_most_have_it():
    rows = [[1, 2, 3, 7, 8, 9, GAP, GAP, GAP]] * 2 + [[GAP, GAP, GAP, 7, 8, 9, 1, 2, 3]] * 3
    assert found(rows, length=3) == [[7, 8, 9], [1, 2, 3]]
    assert found(rows[:2] * 2 + rows[2:], length=3) == [[1, 2, 3], [7, 8, 9]]


def test_of_a_span_and_a_part_of_it_the_one_that_holds_more_is_kept():
    rows = [[1, 2, 3, 4, 5, GAP, GAP, GAP]] * 2 + [[GAP] * 5 + [2, 3, 4]] * 3
    assert found(rows, length=3) == [[1, 2, 3, 4, 5]], "4 · 2 against 2 · 3"
    assert found(rows + rows[2:], length=3) == [[2, 3, 4]], "4 · 2 against 2 · 6"


@pytest.mark.parametrize("seed", range(5))
def test_hidden_passages_are_recovered_exactly(seed):
    sizes, holders = [5, 8, 4, 12, 6, 9, 7], [5, 18, 18, 9, 17, 4, 6]
    passages, holds, rows = hidden(seed, sizes, holders, 18)
    spans = anchors.spans(alignment.align(rows))
    kept = [0, 1, 3, 4, 6]
    assert [span.tolist() for span in spans] == [passages[place] for place in kept], "not 4 tokens, not 4 of 18"
    places = anchors.starts(spans, rows)
    assert [set(np.flatnonzero(row >= 0)) for row in places] == [holds[place] for place in kept]
    pairs = sum(count * (count - 1) // 2 for count in (places >= 0).sum(0))
    assert anchors.order(places) == (pairs, pairs) and pairs > 50
    assert anchors.covered(spans, places, rows) == sum(sizes[place] * holders[place] for place in kept)
    assert found(alignment.align(rows[9:] + rows[:9])) == [span.tolist() for span in spans]


def test_share_and_length_say_what_an_anchor_is():
    passages, _, rows = hidden(0, [4, 6, 6], [25, 14, 13], 25)
    made = alignment.align(rows)
    assert found(made) == passages[1:] and found(made, length=4) == passages
    assert found(made, share=0.56) == passages[1:2], "fourteen, though 0.56 · 25 > 14 in floating point"
    assert found(made, share=0.57) == [] and found(made, length=7) == []
    assert found([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]], share=0.01) == [], "one generation shares nothing"


@pytest.mark.parametrize("given", [{"share": 0}, {"share": 1.1}, {"length": 1}])
def test_what_has_no_meaning_is_refused_in_one_line(given):
    with pytest.raises(UserError, match=rf"^{next(iter(given))}: expected .*, not {next(iter(given.values()))}\.$"):
        found([[1, 2], [1, 2]], **given)


@pytest.mark.parametrize("share", [0.25, 0.51, 0.75, 1])
def test_no_choice_of_spans_holds_more(share):
    """An id stands in one column only: what a span holds can be counted, and no passage is at two places."""
    draw = np.random.default_rng(0)
    total = 0
    for _ in range(600):
        generations, columns, ids = draw.integers(2, 8), draw.integers(1, 10), draw.integers(1, 4)
        rows = ids * np.arange(columns) + draw.integers(0, ids, (generations, columns))
        rows[draw.random(rows.shape) < draw.choice([0, 0.2])] = GAP
        length = int(draw.integers(2, 4))
        spans = anchors.spans(rows, share, length)
        counts = (anchors.starts(spans, [row[row != GAP] for row in rows]) >= 0).sum(1)
        worth = sum((len(span) - 1) * count for span, count in zip(spans, counts, strict=True))
        assert worth == most(rows, share, length)
        total += worth
    assert total > 600


def test_a_passage_is_found_though_more_generations_turn_off_after_its_first_token():
    rows = [[0, 1, 10, 11, 12], [0, 1, 20, 21, 22], [0, 1, 30, 31, 32], [0, 2, 3, 4, 5], [0, 2, 3, 4, 5]]
    assert found(rows) == [[0, 2, 3, 4, 5]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from([0, 1, 2, 2**40]), max_size=15), max_size=6), st.randoms())
def test_no_span_is_a_part_of_another_and_the_order_of_generations_does_not_matter(rows, random):
    spans = found(alignment.align(rows), length=3)
    texts = [" ".join(map("<{}>".format, span)) for span in spans]
    assert not any(text in other for place, text in enumerate(texts) for other in texts[:place] + texts[place + 1 :])
    shuffled = random.sample(rows, len(rows))
    assert found(alignment.align(shuffled), length=3) == spans


@pytest.mark.parametrize(
    "rows", [[], [[]], [[], []], [[1, 2, 3, 4, 5, 6]], [[], [1, 2, 3, 4, 5, 6], []], [[7] * 4] * 9]
)
def test_nothing_is_shared_by_none_by_one_and_by_too_short_texts(rows):
    spans = anchors.spans(alignment.align(rows))
    places = anchors.starts(spans, rows)
    assert spans == [] and places.shape == (0, len(rows))
    assert anchors.order(places) == (0, 0) and anchors.covered(spans, places, rows) == 0


@pytest.mark.parametrize("text", [[1, 2, 3, 4, 5], [7] * 9, [1, 2] * 30, [0, 2**40, 3, 0, 2**40, 3]])
def test_identical_generations_are_one_span(text):
    rows = [text] * 6
    assert found(alignment.align([*rows, [], []])) == [text]
    assert anchors.covered([np.array(text)], anchors.starts([np.array(text)], rows), rows) == 6 * len(text)


def test_starts_by_hand():
    texts = [[9, 1, 2, 3, 1, 2, 3], [1, 2, 9, 3], [1, 2, 3], [2, 3], []]
    places = anchors.starts([np.array([1, 2, 3]), np.array([2, 3])], texts)
    assert places.tolist() == [[1, -1, 0, -1, -1], [2, -1, 1, 0, -1]]
    assert anchors.starts([np.array([1, 2])], []).shape == (1, 0)


short = st.lists(st.integers(0, 2), min_size=1, max_size=4)


@settings(max_examples=100, deadline=None)
@given(st.lists(short, max_size=4), st.lists(st.lists(st.integers(0, 2), max_size=9), max_size=4))
def test_every_start_is_the_first_place_where_the_ids_are_those_of_the_span(spans, texts):
    places = anchors.starts([np.array(span) for span in spans], texts)
    assert places.shape == (len(spans), len(texts))
    for (row, column), place in np.ndenumerate(places):
        span, text = spans[row], texts[column]
        there = [first for first in range(len(text)) if text[first : first + len(span)] == span]
        assert place == (there[0] if there else -1)


def test_order_by_hand():
    places = np.array([[0, 5, -1], [3, 2, 4], [7, -1, 9]])
    assert anchors.order(places) == (3 + 0 + 1, 3 + 1 + 1)
    assert anchors.order(places[::-1]) == (0 + 1 + 0, 5) and anchors.order(places[:1]) == (0, 0)


def test_spans_in_random_order_agree_in_half_of_the_pairs():
    draw = np.random.default_rng(0)
    spans = np.arange(30).reshape(6, 5)
    rows = [spans[draw.permutation(6)].ravel() for _ in range(200)]
    agreeing, pairs = anchors.order(anchors.starts(spans, rows))
    assert pairs == 15 * 200 and abs(agreeing / pairs - 0.5) < 0.03


def test_tokens_in_two_spans_are_covered_once():
    spans, rows = [np.array([1, 2, 3]), np.array([3, 4, 5])], [[9, 1, 2, 3, 4, 5], [3, 4, 5, 1, 2, 3], [1, 2, 3, 9], []]
    assert anchors.covered(spans, anchors.starts(spans, rows), rows) == 5 + 6 + 3


def laid(*rows):
    """Texts from an alignment of characters with dashes for gaps, and the column of each character."""
    columns = [np.array([place for place, each in enumerate(row) if each != "-"], int) for row in rows]
    return [row.replace("-", "") for row in rows], columns


def indexed(rows, **settings):
    """Index, text and holders of each span of the paper's protocol."""
    found = anchors.indexed(*laid(*rows), **({"share": 0.5, "length": 4} | settings))
    return [(span.column, span.text, np.flatnonzero(span.places >= 0).tolist()) for span in found]


def test_a_span_stands_at_one_index_of_the_alignment():
    rows = ["abcd----wxyz", "abcd1---wxyz", "----abcdwxyz", "2---abcdwxyz"]
    expected = [(0, "abcd", [0, 1]), (4, "abcd", [2, 3]), (8, "wxyz", [0, 1, 2, 3])]
    assert indexed(rows) == expected, "the same text at two indices is two spans"
    assert indexed(rows, share=0.75) == expected[2:]
    assert indexed(rows, length=5) == [(4, "abcdwxyz", [2, 3])], "gaps within a passage do not count"
    assert indexed(rows, length=9) == []


def test_spans_are_picked_by_frequency_then_length_and_overlaps_are_not_counted_twice():
    rows = ["abcdefgh--", "abcdefghij", "abcdefghij", "abcdefghij", "??cdefghij", "!!!!!!!!!!"]
    assert indexed(rows) == [(2, "cdefgh", [0, 1, 2, 3, 4])], "what is left beside it is too short"
    assert indexed(rows, length=2) == [
        (0, "ab", [0, 1, 2, 3]),
        (2, "cdefgh", [0, 1, 2, 3, 4]),
        (8, "ij", [1, 2, 3, 4]),
    ]
    assert indexed(rows, length=2, most=1) == [(2, "cdefgh", [0, 1, 2, 3, 4])]
    assert indexed(rows, length=2, most=2) == [(0, "ab", [0, 1, 2, 3]), (2, "cdefgh", [0, 1, 2, 3, 4])], "first of ties"


def test_what_overlaps_a_pick_in_some_generations_counts_in_the_others():
    rows = ["aaaabbbbcc", "aaaabbbbcc", "aaaabbbb--", "1234bbbbcc", "5678bbbbcc", "----90bbcc", "----.!bbcc"]
    expected = [(0, "aaaabb", [0, 1, 2]), (6, "bbcc", [0, 1, 3, 4, 5, 6])]
    assert indexed(rows, share=2 / 7) == expected, "of the third, bbbb is free; of the first two, bb"


@pytest.mark.parametrize("seed", range(4))
def test_picked_spans_against_the_definition(seed):
    """All passages of all lengths at every index, counted anew after each pick."""
    draw = np.random.default_rng(seed)
    rows = ["".join(draw.choice(list("ab-"), 14, p=[0.6, 0.2, 0.2])) for _ in range(8)]
    texts, columns = laid(*rows)
    busy, picked = [set() for _ in rows], []
    while len(picked) < 6:
        held = {}
        for row, text in enumerate(texts):
            for begin in range(len(text)):
                for end in range(begin + 3, len(text) + 1):
                    if not busy[row] & set(range(begin, end)):
                        held.setdefault((columns[row][begin], text[begin:end]), {})[row] = begin
        held = {key: places for key, places in held.items() if len(places) >= 3}
        if not held:
            break
        key = min(held, key=lambda key: (-len(held[key]), -len(key[1]), key))
        picked.append((*key, sorted(held[key])))
        for row, begin in held[key].items():
            busy[row] |= set(range(begin, begin + len(key[1])))
    assert indexed(rows, share=3 / 8, length=3) == sorted(picked) and picked


def test_the_order_of_generations_does_not_matter():
    rows = ["abcdefgh--", "abcdefghij", "abcdefghij", "abcdefghij", "??cdefghij", "!!!!!!!!!!"]
    assert [each[:2] for each in indexed(rows[::-1], length=2)] == [each[:2] for each in indexed(rows, length=2)]


def test_the_papers_settings():
    passage = "exactly thirty characters long"
    rows = [passage + str(row) for row in range(2)] + [chr(65 + row) * 31 for row in range(8)]
    assert indexed(rows, share=anchors.PAPER_SHARE, length=anchors.PAPER_LENGTH) == [(0, passage, [0, 1])]
    assert anchors.indexed(*laid(*rows))[0].text == passage and anchors.PAPER_MOST == 6
    assert indexed([passage[1:] + str(row) for row in range(2)] + rows[2:], share=0.2, length=30) == []
    assert indexed([*rows, "-"], share=0.2, length=30) == [], "two of eleven are less than a fifth"


@pytest.mark.parametrize(
    ("settings", "name"), [({"share": 0}, "share"), ({"share": 1.1}, "share"), ({"length": 1}, "length")]
)
def test_of_the_papers_protocol_too_a_share_or_length_out_of_range_is_one_line(settings, name):
    with pytest.raises(UserError, match=rf"^{name}: "):
        indexed(["abcd", "abcd"], **settings)


def test_the_share_inside_spans_along_the_text_by_hand():
    texts = ["abcdefgh", "..abcd", "zz", ""]
    found = [anchors.Indexed(0, "abcd", np.array([0, 2, -1, -1])), anchors.Indexed(9, "gh", np.array([6, -1, -1, -1]))]
    assert anchors.inside(found, texts, 4).tolist() == pytest.approx(
        [(1 + 0) / 4, (1 + 2 / 3) / 4, (0 + 1) / 4, (1 + 1) / 4]
    )
    assert anchors.inside([], texts).tolist() == [0] * 100 and anchors.inside([], []).tolist() == [0] * 100
