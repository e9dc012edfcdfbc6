"""Figures of C5: sources below their categories, axes that fit, numbers that can be read on their cells."""

import re

import numpy as np
import pytest

from predact.claims import paper
from predact.claims.self_reading import PERPLEXITY, RATIO
from predact.figures import self_reading as charts
from tests.figures.made import ALL, NASTY, PAIR, STEPS, controls, crossed, drawn, luminance, own, written


def test_sources_stand_below_their_categories_and_rlhf_is_joined_to_base():
    layers = written(ALL["self_perplexity"]())["layer"]
    domain = layers[0]["encoding"]["y"]["scale"]["domain"]
    theirs = [f"{charts.PAPER}\n{each}" for each in ("", "Pretraining", "New Corpora", "Instruction Data", "Chat")]
    assert domain == ["narrative\n", "narrative\nnews", "category\n", f"category\n{NASTY}", *theirs]
    data = next(iter(written(ALL["self_perplexity"]())["datasets"].values()))
    base = {(row["source"], row["unit"]): row["estimate"] for row in data if row["model"] == "Base"}
    assert all(row["base"] == base[row["source"], row["unit"]] for row in data)
    assert layers[0]["encoding"]["x"]["field"] == "base" and layers[0]["encoding"]["x2"]["field"] == "estimate"


def test_only_a_wide_range_of_perplexities_gets_a_logarithmic_axis():
    def kind(frame):
        layers = charts.self_perplexity(frame, paper.values("5")).to_dict()["layer"]
        return layers[2]["encoding"]["x"]["scale"].get("type", "linear")

    assert kind(own()) == "linear" and kind(own(factor=9)) == "log"
    certain = own(factor=9)
    certain.loc[certain.model == "Base", ["low", "estimate"]] = 0.0  # no logarithm
    assert kind(certain) == "linear"


def test_units_become_buttons_where_there_are_several():
    chart = charts.self_perplexity(own(units=("bits per byte", "ratio to Base", NASTY)), paper.values("5"))
    unit = controls(chart)["unit"]
    assert unit["bind"]["options"] == ["bits per byte", "ratio to Base", NASTY] and unit["value"] == "bits per byte"
    assert ">Perplexity, as a multiple of Base" in drawn(chart, unit="ratio to Base")
    alone = charts.self_perplexity(own(units=("bits per byte",), models=PAIR), paper.values("5"))
    assert not controls(alone) and ">Bits per byte<" in drawn(alone)


def test_the_matrix_keeps_the_order_of_training_with_gold_text_last():
    encoding = written(ALL["matrix"]())["layer"][0]["encoding"]
    assert encoding["y"]["scale"]["domain"] == list(STEPS)
    assert encoding["x"]["scale"]["domain"] == [*STEPS, "gold text"]
    assert "category" not in controls(ALL["matrix"](categories=("all",)))


def cells(svg):
    """Fills of cells and of the two lines of text in each, in the same order."""
    rects, (numbers, intervals) = (
        re.search(r'<g class="mark-rect role-mark layer_0_marks".*?</g>', svg, re.S)[0],
        [re.search(rf'<g class="mark-text role-mark layer_{n}_marks".*?</g>', svg, re.S)[0] for n in (1, 2)],
    )
    fills = [[int(part) for part in each.split(",")] for each in re.findall(r'fill="rgb\(([^)]*)\)"', rects)]
    texts = [re.findall(r'fill="(white|black)"[^>]*>([^<]*)<', group) for group in (numbers, intervals)]
    return fills, *texts


@pytest.mark.parametrize("category", ["all", NASTY])
def test_numbers_can_be_read_on_their_cells_on_any_page_and_with_any_vision(category):
    fills, numbers, intervals = cells(drawn(ALL["matrix"](), category=category))
    frame = crossed()[lambda frame: frame.category == category]
    assert [text for _, text in numbers] == [f"{value:.2f}" for value in frame.estimate]
    assert [text for _, text in intervals] == [f"{a:.2f}–{b:.2f}" for a, b in zip(frame.low, frame.high, strict=True)]
    light = [float(luminance("#" + bytes(fill).hex()) @ [0.2126, 0.7152, 0.0722]) for fill in fills]
    for cell, (ink, _), (small, _) in zip(light, numbers, intervals, strict=True):
        assert ink == small and ((1.05 / (cell + 0.05)) if ink == "white" else (cell + 0.05) / 0.05) > 4.2
    assert (np.diff(np.array(light)[np.argsort(frame.estimate)]) > -1e-9).all() and np.ptp(light) > 0.5


def test_a_matrix_of_one_value_can_be_read():
    svg = drawn(charts.reading_matrix(crossed(PAIR, ("all",)).assign(estimate=0.5)))
    assert svg.count(">0.50<") == 6


def test_the_papers_perplexities_and_their_ratios_by_hand():
    told = charts._of_paper(paper.values("5"), [PERPLEXITY, RATIO]).set_index(["unit", "model", "x"]).value
    assert told[PERPLEXITY, "TULU 70B RLHF", "Instruction Data"] == 3.607
    assert told[RATIO, "TULU 70B RLHF", "Instruction Data"] == pytest.approx(3.607 / 3.246)
    assert told[RATIO, "Llama 2 7B RLHF", "Chat"] == pytest.approx(1.324 / 4.546)
    assert (told[RATIO].filter(like="Base") == 1).all() and charts._of_paper(paper.values("5"), ["bits"]).empty
