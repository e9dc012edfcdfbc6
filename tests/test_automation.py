"""What runs elsewhere: workflows, the container, the lock, and the buttons that open a notebook there."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from predact.build import book
from tests.made import write_notebook

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if line[0] != "#"]
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")}
STEPS = [step for each in WORKFLOWS.values() for job in each["jobs"].values() for step in job["steps"]]
MAKEFILE = (ROOT / "Makefile").read_text()
DOCKERFILE = (ROOT / ".devcontainer/Dockerfile").read_text()


@pytest.mark.parametrize("python", ["3.11.9", "3.12.7", "3.13.0"])
def test_the_lock_names_one_version_of_every_dependency_within_its_bounds(python):
    here = {"python_full_version": python, "python_version": python.rpartition(".")[0], "sys_platform": "linux"}
    locked = {}
    for line in LOCK:
        if line.marker is None or line.marker.evaluate(here):
            assert line.name not in locked
            (pin,) = line.specifier
            assert pin.operator == "=="
            locked[line.name] = pin.version
    for line in PROJECT["dependencies"] + sum(PROJECT["optional-dependencies"].values(), []):
        wanted = Requirement(line)
        assert wanted.specifier.contains(locked[re.sub(r"[-_.]+", "-", wanted.name).lower()]), line


def test_the_lock_is_of_no_machine_and_no_gpu():
    assert all(line.url is None and not re.match("cuda|nvidia|triton", line.name) for line in LOCK)
    assert not re.search(r"://|^-", (ROOT / "requirements.lock").read_text(), re.M), "no host, no option"
    assert f"TORCH ?= {next(line for line in LOCK if line.name == 'torch')}\n" in MAKEFILE


def commands(locked):
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "CI=", f"LOCKED={locked}", "install"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if "pip install" in line]


def test_make_installs_the_locked_versions_where_asked():
    assert len(commands("1")) == len(commands("")) == 2
    assert all("--constraint requirements.lock" in line for line in commands("1"))
    assert not any("--constraint" in line for line in commands(""))


def test_every_action_is_pinned_by_a_commit_that_names_its_version():
    assert {"tests.yml", "book.yml"} <= WORKFLOWS.keys()
    uses = [line for name in WORKFLOWS for line in (ROOT / ".github/workflows" / name).read_text().splitlines()]
    uses = [line for line in uses if "uses:" in line]
    assert len(uses) == sum("uses" in step for step in STEPS) > 0
    assert all(re.search(r"uses: actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line) for line in uses)


def test_a_workflow_may_read_and_only_the_job_that_must_may_write():
    for each in WORKFLOWS.values():
        assert each["permissions"] == {"contents": "read"} and each["concurrency"]
        assert "pull_request_target" not in each[True]  # `on` is true in YAML
        for job in each["jobs"].values():
            assert "permissions" not in job or job["if"], "a pull request never reaches a job that writes"


def test_what_workflows_and_container_call_is_here():
    called = [step["run"] for step in STEPS if "run" in step and not step["run"].startswith("gh ")]
    assert {".ci/run", ".ci/book", ".ci/archive"} == set(called)
    for script in called:
        assert (ROOT / script).stat().st_mode & 0o111 and (ROOT / script).read_text().startswith("#!")
    targets = re.findall(r"^([\w ]+):", MAKEFILE, re.M)
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    for command in [container["postCreateCommand"], *re.findall(r"^RUN .*(make \w+)", DOCKERFILE, re.M)]:
        assert command.split()[1] in targets
    assert container["build"] | {"dockerfile": "Dockerfile", "context": ".."} == container["build"]
    assert f"AS {container['build']['target']}\n" in DOCKERFILE
    assert re.findall("^USER (.*)", DOCKERFILE, re.M)[-1] != "root"


@pytest.mark.skipif(sys.platform != "linux", reason="GNU tar")
def test_the_same_book_gives_the_same_archive(tmp_path):
    html = tmp_path / "_build/pocket/html"
    html.mkdir(parents=True)
    for name in (".ci/archive", "pyproject.toml", "LICENSE", "CITATION.cff"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    git = ("git", "-c", "user.name=name", "-c", "user.email=address", "-C", tmp_path)
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "--message", "one"], check=True)
    made, name = [], f"predact-{PROJECT['version']}-pocket"
    for time in (1, 2):
        (html / "index.html").write_text("a page")
        os.utime(html / "index.html", (time, time))
        subprocess.run([tmp_path / ".ci/archive"], check=True, capture_output=True)
        made.append((tmp_path / f"_build/{name}.tar.gz").read_bytes())
    assert made[0] == made[1]
    with tarfile.open(tmp_path / f"_build/{name}.tar.gz") as archive:
        files = {os.path.normpath(each.name) for each in archive if each.isfile()}
    assert files == {f"{name}/{each}" for each in ("index.html", "LICENSE", "CITATION.cff")}
    subprocess.run(["sha256sum", "--check", f"{name}.tar.gz.sha256"], cwd=tmp_path / "_build", check=True)


def test_binder_finds_environment_yml():
    """It takes a folder or a Dockerfile of its own before that: with PyTorch's CUDA, an image too large for it."""
    assert not any((ROOT / name).exists() for name in ("binder", ".binder", "Dockerfile"))


def test_zenodo_and_citation_agree():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    zenodo = json.loads((ROOT / ".zenodo.json").read_text())
    assert zenodo["title"] == citation["title"] and zenodo["license"] == citation["license"] == PROJECT["license"]
    assert [author["name"] for author in zenodo["creators"]] == [author["name"] for author in citation["authors"]]
    assert zenodo["keywords"] == PROJECT["keywords"]
    assert citation["preferred-citation"]["url"].endswith(zenodo["related_identifiers"][0]["identifier"][-10:])


@pytest.mark.parametrize("url", ["", "https://github.com/someone/copy"])
def test_launch_buttons_are_there_where_the_repository_is_known(tmp_path, url):
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    config["sphinx"]["config"]["html_theme_options"]["repository_url"] = url
    (tmp_path / "_config.yml").write_text(yaml.safe_dump(config))
    (tmp_path / "_toc.yml").write_text("{format: jb-book, root: notebooks/page}\n")
    shutil.copytree(ROOT / "book/_static", tmp_path / "book/_static")
    shutil.copy(ROOT / "book/references.bib", tmp_path / "book")
    write_notebook(tmp_path / "notebooks/page.ipynb", "1 + 1")
    command = [*book.JUPYTER_BOOK, "build", str(tmp_path), "--warningiserror"]
    subprocess.run(command, check=True, capture_output=True)
    page = (tmp_path / "_build/html/notebooks/page.html").read_text()
    there = {
        "https://mybinder.org/v2/gh/someone/copy/main?urlpath=lab/tree/notebooks/page.ipynb",
        "https://colab.research.google.com/github/someone/copy/blob/main/notebooks/page.ipynb",
    }
    assert set(re.findall(r'href="(https://(?:mybinder|colab)[^"]*)"', page)) == (there if url else set())
    assert not re.findall(r'(?:src=|<link[^>]* href=)"(?:https?:)?//', page), "an offline page loads nothing"
