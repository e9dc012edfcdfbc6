"""Figure 6: every accuracy in its panel, with the paper's beside it."""

import json
import re

import pytest

from predact.claims import foresight, paper
from predact.claims.foresight import BEGINNINGS, OTHERS, QUESTIONS
from predact.figures import foresight as foresight_figures
from predact.models.passages import OWN
from tests.claims.test_foresight import HITS
from tests.figures.made import picture, points, told, written

PANELS = [(BEGINNINGS, OWN), (BEGINNINGS, OTHERS), (QUESTIONS, OWN), (QUESTIONS, OTHERS)]


def drawn(chart):
    return points(picture(json.dumps(written(chart) | {"width": 400})))


def field(label, name):
    return re.search(rf"(?:^|; ){re.escape(name)}: ([^;]*)", label)[1]


@pytest.fixture(scope="module")
def chart():
    return foresight_figures.accuracy(foresight.accuracy(HITS), paper.values("6"))


def test_panels_stand_side_by_side_and_distances_within_them_from_left_to_right(chart):
    found = drawn(chart)
    ours = [each for each in found if "paper: " not in each[0]]
    assert len(ours) == 4 * 2 * 3 and len(found) - len(ours) == 4 * 2 * 3
    order = sorted(ours, key=lambda each: each[1])
    places = [
        (field(label, "kind"), field(label, "text"), field(label, "n"), field(label, "model")) for label, *_ in order
    ]
    assert places == [(*panel, str(n), model) for panel in PANELS for n in (1, 2, 3) for model in ("Base", "RLHF")]


def test_the_papers_values_stand_above_one_another_with_ours(chart):
    found = drawn(chart)
    ours = {round(x, 3) for label, x, _ in found if "paper: " not in label}
    theirs = [each for each in found if "paper: " in each[0]]
    assert {round(x, 3) for _, x, _ in theirs} == ours
    assert all("Llama 2 7B" in field(label, "model") for label, *_ in theirs)
    by_value = sorted(theirs, key=lambda each: float(field(each[0], "value")))
    assert [y for *_, y in by_value] == sorted((y for *_, y in theirs), reverse=True), "on one scale"
    panel = [field(label, "value") for label, *_ in sorted(theirs, key=lambda each: each[1])][12:18]
    assert panel == ["22.348", "23.378", "10.899", "12.369", "8.796", "10.056"], "Helpful, own text"


def test_it_is_told_in_words(chart):
    assert "RLHF, own generations, questions, n = 1: 40.0 (40.0 to 40.0)" in told(chart)
    assert chart.to_dict()["width"] == "container"


def test_where_neither_reads_the_other_two_panels_hold_the_papers_values_alone():
    alone = foresight.accuracy(HITS[HITS.reader == HITS.author])
    found = drawn(foresight_figures.accuracy(alone, paper.values("6")))
    assert len(found) == 2 * 2 * 3 + 24
