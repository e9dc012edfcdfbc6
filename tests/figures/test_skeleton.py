"""The Sankey diagram, the viewer and the curves of sameness, drawn; what they show against the frames."""

import functools
import json
import re
from html import unescape

import numpy as np
import pandas as pd
import pytest
import vl_convert

from predact.claims import backbone, shared_ngrams
from predact.figures import backbone as sharing_figures
from predact.figures import shared_ngrams as sharing_figures
from predact.figures import skeleton as skeleton_figures
from predact.figures import style
from predact.figures.skeleton import FLOW, LISTED
from predact.methods import alignments, blueprint, ngrams
from tests.figures.test_narrowing import points
from tests.figures.test_prediction import Page
from tests.methods.test_blueprint import PLANS, SPANS, frame, texts, word

PAIR = ("RLHF", "Base")
SHORT = ["AB"] * 3 + ["A"] * 3 + [""] * 4
NASTY = ["<script>alert(1)</script>", "\"q\" 'a'", "`code`\n$x$", "שלום", "</script>\\(x\\)", "&amp;😀"]
TELL = {each: f" {text}" for each, text in zip(SPANS["B"], NASTY, strict=True)}  # what the ids of B say
CASES = {  # prompt: model: plans
    "one prompt": {"p": {"RLHF": PLANS, "Base": SHORT}},
    "several prompts": {"p": {"RLHF": PLANS, "Base": SHORT}, "q": {"RLHF": SHORT, "Base": PLANS}},
    "no spans for Base": {"p": {"RLHF": PLANS, "Base": [""] * 10}},
    "no spans at all": {"p": {"RLHF": [""] * 10, "Base": [""] * 10}},
    "one model": {"p": {'it\'s "own"': PLANS}},
    "more than are listed": {"p": {"RLHF": PLANS * 2 + ["A", "AB", "C"], "Base": SHORT * 2 + ["A", "AB", ""]}},
}
TEXT = {"p": f"What? {' '.join(NASTY)}", "q": "Another"}


def nasty(ids):
    return "".join(TELL.get(each, f" w{each}") for each in ids)


@functools.cache
def of(case, told=nasty):
    """Alignments, what `blueprint` and `cells` make of them, texts of the prompts, and models."""
    plans = CASES[case]
    models = list(next(iter(plans.values())))
    parts = [frame(texts(plans[prompt][model]), prompt, model) for model in models[::-1] for prompt in plans]
    aligned, decode = pd.concat(parts, ignore_index=True), dict.fromkeys(models, told)
    prompts = {prompt: TEXT[prompt] for prompt in plans}
    return aligned, blueprint.blueprint(aligned, decode), blueprint.cells(aligned, decode), prompts, models


def by_length(models=PAIR, width=0.1):
    """Shares, smaller the longer the n-gram."""
    rows = [
        (model, text, n, *(round(0.8 / (1 + place + 2 * other) / n, 3) * np.array([1, 1 - width, 1 + width])))
        for place, model in enumerate(models)
        for other, text in enumerate(alignments.TEXTS)
        for n in range(1, 31)
    ]
    frame = pd.DataFrame(rows, columns=["model", "text", "n", "estimate", "low", "high"])
    return frame.assign(unit=shared_ngrams.UNIT, prompts=9)


def along(models=PAIR, others=(1, 5), prompts=4):
    """Curves of chance numbers."""
    draw = np.random.default_rng(0)
    found = {(m, text): draw.integers(0, 100, (prompts, len(others), 10)) for m in models for text in alignments.TEXTS}
    return backbone.mean_curves(found, others)


@functools.cache
def chart(name, case, told=nasty):
    _, drawn, cells, prompts, models = of(case, told)
    if name == "sankey":
        return skeleton_figures.sankey(drawn, prompts, models).to_json()
    if name == "viewer":
        return sharing_figures.viewer(cells, prompts).to_json()
    return getattr(sharing_figures, name)({"shares": by_length, "along": along}[name](models)).to_json()


def picture(spec, width=400, **state):
    """The picture with its controls in a state."""
    spec = json.loads(spec) | {"width": width}
    for each in spec["layer"]:
        each["mark"].pop("limit", None)  # where Vega tries to cut an emoji in two, vl-convert fails; browsers do not
    for param in spec["params"]:
        if param["name"] in state:
            param["value"] = state.pop(param["name"])
    assert not state
    svg = vl_convert.vegalite_to_svg(spec)
    assert not re.search("NaN|undefined|Infinity|>null<", svg)
    return svg


def bound(spec):
    return {param["name"]: param["bind"] for param in json.loads(spec)["params"] if "bind" in param}


def layer(svg, spec, kind, wanted):
    """The marks of the one layer whose specification is wanted."""
    (n,) = [n for n, each in enumerate(json.loads(spec)["layer"]) if wanted(each)]
    return re.search(rf'<g class="mark-{kind} role-mark layer_{n}_marks".*?</g>', svg, re.S)[0]


