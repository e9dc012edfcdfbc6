"""The Sankey diagram, the viewer and the curves of sameness, drawn; what they show against the frames."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from predact.figures import skeleton as skeleton_figures
from predact.figures.skeleton import FLOW, LISTED
from predact.methods import blueprint
from tests.figures.made import CASES, TEXT, bound, chart, layer, nasty, said, shown
from tests.made import SPANS, aligned_rows, planned, word
from tests.methods.test_blueprint import FIRST, FLOWING, SECOND, THIRD, characters


def nodes(svg, spec):
    """Model, x, y and height of each node, as drawn."""
    marks = layer(svg, spec, "rule", lambda each: each["mark"].get("strokeWidth") == 9)
    found = re.findall(r'model: (\w+);.*?translate\(([\d.]+),([\d.]+)\)" x2="0" y2="([\d.]+)"', marks)
    return [(model, *map(float, numbers)) for model, *numbers in found]


def test_the_diagram_is_told_in_words_with_spans_and_counts():
    text = json.loads(chart("sankey", "several prompts"))["description"]
    a, b, c = (json.dumps(nasty(SPANS[span]).strip(), ensure_ascii=False) for span in "ABC")
    told = [f"9 of 10 generations hold {a}; 7 of 10 generations hold {b}; 6 of 10 generations hold {c}."]
    told += [f"Base, 2: 6 of 10 generations hold {a}; 3 of 10 generations hold {b}."]
    assert f"RLHF, 3: {told[0]}" in text and told[1] in text
    assert text.startswith(f"Anchor spans of generations for the prompt {TEXT['p']!r}. ")
    assert json.loads(chart("sankey", "no spans at all"))["description"].endswith(". None.")


def test_both_models_are_drawn_to_one_scale_at_the_places_of_their_slots():
    spec = chart("sankey", "one prompt")
    found = nodes(shown(spec, 600), spec)
    counts = {"RLHF": [[7, 2, 1], [7, 3], [6, 4]], "Base": [[6, 4], [3, 7]]}
    expected = [
        (model, 600 * (slot + 1) / (len(slots) + 1), count * FLOW / 10)
        for model, slots in counts.items()
        for slot, each in enumerate(slots)
        for count in each
    ]
    assert sorted((model, x, round(high, 6)) for model, x, _, high in found) == sorted(expected)
    for model, slot in {(model, x) for model, x, _, _ in found}:
        ends = sorted((y, y + high) for other, x, y, high in found if (other, x) == (model, slot))
        assert all(end < begin for (_, end), (begin, _) in zip(ends, ends[1:], strict=False))
    above = max(y + high for model, _, y, high in found if model == "RLHF")
    assert above < min(y for model, _, y, _ in found if model == "Base")
    assert "no anchor spans: other text throughout" in shown(chart("sankey", "no spans for Base"))


@pytest.mark.parametrize(("model", "slot", "span"), [("RLHF", 1, "A"), ("RLHF", 3, "C"), ("Base", 2, "B")])
def test_a_click_on_a_span_marks_its_generations_and_lists_ten_of_them(model, slot, span):
    case, begin = "more than are listed", word(SPANS[span]).strip()
    (plans,) = CASES[case].values()
    holders = [row for row, plan in enumerate(plans[model]) if span in plan]
    written = [f" {word(ids).strip()} " for ids in planned(plans[model])]
    spec = chart("sankey", case, word)
    for first in (1, 11):
        last = (len(holders) - 1) // LISTED * LISTED  # where the last page begins: it is listed where there is no other
        listed = holders[min(first - 1, last) :][:LISTED]
        svg = shown(
            spec, 3000, pick=[{"prompt": "p", "model": model, "slot": slot, "protocol": "book"}], from_row=first
        )
        assert said(svg, spec, "row") == list(map(str, listed)) and len(listed) <= 10 < len(plans[model])
        parts = [written[row].split(f" {begin} ") for row in listed]
        assert [text.strip() for text in said(svg, spec, "after")] == [f"{begin} {after}".strip() for _, after in parts]
        before = [text.strip() for text, _ in parts]
        assert said(svg, spec, "before") == [text for text in before if text]
    assert said(svg, spec, "contained")[slot - 1] == str(len(holders))
    lit = re.findall(r'"along: [\d.]+; top: ([\d.]+); end: ([\d.]+); model: (\w+); slot: (\d)', svg)
    marked = pd.DataFrame([(other, int(at), float(end) - float(top)) for top, end, other, at in lit])
    assert set(marked[0]) == {model} and sorted(set(marked[1])) == list(range(4 if model == "RLHF" else 3))
    assert np.allclose(marked.groupby(1)[2].sum(), FLOW * len(holders) / len(plans[model]))


def test_another_prompt_forgets_the_click():
    spec = chart("sankey", "several prompts")
    svg = shown(spec, prompt="q", pick=[{"prompt": "p", "model": "RLHF", "slot": 3, "protocol": "book"}])
    assert said(svg, spec, "row") == [str(row) for row in range(10)]


def test_nothing_is_marked_before_a_click_and_all_generations_are_listed():
    spec = chart("sankey", "several prompts")
    for prompt, counts in (("p", ["9", "7", "6"]), ("q", ["6", "3"])):
        svg = shown(spec, prompt=prompt)
        assert said(svg, spec, "row") == [str(row) for row in range(10)] and said(svg, spec, "before") == []
        assert said(svg, spec, "contained") == counts and "end: " not in svg


@pytest.mark.parametrize("size", [11, 23])
def test_every_generation_can_be_listed(size):
    drawn = blueprint.blueprint(aligned_rows(planned(["A"] * size)), {"RLHF": word})
    spec = skeleton_figures.sankey({"book": drawn}, {"p": "p"}, ["RLHF"]).to_json()
    slider = bound(spec)["from_row"]
    places = range(slider["min"], slider["max"] + 1, slider["step"])
    listed = [row for place in places for row in said(shown(spec, from_row=place), spec, "row")]
    assert listed == [str(row) for row in range(size)]


def test_a_generation_is_cut_at_its_span_also_after_an_emoji():
    emoji = SPANS["B"][-1]
    drawn = blueprint.blueprint(
        aligned_rows([[emoji] * row + [100 + row, *SPANS["A"]] for row in range(5)]), {"RLHF": nasty}
    )
    spec = skeleton_figures.sankey({"book": drawn}, {"p": "p"}, ["RLHF"]).to_json()
    svg = shown(spec, 2000, pick=[{"prompt": "p", "model": "RLHF", "slot": 1, "protocol": "book"}])
    assert {line.strip() for line in said(svg, spec, "after")} == {word(SPANS["A"]).strip()}


def both(texts=FLOWING):
    """The diagram of both protocols; ours has two spans."""
    paper = blueprint.of_paper(pd.concat([characters(texts), characters(texts[:3] * 2 + texts[6:], "Base")]))
    ours = pd.concat([aligned_rows(planned(["AB"] * 8), "p", model) for model in ("RLHF", "Base")])
    book = blueprint.blueprint(ours, dict.fromkeys(("RLHF", "Base"), word))
    return skeleton_figures.sankey({"paper": paper, "book": book}, {"p": "p"}).to_json()


def test_a_switch_shows_the_papers_protocol_or_ours():
    spec = both()
    assert bound(spec)["protocol"]["options"] == ["paper", "book"] and "protocol" not in bound(
        chart("sankey", "one prompt")
    )
    svg = shown(spec, 3000)
    assert said(svg, spec, "label") == [FIRST, SECOND, THIRD] and said(svg, spec, "contained") == ["5", "4", "5"]
    assert said(svg, spec, "after")[:2] == [FLOWING[0], FLOWING[1]], "the generations of the paper's protocol"
    svg = shown(spec, 3000, protocol="book")
    assert said(svg, spec, "label") == [word(SPANS[each]).strip() for each in "AB"]
    assert said(svg, spec, "contained") == ["8", "8"]
    assert f"RLHF, 3: 5 of 8 generations hold {json.dumps(FIRST)}" in json.loads(spec)["description"]


def test_start_spans_and_end_are_nodes_of_both_models_to_one_scale():
    spec = both()
    found = nodes(shown(spec, 600), spec)
    counts = {"RLHF": [8, 5, 4, 5, 8], "Base": [8, 6, 8]}  # Base has the three passages as one
    places = [(model, slot, each) for model in counts for slot, each in enumerate(counts[model])]
    expected = [(model, 600 * slot / (len(counts[model]) - 1), each * FLOW / 8) for model, slot, each in places]
    assert sorted((model, x, round(high, 6)) for model, x, _, high in found) == sorted(expected)
    assert len({y for model, _, y, _ in found if model == "RLHF"}) == 1, "nodes lie in a row, flows pass below"
    names = layer_texts(shown(spec, 600))
    assert names.count("start") == names.count("end") == 2


def test_a_click_in_one_protocol_is_none_in_the_other():
    spec, pick = both(), [{"prompt": "p", "model": "RLHF", "slot": 2, "protocol": "paper"}]
    holders = [str(row) for row, text in enumerate(FLOWING) if SECOND in text]
    assert said(shown(spec, 3000, pick=pick), spec, "row") == holders
    assert said(shown(spec, 3000, pick=pick, protocol="book"), spec, "row") == [str(row) for row in range(8)]


def layer_texts(svg):
    return re.findall(r">(start|end)</text>", svg)
