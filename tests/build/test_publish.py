"""Publishing: from executed notebooks to a folder, or one line that says what is missing, and nothing is written."""

import json

import pytest

from predact.build import publish
from predact.build.notebook import PROVENANCE, TEXTS_MIME
from predact.claims import summary
from predact.claims.verdict import MIME, claims
from predact.discussion import compared, published
from predact.errors import UserError
from predact.models import runs
from tests.made import row

PAIR = "mine=package:pocket/models/base::package:pocket/models/rlhf"
MODEL = {"source": "x", "revision": None, "dtype": "float32", "template": {}}
RESULT = {"versions": {"predact": "0.1", "torch": "2.13"}, "device": "a GPU", "stage": "scores", "inputs": {}}


def told(**more):
    """What the provenance of a notebook tells."""
    models = {step: MODEL | {"fingerprint": step} for step in ("Base", "RLHF")}
    settings = runs.run("pocket", "laptop", documents=7).settings.model_dump()
    found = {"pair": PAIR, "scale": "laptop, documents 7", "seed": 3, "settings": settings, "commit": "abc1234"}
    return found | {"models": models, "results": [RESULT], "remarks": []} | more


def summaries(chapter):
    place = {"pair": PAIR, "scale": "laptop", "protocol": "paper", "model": "RLHF", "series": "", "x": "1", "n": 9}
    numbers = {"unit": "a unit", "estimate": 1.5, "low": 1.0, "high": 2.0}
    mine = [name for name, each in summary.FIGURES.items() if each.chapter == chapter]
    return {name: [{"figure": name} | place | numbers] for name in mine}


def execute(folder, chapter, provenance=None, figures=None, rows=None, texts=None):
    """Write a notebook as if it had been executed."""
    mine = [row(claim.id, PAIR) for claim in claims().values() if claim.chapter == chapter]
    data = [{MIME: each} for each in (mine if rows is None else rows)]
    kept = summaries(chapter) if figures is None else figures
    data.append({PROVENANCE: told() if provenance is None else provenance, summary.MIME: kept})
    data += [{TEXTS_MIME: texts}] if texts else []
    outputs = [{"output_type": "display_data", "data": each, "metadata": {}} for each in data]
    cells = [{"cell_type": "code", "source": "", "metadata": {}, "outputs": outputs}]
    ran = {"papermill": {"end_time": "2026-11-26T01:02:03+00:00"}}
    folder.mkdir(exist_ok=True)
    (folder / f"{chapter}.ipynb").write_text(json.dumps({"cells": cells, "metadata": ran}))


@pytest.fixture
def notebooks(tmp_path):
    for chapter in publish.CHAPTERS:
        execute(tmp_path / "notebooks", chapter)
    return tmp_path / "notebooks"


def test_results_of_a_pair_are_published_under_its_name(notebooks, tmp_path):
    folder = publish.publish(notebooks, PAIR, tmp_path / "published")
    assert folder == tmp_path / "published/mine" and {path.name for path in folder.iterdir()} == set(published.FILES)
    found = published.read(folder)
    assert [each["id"] for each in found.verdicts] == sorted(claims(), key=lambda id: claims()[id].chapter)
    assert {each["pair"] for each in found.verdicts} == {"mine"} == set(found.figures.pair)
    assert list(found.figures.figure) == list(summary.FIGURES)
    base = found.provenance.models["Base"]
    assert (base.fingerprint, base.parameters) == ("Base", 2_361_024)
    ran = found.provenance.chapters["03_collapse"]
    assert (ran.scale, ran.seed, ran.commit, ran.devices) == ("laptop, documents 7", 3, "abc1234", ["a GPU"])
    assert ran.settings["documents"] == 7 and "top_p" not in ran.settings and ran.versions["torch"] == "2.13"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    publish.publish(notebooks, PAIR, tmp_path / "published")
    assert before == {path: path.read_bytes() for path in folder.iterdir()}, "the same once more"


