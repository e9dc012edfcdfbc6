"""Figures of C2: drawn in every state of their controls; they say what the frames say."""

import functools
import json

import numpy as np
import pandas as pd
import pytest
import vl_convert

from predact.claims import relearning
from predact.figures import relearning as relearning_figures
from predact.models.finetuned import AFTER
from predact.models.tokens import Per
from tests.made import held_out, learned

MODELS = ("Base", "SFT", "RLHF")


@functools.cache
def figures(models=MODELS, world=1.0, reached=True):
    draw = np.random.default_rng(0)
    numbers = {model: (draw.gamma(9, 2, 9) + 5 * n, draw.gamma(9, 2, 9) + n) for n, model in enumerate(models)}
    gaps = relearning.before_and_after(held_out({"news": numbers, "<b>": numbers}, world=world), Per.TOKEN)
    nll = {
        model: draw.gamma(9, 2, (5, 9)) + 8 * n * (reached + 0.0) + 30 * n * (not reached)
        for n, model in enumerate(models)
    }
    tokens = (0, 900, 2000, 4000, 9000)
    path = pd.concat([learned(nll, tokens, corpus, world) for corpus in ("news", "<b>")], ignore_index=True)
    curves = relearning_figures.learning_curves(relearning.learning_curves(path), relearning.recovered(path))
    return tuple(json.dumps(each.to_dict()) for each in (relearning_figures.before_and_after(gaps), curves))


@pytest.mark.parametrize("width", [300, 700])
@pytest.mark.parametrize("kind", [{}, {"models": ("Base", "RLHF"), "world": np.nan}, {"reached": False}])
def test_figures_can_be_drawn_in_every_state_of_their_controls(kind, width):
    for spec in map(json.loads, figures(**kind)):
        assert spec["width"] == "container" and "RLHF" in spec["description"]
        spec |= {"width": width}
        for param in [param for param in spec["params"] if "bind" in param]:
            first = param["value"]
            for value in param["bind"].get("options", [False, True]):
                param["value"] = value
                svg = vl_convert.vegalite_to_svg(spec)
                assert "NaN" not in svg and "undefined" not in svg and "Infinity" not in svg and ">RLHF<" in svg
            param["value"] = first
        names = {param["name"] for param in spec["params"]}
        assert ("steps" in names) is ("models" not in kind)


def test_figures_draw_what_the_frames_say():
    gaps, curves = figures()
    spec = json.loads(gaps) | {"width": 500}
    svg = vl_convert.vegalite_to_svg(spec)
    assert svg.count(" → ") >= 3
    data = next(iter(spec["datasets"].values()))
    one = next(row for row in data if (row["corpus"], row["model"], row["when"]) == ("news", "RLHF", AFTER))
    assert one["change"] in svg and one["change"].endswith(f"{one['estimate']:.3f}")
    alone = {
        **spec,
        "params": [{**each, "value": AFTER} if each["name"] == "show" else each for each in spec["params"]],
    }
    svg = vl_convert.vegalite_to_svg(alone)
    assert " → " not in svg and f">{one['label']}<" in svg
    assert "Tokens learned from" in curves and "Base's start " in curves
