"""Nodes, ribbons and places of spans: by hand, and against a recount of the ids of generations made by chance."""

from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest

from predact.methods import alignment, alignments, blueprint
from predact.methods.blueprint import ELSEWHERE, IN_PLACE, OTHER, STATES
from predact.methods.ngrams import GENERATIONS
from tests.made import PLANS, SPANS, aligned_rows, planned, word


def made(generations, decode=word, **settings):
    return blueprint.blueprint(aligned_rows(generations), {"RLHF": decode}, **settings)


def by_chance(seed, generations=20):
    """Plans that mostly keep the order of the alphabet."""
    draw = np.random.default_rng(seed)
    plans = [[span for span in SPANS if draw.random() < 0.7] for _ in range(generations)]
    return planned(draw.permutation(plan) if draw.random() < 0.3 else plan for plan in plans)


def starts(span, text):
    return [place for place in range(len(text)) if text[place : place + len(span)] == span]


def recount(drawn, generations):
    """From the ids alone: the state of every span and generation by trying all choices, and where the spans begin."""
    told = drawn.nodes.groupby("slot").text.first()
    spans = [[int(each[1:]) for each in text.split()] for text in told]
    first = np.array([[*starts(span, text), -1][:1] for span in spans for text in generations]).reshape(len(spans), -1)
    state = np.where(first >= 0, ELSEWHERE, OTHER)
    for row in range(len(generations)):
        held = np.flatnonzero(first[:, row] >= 0).tolist()
        chains = [chain for size in range(len(held) + 1) for chain in combinations(held, size)]
        ordered = [chain for chain in chains if (np.diff(first[list(chain), row]) > 0).all()]
        state[list(max(ordered, key=lambda chain: sum(len(spans[each]) for each in chain))), row] = IN_PLACE
    return state, first


def test_nodes_by_hand():
    nodes = made(planned(PLANS)).nodes
    counts = nodes.pivot(index="slot", columns="state", values="count")
    assert counts.to_numpy().tolist() == [[7, 2, 1], [7, 0, 3], [6, 0, 4]], "C is larger than A, and B than A"
    assert nodes.pivot(index="slot", columns="state", values="top").to_numpy().tolist() == [
        [0, 7, 9],
        [0, 7, 7],
        [0, 6, 6],
    ]
    assert nodes.groupby("slot").contained.first().tolist() == [9, 7, 6]
    assert nodes.groupby("slot").length.first().tolist() == [5, 6, 8]
    assert nodes.groupby("slot").text.first().tolist() == [word(SPANS[each]) for each in "ABC"]
    assert nodes.held[:3].tolist() == [[7, 6, 5], [2, 1, 1], [0, 0, 0]]


def test_ribbons_by_hand():
    generations = planned(PLANS)
    ribbons = made(generations).ribbons
    inner = ribbons[ribbons.slot.isin([1, 2])][["slot", "source", "target", "count", "who"]]
    assert inner.to_numpy().tolist() == [
        [1, IN_PLACE, IN_PLACE, 6, "0, 1, 2, 3, 4, 9"],
        [1, IN_PLACE, OTHER, 1, "8"],
        [1, ELSEWHERE, IN_PLACE, 1, "6"],
        [1, ELSEWHERE, OTHER, 1, "5"],
        [1, OTHER, OTHER, 1, "7"],
        [2, IN_PLACE, IN_PLACE, 5, "0, 1, 2, 3, 4"],
        [2, IN_PLACE, OTHER, 2, "6, 9"],
        [2, OTHER, IN_PLACE, 1, "5"],
        [2, OTHER, OTHER, 2, "7, 8"],
    ]
    assert ribbons.who[0] == "0, 1, 2, 3, 4, 8, …", "seven, of which six are told"
    examples = ribbons.set_index(["slot", "source", "target"]).example
    assert examples[0, OTHER, IN_PLACE] == word(generations[0][:2]), "before A"
    assert examples[1, IN_PLACE, IN_PLACE] == word(generations[0][7:9]), "between A and B"
    assert examples[1, IN_PLACE, OTHER] == word(generations[8][7:]), "after A to the end: no B, no C"
    assert examples[2, OTHER, OTHER] == word(generations[7]), "a generation without spans"
    assert examples[3, IN_PLACE, OTHER] == word(generations[0][-1:])