def test_texts_are_published_only_where_they_are_asked_for(notebooks, tmp_path):
    root = tmp_path / "published"
    with pytest.raises(UserError, match="no chapter has kept texts; run `predact run --only 04`"):
        publish.publish(notebooks, PAIR, root, texts=True)
    assert not root.exists()
    said = [{"model": "RLHF", "prompt": "Why?", "generation": "<b>Because</b>\u2028\r\n=1+1"}]
    execute(notebooks, "04_anchor_spans", texts=said)
    folder = publish.publish(notebooks, PAIR, root, texts=True)
    found = published.read(folder)
    assert [text.model_dump() for text in found.texts] == said
    assert compared.texts([found]).to_dict("records") == [said[0] | {"pair": "mine"}]
    (folder / published.TEXTS).write_text("")
    with pytest.raises(UserError, match="texts.jsonl is not the file that pair.json was written with"):
        published.read(folder)
    (folder / published.TEXTS).unlink()
    with pytest.raises(UserError, match="texts.jsonl is not the file"):
        published.read(folder)
    publish.publish(notebooks, PAIR, root, texts=True)
    publish.publish(notebooks, PAIR, root)
    assert published.read(folder).texts == [] and not (folder / published.TEXTS).exists()
    execute(notebooks, "04_anchor_spans", texts=[said[0] | {"model": "Other"}])
    with pytest.raises(UserError, match="texts of 'Other', which is no model of this pair"):
        publish.publish(notebooks, PAIR, root, texts=True)


def other(**more):
    models = {step: MODEL | {"fingerprint": "other"} for step in ("Base", "RLHF")}
    return told(**{"models": models} | more)


def bare(name):
    return {key: value for key, value in told().items() if key != name}


BAD = summaries("03_collapse")
BAD["3"] = [BAD["3"][0] | {"low": 2.5}]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"provenance": other()}, "Base in 03_collapse is not that of other chapters; run `predact run --only 03`"),
        ({"provenance": bare("commit")}, "03_collapse has no provenance"),
        ({"provenance": {}}, "03_collapse has no provenance"),
        ({"provenance": told(pair="yours")}, "03_collapse was executed for 'yours'"),
        ({"provenance": told(results=[])}, "03_collapse used no stored result"),
        ({"figures": {}}, "03_collapse has no summary of Figure 3; run `predact run --only 03`"),
        ({"figures": BAD}, "the summary in 03_collapse: expected that low is at most high"),
        ({"rows": [row("C3", PAIR, estimate=float("nan"))]}, "expected of C3 three finite numbers"),
    ],
)
def test_what_is_not_whole_is_refused_in_one_line_and_nothing_is_written(notebooks, tmp_path, given, said):
    execute(notebooks, "03_collapse", **given)
    with pytest.raises(UserError, match=said) as caught:
        publish.publish(notebooks, PAIR, tmp_path / "published")
    assert "\n" not in str(caught.value) and not (tmp_path / "published").exists()


def test_every_chapter_with_a_claim_must_have_been_executed(notebooks, tmp_path):
    (notebooks / "04_anchor_spans.ipynb").unlink()
    (notebooks / "06_planning.ipynb").unlink()
    said = "04_anchor_spans, 06_planning not executed for 'mine=.*; run `predact run --only 04`"
    with pytest.raises(UserError, match=said):
        publish.publish(notebooks, PAIR, tmp_path / "published")


def test_a_pair_whose_configurations_are_not_here_must_tell_its_size(notebooks, tmp_path):
    for chapter in publish.CHAPTERS:
        execute(notebooks, chapter, told(pair="gone.json"))
    pair = tmp_path / "gone.json"
    models = {step: {"source": "org/gone", "fingerprint": step} for step in ("Base", "RLHF")}
    pair.write_text(json.dumps({"models": models}))
    for chapter in publish.CHAPTERS:
        execute(notebooks, chapter, told(pair=str(pair)))
    with pytest.raises(UserError, match="Or set `parameters`, in billions, in a pair file"):
        publish.publish(notebooks, str(pair), tmp_path / "published")
    pair.write_text(json.dumps({"models": models, "parameters": 1.5}))
    (folder,) = [publish.publish(notebooks, str(pair), tmp_path / "published")]
    assert published.read(folder).provenance.models["RLHF"].parameters == 1_500_000_000
