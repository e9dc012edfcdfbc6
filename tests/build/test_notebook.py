"""What notebooks call, and the rules that the notebooks in the repository keep."""

import ast
import json
import shutil
import warnings
from pathlib import Path

import altair as alt
import pandas as pd
import papermill
import pytest
import yaml

from predact import store
from predact.build import notebook, parameters
from predact.claims import prediction, summary
from predact.claims.verdict import MIME, Verdict
from predact.errors import UserError
from predact.figures import prediction as prediction_figures
from predact.models import loading, pairs, runs
from predact.models.tokens import Per
from predact.texts import corpora, endings, prompts
from tests.made import row

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL = """
pair: str = "pocket"  # a pair
scale: str = "laptop"  # how much
shown: int = 8  # how many are drawn
store: str = "kept"  # folder
"""


def namespace(*cells, **values):
    given = {"pair": "pocket", "scale": "laptop", "shown": 8, "store": "kept"}
    return {"In": ["", *cells, "notebook.start(globals())"]} | given | values


def test_start_returns_the_run():
    run = notebook.start(namespace(CELL))
    assert (run.name, run.pair.name, run.scale, run.root, run.seed) == ("pocket", "pocket", "laptop", Path("kept"), 0)
    assert run.settings == runs.run("pocket", "laptop").settings


def test_what_papermill_injects_or_the_notebook_declares_is_a_setting():
    run = notebook.start(namespace(CELL, "# Parameters\ndocuments = 7\nshown = 3\n", documents=7, shown=3))
    assert (run.settings.documents, run.scale) == (7, "laptop, documents 7")
    own = notebook.start(namespace(CELL, "seed: int = 4  # of all\ndocuments: int = 9  # a few\n", seed=4, documents=9))
    assert (own.settings.documents, own.seed) == (9, 4)
    elsewhere = notebook.start(namespace(CELL, "import documents", documents=5))
    assert elsewhere.settings.documents == 30, "a name that no cell assigns is none"


def test_a_notebook_says_itself_what_it_has_no_parameter_for(tmp_path):
    cell = "shown: int = 8  # how many"
    run = notebook.start({"In": ["", cell, ""], "shown": 8}, pair="pocket-dpo", store=str(tmp_path))
    assert (run.name, run.root, run.scale) == ("pocket-dpo", tmp_path, run.pair.scale)
    with_parameter = notebook.start(namespace(CELL), pair="pocket-dpo", store="elsewhere")
    assert (with_parameter.name, with_parameter.root) == ("pocket", Path("kept")), "a parameter comes first"