@pytest.mark.parametrize("seed", range(6))
def test_every_generation_passes_every_slot_once_and_ribbons_do_not_overlap(seed):
    generations = by_chance(seed)
    drawn, size = made(generations), len(generations)
    nodes, ribbons = drawn.nodes, drawn.ribbons
    state, first = recount(drawn, generations)
    assert len(state) > 2 and set(np.unique(state)) == {IN_PLACE, ELSEWHERE, OTHER}
    ends = np.full((1, size), OTHER)
    passed, held = np.concatenate([ends, state, ends]), first >= 0
    for node in nodes.itertuples():
        inside = state[node.slot - 1] == node.state
        assert node.count == inside.sum() and node.held == (held & inside).sum(1).tolist()
        assert node.top == (state[node.slot - 1] < node.state).sum() and node.contained == held[node.slot - 1].sum()
    assert len(nodes) == len(STATES) * len(state) and (nodes.groupby("slot")["count"].sum() == size).all()
    for slot, part in ribbons.groupby("slot"):
        for ribbon in part.itertuples():
            inside = (passed[slot] == ribbon.source) & (passed[slot + 1] == ribbon.target)
            assert ribbon.count == inside.sum() > 0 and ribbon.held == (held & inside).sum(1).tolist()
            assert ribbon.who.startswith(str(np.flatnonzero(inside)[0]))
        assert part["count"].sum() == size
        for side, near, far, end in (("top", "source", "target", slot), ("bottom", "target", "source", slot + 1)):
            stack = part.sort_values([near, far])
            assert stack[side].tolist() == (stack["count"].cumsum() - stack["count"]).tolist()
            for place, own in stack.groupby(near):
                inside = passed[end] == place  # the node
                assert own["count"].sum() == inside.sum() and own[side].min() == (passed[end] < place).sum()
    assert set(ribbons.slot) == set(range(len(state) + 1))


def test_states_by_hand():
    found = [np.arange(each) for each in (5, 6, 8)]
    places = np.array([[0, 20, 20, 9, -1, 3], [9, 9, -1, 9, -1, 2], [20, 0, 0, 0, -1, 1]])
    expected = [
        [IN_PLACE, ELSEWHERE, ELSEWHERE, ELSEWHERE, OTHER, ELSEWHERE],
        [IN_PLACE, ELSEWHERE, OTHER, ELSEWHERE, OTHER, ELSEWHERE],
        [IN_PLACE, IN_PLACE, IN_PLACE, IN_PLACE, OTHER, IN_PLACE],
    ]
    assert blueprint.states(found, places).tolist() == expected
    swapped = np.array([[9], [0], [20]])
    assert blueprint.states(found, swapped)[:, 0].tolist() == [ELSEWHERE, IN_PLACE, IN_PLACE]
    two_small = np.array([[10], [20], [0]])
    assert blueprint.states(found, two_small)[:, 0].tolist() == [IN_PLACE, IN_PLACE, ELSEWHERE], "5 + 6 against 8"
    assert blueprint.states([], np.empty((0, 4))).shape == (0, 4)


def test_without_spans_one_ribbon_leads_from_the_beginning_to_the_end():
    generations = planned([""] * 3) + [[]]
    drawn = made(generations)
    (ribbon,) = drawn.ribbons.to_dict("records")
    assert drawn.nodes.empty and {"slot", "state", "count", "held", "prompt", "model"} <= set(drawn.nodes.columns)
    assert [ribbon[key] for key in ("slot", "top", "bottom", "count", "held", "who")] == [0, 0, 0, 4, [], "0, 1, 2, 3"]
    assert ribbon["example"] == word(generations[0])
    assert drawn.texts.text.tolist() == list(map(word, generations)) and drawn.texts.places.tolist() == [[]] * 4


@pytest.mark.parametrize(
    ("settings", "spans"),
    [
        ({"most": 3}, "ABC"),
        ({"most": 2}, "AC"),
        ({"most": 1}, "C"),
        ({"share": 0.7}, "AB"),
        ({"length": 6}, "BC"),
    ],
)
def test_spans_are_those_that_are_wanted_and_hold_most_neighbouring_pairs(settings, spans):
    """In A 4 · 9 pairs, in B 5 · 7, in C 7 · 6."""
    drawn = made(planned(PLANS), **settings)
    assert drawn.nodes.groupby("slot").text.first().tolist() == [word(SPANS[each]) for each in spans]
    assert all(len(held) == len(spans) for held in [*drawn.nodes.held, *drawn.ribbons.held, *drawn.texts.places])


