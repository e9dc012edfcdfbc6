"""Claims are found, rows are named, rules are shared; and one file is enough for a claim more."""

import importlib
import inspect
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

import predact.claims
from predact import cli
from predact.build import check, pages
from predact.claims import verdict
from predact.claims.verdict import Verdict
from predact.discussion import ladder
from predact.figures import across as across_figures
from predact.models import runs
from tests.made import executed

CLAIMS = verdict.claims()
ROW = Verdict("C1", CLAIMS["C1"].claim, "holds", 1.5, 1.4, 1.6, "perplexity ratio", 200)


def test_claims_and_the_notebooks_that_test_them():
    assert list(CLAIMS) == [f"C{n}" for n in range(1, len(CLAIMS) + 1)] and len(CLAIMS) >= 9
    assert all(id == claim.id for id, claim in CLAIMS.items())
    assert {claim.chapter[:2] for claim in CLAIMS.values()} == {"02", "03", "04", "05", "06"}


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        ([1.01, 1.2], [1.1, 1.3], "holds"),
        ([1.0, 1.2], [1.1, 1.3], "undecided"),
        ([0.8, 1.2], [1.0, 1.3], "fails"),
        ([0.8, 0.9], [1.2, 1.1], "undecided"),
        ([1.0], [1.0], "fails"),
    ],
)
def test_a_claim_about_every_case_needs_every_interval(low, high, said):
    assert verdict.all_above(pd.Series(low), pd.Series(high), nothing=1) == said


def test_the_one_row_of_a_frame_is_its_only_one():
    frame = pd.DataFrame({"x": [1, 2]})
    assert verdict.only(frame[frame.x == 2]).x == 2
    for none_or_two in (frame[frame.x > 2], frame):
        with pytest.raises(ValueError):
            verdict.only(none_or_two)


@pytest.mark.parametrize("estimate", [1.0, float("nan")])
def test_without_an_interval_it_is_undecided_and_the_book_goes_on(estimate):
    row = pd.Series({"estimate": estimate, "low": float("nan"), "high": float("nan")})
    found = verdict.conclude(CLAIMS["C1"], "holds", row, "perplexity ratio", 1, protocol="book")
    assert (found.verdict, found.estimate, found.low, found.high, found.n) == ("undecided", None, None, None, 0)
    assert found.unit == "perplexity ratio: fewer than two prompts or documents could be measured"
    assert found.protocol == "book"


def test_what_cannot_be_compared_is_undecided():
    row = verdict.unmeasured(CLAIMS["C3"], "more mass")
    assert (row.id, row.verdict, row.estimate, row.low, row.high, row.n) == ("C3", "undecided", None, None, None, 0)
    assert row.protocol == "paper" and verdict.unmeasured(CLAIMS["C3"], "", "book").protocol == "book"
    assert row.unit == "more mass: not compared, for the tokenizers differ"


def test_a_row_has_the_pair_and_the_scale_of_its_run():
    row = ROW.of_run(runs.run("pocket", "laptop", documents=7))
    assert list(row) == "id claim verdict estimate low high unit n null protocol pair scale".split()
    assert (row["pair"], row["scale"], row["null"]) == ("pocket", "laptop, documents 7", None)
    assert (ROW.pair, ROW.scale) == ("", ""), "a verdict itself belongs to no run"


def test_a_verdict_reads_as_a_sentence():
    assert "C1 holds</b> for this pair, by our own measure: <em>" in replace(ROW, protocol="book")._repr_html_()
    text = " ".join(ROW._repr_html_().split())
    assert "Estimate: perplexity ratio 1.500, 95 % interval 1.400 to 1.600, n = 200." in text
    assert "by chance 0.500, n" in replace(ROW, null=0.5)._repr_html_()
    assert "perplexity –, 95 % interval – to –" in verdict.unmeasured(CLAIMS["C1"], "", why="perplexity")._repr_html_()


