"""What all figures share: drawn in every state, told in words, one element of HTML, models that look the same."""

import json
import re
from html import unescape

import numpy as np
import pandas as pd
import pytest

from predact.figures import backbone as backbone_figures
from predact.figures import shared_ngrams as shared_ngrams_figures
from predact.figures import style
from tests.figures.made import (
    ALL,
    BY_TEXT,
    CASES,
    FRAMES,
    NASTY,
    NUMBERS,
    PAIR,
    STEPS,
    TELL,
    Page,
    along,
    bound,
    by_length,
    chart,
    controls,
    drawn,
    luminance,
    of,
    points,
    said,
    shown,
    told,
    written,
)


@pytest.mark.parametrize("name", ALL)
def test_a_figure_is_wide_as_its_page_and_every_number_of_its_frame_reaches_it(name):
    spec = written(ALL[name]())
    assert spec["width"] == "container" and spec["config"]["background"] == "transparent"
    rows = [row for data in spec["datasets"].values() for row in data]
    held = {tuple(row.get(key) for key in NUMBERS[:3]) for row in rows}
    assert held >= set(FRAMES[name]()[NUMBERS[:3]].itertuples(index=False, name=None))
    encoded = json.dumps([layer["encoding"] for layer in spec["layer"]])
    assert all(f'"field": "{field}"' in encoded for field in NUMBERS)


@pytest.mark.parametrize(
    ("name", "numbers"),
    {
        "mass_curves": "Base on gold text 0.5000 (0.4000 to 0.6000) for k = 1",
        "first_masses": "RLHF on own generations 0.880 for k = 1",
        "percents": "Llama 2 70B RLHF on gold text 40.0",
        "by_position": "entropy, nats per token, RLHF on own generations 1.480 (1.406 to 1.554) at tokens 16 to 31",
        "support": "Base on own generations 131.2 (124.7 to 137.8), at half of the positions below",
        "self_perplexity": f"RLHF {NASTY} 3.000 (2.850 to 3.150)",
        "matrix": "RLHF on gold text 0.900 (0.855 to 0.945)",
    }.items(),
)
def test_a_figure_is_told_in_words_with_numbers_and_intervals(name, numbers):
    assert numbers in told(ALL[name]())


@pytest.mark.parametrize("name", ALL)
def test_a_figure_can_be_drawn_in_every_state_of_its_controls(name):
    chart = ALL[name]()
    pictures = [drawn(chart)]
    for param in controls(chart).values():
        options = param["bind"].get("options", [False, True])
        pictures += [drawn(chart, **{param["name"]: option}) for option in options if option != param["value"]]
    assert len(set(pictures)) == len(pictures) > 1
    assert all(">RLHF<" in picture for picture in pictures)


@pytest.mark.parametrize("name", ALL)
def test_a_pair_without_steps_between_is_enough(name):
    chart = ALL[name](models=PAIR)
    assert "steps" not in controls(chart)
    shown = drawn(chart)
    assert ">RLHF<" in shown and ">Base<" in shown and "SFT" not in shown


@pytest.mark.parametrize("name", [name for name in ALL if name != "matrix"])
def test_the_steps_between_are_shown_on_demand(name):
    chart = ALL[name]()
    assert controls(chart)["steps"]["value"] is False
    shown, hidden = ("".join(label for label, _, _ in points(drawn(chart, steps=state))) for state in (True, False))
    assert "SFT" in shown and "RLHF" in shown and "SFT" not in hidden and "RLHF" in hidden


@pytest.mark.parametrize("name", [name for name in ALL if name != "matrix"])
def test_models_look_as_in_every_other_figure(name):
    for layer in written(ALL[name]())["layer"]:
        for channel, look in style.models(STEPS).items():
            if "scale" in layer["encoding"].get(channel, {}):
                assert layer["encoding"][channel]["scale"] == look.to_dict()["scale"]


