"""The copy that `predact lab` opens, and what it refuses in a line."""

import json
from pathlib import Path

import pytest

from predact import cli
from predact.errors import UserError
from predact.lab import server

ROOT = Path(__file__).parents[2]


@pytest.fixture
def project(tmp_path):
    """A folder with the notebook of the laboratory."""
    target = tmp_path / server.NOTEBOOK
    target.parent.mkdir()
    target.write_text((ROOT / server.NOTEBOOK).read_text())
    return tmp_path


def test_a_copy_about_the_pair_ends_with_the_laboratory_and_leaves_the_notebook_as_it_is(project):
    before = (project / server.NOTEBOOK).read_text()
    copy = server.copied(project, "pocket-dpo")
    sources = ["".join(cell["source"]) for cell in json.loads(copy.read_text())["cells"] if cell["cell_type"] == "code"]
    assert "# Parameters\npair = 'pocket-dpo'" in sources[1] and sources[-1].endswith("laboratory(run)")
    assert (project / server.NOTEBOOK).read_text() == before
    assert copy.relative_to(project).as_posix() == "_build/lab/pocket-dpo/explore.ipynb"
    copy.write_text("spoilt")
    assert json.loads(server.copied(project, "pocket-dpo").read_text()), "made anew each time"


def test_refusals(project, tmp_path, monkeypatch):
    (tmp_path / "told.jsonl").write_text('{"model": "Base", "prompt": "a", "generation": "b"}\n')
    with pytest.raises(UserError, match="the laboratory needs its weights"):
        server.copied(project, str(tmp_path / "told.jsonl"))
    with pytest.raises(UserError, match="pair: 'pockt' is not known, did you mean 'pocket'"):
        server.copied(project, "pockt")
    (project / server.NOTEBOOK).write_text("{}")
    with pytest.raises(UserError, match="explore.ipynb is damaged"):
        server.copied(project, "pocket")
    with pytest.raises(UserError, match="no book here"):
        server.copied(tmp_path / "elsewhere", "pocket")
    monkeypatch.setattr(server, "find_spec", lambda name: None if name == "ipywidgets" else True)
    with pytest.raises(UserError, match="lab: ipywidgets missing; install them with `pip install -e"):
        server.server(project, project / server.NOTEBOOK, None)


def test_a_page_without_news_keeps_what_else_was_left_out():
    page = server._without_news(None, {"mode": "x", "disabledExtensions": ["a"]})
    assert page == {"mode": "x", "disabledExtensions": ["a", server.ANNOUNCEMENTS]}


def test_the_command_says_where_the_laboratory_is(monkeypatch, capsys):
    begun = []

    class Lab:
        display_url = "http://localhost:1/doc/tree/a.ipynb?token=x\n    http://127.0.0.1:1/doc"

        def start(self):
            begun.append(capsys.readouterr().out)

    monkeypatch.setattr(server, "copied", lambda project, pair: Path("_build", pair))
    monkeypatch.setattr(server, "server", lambda project, notebook, port: begun.append((notebook, port)) or Lab())
    cli.open_lab(pair="pocket", port=1)
    assert begun[0] == (Path("_build/pocket"), 1)
    assert begun[1].startswith("The laboratory: http://localhost:1/doc/tree/a.ipynb?token=x\n")
