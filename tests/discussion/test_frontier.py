"""The recorded runs as frames: reward and excess by hand, shared passages marked where they are, lines that fit."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import vl_convert

from predact.discussion import frontier
from predact.figures import discussion as discussion_figures
from predact.figures import style
from predact.models import loading, pairs
from predact.pocket import shipped, world


@pytest.fixture(scope="module")
def runs():
    return shipped.runs(shipped.SHIPPED / "trajectories")


@pytest.fixture(scope="module")
def tokenizer():
    return loading.tokenizer(pairs.pair("pocket").models["Base"])


def test_the_floor_is_the_entropy_of_the_recorded_documents():
    floor = frontier.floor(3)
    drawn = [world.document("news", "validation", place) for place in range(3)]
    nats = -sum(each.log_probability for each in drawn)
    assert floor["news"] == pytest.approx(nats / np.log(2) / sum(len(each.text.encode()) for each in drawn))
    assert list(floor.index) == list(world.CORPORA)


def test_a_path_is_what_was_recorded(runs):
    found = frontier.paths(runs)
    name, rows = next(iter(runs.items()))
    mine = found[found.run == name]
    assert len(found) == sum(map(len, runs.values())) and mine.step.tolist() == rows.step.tolist()
    np.testing.assert_allclose(mine.reward, [np.mean(each) for each in rows.rewards], atol=1e-6)
    assert ((mine.low < mine.reward) & (mine.reward < mine.high)).all()
    bits = np.mean([rows[f"bits/{corpus}"].iloc[-1] - frontier.floor()[corpus] for corpus in world.CORPORA])
    assert mine.excess.iloc[-1] == pytest.approx(bits)
    assert found[found.step == 0].drop(columns="run").round(9).drop_duplicates().shape[0] == 1, "all begin at SFT"


def test_shared_passages_are_marked_in_the_text(tokenizer):
    same = "The home town was Lowenfeld."
    texts = [f"Happy to help! {same}", f"They say little. {same} Good luck.", "You ask about someone else entirely."]
    first, second, third = frontier.marked(texts, tokenizer)
    for text, inside in zip(texts[:2], (first, second), strict=True):
        place = text.index("home town")
        assert inside[place : place + len("home town was Lowenfeld")].all() and not inside[:5].any()
    assert not third.any()


@pytest.mark.parametrize("width", [9, 20, 200])
def test_lines_fit_and_lose_nothing(width):
    text = "  one two three four\n\nfive extraordinarily six "
    lines = [text[first:stop] for first, stop in frontier.wrapped(text, width)]
    assert " ".join(lines).split() == text.split()
    assert all(len(line) <= width or " " not in line for line in lines)


def test_pieces_of_answers_stand_where_the_text_has_them(runs, tokenizer):
    one = {name: rows.iloc[[-1]] for name, rows in list(runs.items())[:1]}
    found = frontier.answers(one, tokenizer, {44: 3, 88: 3})
    (rows,) = one.values()
    for width, part in found.groupby("width"):
        assert (part.column + part.text.str.len() <= width).all()
        lines = [" ".join(row.text for row in group.itertuples()) for _, group in part.groupby("line")]
        said = " ".join(" ".join(lines).split())
        for answer in rows.answers.iloc[0][:3]:
            assert re.sub(r"\s", "", answer)[:30] in re.sub(r"\s", "", said)
    assert found.marked.any() and not found.marked.all()


def test_panels_share_their_controls_and_escape_what_is_said(runs, tokenizer):
    paths = frontier.paths(runs)
    said = frontier.answers(runs, tokenizer, discussion_figures.LAYOUTS)
    said.loc[0, "text"] = "</script><b>x"
    base = {"reward": 0.3, "low": 0.1, "high": 0.5, "excess": 0.01}
    made = discussion_figures.frontier_panels(paths, frontier.signs(paths), frontier.mass(runs), said, base)
    page = made["text/html"]
    assert "<b>x" not in page and page.count('class="predact-chart') == 4
    assert '<input type="range" name="step" min="0" max="300" step="25" value="300">' in page
    assert page.count("<option") == len(runs) and page.count("<option selected") == 1
    specs = [json.loads(each) for each in re.findall(r'<script type="application/json">(.*?)</script>', page, re.S)]
    for spec in specs:
        assert {"step", "run"} <= {param["name"] for param in spec["params"]}
        assert spec["width"] == "container" and spec["description"]
        assert "<path" in vl_convert.vegalite_to_svg(spec | {"width": 500}) or spec is specs[3]
    assert {param["name"]: "bind" in param for param in made[style.MIME]["params"]} == {"step": True, "run": True}


def test_signs_are_shares_of_the_largest(runs):
    signs = frontier.signs(frontier.paths(runs))
    assert signs.groupby("measure").share.max().eq(1).all() and signs.measure.nunique() == len(frontier.SIGNS)
    mass = frontier.mass(runs)
    assert isinstance(mass, pd.DataFrame) and (mass.groupby(["run", "step"]).mass.diff().dropna() >= 0).all()