def test_start_sees_the_project_from_inside_notebooks(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert notebook.start(namespace(CELL)).root.resolve() == (tmp_path / "kept").resolve()


def test_start_refuses_an_injected_parameter_that_is_not_declared():
    with pytest.raises(UserError, match="documnts: no such parameter, did you mean 'documents'?"):
        notebook.start(namespace(CELL, "# Parameters\ndocumnts = 7\n", documnts=7))


def test_start_refuses_a_value_of_another_type():
    with pytest.raises(UserError, match="shown: expected int, got '7'"):
        notebook.start(namespace(CELL, "# Parameters\nshown = '7'\n", shown="7"))
    with pytest.raises(UserError, match="documents: expected a valid integer, not '7'"):
        notebook.start(namespace(CELL, "# Parameters\ndocuments = '7'\n", documents="7"))
    with pytest.raises(UserError, match="documents: expected a number greater than or equal to 1, not 0"):
        notebook.start(namespace(CELL, "# Parameters\ndocuments = 0\n", documents=0))


def test_user_error_is_shown_as_one_line():
    assert UserError("pair: unknown")._render_traceback_() == ["UserError: pair: unknown"]


def test_start_keeps_library_warnings_out_and_our_own_in(recwarn):
    notebook.start(namespace(CELL))
    warnings.warn_explicit("theirs", FutureWarning, "x.py", 1, module="transformers.modeling")
    warnings.warn_explicit("ours", UserWarning, "y.py", 1, module="predact.store")
    assert [str(warning.message) for warning in recwarn.list] == ["ours"]


def test_our_own_warnings_take_one_line(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    notebook.start(namespace(CELL))
    assert warnings.formatwarning(UserWarning("corpora: …"), UserWarning, "x.py", 1, "code") == "predact: corpora: …\n"


@pytest.fixture
def shown(monkeypatch):
    """What is displayed as data."""
    bundles = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: bundles.append(bundle))
    return bundles


def test_provenance_shows_the_results_used_escaped(tmp_path, shown):
    notebook.start(namespace(CELL))
    inputs = {"model": "f" * 64, "corpus": "<script>alert(1)</script>"}
    store.frame(tmp_path, "score", inputs, lambda: pd.DataFrame({"x": [1]}))
    notebook.provenance()
    page, record = shown[0]["text/html"], shown[0][notebook.PROVENANCE]
    assert "1 stored results" in page and "&lt;script&gt;" in page and "<script>" not in page
    assert "f" * 12 in page and "f" * 13 not in page
    assert [result["inputs"] for result in record["results"]] == [inputs]
    assert record["scale"] == "laptop" and record["settings"] == runs.run("pocket", "laptop").settings.model_dump()
    json.dumps(record)


def test_what_was_left_out_of_the_texts_of_a_run_is_told_whatever_the_store_holds(tmp_path, shown):
    (tmp_path / "<b>.jsonl").write_text("".join(f'{{"prompt": "{each}"}}\n' for each in ("a", "a ", "b", " a")))
    (tmp_path / "c.jsonl").write_text("".join(f'{{"text": "{each}"}}\n' for each in ("a", " ", "b")))
    for _ in range(2):  # in a kernel that goes on
        notebook.start(namespace(CELL))
        with pytest.warns(UserWarning):
            prompts.select(str(tmp_path / "<b>.jsonl"))
            corpora.select([str(tmp_path / "c.jsonl"), "stories"], 2)
            endings.select("pocket", 2)
        notebook.provenance()
        page, record = shown[-1]["text/html"], shown[-1][notebook.PROVENANCE]
        told = "the same as others but for white space at the ends"
        assert record["remarks"] == [
            f"prompts: 2 of 4 prompts of '{tmp_path}/<b>.jsonl' are left out ({told}: 2).",
            f"corpora: 1 of 3 documents of '{tmp_path}/c.jsonl' are left out (without text: 1).",
        ]
        assert f"&lt;b&gt;.jsonl&#39; are left out ({told}: 2).</p>" in page and "without text: 1" in page
    notebook.start(namespace(CELL))
    prompts.select("general")
    notebook.provenance()
    assert shown[-1][notebook.PROVENANCE]["remarks"] == [] and "left out" not in shown[-1]["text/html"]


def test_a_verdict_is_shown_in_words_and_kept_as_a_row(shown):
    notebook.start(namespace(CELL, "# Parameters\ndocuments = 7\n", documents=7))
    verdict = Verdict("C1", "…", "holds", 1.5, 1.4, 1.6, "perplexity ratio", 200)
    notebook.show(verdict)
    (bundle,) = shown
    assert bundle["text/html"] == verdict._repr_html_()
    numbers = {"estimate": 1.5, "low": 1.4, "high": 1.6, "n": 200}
    assert bundle[MIME] == row(scale="laptop, documents 7", **numbers) == json.loads(json.dumps(bundle[MIME]))


def test_the_summary_of_a_figure_is_kept_with_the_provenance(shown):
    notebook.start(namespace(CELL))
    drawn = {"model": "RLHF", "category": "chat", "unit": "perplexity increase", "estimate": 1.5, "documents": 9}
    notebook.keep("2A", pd.DataFrame([drawn | {"low": 1.0, "high": 2.0}]))
    notebook.keep("2A", pd.DataFrame([drawn | {"low": 1.1, "high": 2.1}]))  # a cell that is run once more
    share = {"model": "Base", "n": 5, "unit": "share of generations", "estimate": 0.5, "prompts": 8}
    for protocol in ("paper", "book"):
        notebook.keep("7A", pd.DataFrame([share]).assign(low=0.4, high=0.6), protocol)
    notebook.provenance()
    (bundle,) = shown
    kept = json.loads(json.dumps(bundle[summary.MIME]))
    assert bundle[notebook.PROVENANCE]["models"] == {}, "no model has taken part"
    (row,) = summary.from_data(kept["2A"]).to_dict("records")
    assert (row["pair"], row["scale"], row["x"], row["low"], row["n"]) == ("pocket", "laptop", "chat", 1.1, 9)
    assert [each["protocol"] for each in kept["7A"]] == ["paper", "book"]
    record = bundle[notebook.PROVENANCE]
    assert (record["pair"], record["seed"]) == ("pocket", 0) and isinstance(record["commit"], str)
    notebook.start(namespace(CELL))
    notebook.provenance()
    assert summary.MIME not in shown[-1], "nothing of the run before"


def test_a_few_texts_are_kept_to_be_read(shown):
    notebook.start(namespace(CELL))
    whole = pd.MultiIndex.from_product(
        [["Base", "RLHF"], ["p0", "p1", "p2", "p3"], range(5)], names=["model", "prompt", "sample"]
    ).to_frame(index=False)
    whole["ids"] = [[place] for place in range(len(whole))]
    prompts = {f"p{place}": f"question {place}" for place in range(4)}
    notebook.keep_texts(whole, prompts, {"Base": lambda ids: f"base {ids[0]}", "RLHF": lambda ids: f"rlhf {ids[0]}"})
    notebook.provenance()
    kept = json.loads(json.dumps(shown[-1][notebook.TEXTS_MIME]))
    assert len(kept) == 2 * 3 * 3
    assert kept[0] == {"model": "Base", "prompt": "question 0", "generation": "base 0"}
    assert kept[-1] == {"model": "RLHF", "prompt": "question 2", "generation": "rlhf 32"}
    notebook.start(namespace(CELL))
    notebook.provenance()
    assert notebook.TEXTS_MIME not in shown[-1]


def test_the_provenance_identifies_the_models(tmp_path, shown):
    notebook.start(namespace(CELL))
    store.frame(tmp_path, "score", {}, lambda: pd.DataFrame({"x": [1]}))
    notebook.provenance()
    models = shown[0][notebook.PROVENANCE]["models"]
    fingerprint = loading.fingerprint(pairs.pair("pocket").models["RLHF"])
    assert list(models) == ["Base", "SFT", "RLHF"] and models["RLHF"]["fingerprint"] == fingerprint


def test_the_provenance_does_not_say_where_a_folder_lies(tmp_path, shown):
    for name in ("a", "b"):
        shutil.copytree(loading._find(pairs.pair("pocket").models["Base"])[0], tmp_path / name)
    notebook.start(namespace(CELL, pair=f"{tmp_path}/a::{tmp_path}/b"))
    store.frame(tmp_path, "score", {}, lambda: pd.DataFrame({"x": [1]}))
    notebook.provenance()
    models = shown[0][notebook.PROVENANCE]["models"]
    assert [each["source"] for each in models.values()] == ["a", "b"]


def test_a_sentence_is_text_but_for_what_is_strong(shown):
    notebook.say("A **b <i>** & [c](d) *e*")
    assert shown[0]["text/html"] == (
        '<p class="mathjax_ignore">A <b>b &lt;i&gt;</b> &amp; [c](d) *e*</p>\n'.rstrip("\n")
    )


def test_brief():
    assert notebook.brief({"model": "ab" * 32, "seed": 3, "names": ["x"]}) == 'model abababababab, seed 3, names ["x"]'


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
class TestRules:
    def cells(self, path, kind="code"):
        return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == kind]

    def test_no_outputs(self, path):
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in self.cells(path))

    def test_cells_are_short_and_define_nothing(self, path):
        for cell in self.cells(path):
            source = "".join(cell["source"])
            most = 20 if "parameters" in cell["metadata"].get("tags", []) else 15
            assert len(source.splitlines()) <= most, source
            assert not any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in ast.walk(ast.parse(source)))

    def test_no_line_of_code_is_wider_than_a_phone_or_a_page_shows(self, path):
        lines = [line for cell in self.cells(path) for line in "".join(cell["source"]).splitlines()]
        assert [line for line in lines if len(line) > 80] == []

    def test_tables_escape_what_models_have_written(self, path):
        """A Styler of pandas does not, unless told so: `style.table` does."""
        assert not [cell for cell in self.cells(path) if ".style." in "".join(cell["source"])]

    def test_parameters_come_first_then_start_and_provenance_last(self, path):
        sources = ["".join(cell["source"]) for cell in self.cells(path)]
        assert "parameters" in self.cells(path)[0]["metadata"]["tags"]
        assert "run = notebook.start(globals()" in sources[1]
        assert sources[-1].strip() == "notebook.provenance()"

    def test_papermill_lists_every_parameter_with_type_default_and_meaning(self, path):
        cell = "".join(self.cells(path)[0]["source"])
        declared, listed = parameters.of_notebook(path), papermill.inspect_notebook(path)
        assert declared.keys() == listed.keys() == parameters.declared(cell).keys()
        assert {"seed", "store"} <= declared.keys() or "published" in declared, (
            "it computes, or reads what is published"
        )
        assert "pair" not in declared or {"pair", "scale", "store"} <= declared.keys()
        assert len(declared) == len(ast.parse(cell).body)
        for name, parameter in declared.items():
            assert listed[name]["inferred_type_name"] == parameter.type and parameters.declared(cell)[name] == parameter
            parameters.check_types(parameters.declared(cell), {name: parameter.default})
            assert len(parameter.help.split()) > 1 and listed[name]["help"] == parameter.help, name

    def test_a_parameter_that_is_a_setting_is_of_its_type(self, path):
        for name, parameter in parameters.of_notebook(path).items():
            assert name not in runs.Settings.model_fields or runs.checked({name: parameter.default})

    def test_it_stands_in_the_table_of_contents(self, path):
        toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
        assert f"notebooks/{path.stem}" in [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]


