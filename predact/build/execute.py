"""Run the notebooks with papermill, except those for which nothing has changed since their last run."""

import contextlib
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from predact.build.notebook import PROVENANCE, TEXTS_MIME
from predact.build.parameters import Parameter, changes, check_names, of_notebook, read
from predact.claims import summary
from predact.claims.verdict import MIME
from predact.errors import UserError, near
from predact.models import loading, pairs, runs
from predact.models.runs import Settings
from predact.store import write, writing
from predact.texts import sources

CELL_TIMEOUT = 24 * 3600  # seconds; papermill's default is to wait for ever
PACKAGE = Path(__file__).parents[1]


class Failed(Exception):
    """A notebook or the book could not be built; the message says in one line which, where and why."""


class Run(NamedTuple):
    """A finished notebook: its name, the seconds it took, whether it was executed in this run, and its warnings."""

    name: str
    seconds: float
    executed: bool
    warnings: str


def find(project: Path, only: str = "") -> list[Path]:
    """Return the sources of the notebooks in the order of the table of contents, or those that begin with `only`.

    Raises:
        UserError: `project` is not a folder with the book's sources, or no notebook's name begins with `only`.
    """
    try:
        toc = yaml.safe_load((project / "_toc.yml").read_text(encoding="utf-8"))
        files = [project / f"{chapter['file']}.ipynb" for part in toc["parts"] for chapter in part["chapters"]]
    except FileNotFoundError:
        raise UserError("no book here (_toc.yml is missing); run predact in the project's folder.") from None
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        why = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"_toc.yml is no table of contents ({why}); take that of the project.") from error
    notebooks = [path for path in files if path.exists()]
    names = [path.stem for path in notebooks]
    if not any(name.startswith(only) for name in names):
        raise UserError(f"only: no notebook begins with '{only}'{near(only, names) or '.'} Known: {', '.join(names)}.")
    return [path for path in notebooks if path.stem.startswith(only)]


def on_generations(notebooks: list[Path]) -> list[Path]:
    """Return the notebooks that can be executed for a pair of which only generations are known.

    These are those whose metadata say that they need no more (`predact: {needs: generations}`), and those of no pair.

    Raises:
        UserError: there is none.
    """
    found = [path for path in notebooks if "pair" not in _declared(path) or _needs(path) == "generations"]
    if not found:
        names = ", ".join(path.stem for path in notebooks)
        raise UserError(f"only: {names}: not without the models' weights; of this pair only generations are known.")
    return found


def _needs(source: Path) -> str:
    """What the metadata of a source say that it needs of a pair."""
    return json.loads(source.read_text(encoding="utf-8"))["metadata"].get("predact", {}).get("needs", "weights")


def plan(notebooks: list[Path], common: Mapping[str, str], given: Mapping[str, str]) -> dict[Path, dict[str, Any]]:
    """Return the parameter values to inject into each notebook: those that differ from its defaults.

    Args:
        notebooks: their sources.
        common: texts from the command line, by parameter; notebooks without the parameter ignore them.
        given: the same, but at least one notebook must have the parameter. Or texts by setting (`runs.Settings`), which
            go to every notebook with a parameter `scale`.

    Raises:
        UserError: a name is neither a parameter nor a setting, or a text does not have the type of its parameter.
    """
    known, fields = {path: _declared(path) for path in notebooks}, Settings.model_fields
    check_names({name: None for each in known.values() for name in each} | fields, given)
    settings = {name: read(name, word, fields[name].annotation) for name, word in given.items() if name in fields}
    runs.checked(settings)
    return {
        path: changes(known[path], {**common, **given}) | (settings if "scale" in known[path] else {})
        for path in notebooks
    }


