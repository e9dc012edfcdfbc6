"""What a caption says of itself: how many, by whose protocol, at which scale."""

import altair as alt
import nbformat
import pandas as pd
import pytest

from predact.build import captions
from predact.build.notebook import PROVENANCE
from predact.figures import style


def spec(frame, **encodings):
    shown = alt.Chart(pd.DataFrame(frame)).mark_point().encode(tooltip=[f"{next(iter(frame))}:N"], **encodings)
    return style.figure([shown], []).to_dict()


@pytest.mark.parametrize(
    ("caption", "drawn", "scale", "said"),
    [
        (
            "Figure 2A of the paper: perplexity.",
            spec({"documents": [60, 1200], "model": ["a", "b"]}, y="model:N"),
            "laptop",
            "n = 60 to 1,200 documents; protocol: the paper's; scale: laptop.",
        ),
        (
            "By corpus.",
            spec({"positions": [9, 10], "prompts": [8, 8]}),
            "full",
            "n = 8 prompts; protocol: ours; scale: full.",
        ),
        (
            "Mass; thin: the paper's Figure 3.",
            spec({"n": [12, None], "k": [1, 2]}, x="k:Q"),
            "full",
            "n = 12; protocol: the paper's; scale: full.",
        ),
        ("Share by n, a length.", spec({"n": [1, 50]}, x="n:Q"), "full", "Protocol: ours; scale: full."),
        (
            "Spans.",
            spec({"row": [0, 1, 1], "prompt": ["a", "a", "b"], "protocol": ["paper", "book", "book"]}),
            "full",
            "n = 2 generations; protocol: the paper's and ours; scale: full.",
        ),
        (
            "All pairs.",
            spec({"n": [7, 7], "scale": ["full", "laptop, documents 60"]}),
            "classroom",
            "n = 7; protocol: ours; scale: full and laptop.",
        ),
        ("Words.", {}, "laptop, prompts {{7*7}} <b>", "Protocol: ours; scale: laptop."),
        ("Words.", {}, "<b>", "Protocol: ours."),
    ],
)
def test_a_caption_ends_in_how_many_whose_protocol_and_which_scale(caption, drawn, scale, said):
    assert captions.ending(caption, drawn, scale) == said


def test_captions_of_an_executed_notebook_are_completed_and_nothing_else():
    figure = {"mystnb": {"figure": {"caption": "Figure 4 of the paper.", "name": "fig-a"}}}
    shown = {style.MIME: spec({"prompts": [12], "y": [1]}, y="y:Q")}
    cells = [nbformat.v4.new_code_cell("a", metadata=figure), nbformat.v4.new_code_cell("b")]
    cells[0].outputs = [nbformat.v4.new_output("display_data", shown)]
    cells[1].outputs = [nbformat.v4.new_output("display_data", {PROVENANCE: {"scale": "full"}})]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("text"), *cells])
    captions.complete(notebook)
    assert cells[0].metadata.mystnb.figure == {
        "caption": "Figure 4 of the paper. n = 12 prompts; protocol: the paper's; scale: full.",
        "name": "fig-a",
    }
    assert cells[1].metadata == {}