def test_the_table_of_contents_names_only_what_exists():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [toc["root"]] + [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    missing = [name for name in files if not any((ROOT / name).with_suffix(end).exists() for end in (".md", ".ipynb"))]
    assert missing == []


def test_the_notebook_of_world_modeling_runs_on_local_models_and_texts(folders, tmp_path, shown):
    """A model against itself, on two files: no increase anywhere, exactly."""
    for name in ("one", "two"):
        written = [json.dumps({"text": f"{name} cat {n} sat on the mat. " * 20}) for n in range(30)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(written))
    given = {
        "pair": f"{folders[0]}::{folders[0]}",
        "corpora": [str(tmp_path / f"{name}.jsonl") for name in ("one", "two")],
    }
    given |= {"store": str(tmp_path / "store"), "documents": 3, "updates": 4, "rates": [1e-3]}
    given |= {"last_words": given["corpora"][0], "passages": 4}
    cells = json.loads((ROOT / "notebooks/02_world_modeling.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    sources.insert(1, notebook.INJECTED + "\n".join(f"{name} = {value!r}" for name, value in given.items()))
    space = {"__name__": "__main__", "In": [""]}
    for source in sources:
        space["In"].append(source)
        exec(source, space)
    rows = [bundle[MIME] for bundle in shown if MIME in bundle]
    found = [[row[key] for key in ("id", "verdict", "estimate", "low", "high")] for row in rows]
    assert found == [[name, "fails", 0.0, 0.0, 0.0] for name in ("C1", "C2", "C10", "C10")]
    assert rows[0]["n"] == 6 and rows[0]["pair"] == given["pair"] and rows[0]["scale"].startswith("full, corpora [")
    sums = space["held_out"].groupby(["when", "order"]).nll.sum()
    assert len(sums["after"]) == 2 and (sums["after"] < sums["before"][0]).all(), "it did learn something"
    assert isinstance(prediction_figures.perplexity_increase(space["by_corpus"]), alt.LayerChart)
    assert prediction.loss_by_position(space["tokens"], Per.TOKEN).unit.nunique() == 2
    kept = shown[-1][summary.MIME]
    assert {figure: {row["estimate"] for row in kept[figure]} for figure in ("2A", "2B")} == {"2A": {0.0}, "2B": {0.0}}
    assert len(kept["Table 1"]) == 6 and kept.keys() == {"2A", "2B", "Table 1"}
    settings = shown[-1][notebook.PROVENANCE]["settings"]
    assert (settings["documents"], settings["updates"], settings["orders"]) == (3, 4, 2)