@pytest.mark.parametrize("name", ALL)
def test_the_html_of_a_figure_is_one_element_whatever_the_data_say(name):
    chart = ALL[name](texts=("gold text", NASTY)) if name in BY_TEXT else ALL[name]()
    assert NASTY in told(chart) or name == "matrix"
    bundle = chart._repr_mimebundle_(None, None)
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "mass <b>" not in bundle["text/html"] and json.dumps(NASTY)[1:-1] in json.dumps(bundle[style.MIME])
    figure, script = Page(bundle["text/html"]).elements
    assert figure[1]["aria-label"] == told(chart) and script[1] == {"type": "application/json"}
    assert json.loads(script[2]) == bundle[style.MIME] == written(chart)
    assert "RLHF" in drawn(chart)


@pytest.mark.parametrize(
    ("name", "control", "field"), [("by_position", "measure", "unit"), ("self_perplexity", "unit", "unit")]
)
def test_only_what_is_chosen_is_shown(name, control, field):
    chart = ALL[name]()
    options = controls(chart)[control]["bind"]["options"]
    for option in options:
        shown = {re.search(rf"{field}: ([^;]*)", label)[1] for label, _, _ in points(drawn(chart, **{control: option}))}
        assert shown == {option}
    assert len(options) == 2


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name in ("sankey", "viewer", "shares", "along") for case in CASES],
)
def test_a_figure_is_drawn_and_as_wide_as_its_page(name, case):
    spec = chart(name, case)
    assert json.loads(spec)["width"] == "container" and json.loads(spec)["description"]
    svg = shown(spec)
    assert "<script" not in svg and "<image" not in svg
    for prompt in bound(spec).get("prompt", {}).get("options", [])[1:]:
        other, first = (re.findall('aria-label="([^"]*)"', each) for each in (shown(spec, prompt=prompt), svg))
        assert other != first, "not the same marks"
    names = {unescape(each) for each in re.findall(">([^<]*)</text>", svg)}
    assert name == "viewer" or names >= set(of(case)[4])


@pytest.mark.parametrize("name", ["sankey", "viewer"])
def test_what_generations_and_prompts_say_is_shown_as_text(name):
    spec = chart(name, "several prompts")
    svg = shown(spec, 2000, **({"agreeing": 1} if name == "viewer" else {}))
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


def lab(linear):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    x, y, z = np.cbrt(xyz / [0.9505, 1, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


# Machado, Oliveira & Fernandes 2009, severity 1
BLINDNESS = {
    "none": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("kind", BLINDNESS)
def test_colours_can_be_told_apart_with_any_vision(kind):
    seen = {n: lab(np.clip(BLINDNESS[kind] @ luminance(getattr(style, n)), 0, 1)) for n in ("BASE", "STEP", "RLHF")}
    assert np.linalg.norm(seen["BASE"] - seen["RLHF"]) > 40
    assert min(np.linalg.norm(seen["STEP"] - seen[other]) for other in ("BASE", "RLHF")) > 15


@pytest.mark.parametrize("color", [style.BASE, style.STEP, style.RLHF, style.NULL])
@pytest.mark.parametrize("page", ["#ffffff", "#121212"])
def test_colours_stand_out_on_light_and_dark_pages(color, page):
    light, dark = sorted((float(luminance(each) @ [0.2126, 0.7152, 0.0722]) for each in (color, page)), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 3


def test_a_table_escapes_texts_and_rounds_numbers():
    frame = pd.DataFrame({"text": ["<script>alert(1)</script> & 'x'"], "estimate": [0.12345], "low": [np.nan]})
    page = style.table(frame, 2).to_html()
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; " in page and "<script" not in page
    assert ">0.12<" in page and ">–<" in page


def test_curves_of_one_prompt_have_no_bands():
    for made in (
        backbone_figures.companions_along_text(along(prompts=1)),
        shared_ngrams_figures.shares(by_length(width=np.nan)),
    ):
        svg = shown(made.to_json())
        assert "area mark" not in svg and svg.count("line mark container") == 6 == svg.count('"line mark"')
