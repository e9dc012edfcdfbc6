"""Published results: read whole or refused, each refusal in one line."""

import json

import pytest

from predact.claims import summary
from predact.discussion import published
from predact.errors import UserError
from tests.made import EXECUTION, publish, row


def drawn(pair="mine", figure="2A"):
    place = {"figure": figure, "pair": pair, "scale": "full", "protocol": "paper", "model": "RLHF", "series": ""}
    numbers = {"x": "chat", "unit": "perplexity increase", "estimate": 1.5, "low": 1.0, "high": 2.0, "n": 9}
    return summary.from_data([place | numbers])


def test_what_is_published_is_read_as_it_was(tmp_path):
    rows = [row("C1", "mine"), row("C4", "mine", "undecided", estimate=None, low=None, high=None)]
    publish(tmp_path, "mine", rows, drawn())
    publish(tmp_path, "a::b", [row("C1", "a::b")])
    (tmp_path / "README.md").touch()
    other, mine = sorted(published.read_all(tmp_path), key=lambda each: len(each.verdicts))
    assert mine.verdicts == rows and mine.figures.equals(drawn()) and mine.provenance.models["Base"].parameters == 7e9
    assert other.provenance.pair == "a::b" and other.figures.empty
    assert published.read_all(tmp_path / "nothing") == []


def change(folder, name, old, new):
    """Write something else into a published file, and the checksums as if it had been published so."""
    path = folder / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    told = json.loads((folder / published.PAIR).read_text())
    told["files"] = {each: published._checksum((folder / each).read_bytes()) for each in told["files"]}
    (folder / published.PAIR).write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("pair.json", '"fingerprint"', '"hash"', "pair.json: models.Base.fingerprint: Field required"),
        ("pair.json", '"parameters": 7000000000', '"parameters": 0', "models.Base.parameters: .*greater than 0"),
        ("pair.json", '"RLHF"', '"Chat"', "pair.json does not say which model RLHF is"),
        ("pair.json", '"02_world_modeling"', '"02"', "pair.json does not say how 02_world_modeling was executed"),
        ("pair.json", '"a GPU"', '""', "chapters.02_world_modeling.devices.0: String should have at least 1"),
        ("pair.json", '"2026-11-26T01:02:03Z"', '"lately"', "chapters.02_world_modeling.finished: .*datetime"),
        ("pair.json", '"pair": "mine"', '"pair": "yours"', "the folder of 'yours' is called yours"),
        ("verdicts.json", '"C1"', '"C99"', "expected of C99 a claim that is known"),
        ("verdicts.json", '"mine"', '"yours"', "expected of C1 pair mine"),
        ("verdicts.json", "1.4", "NaN", "expected of C1 three finite numbers"),
        ("verdicts.json", "1.4", "null", "expected of C1 three finite numbers, or none if it is undecided"),
        ("verdicts.json", "1.3", "1.9", "expected of C1 three finite numbers"),
        ("verdicts.json", '"unit"', '"text"', "expected a list of verdicts, each with id, claim"),
        ("verdicts.json", '"holds"', '"perhaps"', "expected of C1 holds, fails or undecided"),
        ("figures.csv", "1.5", "nan", "expected numbers .*nan"),
        ("figures.csv", "1.5", "inf", "estimate is a finite number; not so in Figure 2A"),
        ("figures.csv", "mine", "yours", "figures.csv is about another pair than 'mine'"),
        ("figures.csv", "estimate", "text", "expected the columns figure, pair"),
    ],
)
def test_what_does_not_fit_or_has_no_provenance_is_refused_in_one_line(tmp_path, name, old, new, said):
    folder = publish(tmp_path, "mine", [row("C1", "mine")], drawn())
    published.read(folder)
    change(folder, name, old, new)
    with pytest.raises(UserError, match=said) as caught:
        published.read_all(tmp_path)
    assert "\n" not in str(caught.value) and "publish it again with `predact publish`" in str(caught.value)


def test_a_file_that_is_gone_or_of_another_publication_is_refused(tmp_path):
    folder = publish(tmp_path, "mine", [row("C1", "mine")], drawn())
    (folder / "verdicts.json").write_text("[]")
    with pytest.raises(UserError, match="verdicts.json is not the file that pair.json was written with"):
        published.read(folder)
    (folder / "verdicts.json").unlink()
    with pytest.raises(UserError, match="verdicts.json cannot be read .No such file"):
        published.read(folder)


def test_two_verdicts_by_one_rule_and_figures_of_a_chapter_that_was_not_executed_are_none(tmp_path):
    with pytest.raises(ValueError, match="one verdict on each claim by each rule"):
        publish(tmp_path, "a", [row("C1", "a"), row("C1", "a", "fails")])
    with pytest.raises(ValueError, match="does not say how 05_backbones was executed"):
        publish(tmp_path, "b", [], drawn("b", "13"), chapters={"02_world_modeling": EXECUTION})
