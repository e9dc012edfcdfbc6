"""Figures of C1: controls, references, corpora below their categories, tokens as text."""

import json

import numpy as np
import pandas as pd
import pytest
import vl_convert

from predact.claims import paper
from predact.figures import prediction as prediction_figures
from predact.figures import style
from tests.figures.made import NASTY, Page

UNITS = ("perplexity ratio", "bits per byte above Base", "bits per byte", "bits per byte above the world")


def by_corpus(models=("Base", "SFT", "RLHF"), units=UNITS, corpora=("news", NASTY)):
    rows = [
        ("category", corpus, model, unit, *(round(1 + n / 10 + shift, 3) for shift in (0, -0.05, 0.07)), 50)
        for corpus in corpora
        for unit in units
        for n, model in enumerate(models)
    ]
    rows += [("all corpora", "mean", *row[2:]) for row in rows[: len(rows) // len(corpora)]]
    return pd.DataFrame(rows, columns=["category", "corpus", "model", "unit", "estimate", "low", "high", "documents"])


def by_position(models=("Base", "SFT", "RLHF")):
    rows = [
        (unit, model, 2 + n, 1 + n, 3 + n, corpus, 2**k - 1, 2 ** (k + 1) - 2)
        for corpus in ("all corpora", NASTY)
        for unit in ("bits per token", "bits per token above Base")
        for n, model in enumerate(models)
        for k in range(5)
    ]
    return pd.DataFrame(rows, columns=["unit", "model", "estimate", "low", "high", "corpus", "first", "last"])


def by_token():
    rows = [
        ("news", 0, -1, "first ", np.nan, np.nan, np.nan),
        ("news", 0, 0, f" {NASTY}\n", 0.5, 0.00001, 15.6),
        ("news", 0, 1, " gain", 0.1, 0.2, -1.0),
    ]
    return pd.DataFrame(rows, columns=["corpus", "example", "offset", "text", "base", "rlhf", "bits"])


ALL = {
    "perplexity_increase": lambda **kind: prediction_figures.perplexity_increase(by_corpus(**kind)),
    "by_position": lambda **kind: prediction_figures.loss_along_document(by_position(**kind)),
}


@pytest.mark.parametrize("models", [("RLHF",), ("SFT", "RLHF")])
def test_bars_by_category_with_the_papers_values_beside_them(models):
    numbers = {"estimate": 0.5, "low": 0.4, "high": 0.7, "documents": 9}
    rows = [
        {"category": each, "model": model, "unit": "perplexity increase"} | numbers
        for each in ("Chat", "recipes")
        for model in models
    ]
    spec = prediction_figures.increase_bars(pd.DataFrame(rows), paper.values("2", "A")).to_dict()
    svg = vl_convert.vegalite_to_svg(spec | {"width": 300})
    assert ">recipes<" in svg and svg.count(">chat<") == 1, "a category of both stands in one line"
    assert "NaN" not in svg and svg.count("paper: OLMo 7B") == 4 and "chat 0.50 (0.40 to 0.70)" in spec["description"]


@pytest.mark.parametrize("name", ALL)
def test_a_figure_is_wide_as_its_page_told_in_words_and_draws_intervals(name):
    spec = ALL[name]().to_dict()
    assert spec["width"] == "container" and spec["description"]
    drawn = json.dumps(spec["layer"])
    assert all(f'"field": "{end}"' in drawn for end in ("low", "high", "estimate"))
    assert spec["config"]["background"] == "transparent"
    ink = {value for key, value in spec["config"]["axis"].items() if key.endswith("Color")}
    assert ink == {"currentColor"}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("theme", ["unit", "steps"])
def test_a_figure_can_be_drawn_in_every_state_of_its_controls(name, theme, monkeypatch):
    spec = ALL[name]().to_dict() | {"width": 300}
    for param in spec["params"]:
        if param["name"] != theme:
            continue
        for value in param["bind"].get("options", [False, True]):
            param["value"] = value
            svg = vl_convert.vegalite_to_svg(spec)
            assert "NaN" not in svg and "undefined" not in svg and ">RLHF<" in svg
            if theme == "unit":
                assert (
                    prediction_figures.UNITS[value][1].replace("'", "&#39;") in svg
                    or prediction_figures.UNITS[value][1] in svg
                )


def test_models_look_the_same_in_every_figure():
    looks = []
    for figure in ALL.values():
        encodings = [layer["encoding"] for layer in figure().to_dict()["layer"] if "shape" in layer["encoding"]]
        looks += [(each["color"]["scale"], each["shape"]["scale"]) for each in encodings]
    assert all(look == looks[0] for look in looks)
    color = dict(zip(looks[0][0]["domain"], looks[0][0]["range"], strict=True))
    assert color == {"Base": style.BASE, "SFT": style.STEP, "RLHF": style.RLHF}
    assert len(set(looks[0][1]["range"])) == 3


@pytest.mark.parametrize("name", ALL)
def test_the_steps_between_are_shown_on_demand_only_where_there_are_any(name):
    with_steps, without = ALL[name]().to_dict(), ALL[name](models=("Base", "RLHF")).to_dict()
    assert [each["value"] for each in with_steps["params"] if each["name"] == "steps"] == [False]
    assert not [each for each in without["params"] if each["name"] == "steps"]


def test_the_units_that_can_be_chosen_are_those_of_the_frame():
    spec = prediction_figures.perplexity_increase(by_corpus(units=("byte perplexity ratio", *UNITS[1:3]))).to_dict()
    (unit,) = [param for param in spec["params"] if param["name"] == "unit"]
    assert (
        unit["bind"]["options"] == ["byte perplexity ratio", *UNITS[1:3]]
        and unit["value"] == unit["bind"]["options"][0]
    )
    assert len(unit["bind"]["labels"]) == 3


def test_grey_stands_where_there_would_be_no_increase():
    frame = by_corpus(corpora=("known", "unknown"))
    frame = frame[(frame.corpus != "unknown") | (frame.unit != "bits per byte above the world")]
    data = prediction_figures._with_references(frame)
    nothing = data[data.model == "RLHF"].set_index(["corpus", "unit"]).nothing
    assert nothing["known", "perplexity ratio"] == 1 and nothing["known", "bits per byte above Base"] == 0
    assert nothing["known", "bits per byte"] == pytest.approx(0)  # Base's bits less what it needs beyond the world
    assert nothing["unknown", "bits per byte"] == pytest.approx(1)  # Base
    assert (data.base == 1).all()


def test_corpora_stand_below_their_categories():
    frame = by_corpus()
    y, lines = prediction_figures.grouped(prediction_figures._with_references(frame))
    expected = ["category\n", "category\nnews", f"category\n{NASTY}", "all corpora\n", "all corpora\nmean"]
    assert y.to_dict()["scale"]["domain"] == expected and lines == 5


@pytest.mark.parametrize("name", ALL)
def test_the_html_of_a_figure_is_one_element_whatever_the_data_say(name):
    chart = ALL[name]()
    bundle = chart._repr_mimebundle_(None, None)
    bundle = bundle[0] if isinstance(bundle, tuple) else bundle
    figure, script = Page(bundle["text/html"]).elements
    assert figure[0] == "div" and "predact-chart" in figure[1]["class"]
    assert figure[1]["aria-label"] == chart.to_dict()["description"]
    assert script[0] == "script" and script[1] == {"type": "application/json"}
    assert json.loads(script[2]) == bundle[style.MIME] == json.loads(json.dumps(chart.to_dict()))
    assert "http" not in bundle["text/html"].replace(chart.to_dict()["$schema"], "")


def test_text_of_tokens_is_shown_as_text():
    html = prediction_figures.tokens_that_lose(by_token()).data
    page = Page(html)
    assert {tag for tag, _, _ in page.elements} == {"dl", "dt", "b", "dd", "span"}
    assert "mathjax_ignore" in page.elements[0][1]["class"]
    spans = [(attrs, text) for tag, attrs, text in page.elements if tag == "span"]
    assert NASTY in spans[0][1] and spans[0][1].count("\u21b5") == 1
    assert len(spans) == 2 and style.RLHF in spans[0][0]["style"] and style.BASE in spans[1][0]["style"]
    assert "shadow" in spans[0][0]["style"] and "shadow" not in spans[1][0]["style"]
    assert "15.6 bits lost: Base 50\u00a0%, RLHF below 0.01\u00a0%" in html and "first " in html


def test_tokens_without_any_difference_are_not_tinted():
    frame = by_token().assign(bits=0.0)
    assert all(
        alpha.startswith("00") for alpha in prediction_figures.tokens_that_lose(frame).data.split(style.BASE)[1:]
    )
    assert "cannot be compared" in prediction_figures.tokens_that_lose(frame[:0]).data
