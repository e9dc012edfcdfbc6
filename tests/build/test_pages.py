"""The computed pages: what stands in their tables, and that nothing in a name or a number is markup."""

import json
from html.parser import HTMLParser

import pytest

from predact.build import notebook, pages
from predact.build.notebook import PROVENANCE
from predact.claims.verdict import Verdict, claims
from predact.figures import across as across_figures
from tests.made import HOSTILE, PARAMETERS, row, write_notebook


def lines(page):
    """The rows of a page's tables, as the texts of their cells."""
    found = []

    class Rows(HTMLParser):
        def handle_starttag(self, tag, _):
            if tag == "tr":
                found.append([])
            if tag in ("td", "th"):
                found[-1].append("")

        def handle_data(self, data):
            if found and found[-1]:
                found[-1][-1] += data

    Rows().feed(page)
    return [[cell.strip() for cell in cells] for cells in found]


def test_scorecard_page():
    shown = row("C1", "a|b`c", n=1200, estimate=1.41234, low=1.38, high=None, scale="laptop, corpora ['<b>']")
    text = pages.scorecard([shown], shown["pair"], ["02_world_modeling"])
    assert "<code>a|b`c</code>, at the scale <code>laptop, corpora [&#39;&lt;b&gt;&#39;]</code>." in text
    assert '<a href="../notebooks/02_world_modeling.html">C1</a>' in text and "<td>C3</td>" in text
    assert lines(text)[1][2] == "holds 1.412 [1.380, –] perplexity ratio, n = 1,200"
    assert "sd-bg-success sd-bg-text-success" in text
    assert text.count("not yet run") == len(claims()) - 1 and "Published" not in text


def test_a_pair_that_was_not_run_has_no_scale():
    text = pages.scorecard([], "pocket", [])
    assert "<code>pocket</code>.</p>" in text and text.count("not yet run") == len(claims())


def test_published_verdicts_of_the_pair_at_another_scale_stand_beside():
    mine = [row("C1", scale="laptop"), row("C2", scale="laptop, documents 7")]
    published = [row("C1", estimate=2.0), row("C2", "pocket-dpo"), row("C3", scale="laptop")]
    text = pages.scorecard(mine, "pocket", [], published)
    assert "at the scale <code>laptop; laptop, documents 7</code>." in text
    head, first, second, third = lines(text)[:4]
    assert head[-1] == "Published, at full scale"
    assert first[-1] == "holds 2.000 [1.300, 1.500] perplexity ratio, n = 900"
    assert second[-1] == third[-1] == "–", "nothing published"
    same = pages.scorecard([row("C1")], "pocket", [], [row("C1", estimate=2.0)])
    assert "Published" not in same, "the same scale is not told twice"


def test_our_own_rule_stands_below_the_papers():
    rows = [row("C6"), row("C6", protocol="book", verdict="fails", estimate=0.5)]
    found = lines(pages.scorecard(rows, "pocket", []))
    (at,) = (number for number, line in enumerate(found) if line[0] == "C6")
    assert found[at][2].startswith("holds 1.400")
    assert found[at + 1][:2] == ["", "↳ by our own, stricter measure"] and found[at + 1][2].startswith("fails 0.500")
    text = across_figures.verdicts(rows, "pocket").data
    assert ">C6<" in text and ">C6, ours<" in text and text.index(">C6<") < text.index(">C6, ours<")


def test_the_table_of_all_pairs():
    made = row(unit="ratio <b>", estimate=1.41234, low=1.38)
    rows = [made | {"pair": name} for name in ("a", "mine=org/a::org/<b>")]
    rows.append(made | {"id": "C9", "pair": "a", "verdict": "undecided", "estimate": None, "low": None, "high": None})
    text = across_figures.verdicts(rows, "mine=org/a::org/<b>").data
    assert text.index(">mine<") < text.index(">a<"), "the book's own pair first"
    assert '<td class="holds"><b>1.412</b> <span>[1.380, 1.500]</span><i>holds</i></td>' in text
    assert "ratio &lt;b&gt;" in text and text.count("<td>–</td>") == 2 * len(claims()) - 3
    assert '<td class="undecided"><b>–</b>' in text
    short = across_figures.verdicts(rows, "a", numbers=False).data
    assert "1.412" not in short and "holds" in short


def test_settings_are_told_with_their_values_at_every_scale():
    found = {line[0]: line[1:] for line in lines(pages.settings())}
    assert found["Setting"] == ["full", "laptop", "classroom", "Says"]
    assert found["documents"][:2] == ["100", "30"]
    assert found["top_k"][:3] == ["0", "", ""], "said once where all agree"
    assert found["prompts"][0] == "''", "an empty text is shown"


class Tags(HTMLParser):
    """Gathers the tags of a page and its text."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = set(), ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags |= {tag, *(name for name, _ in attributes)}

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("hostile", HOSTILE)
def test_nothing_that_a_name_says_is_markup(tmp_path, hostile):
    """Neither a tag, nor an attribute, and it stands on the page as it is."""
    shown = row("C1", hostile, unit=hostile, scale=hostile)
    path = tmp_path / "01_one.ipynb"
    write_notebook(path, PARAMETERS)
    result = {"stage": hostile, "inputs": {hostile: hostile}, "versions": {hostile: hostile}, "device": hostile}
    result |= {"seconds": 1.0, "created": "2026-11-26T01:02:03", "sha256": "f" * 64}
    ran = {"parameters": {"texts": [hostile], "name": hostile}, "start_time": "2026-11-26T01:02:03", "duration": 1}
    made = json.loads(path.read_text())
    data = {PROVENANCE: {"scale": hostile, "settings": {"prompts": hostile}, "results": [result]}}
    data[PROVENANCE] |= {"remarks": [f"{hostile} left out"], "pair": hostile, "commit": hostile}
    made["cells"][1]["outputs"] = [{"output_type": "display_data", "data": data, "metadata": {}}]
    made["metadata"]["papermill"] = ran
    path.write_text(json.dumps(made))
    verdict = Verdict("C1", hostile, "holds", 1.0, 1.0, 1.0, hostile, 2)
    found = {
        "scorecard": pages.scorecard([shown], hostile, []),
        "pairs": across_figures.verdicts([shown], hostile).data,
        "status": pages.status([path]),
        "provenance": notebook._table(data[PROVENANCE]),
        "verdict": verdict._repr_html_(),
    }
    known = {"div", "p", "code", "table", "thead", "tbody", "tr", "th", "td", "a", "em", "br", "span", "h2", "details"}
    known |= {
        "summary",
        "ul",
        "li",
        "b",
        "i",
        "small",
        "class",
        "href",
        "id",
        "scope",
        "title",
        "data-pair",
        "data-commit",
    }
    for name, page in found.items():
        read = Tags(page)
        assert read.tags <= known, name
        words = " ".join(read.text.split())
        assert " ".join(hostile.split()) in words, name
        assert name not in ("status", "provenance") or " ".join(f"{hostile} left out".split()) in words