def test_a_grid_holds_each_blueprint_once_and_begins_at_the_largest_share_with_a_span():
    """A in nine of ten, B in seven, C in six; of the second prompt nothing."""
    plans = {"p": PLANS, "q": [""] * 4}
    aligned = pd.concat([aligned_rows(planned(each), prompt) for prompt, each in plans.items()])
    shares, lengths = (0.25, 0.6, 0.7, 0.95), (3, 5, 8)
    found = blueprint.grid(aligned, {"RLHF": word}, shares, lengths)
    assert found.first == {"p": (2, 1), "q": None} and found.names["p"][2][1] == "0", "at 0.7 A, of five"
    assert found.names["q"] == [["0"] * 3] * 4
    for (row, share), (column, length) in product(enumerate(shares), enumerate(lengths)):
        expected = blueprint.blueprint(aligned[aligned["prompt"] == "p"], {"RLHF": word}, share, length)
        made = found.drawn[found.names["p"][row][column]]
        for one, other in zip(made, expected, strict=True):
            pd.testing.assert_frame_equal(one[one.prompt == "p"].reset_index(drop=True), other, check_dtype=False)
    spans = {name: tuple(each.nodes[each.nodes.prompt == "p"].text.unique()) for name, each in found.drawn.items()}
    assert len(set(spans.values())) == len(spans), "no two are the same"


def test_a_grid_begins_with_shorter_spans_where_there_are_no_others():
    rows = [[1, 2, 3, 10 + row] for row in range(4)]
    assert blueprint.grid(aligned_rows(rows), {"RLHF": word}, (0.5, 1), (3, 5)).first == {"p": (1, 0)}


def test_places_are_those_of_the_spans_in_the_text():
    generations = by_chance(0)
    drawn = made(generations)
    told = drawn.nodes.groupby("slot").text.first().tolist()
    _, first = recount(drawn, generations)
    assert drawn.texts.row.tolist() == list(range(len(generations)))
    for text, places, there, ids in zip(drawn.texts.text, drawn.texts.places, first.T >= 0, generations, strict=True):
        assert text == word(ids) and [place >= 0 for place in places] == there.tolist()
        assert all(text[place:].startswith(span) for place, span in zip(places, told, strict=True) if place >= 0)
    assert {place >= 0 for places in drawn.texts.places for place in places} == {True, False}


def cut(tokenizer, before):
    """Generations that share the last byte of an emoji, a passage, and the first byte of a letter."""
    start = "the cat sat on the caf"
    whole = [f"{'abcdefgh'[row]}{before}{chr(0x1F600 + 64 * row)} {start}{'ùúûü'[row % 4]}" for row in range(8)]
    whole.append("the dog ran to the river")
    return whole, [tokenizer(text, add_special_tokens=False).input_ids for text in whole]


def test_spans_may_begin_and_end_within_a_character(tokenizer):
    whole, ids = cut(tokenizer, " ")
    drawn = made(ids, tokenizer.decode)
    assert set(drawn.nodes.text) == {"\ufffd the cat sat on the caf\ufffd"}, "a part of an emoji, a part of a letter"
    assert drawn.texts.text.tolist() == whole and drawn.nodes.contained[0] == 8
    assert drawn.texts.places.tolist() == [[3]] * 8 + [[-1]], "after the emoji"
    assert drawn.ribbons.example[0].startswith("a ")


def test_a_span_that_begins_within_a_character_is_not_taken_for_the_same_text_before_it(tokenizer):
    before = "; the cat sat on the cafe, "
    _, ids = cut(tokenizer, before)
    assert [places[-1] for places in made(ids, tokenizer.decode).texts.places] == [len(before) + 2] * 8 + [-1]


def test_between_spans_that_overlap_there_is_no_text():
    ids = [[*range(1, 10), 50, *SPANS["A"]]]  # 5 belongs to both
    ids += [[*range(1, 6), 60 + row, *range(5, 10), 70 + row, *SPANS["A"]] for row in range(4)]
    drawn = made(ids)
    assert drawn.nodes.text.unique().tolist() == [word(range(1, 6)), word(range(5, 10)), word(SPANS["A"])]
    assert drawn.ribbons.example[drawn.ribbons.slot == 1].tolist() == [""]


