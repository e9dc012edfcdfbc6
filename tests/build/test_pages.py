"""The computed pages: what stands in their tables, and that nothing in a name or a number is markup."""

from predact.build import pages
from predact.claims.verdict import claims
from tests.made import row


def test_scorecard_page():
    shown = row("C1", "a|b`c", n=1200, estimate=1.41234, low=1.38, high=None, scale="laptop, corpora ['x|y']")
    text = pages.scorecard([shown], shown["pair"], ["02_world_modeling"])
    assert text.startswith("Computed for the pair `a\\|b'c`, at the scale `laptop, corpora ['x\\|y']`.")
    assert "| [C1](../notebooks/02_world_modeling.ipynb) |" in text
    assert "{bdg-success}`holds` 1.412 [1.380, –] perplexity ratio, n = 1,200 |" in text
    assert "| C3 |" in text and text.count("not yet run") == len(claims()) - 1 and "Published" not in text


def test_a_pair_that_was_not_run_has_no_scale():
    text = pages.scorecard([], "pocket", [])
    assert text.startswith("Computed for the pair `pocket`.\n") and text.count("not yet run") == len(claims())


def test_published_verdicts_of_the_pair_at_another_scale_stand_beside():
    mine = [row("C1", scale="laptop"), row("C2", scale="laptop, documents 7")]
    published = [row("C1", estimate=2.0), row("C2", "pocket-dpo"), row("C3", scale="laptop")]
    text = pages.scorecard(mine, "pocket", [], published)
    assert text.startswith("Computed for the pair `pocket`, at the scale `laptop; laptop, documents 7`.")
    head, _, first, second, third = text.splitlines()[2:7]
    assert head.endswith("| Published, at full scale |")
    assert first.endswith("| {bdg-success}`holds` 2.000 [1.300, 1.500] perplexity ratio, n = 900 |")
    assert second.endswith("| – |") and third.endswith("| – |"), "nothing published"
    same = pages.scorecard([row("C1")], "pocket", [], [row("C1", estimate=2.0)])
    assert "Published" not in same, "the same scale is not told twice"


def test_our_own_rule_stands_below_the_papers():
    rows = [row("C6"), row("C6", protocol="book", verdict="fails", estimate=0.5)]
    lines = pages.scorecard(rows, "pocket", []).splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith("| C6 |"))
    assert "`holds` 1.400" in lines[at] and lines[at + 1].startswith(f"|  | {pages.OURS} |")
    assert "`fails` 0.500" in lines[at + 1]
    text = pages.pairs(rows, "pocket")
    assert ">C6<" in text and ">C6, ours<" in text and text.index(">C6<") < text.index(">C6, ours<")


def test_the_table_of_all_pairs():
    made = row(unit="ratio <b>", estimate=1.41234, low=1.38)
    rows = [made | {"pair": name} for name in ("a", "mine=org/a::org/<b>")]
    rows.append(made | {"id": "C9", "pair": "a", "verdict": "undecided", "estimate": None, "low": None, "high": None})
    text = pages.pairs(rows, "mine=org/a::org/<b>")
    assert text.startswith("```{raw} html\n") and text.index(">mine<") < text.index(">a<"), "the book's own pair first"
    assert '<td class="holds"><b>1.412</b> <span>[1.380, 1.500]</span><i>holds</i></td>' in text
    assert "ratio &lt;b&gt;" in text and text.count("<td>–</td>") == 2 * len(claims()) - 3
    assert '<td class="undecided"><b>–</b>' in text
    assert "1.412" not in pages.pairs(rows, "a", numbers=False) and "holds" in pages.pairs(rows, "a", numbers=False)
