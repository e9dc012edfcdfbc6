"""The command before its imports are done, and by the name that `python -m` knows."""

import builtins
import tomllib
from pathlib import Path

import pytest

from predact import __main__, cli


def test_an_interrupt_among_the_imports_ends_as_in_a_shell(monkeypatch, capsys):
    whole = builtins.__import__

    def interrupted(name, *rest, **more):
        if name == "predact":
            raise KeyboardInterrupt
        return whole(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    with pytest.raises(SystemExit) as ended:
        __main__.main()
    assert ended.value.code == cli.INTERRUPTED and capsys.readouterr().err == "predact: interrupted.\n"


def test_it_is_the_command(monkeypatch):
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"predact": "predact.__main__:main"}
    ran = []
    monkeypatch.setattr(cli, "main", lambda: ran.append(True))
    __main__.main()
    assert ran == [True]