def test_shortened_by_hand():
    assert blueprint.shortened("a\r\nb\n\n", 5) == "a↵b↵↵" and blueprint.shortened("", 9) == ""
    assert blueprint.shortened("0123456789 123456789 123456789", 15) == "012345678 … 789"
    assert (
        blueprint.shortened("0123456789", 10) == "0123456789" and blueprint.shortened("0123456789x", 10) == "01234 … x"
    )


@pytest.mark.parametrize("most", [9, 34, 60, 61, 110])
def test_what_is_shortened_keeps_its_ends_and_its_limit(most):
    text = "<" + "ab \n" * 50 + ">"
    short = blueprint.shortened(text, most)
    assert most - 4 <= len(short) <= most and short[0] == "<" and short[-1] == ">" and " … " in short
    assert "\n" not in short and blueprint.shortened(text[:most], most) == text[:most].replace("\n", "↵")


def test_prompts_and_models_are_told_apart_and_only_generations_count(tmp_path):
    plans = {("p", "Base"): [""] * 6, ("q", "Base"): ["B"] * 6, ("p", "RLHF"): PLANS[:6], ("q", "RLHF"): ["AC"] * 7}
    written = [
        {"model": model, "category": "c", "prompt": prompt, "sample": row, "ids": np.array(ids, np.int64)}
        for (prompt, model), each in plans.items()
        for row, ids in enumerate(planned(each))
    ]
    aligned = alignments.align_pair(tmp_path, pd.DataFrame(written))
    decode = {"Base": word, "RLHF": lambda ids: word(ids).upper()}
    drawn, cells = blueprint.blueprint(aligned, decode), blueprint.cells(aligned, decode)
    spans = drawn.nodes.groupby(["prompt", "model"]).text.unique().map(list).to_dict()
    told = {key: [word(SPANS[each]) for each in each] for key, each in [(("q", "Base"), "B"), (("q", "RLHF"), "AC")]}
    told["q", "RLHF"] = [text.upper() for text in told["q", "RLHF"]]
    assert {key: spans.get(key) for key in told} == told and ("p", "Base") not in spans
    for each in (drawn.texts, cells):
        assert each.groupby(["prompt", "model"]).size().to_dict() == {key: len(each) for key, each in plans.items()}


def test_cells_are_the_tokens_of_the_alignment_with_the_others_that_agree():
    generations = [[1, 2, 3, 4], [1, 2, 9, 3], [], [2, 3, 4]]
    cells = blueprint.cells(aligned_rows(generations), {"RLHF": word})
    assert cells.tokens.tolist() == [[f" w{each}" for each in row] for row in generations]
    assert cells.others.tolist() == [[1, 2, 2, 1], [1, 2, 0, 2], [], [2, 2, 1]]
    assert cells.row.tolist() == [0, 1, 2, 3] and set(cells.model + cells.prompt) == {"RLHFp"}
    many = by_chance(1)
    aligned, cells = alignment.align(many), blueprint.cells(aligned_rows(many), {"RLHF": word})
    others = [row[row >= 0].tolist() for row in alignment.companions(aligned)]
    assert cells.others.tolist() == others and (cells.width == aligned.shape[1]).all()
    assert cells["columns"].tolist() == [np.flatnonzero(row != alignment.GAP).tolist() for row in aligned]


FIRST, SECOND, THIRD = (f"this is the {name} passage that they share" for name in ("first", "second", "third"))
FLOWING = [FIRST + SECOND + THIRD] * 3 + [FIRST + each * 39 + THIRD for each in "#*"] + [SECOND, "none", "-"]


def characters(texts, model="RLHF", prompt="p"):
    """Texts laid on known columns, each passage on its own, as `alignments.align_characters` gives them."""
    columns = []
    for text in texts:
        begins = {0: 0} | {text.find(each): 100 * place for place, each in enumerate((FIRST, SECOND, THIRD), 1)}
        begins = {place: column for place, column in sorted(begins.items()) if place >= 0}
        at = [max(place for place in begins if place <= here) for here in range(len(text))]
        columns.append(np.array([begins[place] + here - place for here, place in enumerate(at)], int))
    place = {"model": model, "category": "c", "prompt": prompt, "text": GENERATIONS, "row": range(len(texts))}
    return pd.DataFrame(place | {"ids": [np.array([*map(ord, text)]) for text in texts], "columns": columns})


