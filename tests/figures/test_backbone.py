"""The viewer and the curves along the text, against the frames."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from predact.claims import backbone, paper
from predact.figures import backbone as backbone_figures
from predact.methods import alignments, ngrams
from tests.figures.made import BOTH, along, bound, chart, felt, of, shown


@pytest.mark.parametrize("model", BOTH)
@pytest.mark.parametrize("least", [1, 2, 5, 10])
def test_the_viewer_shows_tokens_in_columns_where_so_many_agree(least, model):
    aligned, _, cells, _, _ = of("more than are listed")
    made = alignments.matrix(aligned[aligned.model == model])
    agree = [np.unique(column[column >= 0], return_counts=True)[1].max() for column in made.T]
    wanted = (made >= 0)[:, np.array(agree) >= least].sum()
    svg = shown(chart("viewer", "more than are listed"), agreeing=least, model=model)
    assert svg.count('aria-roledescription="rect mark"') == wanted > 0
    everything = cells[cells.model == model].tokens.map(len).sum()
    assert wanted == everything if least == 1 else wanted < everything


def test_the_viewer_shows_something_at_first_of_a_model_with_few_generations():
    cells = of("more than are listed")[2]
    few = cells[(cells.model == "Base") | (cells.row < 3)]
    few = few.assign(
        others=[
            [min(other, 2) for other in row.others] if row.model != "Base" else row.others for row in few.itertuples()
        ]
    )
    values = [
        next(
            param["value"]
            for param in json.loads(backbone_figures.viewer(part, {"0": "?"}).to_json())["params"]
            if param["name"] == "agreeing"
        )
        for part in (cells.assign(prompt="0"), few.assign(prompt="0"))
    ]
    assert values == [5, 2]


def test_the_viewer_is_drawn_on_a_canvas_and_told_in_words():
    spec = json.loads(chart("viewer", "one prompt"))
    assert spec["usermeta"]["embedOptions"] == {"renderer": "canvas", "actions": False}
    assert json.loads(chart("sankey", "one prompt"))["usermeta"]["embedOptions"]["renderer"] == "svg"
    others = {model: np.concatenate([*part.others]) for model, part in of("one prompt")[2].groupby("model")}
    assert spec["description"].startswith("Alignment of 10 generations; ")
    assert all(f"{model}, {others[model].mean():.1f} on average" in spec["description"] for model in BOTH)


@pytest.mark.parametrize("others", [1, 5])
def test_only_the_chosen_number_of_others_is_drawn(others):
    data = along()
    spec = backbone_figures.companions_along_text(data).to_json()
    svg = shown(spec, others=others)
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
        for each in backbone_figures.companions_along_text(along(others=(2, 3))).to_dict()["params"]
        if "bind" in each
    ]
    assert choice["value"] == 2 and choice["bind"]["options"] == [2, 3]


def test_a_single_number_of_others_is_no_choice():
    assert bound(backbone_figures.companions_along_text(along(others=(5,))).to_json()) == {}


TOLD = {"matched": "Overlap, matched", "ours": "Of 100"}


def measures(points=10):
    """Curves of two measures of chance numbers."""
    draw, parts = np.random.default_rng(0), {}
    for measure in TOLD:
        found = {(model, text): draw.random((4, points)) for model in BOTH for text in alignments.TEXTS[::2]}
        parts[measure] = backbone.mean_along(found, measure, 0)
    return pd.concat(parts, names=["measure", None]).reset_index("measure")


@pytest.mark.parametrize("measure", TOLD)
def test_the_chosen_measure_is_drawn_with_its_heading(measure):
    data = measures()
    spec = backbone_figures.along_text(data, TOLD).to_json()
    assert bound(spec)["measure"]["options"] == list(TOLD) and "paper" not in bound(spec)
    svg = shown(spec, measure=measure)
    chosen = data[data.measure == measure]
    drawn = felt(svg, "model", "text", "position", "estimate", "95 % from", "to")
    assert [each[:2] for each in drawn] == list(zip(chosen.model, chosen.text, strict=True))
    numbers = np.array([list(map(float, each[3:])) for each in drawn])
    assert numbers == pytest.approx(chosen[["estimate", "low", "high"]].to_numpy(), abs=0.0006)
    assert TOLD[measure] in svg


def test_a_curve_is_told_in_words():
    data = measures()
    first = data[(data.measure == "matched") & (data.model == "Base") & (data.text == ngrams.GENERATIONS)].estimate
    told = f"Base, generations {first.iloc[0]:.3f} at the beginning, {first.iloc[5]:.3f} in the middle"
    text = json.loads(backbone_figures.along_text(data, TOLD).to_json())["description"]
    assert text.startswith("Overlap, matched: ") and told in text


@pytest.mark.parametrize("figure", ["13", "14"])
def test_the_papers_curves_of_a_pair_are_drawn_beside_its_measure_but_not_beside_ours(figure):
    spec = backbone_figures.along_text(measures(), TOLD, paper.values(figure)).to_json()
    pairs = list(backbone.PAPER_PAIRS)
    assert bound(spec)["paper"]["options"] == [*pairs, "none"]
    for pair, models in backbone.PAPER_PAIRS.items():
        assert papers(shown(spec, paper=pair)) == {f"paper: {model}" for model in models}
    assert papers(shown(spec, paper="none")) == papers(shown(spec, measure="ours")) == set()


def papers(svg):
    """The paper's models whose curves are in a picture."""
    return set(re.findall(r"model: (paper: [^;\"]*)", svg))
