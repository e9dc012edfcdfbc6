"""The command: what it prints, and how it refuses."""

import json
import os
import sys
import tempfile

import pytest

from predact import cli
from predact.build import execute
from predact.claims.verdict import claims
from predact.discussion import published
from predact.models import pairs
from predact.texts import sources
from tests.made import executed, publish, row


@pytest.fixture
def predact(monkeypatch, capsys, tmp_path):
    """A function that runs the command in an empty folder and returns its exit status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["predact", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, *capsys.readouterr()

    return run


def refused(result, *parts):
    code, out, err = result
    assert (code, out, err.count("\n")) == (2, "", 1), result
    assert all(part in err for part in parts), err


def test_every_command_has_help(predact):
    for command in ("book", "pdf", "run", "check", "pairs", "corpora", "scorecard", "publish"):
        code, out, _ = predact(command, "--help")
        assert code == 0 and "Usage: predact" in out


def test_pairs_lists_all(predact):
    code, out, _ = predact("pairs")
    assert code == 0
    assert all(f"\n{pair.name}" in f"\n{out}" for pair in pairs.pairs())
    assert "7 billion parameters. Llama 2 Community License. 13 GB of weights in float16." in out


def test_corpora_lists_those_of_the_pocket_world_and_real_ones_with_their_sets_and_months(predact):
    code, out, _ = predact("corpora")
    lines = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert code == 0 and len(lines) == 10 + len(sources.datasets())
    assert "CC BY-SA" in out and "paper, paper-self" in lines["bbc"] and "2024-05" in lines["bbc"]


def test_check(predact, monkeypatch):
    monkeypatch.chdir(cli.book.__file__.rpartition("/predact/")[0])
    monkeypatch.setattr("predact.build.check._SECONDS", 0.01)
    code, out, err = predact("check")
    assert (code, err) == (0, "")
    assert [line for line in out.splitlines() if line[0] not in " !"] == [
        "models",
        "tokenizers",
        "memory",
        "work",
        "time",
    ]
    assert "Base: package:pocket/models/base (" in out and "! " not in out
    code, out, err = predact("check", "--pair", "pocket::pocket")
    refused((code, out, err), "pair: the model 'pocket' cannot be loaded")


def test_check_of_a_model_that_nobody_has(predact):
    refused(
        predact("check", "--base", "org/nobody", "--rlhf", "org/none"), "'org/nobody' cannot be loaded", "on the hub"
    )
    refused(predact("check", "--base", "org/nobody"), "base, rlhf: both models must be named")


def test_scorecard_reads_the_executed_notebooks_of_a_pair(predact, tmp_path):
    assert json.loads(predact("scorecard", "--json")[1]) == []
    executed(tmp_path / "_build/pocket/notebooks/02_one.ipynb", row("C2"))
    executed(tmp_path / "_build/pocket/notebooks/03_two.ipynb", row("C1"))
    executed(tmp_path / "_build/another/notebooks/03_two.ipynb", row("C3", "another"))
    code, out, _ = predact("scorecard", "--pair", "pocket", "--json")
    assert code == 0
    assert json.loads(out) == [
        {
            "id": id,
            "claim": "…",
            "verdict": "holds",
            "estimate": 1.4,
            "low": 1.3,
            "high": 1.5,
            "unit": "perplexity ratio",
            "n": 900,
            "null": None,
            "protocol": "paper",
            "pair": "pocket",
            "scale": "full",
        }
        for id in ("C1", "C2")
    ]
    lines = predact("scorecard")[1].splitlines()
    assert lines[1] == "    holds: 1.400 [1.300, 1.500] perplexity ratio, n = 900"
    assert lines.count("    not yet run") == len(claims()) - 2
    executed(tmp_path / "mine/notebooks/02_one.ipynb", row("C1", verdict="fails"))
    assert json.loads(predact("scorecard", "--out", "mine", "--json")[1])[0]["verdict"] == "fails"


def test_a_pair_of_ones_own_is_found_by_its_name(predact, tmp_path):
    executed(tmp_path / "_build/mine/notebooks/02_one.ipynb", row(pair="mine=org/a::org/b", verdict="fails"))
    for pair in ("mine", "mine=org/a::org/b"):
        assert json.loads(predact("scorecard", "--pair", pair, "--json")[1])[0]["verdict"] == "fails"


def test_scorecard_of_all_pairs(predact, tmp_path):
    assert json.loads(predact("scorecard", "--all", "--json")[1]) == []
    executed(tmp_path / "_build/pocket/notebooks/02_one.ipynb", row("C2"), row("C1"))
    executed(tmp_path / "_build/mine/notebooks/02_one.ipynb", row("C1", "mine=org/a::org/b"))
    publish(tmp_path / published.FOLDER, "pocket-dpo", [row("C1", "pocket-dpo")])
    found = json.loads(predact("scorecard", "--all", "--json")[1])
    assert [(each["id"], each["pair"]) for each in found] == [
        ("C1", "mine=org/a::org/b"),
        ("C1", "pocket"),
        ("C1", "pocket-dpo"),
        ("C2", "pocket"),
    ]
    executed(tmp_path / "_build/older/notebooks/02_one.ipynb", row("C99"), row("C1") | {"protocol": "gone"})
    assert json.loads(predact("scorecard", "--all", "--json")[1]) == found, "claims and rules that are no more"
    lines = predact("scorecard", "--all")[1].splitlines()
    assert lines[1].startswith("    mine holds: 1.400") and lines[2].startswith("    pocket holds: 1.400")
    assert lines[3].startswith("    pocket-dpo holds: 1.400") and lines.count("    not yet run") == len(claims()) - 2


@pytest.mark.parametrize("command", ["book", "run", "check", "scorecard"])
def test_unknown_pair(predact, command, tmp_path):
    refused(predact(command, "--pair", "pokcet"), "pair: 'pokcet' is not known, did you mean 'pocket'")
    assert list(tmp_path.iterdir()) == []


def test_outside_a_project(predact):
    refused(predact("book"), "no book here", "project's folder")
    refused(predact("publish"), "no book here", "project's folder")


class TestInAProject:
    @pytest.fixture(autouse=True)
    def project(self, tmp_path):
        toc = "format: jb-book\nroot: index\nparts:\n- chapters: [{file: notebooks/02_one}, {file: notebooks/03_two}]\n"
        (tmp_path / "_toc.yml").write_text(toc)
        (tmp_path / "notebooks").mkdir()
        scale = "pair: str = 'pocket'\nscale: str = ''\nseed: int = 0\nn: int = 3"
        for name, source in {"02_one": scale, "03_two": "seed: int = 0"}.items():
            cell = {"cell_type": "code", "source": source, "metadata": {"tags": ["parameters"]}, "outputs": []}
            kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
            made = {"cells": [cell | {"execution_count": None}], "metadata": kernel, "nbformat": 4, "nbformat_minor": 4}
            (tmp_path / "notebooks" / f"{name}.ipynb").write_text(json.dumps(made))

    @pytest.fixture
    def planned(self, monkeypatch):
        """What would be run, by notebook."""
        plans = {}

        def run(project, out, work):
            plans.update({source.stem: values for source, values in work.items()}, out=str(out))
            return iter([execute.Run("02_one", 1.23, True, "careful\n"), execute.Run("03_two", 4.5, False, "")])

        monkeypatch.setattr(execute, "run", run)
        return plans

    def test_parameters_reach_the_notebooks_that_have_them(self, predact, planned):
        code, out, err = predact("run", "-p", "n", "5", "--seed", "7", "--pair", "a::b")
        assert code == 0 and err == "careful\n"
        assert planned["02_one"] == {"pair": "a::b", "seed": 7, "n": 5} and planned["03_two"] == {"seed": 7}
        assert out.splitlines()[0].split() == ["02_one", "1.2", "s"]
        assert out.splitlines()[1].split() == ["03_two", "4.5", "s", "(unchanged)"]

    def test_settings_reach_the_notebooks_that_are_run_at_a_scale(self, predact, planned):
        given = ("-p", "documents", "7", "-p", "corpora", "news,a.txt", "--scale", "laptop", "--prompts", "general")
        predact("run", *given)
        more = {"documents": 7, "corpora": ["news", "a.txt"], "prompts": "general"}
        assert planned["02_one"] == {"scale": "laptop"} | more and planned["03_two"] == {}
        predact("run", "-p", "top_p", "1")
        assert planned["02_one"] == {"top_p": 1} and planned["03_two"] == {}

    def test_defaults_are_not_injected_and_out_is_named_after_the_pair(self, predact, planned):
        predact("run", "--only", "02")
        assert planned == {"02_one": {}, "out": "_build/pocket"}
        predact("run", "--only", "02", "--out", "mine")
        assert planned["out"] == "mine"

    def test_a_pair_of_two_models_and_a_name(self, predact, planned):
        predact("run", "--only", "02", "--base", "org/a@v1", "--rlhf", "b", "--name", "mine")
        assert planned == {"02_one": {"pair": "mine=org/a@v1::b"}, "out": "_build/mine"}

    def test_refusals(self, predact, tmp_path):
        refused(
            predact("book", "--base", "org/a", "--rlhf", "org/b", "--name", "a/b"), "name: expected letters, digits"
        )
        refused(predact("run", "-p", "nn", "5"), "nn: no such parameter, did you mean 'n'?")
        refused(predact("run", "-p", "n", "five"), "n: expected int, got 'five'")
        refused(predact("run", "-p", "documnts", "5"), "documnts: no such parameter, did you mean 'documents'?")
        refused(predact("run", "-p", "documents", "five"), "documents: expected int, got 'five'")
        refused(predact("run", "-p", "documents", "0"), "documents: expected a number greater than or equal to 1")
        refused(predact("run", "-p", "engine", "muscle"), "engine: expected", "'muscle'")
        refused(predact("run", "-p", "n"), "-p n: expected a name and a value")
        refused(predact("run", "-p", "seed", "5"), "write --seed 5")
        refused(predact("run", "--only", "7"), "only: no notebook begins with '7'", "02_one")
        assert not (tmp_path / "_build").exists()

    @pytest.fixture
    def given(self, tmp_path):
        """Generations by two models, and a third notebook, which says that these are enough."""
        rows = [{"model": model, "prompt": "Q", "generation": each} for model in ("Base", "RLHF") for each in "ab"]
        (tmp_path / "mine.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        toc = (tmp_path / "_toc.yml").read_text()
        (tmp_path / "_toc.yml").write_text(toc.replace("}]", "}, {file: notebooks/04_three}]"))
        notebook = json.loads((tmp_path / "notebooks/02_one.ipynb").read_text())
        notebook["metadata"]["predact"] = {"needs": "generations"}
        (tmp_path / "notebooks/04_three.ipynb").write_text(json.dumps(notebook))

    def test_generations_alone_run_the_notebooks_that_need_no_more(self, predact, planned, given):
        code, _, err = predact("run", "--generations", "mine.jsonl")
        assert (code, err.splitlines()[0]) == (0, "predact: 02_one left out: of this pair only generations are known.")
        pair = "mine.jsonl=mine.jsonl:Base::mine.jsonl:RLHF"
        assert planned == {"03_two": {}, "04_three": {"pair": pair}, "out": "_build/mine.jsonl"}
        planned.clear()
        predact("run", "--only", "04", "--pair", "mine.jsonl")
        assert planned == {"04_three": {"pair": "mine.jsonl"}, "out": "_build/mine.jsonl"}

    def test_generations_that_do_not_serve_are_refused_before_anything_runs(self, predact, given, tmp_path):
        refused(
            predact("run", "--only", "02", "--generations", "mine.jsonl"),
            "only: 02_one: not without the models' weights; of this pair only generations are known.",
        )
        refused(predact("run", "--generations", "none.jsonl"), "pair: the file 'none.jsonl' does not exist")
        named = ("--base", "gpt", "--rlhf", "RLHF", "--name", "mine")
        refused(
            predact("book", "--generations", "mine.jsonl", *named), "file: 'mine.jsonl' has no", "'gpt', but by Base"
        )
        (tmp_path / "mine.jsonl").write_text('{"model": "Base", "prompt": "Q"}\n')
        refused(predact("run", "--generations", "mine.jsonl"), "file: 'mine.jsonl', line 1, has no text in the field")
        assert not (tmp_path / "_build").exists()

    def test_what_was_not_executed_is_not_published(self, predact, tmp_path):
        missing = "pair: 02_world_modeling, 03_collapse, 04_anchor_spans, 05_backbones, 06_planning not executed"
        refused(predact("publish"), missing, "run `predact run --only 02` for 'pocket'")
        executed(tmp_path / "mine/notebooks/02_world_modeling.ipynb")
        refused(predact("publish", "--out", "mine"), "pair: 03_collapse, 04_anchor_spans")
        assert not (tmp_path / "book").exists()

    @pytest.mark.parametrize("text", ["parts: [", "parts: 3", "[]", "\x00"])
    def test_a_damaged_table_of_contents_is_one_line(self, predact, tmp_path, text):
        (tmp_path / "_toc.yml").write_text(text)
        refused(predact("run"), "_toc.yml is no table of contents (")

    @pytest.mark.parametrize(
        ("error", "status", "said"),
        [
            (OSError(28, "No space left on device", "/there/x"), 1, "/there/x: No space left on device"),
            (PermissionError(13, "Permission denied", "/x"), 1, "/x: Permission denied"),
            (OSError("no reason"), 1, "no reason"),
            (KeyboardInterrupt(), 130, "interrupted; what is done is kept, and the same command goes on from there."),
        ],
    )
    def test_what_the_system_or_the_user_stops_is_one_line(self, predact, monkeypatch, error, status, said):
        def stop(*_):
            raise error

        monkeypatch.setattr(execute, "run", stop)
        assert predact("run") == (status, "", f"predact: {said}\n")

    def test_a_word_that_is_no_text_is_one_line(self, predact):
        refused(predact("run", "-p", "corpora", "a\udcff.txt"), "'a\\udcff.txt' is not UTF-8")

    def test_what_is_there_is_read_where_nothing_can_be_written(self, predact, monkeypatch, tmp_path):
        """A pair file named as one of its results might be, run twice, the second time on a disk that is read only."""
        (tmp_path / "mine.json").write_text('{"models": {"Base": "a", "RLHF": "b"}}')
        arguments = ("run", "--only", "02", "--workers", "1", "--pair", "mine.json")
        assert predact(*arguments)[0] == 0

        def refuse(*arguments, **_):
            raise OSError(30, "Read-only file system", str(arguments[0]))

        for module, name in ((os, "mkdir"), (os, "replace"), (os, "unlink"), (tempfile, "mkstemp"), (os, "rmdir")):
            monkeypatch.setattr(module, name, refuse)
        code, out, err = predact(*arguments)
        assert (code, err) == (0, "") and "02_one" in out and "(unchanged)" in out
        assert predact("scorecard", "--pair", "mine.json")[0] == 0 == predact("scorecard", "--all")[0]

    def test_a_failed_build_is_one_line_and_status_1(self, predact, monkeypatch):
        def fail(*_):
            raise execute.Failed("02_one failed in cell 3")

        monkeypatch.setattr(execute, "run", fail)
        assert predact("book") == (1, "", "predact: 02_one failed in cell 3\n")