def _declared(source: Path) -> dict[str, Parameter]:
    """Return the parameters of a source; UserError where its file is no notebook, or one without a kernel."""
    from nbformat import ValidationError

    try:
        return of_notebook(source)
    except (OSError, ValueError, AttributeError, ValidationError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise UserError(f"notebooks: {source} cannot be read ({why}); save it anew in Jupyter.") from error


def values(notebook: Path) -> dict[str, Any]:
    """Return the values of the parameters in an executed notebook, and of the settings that were given to it alone."""
    declared = {name: parameter.default for name, parameter in of_notebook(notebook).items()}
    return declared | metadata(notebook)["parameters"]


def provenance(notebook: Path) -> dict[str, Any]:
    """Return what an executed notebook tells of its run, see `notebook.provenance`; nothing where it does not."""
    return next(iter(_outputs(notebook, PROVENANCE)), {})


def settings(notebook: Path) -> dict[str, Any]:
    """Return the settings that an executed notebook was run with; nothing for one that is run at no scale."""
    return provenance(notebook).get("settings", {}) if "scale" in of_notebook(notebook) else {}


def results(notebook: Path) -> list[dict]:
    """Return the sidecars of the stored results that an executed notebook used."""
    return provenance(notebook).get("results", [])


def remarks(notebook: Path) -> list[str]:
    """Return what an executed notebook remarks beside its figures."""
    return provenance(notebook).get("remarks", [])


def summaries(notebook: Path) -> dict[str, list[dict]]:
    """Return the summaries of figures that an executed notebook has kept, as JSON data."""
    return {figure: rows for found in _outputs(notebook, summary.MIME) for figure, rows in found.items()}


def texts(notebook: Path) -> list[dict]:
    """Return the generations that an executed notebook has kept to be read."""
    return [row for found in _outputs(notebook, TEXTS_MIME) for row in found]


def verdicts(notebooks: Iterable[Path]) -> list[dict]:
    """Return the verdicts that executed notebooks show, as rows."""
    return [row for notebook in notebooks if notebook.exists() for row in _outputs(notebook, MIME)]


def _outputs(notebook: Path, kind: str) -> list[Any]:
    """Return the outputs of one kind (a MIME type) in a notebook."""
    outputs = [output for cell in _load(notebook)["cells"] for output in cell.get("outputs", [])]
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


def metadata(notebook: Path) -> dict[str, Any]:
    """Return what papermill wrote about an execution: `parameters`, `start_time`, `duration`, `version`."""
    return _load(notebook)["metadata"]["papermill"]


def run(project: Path, out: Path, work: Mapping[Path, dict[str, Any]]) -> Iterator[Run]:
    """Execute notebooks into `out`/notebooks one after the other, yielding each as it is done.

    A notebook is skipped if nothing has changed since its last run: its source, its parameters, the package, the files
    that its parameters name, and the stored results that it used. A notebook that fails is kept in `out`/failed, up to
    its error; its last complete run in `out`/notebooks stays.

    Args:
        project: folder of the sources, where the kernels run.
        out: folder of this book.
        work: values to inject, by source, as `plan` returns them.

    Raises:
        UserError: a notebook stopped at a mistake of the user.
        Failed: it stopped at anything else.
    """
    begun = datetime.now(UTC).replace(tzinfo=None)  # as papermill writes times
    for source, injected in work.items():
        target, key = out / "notebooks" / source.name, _key(project, source, injected)
        current = _is_current(project, target, key)
        warnings = "" if current else _execute(project, source, target, out / "failed" / source.name, injected, key)
        told = metadata(target)  # perhaps another worker has executed it just now
        executed = datetime.fromisoformat(told["start_time"]).replace(tzinfo=None) >= begun
        yield Run(source.stem, told["duration"], executed, warnings)


def _load(notebook: Path) -> dict[str, Any]:
    """Return an executed notebook.

    Raises:
        UserError: it is damaged.
    """
    try:
        found = json.loads(notebook.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    whole = isinstance(found, dict) and isinstance(found.get("cells"), list) and isinstance(found.get("metadata"), dict)
    if not whole:
        raise UserError(f"out: {notebook} is missing or damaged; execute it again with `predact run`.")
    return found


def _execute(project: Path, source: Path, target: Path, failed: Path, injected: dict[str, Any], key: str) -> str:
    """Execute one notebook, save it, and return what it wrote to stderr, which the pages do not show.

    Until it is done it stands in a folder of its own, so that any number of runs may share `out`.
    """
    import nbformat
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    from predact.build import captions  # and with it what draws: not needed by other commands

    with writing(target.parent, "out") as folder:
        tempfile.TemporaryFile(dir=folder).close()  # found out before the execution, not after it
    with tempfile.TemporaryDirectory(prefix="predact-", ignore_cleanup_errors=True) as private:
        unfinished = Path(private, source.name)
        try:
            notebook = papermill.execute_notebook(
                source,
                unfinished,
                injected,
                kernel_name="python3",
                language="python",
                cwd=project,
                config=_transport(private),
                execution_timeout=CELL_TIMEOUT,
                start_timeout=300,
                extra_arguments=["--log-level=CRITICAL"],
                progress_bar={"desc": source.stem, "leave": False, "disable": not sys.stderr.isatty()},
            )
        except papermill.PapermillExecutionError as error:
            if error.ename == "UserError":
                _remove_empty(target.parent, target.parents[1])
                raise UserError(error.evalue) from error
            why = f"in cell {error.exec_count}: {error.ename}: {error.evalue.strip().partition(chr(10))[0]}"
            raise _failed(source.stem, f"failed {why}", unfinished, failed) from error
        except (CellTimeoutError, DeadKernelError, RuntimeError) as error:  # the last: no kernel has started
            why = str(error).splitlines()[0].strip(".")
            raise _failed(source.stem, f"failed: {why}", unfinished, failed) from error
    for kept in ("input_path", "output_path"):
        notebook.metadata.papermill.pop(kept)
    notebook.metadata["predact"] = {"key": key}
    captions.complete(notebook)
    write(target, nbformat.writes(notebook).encode(), "out")
    failed.unlink(missing_ok=True)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.get("name") == "stderr")


def _failed(name: str, why: str, unfinished: Path, failed: Path) -> Failed:
    """Keep a notebook up to its error, and return the error."""
    write(failed, unfinished.read_bytes(), "out")
    return Failed(f"{name} {why} (see {failed})")


def _transport(folder: str) -> Any:
    """How to talk to a kernel: over sockets in a folder, as some sealed machines have no network even to themselves."""
    from traitlets.config import Config

    if os.name == "nt":  # has no such sockets
        return Config()
    return Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/kernel"}})


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _is_current(project: Path, target: Path, key: str) -> bool:
    """Whether a notebook was executed with this key, and the results that it used are still there."""
    try:
        if _load(target)["metadata"]["predact"]["key"] != key:
            return False
    except (UserError, KeyError, TypeError):  # none, or no whole one
        return False
    used, given = {result["sha256"] for result in results(target)}, values(target)
    stores = [project / given[name] for name in ("store", "published") if name in given]
    return used <= {_checksum(path, path.stat().st_mtime_ns) for store in stores for path in store.glob("*/*.json")}


@cache
def _checksum(sidecar: Path, changed: int) -> str | None:
    """Return the checksum that a sidecar tells, read once for all notebooks unless it was `changed` (its time)."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # no sidecar, or a damaged one
        return json.loads(sidecar.read_bytes())["sha256"]
    return None


def _key(project: Path, source: Path, injected: dict[str, Any]) -> str:
    """Return a hash of all that an execution depends on, except the store."""
    results = {name: each.default for name, each in _declared(source).items() if name == "published"}
    parts = [source.read_text(encoding="utf-8"), injected, _package(), sorted(_files(project, results | injected))]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def _package() -> str:
    """Return a hash of the package: its code, its presets, its models."""
    digest = hashlib.sha256()
    for path in sorted(path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(f"{path.relative_to(PACKAGE)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _files(project: Path, injected: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Yield name, size and time of the files that the parameters name, directly or in a pair file; of no store."""
    named = [value for name, value in injected.items() if name != "store"]
    words = {str(word) for value in named for word in (value if isinstance(value, list) else [value])}
    pair = pairs.pair(injected["pair"]) if "pair" in injected else None
    words |= {*pair.corpora, pair.prompts, pair.last_words} if pair else set()
    words |= {word.rpartition(":")[0] for word in words}
    places = [place for word in words if (place := sources.existing(word, project))]
    paths = [path for place in places for path in (sources.readable(place) if place.is_dir() else [place])]
    models = list(pair.models.values()) if pair else []
    for model in [*models, *filter(None, map(loading.base_of, models))]:
        folder = project / model.source
        paths += [folder / (model.gguf or "")] if model.gguf or model.written else folder.glob("*")
    for path in paths:
        if path.is_file():
            yield str(path), path.stat().st_size, path.stat().st_mtime_ns