def test_nodes_of_the_paper_are_start_spans_and_end():
    nodes = blueprint.of_paper(characters(FLOWING)).nodes
    told = ["start of the text", FIRST, SECOND, THIRD, "end of the text"]
    assert nodes.text.tolist() == told and nodes.slot.tolist() == list(range(5))
    assert nodes["count"].tolist() == nodes.contained.tolist() == [8, 5, 4, 5, 8] and nodes.top.tolist() == [0] * 5
    assert nodes.ends.tolist() == [True, False, False, False, True] and set(nodes.state) == {IN_PLACE}
    assert nodes.held.tolist() == [[5, 4, 5], [5, 3, 5], [3, 4, 3], [5, 3, 5], [5, 4, 5]]
    assert nodes["length"].tolist() == [0, len(FIRST), len(SECOND), len(THIRD), 0]


def test_generations_flow_from_each_span_that_they_contain_to_the_next():
    ribbons = blueprint.of_paper(characters(FLOWING)).ribbons
    flows = ribbons.groupby(["begin", "stop"], sort=True)["count"].agg(["first", "size", "nunique"])
    expected = {(0, 1): (5, 1), (0, 2): (1, 2), (0, 4): (2, 4), (1, 2): (3, 1), (1, 3): (2, 2), (2, 3): (3, 1)}
    expected |= {(2, 4): (1, 2), (3, 4): (5, 1)}
    assert {key: (row["first"], row["size"]) for key, row in flows.iterrows()} == expected, "as many parts as slots"
    assert (flows["nunique"] == 1).all() and set(ribbons.kind[(ribbons.begin == 0) & (ribbons.stop == 4)]) == {OTHER}
    rows = ribbons.set_index(["begin", "stop", "slot"])
    assert rows.who[1, 3, 1] == "3, 4" and rows.example[1, 3, 1] == "#" * 39 and rows.held[1, 3, 1] == [2, 0, 2]
    assert rows.example[0, 4, 0] == "none" and rows.kind[1, 3, 1] == IN_PLACE
    assert rows.loc[(1, 3, 1), ["source", "target"]].tolist() == [IN_PLACE, OTHER], "it passes below the second span"
    assert rows.loc[(1, 3, 2), ["source", "target"]].tolist() == [OTHER, IN_PLACE]


def test_flows_lie_one_above_the_other_and_go_on_where_they_ended():
    ribbons = blueprint.of_paper(characters(FLOWING)).ribbons
    for slot, part in ribbons.groupby("slot"):
        for side, node in (("top", slot), ("bottom", slot + 1)):
            stack = part.sort_values(side)
            assert stack[side].tolist() == (stack["count"].cumsum() - stack["count"]).tolist()
            through = (stack["begin"] == node) | (stack["stop"] == node)
            assert through.tolist() == sorted(through, reverse=True), "what stops or begins at the node is above"
    parts = ribbons.sort_values("slot").groupby(["begin", "stop"])
    assert all(part.bottom.tolist()[:-1] == part.top.tolist()[1:] for _, part in parts)


def test_of_texts_without_spans_the_paper_draws_start_and_end():
    drawn = blueprint.of_paper(characters(["a", "b", ""]))
    assert drawn.nodes.text.tolist() == ["start of the text", "end of the text"]
    assert drawn.ribbons[["begin", "stop", "count", "kind"]].to_numpy().tolist() == [[0, 1, 3, OTHER]]
    assert drawn.texts.text.tolist() == ["a", "b", ""] and drawn.texts.places.tolist() == [[], [], []]


def test_places_of_the_papers_spans_are_those_in_the_text():
    drawn = blueprint.of_paper(pd.concat([characters(FLOWING), characters(FLOWING[::-1], "Base", "q")]))
    assert list(zip(drawn.texts.prompt, drawn.texts.model, strict=True)) == [("p", "RLHF")] * 8 + [("q", "Base")] * 8
    for text, places in zip(drawn.texts.text, drawn.texts.places, strict=True):
        assert places == [text.find(each) for each in (FIRST, SECOND, THIRD)]