def said(svg, spec, field):
    """The lines of text of one field."""
    marks = layer(svg, spec, "text", lambda each: each["encoding"].get("text", {}).get("field") == field)
    return [unescape(text) for text in re.findall(r">([^<]*)</text>", marks)]


def nodes(svg, spec):
    """Model, x, y and height of each node, as drawn."""
    marks = layer(svg, spec, "rule", lambda each: each["mark"].get("strokeWidth") == 9)
    found = re.findall(r'model: (\w+);.*?translate\(([\d.]+),([\d.]+)\)" x2="0" y2="([\d.]+)"', marks)
    return [(model, *map(float, numbers)) for model, *numbers in found]


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name in ("sankey", "viewer", "shares", "along") for case in CASES],
)
def test_a_figure_is_drawn_and_as_wide_as_its_page(name, case):
    spec = chart(name, case)
    assert json.loads(spec)["width"] == "container" and json.loads(spec)["description"]
    svg = picture(spec)
    assert "<script" not in svg and "<image" not in svg
    for prompt in bound(spec).get("prompt", {}).get("options", [])[1:]:
        other, first = (re.findall('aria-label="([^"]*)"', each) for each in (picture(spec, prompt=prompt), svg))
        assert other != first, "not the same marks"
    names = {unescape(each) for each in re.findall(">([^<]*)</text>", svg)}
    assert name == "viewer" or names >= set(of(case)[4])


@pytest.mark.parametrize("name", ["sankey", "viewer"])
def test_what_generations_and_prompts_say_is_shown_as_text(name):
    spec = chart(name, "several prompts")
    svg = picture(spec, 2000, **({"agreeing": 1} if name == "viewer" else {}))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in svg and "שלום" in svg and "😀" in svg and "&amp;amp;" in svg
    if name == "sankey":
        (line,) = [text for text in said(svg, spec, "label") if "alert" in text]
        assert line == "".join(TELL.values()).strip().replace("\n", "↵")
    page = style.render(json.loads(spec))["text/html"]
    figure, script = Page(page).elements
    assert figure[1]["aria-label"] == json.loads(spec)["description"] and json.loads(script[2]) == json.loads(spec)


@pytest.mark.parametrize(
    ("name", "case", "controls"),
    [
        ("sankey", "one prompt", set()),
        ("sankey", "no spans at all", set()),
        ("sankey", "several prompts", {"prompt"}),
        ("sankey", "more than are listed", {"from_row"}),
        ("viewer", "one model", {"agreeing"}),
        ("viewer", "one prompt", {"agreeing", "model"}),
        ("viewer", "several prompts", {"agreeing", "model", "prompt"}),
        ("shares", "one prompt", set()),
        ("along", "one model", {"others"}),
    ],
)
def test_there_are_controls_only_where_there_is_a_choice(name, case, controls):
    assert set(bound(chart(name, case))) == controls


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
    found = nodes(picture(spec, 600), spec)
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
    assert "no anchor spans: other text throughout" in picture(chart("sankey", "no spans for Base"))


@pytest.mark.parametrize(("model", "slot", "span"), [("RLHF", 1, "A"), ("RLHF", 3, "C"), ("Base", 2, "B")])
def test_a_click_on_a_span_marks_its_generations_and_lists_ten_of_them(model, slot, span):
    case, begin = "more than are listed", word(SPANS[span]).strip()
    (plans,) = CASES[case].values()
    holders = [row for row, plan in enumerate(plans[model]) if span in plan]
    written = [f" {word(ids).strip()} " for ids in texts(plans[model])]
    spec = chart("sankey", case, word)
    for first in (1, 11):
        last = (len(holders) - 1) // LISTED * LISTED  # where the last page begins: it is listed where there is no other
        listed = holders[min(first - 1, last) :][:LISTED]
        svg = picture(spec, 3000, pick=[{"prompt": "p", "model": model, "slot": slot}], from_row=first)
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
    svg = picture(spec, prompt="q", pick=[{"prompt": "p", "model": "RLHF", "slot": 3}])
    assert said(svg, spec, "row") == [str(row) for row in range(10)]


def test_nothing_is_marked_before_a_click_and_all_generations_are_listed():
    spec = chart("sankey", "several prompts")
    for prompt, counts in (("p", ["9", "7", "6"]), ("q", ["6", "3"])):
        svg = picture(spec, prompt=prompt)
        assert said(svg, spec, "row") == [str(row) for row in range(10)] and said(svg, spec, "before") == []
        assert said(svg, spec, "contained") == counts and "end: " not in svg


@pytest.mark.parametrize("size", [11, 23])
def test_every_generation_can_be_listed(size):
    drawn = blueprint.blueprint(frame(texts(["A"] * size)), {"RLHF": word})
    spec = skeleton_figures.sankey(drawn, {"p": "p"}, ["RLHF"]).to_json()
    slider = bound(spec)["from_row"]
    places = range(slider["min"], slider["max"] + 1, slider["step"])
    listed = [row for place in places for row in said(picture(spec, from_row=place), spec, "row")]
    assert listed == [str(row) for row in range(size)]


