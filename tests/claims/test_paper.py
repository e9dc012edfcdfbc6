"""The paper's own values, as the book shows them."""

import re

import pytest

from predact.claims import paper
from predact.claims.verdict import claims
from predact.figures import style


def test_values_of_a_figure_and_of_a_table():
    bars = paper.values("7", "A")
    assert bars.x.value_counts().to_dict() == {5: 4, 10: 4, 25: 4, 50: 4} and bars.unit.nunique() == 1
    assert bars[(bars.model == "Llama 2 7B RLHF") & (bars.x == 10)].value.item() == pytest.approx(61.0, abs=0.1)
    table = paper.values("Table 4")
    row = table[(table.model == "Llama 2 70B Base") & (table.condition == "p=0.7")]
    assert row.value.tolist() == [5.12, 21.34, 37.56, 48.54] and (row.how == "table").all()
    assert paper.values("1")[["low", "high"]].notna().all(axis=None), "with its band"
    assert set(paper.values("2").panel) == {"A", "B"}


def test_no_values_of_what_the_paper_does_not_show():
    for figure, panel in (("17", ""), ("7", "C")):
        with pytest.raises(ValueError, match=figure):
            paper.values(figure, panel)


def test_they_are_drawn_hollow_with_the_error_of_reading():
    for line, kind in ((False, "point"), (True, "line")):
        spec = style.of_paper(paper.values("3"), "x:Q", "value:Q", line=line).to_dict()
        assert spec["mark"]["type"] == kind and "error" in {each["field"] for each in spec["encoding"]["tooltip"]}
        (rows,) = spec["datasets"].values()
        assert all(row["model"].startswith("paper: Llama 2 70B") for row in rows)


@pytest.mark.parametrize("claim", claims().values(), ids=lambda claim: claim.id)
def test_a_claim_tells_the_papers_numbers_as_the_paper_has_them(claim):
    figures = re.findall(r"(?:Figures? |, | and |to )(\d+|Table \d)|(Table \d)", claim.figure)
    found = [paper.values(one or other) for one, other in figures]
    known = [value for frame in found for value in frame.value]
    known += [value for frame in found for value in frame.groupby(["panel", "model", "condition"]).value.mean()]
    for said in re.findall(r"(?<![\w.])\d+\.\d+", claim.paper):
        tolerance = 0.6 * 10 ** -len(said.partition(".")[2])
        assert any(abs(value - float(said)) <= tolerance for value in known), said
