"""Frames as the claims return them, the figures of these, and what can be read in a drawn picture."""

import functools
import json
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import vl_convert

from predact.claims import backbone, paper, shared_ngrams
from predact.figures import backbone as backbone_figures
from predact.figures import mass as mass_figures
from predact.figures import self_reading as self_reading_figures
from predact.figures import shared_ngrams as shared_ngrams_figures
from predact.figures import skeleton as skeleton_figures
from predact.figures import support as support_figures
from predact.methods import alignments, blueprint
from tests.made import PLANS, SPANS, aligned_rows, planned

NASTY = "</script><b>\\(x\\) & \"q\" 'a'\u2028"


class Page(HTMLParser):
    """Collects the elements of a page and the text below each."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.elements = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])

    def handle_data(self, data):
        self.elements[-1][2] += data


STEPS, PAIR, TEXTS = ("Base", "SFT", "RLHF"), ("Base", "RLHF"), ("gold text", "own generations")
THRESHOLDS = ("1e-04", "1e-08", "1e-12")
NUMBERS = ["estimate", "low", "high", "unit"]


def near(value, unit, width=0.05):
    return round(value, 6), round(value * (1 - width), 6), round(value * (1 + width), 6), unit


def mass(models=STEPS, texts=TEXTS, ks=(*range(1, 10), 30, 100, 300, 1000)):
    """Mass that is 1 - 0.5 / k, and nearer to 1 the later the model and the text, up to a vocabulary of 1,000."""
    rows = []
    for place, (model, text) in enumerate((model, text) for model in models for text in texts):
        for k in ks:
            left = 0.5 / k ** (1 + place / 4) if k < 1000 else 0.0
            rows.append((model, text, k, 1 - left, 1 - 1.2 * left, 1 - 0.8 * left, "probability mass"))
    return pd.DataFrame(rows, columns=["model", "text", "k", *NUMBERS])


def first(models=STEPS, texts=TEXTS):
    return mass(models, texts, range(1, 21))


def percents(models=STEPS, texts=TEXTS):
    places = [(model, text) for model in models for text in texts]
    rows = [(*place, *near(9 + 7 * at, "percent of the vocabulary")) for at, place in enumerate(places)]
    return pd.DataFrame(rows, columns=["model", "text", *NUMBERS])


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
    "mass_curves": lambda **kind: mass_figures.mass_curves(mass(**kind)),
    "by_position": lambda **kind: mass_figures.certainty_along_text(positions(**kind)),
    "first_masses": lambda **kind: mass_figures.first_masses(first(**kind), paper.values("3")),
    "percents": lambda **kind: support_figures.shares(percents(**kind), paper.values("4")),
    "support": lambda **kind: support_figures.support_histograms(*distribution(**kind)),
    "self_perplexity": lambda **kind: self_reading_figures.self_perplexity(own(**kind), paper.values("5")),
    "matrix": lambda **kind: self_reading_figures.reading_matrix(crossed(**kind)),
}
FRAMES = {
    "mass_curves": mass,
    "first_masses": first,
    "percents": percents,
    "by_position": positions,
    "support": lambda: distribution()[1],
    "self_perplexity": own,
    "matrix": crossed,
}
WRITTEN = {}


def written(chart):
    """The specification of a chart; made once, for it takes long."""
    if id(chart) not in WRITTEN:
        WRITTEN[id(chart)] = chart, json.dumps(chart.to_dict())  # the chart is kept, so that its id stays its own
    return json.loads(WRITTEN[id(chart)][1])


def controls(chart):
    return {param["name"]: param for param in written(chart).get("params", []) if "bind" in param}


def told(chart):
    return written(chart)["description"]


def drawn(chart, **state):
    """The picture with its controls in a state, 400 pixels wide."""
    spec = written(chart) | {"width": 400}
    for param in spec.get("params", []):
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


BOTH = ("RLHF", "Base")
SHORT = ["AB"] * 3 + ["A"] * 3 + [""] * 4
ODD = ["<script>alert(1)</script>", "\"q\" 'a'", "`code`\n$x$", "שלום", "</script>\\(x\\)", "&amp;😀"]
TELL = {each: f" {text}" for each, text in zip(SPANS["B"], ODD, strict=True)}  # what the ids of B say
CASES = {  # prompt: model: plans
    "one prompt": {"p": {"RLHF": PLANS, "Base": SHORT}},
    "several prompts": {"p": {"RLHF": PLANS, "Base": SHORT}, "q": {"RLHF": SHORT, "Base": PLANS}},
    "no spans for Base": {"p": {"RLHF": PLANS, "Base": [""] * 10}},
    "no spans at all": {"p": {"RLHF": [""] * 10, "Base": [""] * 10}},
    "one model": {"p": {'it\'s "own"': PLANS}},
    "more than are listed": {"p": {"RLHF": PLANS * 2 + ["A", "AB", "C"], "Base": SHORT * 2 + ["A", "AB", ""]}},
}
TEXT = {"p": f"What? {' '.join(ODD)}", "q": "Another"}


def nasty(ids):
    return "".join(TELL.get(each, f" w{each}") for each in ids)


@functools.cache
def of(case, told=nasty):
    """Alignments, what `blueprint` and `cells` make of them, texts of the prompts, and models."""
    plans = CASES[case]
    models = list(next(iter(plans.values())))
    parts = [aligned_rows(planned(plans[prompt][model]), prompt, model) for model in models[::-1] for prompt in plans]
    aligned, decode = pd.concat(parts, ignore_index=True), dict.fromkeys(models, told)
    prompts = {prompt: TEXT[prompt] for prompt in plans}
    return aligned, blueprint.blueprint(aligned, decode), blueprint.cells(aligned, decode), prompts, models


def by_length(models=BOTH, width=0.1):
    """Shares, smaller the longer the n-gram."""
    rows = [
        (model, text, n, *(round(0.8 / (1 + place + 2 * other) / n, 3) * np.array([1, 1 - width, 1 + width])))
        for place, model in enumerate(models)
        for other, text in enumerate(alignments.TEXTS)
        for n in range(1, 31)
    ]
    frame = pd.DataFrame(rows, columns=["model", "text", "n", "estimate", "low", "high"])
    return frame.assign(unit=shared_ngrams.UNIT, prompts=9)


def along(models=BOTH, others=(1, 5), prompts=4):
    """Curves of chance numbers."""
    draw = np.random.default_rng(0)
    found = {(m, text): draw.integers(0, 100, (prompts, len(others), 10)) for m in models for text in alignments.TEXTS}
    return backbone.mean_curves(found, others)


@functools.cache
def chart(name, case, told=nasty):
    _, drawn, cells, prompts, models = of(case, told)
    if name == "sankey":
        return skeleton_figures.sankey({"book": drawn}, prompts, models).to_json()
    if name == "viewer":
        return backbone_figures.viewer(cells, prompts).to_json()
    if name == "shares":
        return shared_ngrams_figures.shares(by_length(models)).to_json()
    return backbone_figures.companions_along_text(along(models)).to_json()


def shown(spec, width=400, **state):
    """The picture with its controls in a state."""
    spec = json.loads(spec) | {"width": width}
    for each in spec["layer"]:
        each["mark"].pop("limit", None)  # where Vega tries to cut an emoji in two, vl-convert fails; browsers do not
    for param in spec.get("params", []):
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


def felt(svg, *names):
    """What the points of a picture say."""
    keys = [rf"(?:^|; ){re.escape(name)}: ([^;]*)" for name in names]
    return [tuple(re.search(key, label)[1] for key in keys) for label, _, _ in points(svg)]


ALL = {name: functools.cache(build) for name, build in BUILDERS.items()}
BY_TEXT = ["mass_curves", "by_position", "support", "first_masses", "percents"]


def luminance(color):
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
