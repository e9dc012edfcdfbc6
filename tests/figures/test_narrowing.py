import functools
import json
import re

import numpy as np
import pandas as pd
import pytest
import vl_convert

from predact.figures import mass as charts
from predact.figures import self_reading as charts
from predact.figures import style
from predact.figures import support as charts
from tests.figures.test_prediction import NASTY, Page, luminance

STEPS, PAIR, TEXTS = ("Base", "SFT", "RLHF"), ("Base", "RLHF"), ("gold text", "own generations")
THRESHOLDS = ("1e-04", "1e-08", "1e-12")
NUMBERS = ["estimate", "low", "high", "unit"]


def near(value, unit, width=0.05):
    return round(value, 6), round(value * (1 - width), 6), round(value * (1 + width), 6), unit


def mass(models=STEPS, texts=TEXTS):
    """Mass that is 1 - 0.5 / k, and nearer to 1 the later the model and the text, up to a vocabulary of 1,000."""
    rows = []
    for place, (model, text) in enumerate((model, text) for model in models for text in texts):
        for k in (*range(1, 10), 30, 100, 300, 1000):
            left = 0.5 / k ** (1 + place / 4) if k < 1000 else 0.0
            rows.append((model, text, k, 1 - left, 1 - 1.2 * left, 1 - 0.8 * left, "probability mass"))
    return pd.DataFrame(rows, columns=["model", "text", "k", *NUMBERS])


def positions(models=STEPS, texts=TEXTS):
    rows = [
        (model, text, measure, 2**k - 1, 2 ** (k + 1) - 2, *near(0.2 + place / 10 + k / 50 + at, measure))
        for at, measure in enumerate(("probability of the likeliest token", "entropy, nats per token"))
        for place, model in enumerate(models)
        for text in texts
        for k in range(5)
    ]
    return pd.DataFrame(rows, columns=["model", "text", "measure", "first", "last", *NUMBERS])


def distribution(models=STEPS, texts=TEXTS, thresholds=THRESHOLDS):
    """Shares of bins that are not equally wide, and means."""
    edges, random = [1, 2, 3, 5, 9, 20, 50, 120, 301], np.random.default_rng(0)
    keys = [(model, text, threshold) for model in models for text in texts for threshold in thresholds]
    rows = []
    for key in keys:
        share = random.dirichlet(np.ones(len(edges) - 1)) * [0, 1, 1, 0, 1, 1, 1, 0]
        rows += [(*key, *bin_) for bin_ in zip(edges[:-1], edges[1:], share / share.sum(), strict=True)]
    means = [(*key, *near(7.25 + 31 * place, "tokens")) for place, key in enumerate(keys)]
    place = ["model", "text", "threshold"]
    frame = pd.DataFrame(rows, columns=[*place, "low_edge", "high_edge", "share"])
    return frame, pd.DataFrame(means, columns=[*place, *NUMBERS])


def own(models=STEPS, units=("perplexity per token", "bits per byte"), sources=("news", NASTY), factor=1.0):
    rows = [
        ("narrative" if source == sources[0] else "category", source, model, unit, *near(value, unit)[:3], 40)
        for source in sources
        for at, unit in enumerate(units)
        for place, model in enumerate(models)
        for value in [(9 / (1 + place)) * (1 if at else factor**place)]
    ]
    return pd.DataFrame(rows, columns=["category", "source", "model", "unit", *NUMBERS[:3], "prefixes"])


def crossed(models=STEPS, categories=("all", NASTY)):
    rows = [
        (category, scorer, author, *near(0.4 + 0.1 * abs(one - other) + 0.3 * (author == "gold text") + extra, BITS))
        for extra, category in enumerate(categories)
        for one, scorer in enumerate(models)
        for other, author in enumerate(("gold text", *models))
    ]
    return pd.DataFrame(rows, columns=["category", "scorer", "author", *NUMBERS])


BITS = "bits per byte"
BUILDERS = {
    "mass_curves": lambda **kind: charts.mass_curves(mass(**kind)),
    "by_position": lambda **kind: charts.certainty_along_text(positions(**kind)),
    "support": lambda **kind: charts.support_histograms(*distribution(**kind)),
    "self_perplexity": lambda **kind: charts.self_perplexity(own(**kind)),
    "matrix": lambda **kind: charts.reading_matrix(crossed(**kind)),
}
ALL = {name: functools.cache(build) for name, build in BUILDERS.items()}
FRAMES = {
    "mass_curves": mass,
    "by_position": positions,
    "support": lambda: distribution()[1],
    "self_perplexity": own,
    "matrix": crossed,
}
BY_TEXT = ["mass_curves", "by_position", "support"]


WRITTEN = {}


def written(chart):
    """The specification of a chart; made once, for it takes long."""
    if id(chart) not in WRITTEN:
        WRITTEN[id(chart)] = chart, json.dumps(chart.to_dict())  # the chart is kept, so that its id stays its own
    return json.loads(WRITTEN[id(chart)][1])


def controls(chart):
    return {param["name"]: param for param in written(chart)["params"] if "bind" in param}


