"""What notebooks call, and the rules that the notebooks in the repository keep."""

import ast
import json
from pathlib import Path

import pandas as pd
import papermill
import pytest
import yaml

from predact import store
from predact.build import execute, notebook
from predact.errors import UserError

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL = 'store: str = "kept"  # folder\ndocuments: int = 100  # how many\n'


def namespace(*cells, **values):
    return {"In": ["", *cells, "notebook.start(globals())"], "store": "kept", "documents": 100} | values


def test_start_returns_the_store():
    assert notebook.start(namespace(CELL)) == Path("kept")
    assert notebook.start(namespace(CELL, "# Parameters\ndocuments = 7\n", documents=7)) == Path("kept")


def test_start_sees_the_project_from_inside_notebooks(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").touch()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert notebook.start(namespace(CELL)).resolve() == (tmp_path / "kept").resolve()


def test_start_refuses_an_injected_parameter_that_is_not_declared():
    with pytest.raises(UserError, match="documnts: no such parameter, did you mean 'documents'?"):
        notebook.start(namespace(CELL, "# Parameters\ndocumnts = 7\n", documnts=7))


def test_start_refuses_a_value_of_another_type():
    with pytest.raises(UserError, match="documents: expected int, got '7'"):
        notebook.start(namespace(CELL, "# Parameters\ndocuments = '7'\n", documents="7"))


def test_user_error_is_shown_as_one_line():
    assert UserError("pair: unknown")._render_traceback_() == ["UserError: pair: unknown"]


def test_start_keeps_library_warnings_out_and_our_own_in(recwarn):
    import warnings

    notebook.start(namespace(CELL))
    warnings.warn_explicit("theirs", FutureWarning, "x.py", 1, module="transformers.modeling")
    warnings.warn_explicit("ours", UserWarning, "y.py", 1, module="predact.store")
    assert [str(warning.message) for warning in recwarn.list] == ["ours"]


def test_provenance_shows_the_results_used_escaped(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda bundle, raw: shown.append(bundle))
    notebook.start(namespace(CELL))
    inputs = {"model": "f" * 64, "corpus": "<script>alert(1)</script>"}
    store.frame(tmp_path, "score", inputs, lambda: pd.DataFrame({"x": [1]}))
    notebook.provenance()
    page, record = shown[0]["text/html"], shown[0][notebook.PROVENANCE]
    assert "1 stored results" in page and "&lt;script&gt;" in page and "<script>" not in page
    assert "f" * 12 in page and "f" * 13 not in page
    assert [result["inputs"] for result in record["results"]] == [inputs]
    json.dumps(record)


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

    def test_tables_escape_what_models_have_written(self, path):
        """A Styler of pandas does not, unless told so: `style.table` does."""
        assert not [cell for cell in self.cells(path) if ".style." in "".join(cell["source"])]

    def test_parameters_come_first_then_start_and_provenance_last(self, path):
        sources = ["".join(cell["source"]) for cell in self.cells(path)]
        assert "parameters" in self.cells(path)[0]["metadata"]["tags"]
        assert "notebook.start(globals())" in sources[1]
        assert sources[-1].strip() == "notebook.provenance()"

    def test_papermill_lists_every_parameter_with_type_default_and_meaning(self, path):
        declared, listed = execute.parameters(path), papermill.inspect_notebook(path)
        assert {"store", "seed"} <= declared.keys() == listed.keys()
        assert len(declared) == len(ast.parse("".join(self.cells(path)[0]["source"])).body)
        for name, parameter in declared.items():
            assert listed[name]["inferred_type_name"] == parameter.type
            assert len(listed[name]["help"].split()) > 1, name

    def test_it_stands_in_the_table_of_contents(self, path):
        toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
        assert f"notebooks/{path.stem}" in [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]


def test_the_table_of_contents_names_only_what_exists():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [toc["root"]] + [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    missing = [name for name in files if not any((ROOT / name).with_suffix(end).exists() for end in (".md", ".ipynb"))]
    assert missing == []


def test_the_notebook_of_world_modeling_runs_on_local_models_and_texts(folders, tmp_path):
    """A model against itself, on two files: no increase anywhere, exactly."""
    for name in ("one", "two"):
        written = [json.dumps({"text": f"{name} cat {n} sat on the mat. " * 20}) for n in range(30)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(written))
    notebook = json.loads(Path(__file__).parents[2].joinpath("notebooks", "02_world_modeling.ipynb").read_text())
    space = {"__name__": "__main__"}
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        exec("".join(cell["source"]), space)
        if "parameters" in cell["metadata"].get("tags", []):
            files = [str(tmp_path / f"{name}.jsonl") for name in ("one", "two")]
            space |= {"pair": f"{folders[0]}::{folders[0]}", "corpora": files, "store": str(tmp_path / "store")}
            space |= {"documents": 3, "updates": 4, "rates": [1e-3]}
    rows = space["claims"].scorecard(tmp_path / "store", space["pair"])
    found = [[row[key] for key in ("id", "verdict", "estimate", "low", "high")] for row in rows]
    assert found == [["C1", "fails", 1.0, 1.0, 1.0], ["C2", "fails", 1.0, 1.0, 1.0]]
    assert rows[0]["n"] == 6
    sums = space["held_out"].groupby(["when", "order"]).nll.sum()
    assert len(sums["after"]) == 2 and (sums["after"] < sums["before"][0]).all(), "it did learn something"
    assert isinstance(prediction_figures.perplexity_increase(space["by_corpus"]), alt.LayerChart)
    assert prediction.loss_by_position(space["tokens"]).unit.nunique() == 2