TOY = '''"""C99: a toy is a toy."""

import numpy as np

from predact.claims.materials import Work
from predact.claims.verdict import Claim, Rung, all_above, conclude, only

CLAIM = Claim(
    id="C99",
    claim="A toy is a toy.",
    figure="Figure 0",
    chapter="02_world_modeling",
    work=lambda run: {"toys": Work(scored=1000 * len(run.pair.models))},
    rungs=lambda run: [Rung("C99", "toys", [np.repeat([[[2, 1]], [[4, 1]]] * 2, len(run.pair.models), axis=1)])],
)


def judge(frame):
    return conclude(CLAIM, all_above(frame.low, frame.high, nothing=0), only(frame), "toys", 9)
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A claim more: one file in a folder that belongs to the package, for the time of a test."""
    before = check.total(runs.run("pocket", "laptop"))
    (tmp_path / "toys").mkdir()
    (tmp_path / "toys/toy.py").write_text(TOY)
    monkeypatch.setattr(predact.claims, "__path__", [*predact.claims.__path__, str(tmp_path / "toys")])
    importlib.invalidate_caches()
    yield importlib.import_module("predact.claims.toy"), before
    del sys.modules["predact.claims.toy"], predact.claims.toy


def test_one_file_is_enough_for_a_claim_more(toy, tmp_path, monkeypatch, capsys):
    module, before = toy
    run = runs.run("pocket", "laptop")
    assert list(verdict.claims()) == [*CLAIMS, "C99"] and verdict.claims()["C99"] is module.CLAIM
    frame = pd.DataFrame({"estimate": [2.0], "low": [1.0], "high": [3.0]})
    shown = module.judge(frame).of_run(run)
    assert (shown["id"], shown["verdict"], shown["pair"], shown["scale"]) == ("C99", "holds", "pocket", "laptop")
    card = pages.scorecard([shown], "pocket", ["02_world_modeling"])
    assert (
        '<a href="../notebooks/02_world_modeling.html">C99</a></td>\n<td>A toy is a toy. <em>(Figure 0)</em></td>'
        in card
    )
    assert ">holds</span> 2.000 [1.000, 3.000] toys, n = 9</td>" in card
    assert card.count("not yet run") == len(CLAIMS)
    table = across_figures.verdicts([shown], "pocket").data.replace("\n", "")
    assert '<th scope="row" title="A toy is a toy."><b>C99</b> toys</th><td class="holds"><b>2.000</b>' in table
    work = check.total(run)
    assert (work.scored - before.scored, work.sampled, work.learned) == (3000, before.sampled, before.learned)
    for name, claim in CLAIMS.items():
        (own,) = (each for each in vars(predact.claims).values() if getattr(each, "CLAIM", None) is claim)
        monkeypatch.setattr(own, "CLAIM", replace(claim, rungs=verdict.no_rungs))
        assert verdict.claims()[name].rungs(run) == []
    climbed = ladder.of_run(run)
    assert set(climbed.claim) == {"C99"} and set(climbed.measure) == {"toys"} and set(climbed.n) == {4}
    assert climbed.estimate.tolist() == [3, 3, 3, 0, 0, 0]
    executed(tmp_path / "_build/pocket/notebooks/02_world_modeling.ipynb", shown)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["predact", "scorecard"])
    with pytest.raises(SystemExit):
        cli.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == ["C99  A toy is a toy.", "    holds: 2.000 [1.000, 3.000] toys, n = 9"]
    assert len(lines) == 2 * len(CLAIMS) + 2


def test_it_is_gone_when_its_file_is():
    assert list(verdict.claims()) == list(CLAIMS) and "predact.claims.toy" not in sys.modules


def test_every_module_of_a_claim_has_a_rule_and_names_what_exists():
    chapters = {path.stem for path in Path(__file__).parents[2].joinpath("notebooks").glob("*.ipynb")}
    for claim in CLAIMS.values():
        (module,) = (each for each in vars(predact.claims).values() if getattr(each, "CLAIM", None) is claim)
        assert callable(module.judge) and claim.chapter in chapters and claim.claim.endswith(".")
        assert module.__doc__.startswith(f"{claim.id}: ") or claim.id in inspect.getdoc(module.judge), module.__name__