def told(chart):
    return written(chart)["description"]


def drawn(chart, **state):
    """The picture with its controls in a state, 400 pixels wide."""
    spec = written(chart) | {"width": 400}
    for param in spec["params"]:
        param["value"] = state.pop(param["name"], param["value"])
    assert not state
    return picture(json.dumps(spec))


@functools.cache
def picture(spec):
    svg = vl_convert.vegalite_to_svg(spec)
    assert "NaN" not in svg and "undefined" not in svg and "Infinity" not in svg
    return svg


def points(svg):
    """What the points of a picture say to who cannot see them, and their places."""
    marks = re.findall(r'<path aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="point"([^>]*)', svg)
    assert marks
    return [
        (label, *map(float, re.search(r"translate\(([\d.-]+),([\d.-]+)\)", rest).groups())) for label, rest in marks
    ]


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
            if channel in layer["encoding"]:
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


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[::-1], (NASTY, "gold text")])
@pytest.mark.parametrize("name", ["mass_curves", "by_position"])
def test_gold_text_is_drawn_through_and_all_else_is_dashed(name, texts):
    (dash,) = [each["encoding"]["strokeDash"] for each in written(ALL[name](texts=texts))["layer"][1:2]]
    patterns = dict(zip(dash["scale"]["domain"], dash["scale"]["range"], strict=True))
    gaps = {text: pattern[1] for text, pattern in patterns.items()}
    assert set(gaps) == set(texts) and all((gap == 0) == (text == "gold text") for text, gap in gaps.items())


def test_what_is_left_to_all_others_parts_curves_that_meet_near_one():
    def gap(state):
        at = {}
        for label, _, y in points(drawn(chart, mass=state)):
            if re.search(r"k \(tokens\): 300\b", label):
                at[re.search(r"model: (\w+)", label)[1]] = y
        return abs(at["Base"] - at["RLHF"])

    chart = charts.mass_curves(mass(PAIR, TEXTS[:1]))
    assert gap("mass") < 1 and gap("rest") > 30


def test_no_mass_left_is_not_drawn_on_a_logarithmic_axis():
    frame = mass(PAIR)
    everywhere, left = (points(drawn(charts.mass_curves(frame), mass=state)) for state in ("mass", "rest"))
    assert len(everywhere) == len(frame) and len(left) == (frame.estimate < 1).sum() < len(frame)


def test_the_rest_is_told_with_its_interval_where_three_digits_would_say_one():
    (row,) = [
        row
        for data in charts.mass_curves(mass(PAIR, TEXTS[:1])).to_dict()["datasets"].values()
        for row in data
        if row["model"] == "Base" and row["k"] == 300
    ]
    assert f"{row['estimate']:.2f}" == "1.00" and row["others"] == "0.0017 (0.0013 to 0.002)"


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


@pytest.mark.parametrize(
    ("name", "control", "field"), [("by_position", "measure", "unit"), ("self_perplexity", "unit", "unit")]
)
def test_only_what_is_chosen_is_shown(name, control, field):
    chart = ALL[name]()
    options = controls(chart)[control]["bind"]["options"]
    for option in options:
        shown = {re.search(rf"{field}: (.*)", label)[1] for label, _, _ in points(drawn(chart, **{control: option}))}
        assert shown == {option}
    assert len(options) == 2


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


def test_sources_stand_below_their_categories_and_rlhf_is_joined_to_base():
    layers = written(ALL["self_perplexity"]())["layer"]
    domain = layers[0]["encoding"]["y"]["scale"]["domain"]
    assert domain == ["narrative\n", "narrative\nnews", "category\n", f"category\n{NASTY}"]
    data = next(iter(written(ALL["self_perplexity"]())["datasets"].values()))
    base = {(row["source"], row["unit"]): row["estimate"] for row in data if row["model"] == "Base"}
    assert all(row["base"] == base[row["source"], row["unit"]] for row in data)
    assert layers[0]["encoding"]["x"]["field"] == "base" and layers[0]["encoding"]["x2"]["field"] == "estimate"


def test_only_a_wide_range_of_perplexities_gets_a_logarithmic_axis():
    def kind(frame):
        return charts.self_perplexity(frame).to_dict()["layer"][-1]["encoding"]["x"]["scale"].get("type", "linear")

    assert kind(own()) == "linear" and kind(own(factor=9)) == "log"
    certain = own(factor=9)
    certain.loc[certain.model == "Base", ["low", "estimate"]] = 0.0  # no logarithm
    assert kind(certain) == "linear"


def test_units_become_buttons_where_there_are_several():
    chart = charts.self_perplexity(own(units=("bits per byte", "ratio to Base", NASTY)))
    unit = controls(chart)["unit"]
    assert unit["bind"]["options"] == ["bits per byte", "ratio to Base", NASTY] and unit["value"] == "bits per byte"
    assert ">Perplexity, as a multiple of Base" in drawn(chart, unit="ratio to Base")
    alone = charts.self_perplexity(own(units=("bits per byte",), models=PAIR))
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
