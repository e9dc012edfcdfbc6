"""Figure of C4: areas that are shares, means where they belong, thresholds to choose from."""

import re

import numpy as np
import pandas as pd

from predact.figures import support as charts
from tests.figures.made import ALL, PAIR, STEPS, TEXTS, THRESHOLDS, controls, distribution, drawn, points, told


def test_areas_of_a_histogram_are_shares_of_positions():
    floor = {"gold text": 2.0, "own generations": 0.0}
    frame, _ = distribution()
    bins, outlines = charts._histograms(frame, floor)
    sizes = {}
    for key, part in outlines.groupby(["threshold", "text", "model"]):
        assert part.order.is_monotonic_increasing and part.x.is_monotonic_increasing
        height, position = part.y.to_numpy() - floor[key[1]], np.log(part.x.to_numpy())
        assert height[0] == height[-1] == 0 and height.max() <= 1 + 1e-12
        sizes.setdefault(key[0], []).append(((height[1:] + height[:-1]) / 2 * np.diff(position)).sum())
    assert all(np.allclose(each, each[0]) and len(each) == 6 for each in sizes.values())
    assert bins.groupby(["threshold", "text", "model"]).share.sum().round(9).eq(1).all()
    assert set(bins.span) == {"2", "3 to 4", "9 to 19", "20 to 49", "50 to 119"}


def test_the_description_tells_below_what_half_of_the_positions_lie():
    frame, means = distribution(PAIR, TEXTS[:1], ("1e-08",))
    edges = pd.DataFrame({"low_edge": [1, 2, 4], "high_edge": [2, 4, 8], "share": [0.2, 0.3, 0.5]})
    place = frame[["model", "text", "threshold"]].drop_duplicates()
    assert (
        told(charts.support_histograms(place.merge(edges, how="cross"), means)).count("half of the positions below 4")
        == 2
    )


def test_the_threshold_of_the_claim_is_shown_at_first_and_written_as_a_power():
    chart = ALL["support"]()
    threshold = controls(chart)["threshold"]
    assert threshold["value"] == "1e-08" and threshold["bind"]["options"] == list(THRESHOLDS)
    assert threshold["bind"]["labels"] == ["10⁻⁴", "10⁻⁸", "10⁻¹²"]
    assert "p &gt; 10⁻⁸" in drawn(chart) and "p &gt; 10⁻¹²" in drawn(chart, threshold="1e-12")
    other = ALL["support"](thresholds=("0.5", "1e-06"))
    assert controls(other)["threshold"]["value"] == "0.5"
    assert "threshold" not in controls(ALL["support"](thresholds=("1e-06",)))


def test_means_of_the_chosen_threshold_stand_above_their_texts_in_the_order_of_models():
    _, means = distribution()
    chosen = means[means.threshold == "1e-08"]
    svg = drawn(ALL["support"](), steps=True)
    assert all(f">{value:,.0f}<" in svg for value in chosen.estimate)
    places = {}
    for label, x, y in points(svg):
        if found := re.match(r"estimate: ([\d.]+);.*model: (\w+); text: ([\w ]+);", label):
            places[found[2], found[3]] = float(found[1]), x, y
    assert {key: value for key, (value, *_) in places.items()} == chosen.set_index(["model", "text"]).estimate.to_dict()
    ordered = [places[model, text][2] for text in TEXTS for model in STEPS[::-1]]  # from above
    assert ordered == sorted(ordered) and len(set(ordered)) == 6
    xs, values = zip(*((x, np.log(value)) for value, x, _ in places.values()), strict=True)
    assert np.corrcoef(xs, values)[0, 1] > 0.999999  # a logarithmic axis


def test_the_papers_percents_stand_in_the_rows_of_their_model_and_text():
    svg = drawn(ALL["percents"](models=PAIR))
    found = {}
    for label, x, y in points(svg):
        model, value = (
            re.search(r"model: ([^;]*)", label)[1],
            float(re.search(r"(?:estimate|value): ([\d.]+)", label)[1]),
        )
        found.setdefault((round(y), model.split()[-1], "paper" in model), []).append((x, value))
    rows = {(row, model) for row, model, theirs in found if theirs}
    assert rows == {(row, model) for row, model, theirs in found if not theirs} and len(rows) == 4
    assert sorted(len(each) for each in found.values()) == [1] * 4 + [2] * 4, "one of ours, and two sizes of Llama 2"
    xs, values = zip(*(each for group in found.values() for each in group), strict=True)
    assert np.corrcoef(xs, values)[0, 1] > 0.999999 and ">7B<" in svg and ">70B<" in svg