def test_a_generation_is_cut_at_its_span_also_after_an_emoji():
    emoji = SPANS["B"][-1]
    drawn = blueprint.blueprint(frame([[emoji] * row + [100 + row, *SPANS["A"]] for row in range(5)]), {"RLHF": nasty})
    spec = skeleton_figures.sankey(drawn, {"p": "p"}, ["RLHF"]).to_json()
    svg = picture(spec, 2000, pick=[{"prompt": "p", "model": "RLHF", "slot": 1}])
    assert {line.strip() for line in said(svg, spec, "after")} == {word(SPANS["A"]).strip()}


@pytest.mark.parametrize("model", PAIR)
@pytest.mark.parametrize("least", [1, 2, 5, 10])
def test_the_viewer_shows_tokens_in_columns_where_so_many_agree(least, model):
    aligned, _, cells, _, _ = of("more than are listed")
    made = alignments.matrix(aligned[aligned.model == model])
    agree = [np.unique(column[column >= 0], return_counts=True)[1].max() for column in made.T]
    wanted = (made >= 0)[:, np.array(agree) >= least].sum()
    svg = picture(chart("viewer", "more than are listed"), agreeing=least, model=model)
    assert svg.count('aria-roledescription="rect mark"') == wanted > 0
    everything = cells[cells.model == model].tokens.map(len).sum()
    assert wanted == everything if least == 1 else wanted < everything


def test_the_viewer_is_drawn_on_a_canvas_and_told_in_words():
    spec = json.loads(chart("viewer", "one prompt"))
    assert spec["usermeta"]["embedOptions"] == {"renderer": "canvas", "actions": False}
    assert json.loads(chart("sankey", "one prompt"))["usermeta"]["embedOptions"]["renderer"] == "svg"
    others = {model: np.concatenate([*part.others]) for model, part in of("one prompt")[2].groupby("model")}
    assert spec["description"].startswith("Alignment of 10 generations; ")
    assert all(f"{model}, {others[model].mean():.1f} on average" in spec["description"] for model in PAIR)


def felt(svg, *names):
    """What the points of a picture say."""
    keys = [rf"(?:^|; ){re.escape(name)}: ([^;]*)" for name in names]
    return [tuple(re.search(key, label)[1] for key in keys) for label, _, _ in points(svg)]


@pytest.mark.parametrize("others", [1, 5])
def test_only_the_chosen_number_of_others_is_drawn(others):
    data = along()
    spec = sharing_figures.companions_along_text(data).to_json()
    svg = picture(spec, others=others)
    chosen = data[data.others == others].round(2)
    numbers = [*zip(chosen.position.astype(int).astype(str), chosen.estimate, chosen.low, chosen.high, strict=True)]
    drawn = felt(svg, "model", "text", "position", "estimate", "95 % from", "to")
    expected = zip(chosen.model, chosen.text, numbers, strict=True)
    assert [(*each[:3], *map(float, each[3:])) for each in drawn] == [(m, t, *rest) for m, t, rest in expected]
    assert f"aligned with at least {others} others" in svg and bound(spec)["others"]["options"] == [1, 5]
    first = data[(data.others == 5) & (data.model == "Base") & (data.text == ngrams.GENERATIONS)].estimate
    told = f"Base, generations {first.iloc[0]:.0f} at the beginning, {first.iloc[5]:.0f} in the middle, "
    assert f"{told}{first.iloc[-1]:.0f} at the end" in json.loads(spec)["description"]


def test_the_number_of_others_is_one_that_there_is():
    (choice,) = [
        each
        for each in sharing_figures.companions_along_text(along(others=(2, 3))).to_dict()["params"]
        if "bind" in each
    ]
    assert choice["value"] == 2 and choice["bind"]["options"] == [2, 3]


def test_a_single_number_of_others_is_no_choice():
    assert bound(sharing_figures.companions_along_text(along(others=(5,))).to_json()) == {}


def test_shares_are_felt_at_every_length_seen_at_some_and_told_at_two():
    data = by_length()
    spec = sharing_figures.shares(data).to_json()
    drawn = felt(picture(spec), "model", "text", "n", "mark")
    assert drawn == [
        (row.model, row.text, str(row.n), str(int(row.n in (1, 5, 10, 15, 20, 25, 30)))) for row in data.itertuples()
    ]
    row = data[(data.model == "Base") & (data.text == ngrams.SHUFFLED) & (data.n == 25)].iloc[0]
    told = f"Base, null: shuffled tokens {row.estimate:.3f} ({row.low:.3f} to {row.high:.3f}) for n = 25."
    assert json.loads(spec)["description"].endswith(told) and " for n = 1;" not in json.loads(spec)["description"]


def test_curves_of_one_prompt_have_no_bands():
    for made in (
        sharing_figures.companions_along_text(along(prompts=1)),
        sharing_figures.shares(by_length(width=np.nan)),
    ):
        svg = picture(made.to_json())
        assert "area mark" not in svg and svg.count("line mark container") == 6 == svg.count('"line mark"')


def test_no_interval_is_told_where_there_is_none():
    assert "nan" not in sharing_figures.shares(by_length(width=np.nan)).to_dict()["description"]
