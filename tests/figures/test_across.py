"""Figures of many pairs: the paper's beside published ones, drawn in every state, told in words."""

import re

import pytest

from predact.claims import summary
from predact.discussion import across, compared
from predact.figures import across as across_figures
from predact.figures.across import EVERY
from tests.figures.made import NASTY, controls, drawn, told
from tests.made import results, row

STEPS = ("Base", "SFT", "RLHF")


def made(figure, xs, pair=NASTY, series=("",), unit="a unit"):
    """A summary of one figure of a pair, with values unlike the paper's."""
    place = {"figure": figure, "pair": pair, "scale": "full", "protocol": "paper", "unit": unit}
    rows = [
        place
        | {"model": model, "series": text, "x": x, "estimate": 7 + n + at / 8, "low": 6 + n, "high": 9 + n, "n": 5}
        for n, model in enumerate(STEPS)
        for text in series
        for at, x in enumerate(xs)
    ]
    return summary.from_data(rows)


def of(figure, *args, **more):
    """The figure of the paper's pairs and one more, of two billion parameters."""
    found = compared.figures([results(NASTY, (), made(figure, *args, **more), parameters=2_000_000_000)])
    return found[found.figure == figure]


CATEGORIES = ("pretraining", NASTY)
CHOOSE = {"series": ("Text", "gold text")}
TEXTS = ("gold text", "own generations")
ALL = {
    "bars": lambda: across_figures.by_pair(of("2A", CATEGORIES), "Increase", {"x": ("Category", EVERY)}),
    "texts": lambda: across_figures.by_pair(of("4", [""], series=TEXTS), "Support", {"series": ("Text", "gold text")}),
    "lines": lambda: across_figures.curves(
        of("3", "123", series=TEXTS), "Mass", "k", {"series": ("Text", "gold text")}
    ),
    "bins": lambda: across_figures.curves(of("7B", ["0-10", "10-20"]), "10-grams", "bin", log=True),
    "sizes": lambda: across_figures.by_size(compared.effects([results(NASTY, [row("C1", NASTY), row("C5", NASTY)])])),
}


@pytest.mark.parametrize("name", ALL)
def test_a_figure_can_be_drawn_in_every_state_of_its_controls(name):
    chart = ALL[name]()
    assert chart.to_dict()["width"] == "container"
    pictures = [drawn(chart)]
    for param in controls(chart).values():
        options = param["bind"].get("options", [False, True])
        pictures += [drawn(chart, **{param["name"]: option}) for option in options if option != param["value"]]
    assert len(set(pictures)) > 3 and not any("NaN" in picture for picture in pictures)


@pytest.mark.parametrize("name", ALL)
def test_the_papers_pairs_stand_beside_published_ones_and_all_are_told(name):
    said, picture = told(ALL[name]()), drawn(ALL[name]())
    assert "Llama 2 70B, paper" in said and NASTY in said
    paths = re.findall(r'<path aria-label="[^"]*paper', picture)
    assert paths and "paper" in picture


@pytest.mark.parametrize("figure", summary.FIGURES)
def test_the_papers_pairs_are_enough(figure):
    frame = compared.figures([])
    frame = frame[frame.figure == figure]
    along = figure in ("3", "7B", "13", "14")
    chart = across_figures.curves(frame, "…", "…") if along else across_figures.by_pair(frame, "…", {})
    assert "NaN" not in drawn(chart) and "Llama 2 7" in drawn(chart) and ">RLHF<" in drawn(chart)


def test_families_sizes_and_steps_can_be_chosen():
    chart = ALL["bars"]()
    bound = {name: param["bind"] for name, param in controls(chart).items()}
    assert bound["only_family"]["options"] == [EVERY, *sorted(["llama2", "tulu2", "olmo", compared.family(NASTY)])]
    assert bound["only_size"]["options"] == [EVERY, "1 to 10 billion", "above 10 billion"]
    assert bound["only_x"]["options"] == [EVERY, "pretraining", NASTY, "new", "instruction", "chat"]
    assert bound["steps"]["input"] == "checkbox"
    large = drawn(chart, only_size="above 10 billion")
    assert ">Llama 2 70B, paper<" in large and ">Llama 2 7B, paper<" not in large


def test_an_interval_down_to_nothing_is_drawn_on_a_logarithmic_axis():
    frame = of("7B", ["0-10"]).assign(low=lambda each: each.low.where(each.low.isna(), 0.0))
    assert "NaN" not in drawn(across_figures.curves(frame, "10-grams", "bin", log=True))


def test_the_table_of_all_pairs_has_the_papers_values_without_a_verdict():
    rows = across.in_order([*compared.estimates_of_paper(), row("C1", "mine", estimate=2.5)])
    page = across_figures.verdicts(rows).data
    assert "<b>C1</b> perplexity ratio</th>" in page and "<b>C2</b> perplexity increase after finetuning</th>" in page
    assert page.index(">mine<") < page.index(">Llama 2 70B<")
    assert '<td class="holds"><b>2.500</b> <span>[1.300, 1.500]</span><i>holds</i></td>' in page
    assert '<td class=""><b>3.382</b> <i></i></td>' in page and page.count("<small>the paper</small>") == 5
