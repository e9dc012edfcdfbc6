"""Run the notebooks with papermill; one that nothing has changed for since its last run is skipped."""

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from predact.build.notebook import PROVENANCE
from predact.build.parameters import changes, check_names, of_notebook, read
from predact.claims.verdict import MIME
from predact.errors import UserError, near
from predact.models import pairs, runs
from predact.models.runs import Settings
from predact.texts import sources

CELL_TIMEOUT = 24 * 3600  # seconds; papermill's default is to wait for ever
PACKAGE = Path(__file__).parents[1]


class Failed(Exception):
    """A notebook or the book that could not be built: one line that says which, where and why."""


class Run(NamedTuple):
    """One notebook done: its name, how long its execution took, if it was executed just now, and what it warned of."""

    name: str
    seconds: float
    executed: bool
    warnings: str


def find(project: Path, only: str = "") -> list[Path]:
    """Return the sources of the notebooks in the order of the table of contents, or those that begin with `only`.

    Raises:
        UserError: `project` is not a folder with the book's sources, or no notebook's name begins so.
    """
    if not (project / "_toc.yml").exists():
        raise UserError("no book here (_toc.yml and notebooks/ are missing); run predact in the project's folder.")
    toc = yaml.safe_load((project / "_toc.yml").read_text(encoding="utf-8"))
    files = [project / f"{chapter['file']}.ipynb" for part in toc["parts"] for chapter in part["chapters"]]
    notebooks = [path for path in files if path.exists()]
    names = [path.stem for path in notebooks]
    if not any(name.startswith(only) for name in names):
        raise UserError(f"only: no notebook begins with '{only}'{near(only, names) or '.'} Known: {', '.join(names)}.")
    return [path for path in notebooks if path.stem.startswith(only)]


def plan(notebooks: list[Path], common: Mapping[str, str], given: Mapping[str, str]) -> dict[Path, dict[str, Any]]:
    """Return what to inject into each notebook: of the values for its parameters, those that are not its defaults.

    Args:
        notebooks: their sources.
        common: words of the command line by name, for every notebook that has such a parameter.
        given: the same, but at least one of the notebooks must have the parameter; or a setting (`runs.Settings`), for
            every notebook that is run at a scale.

    Raises:
        UserError: a name that is neither, or a word that cannot be read as its type.
    """
    known, fields = {path: of_notebook(path) for path in notebooks}, Settings.model_fields
    check_names({name: None for each in known.values() for name in each} | fields, given)
    settings = {name: read(name, word, fields[name].annotation) for name, word in given.items() if name in fields}
    runs.checked(settings)
    return {
        path: changes(known[path], {**common, **given}) | (settings if "scale" in known[path] else {})
        for path in notebooks
    }


def values(notebook: Path) -> dict[str, Any]:
    """Return the values of the parameters in an executed notebook, and of the settings it was run with."""
    declared = {name: parameter.default for name, parameter in of_notebook(notebook).items()}
    settings = [found["settings"] for found in _outputs(notebook, PROVENANCE) if "scale" in declared]
    return {name: value for found in settings for name, value in found.items()} | declared | _injected(notebook)


def results(notebook: Path) -> list[dict]:
    """Return the sidecars of the stored results that an executed notebook used."""
    return [result for found in _outputs(notebook, PROVENANCE) for result in found["results"]]


def verdicts(notebooks: Iterable[Path]) -> list[dict]:
    """Return the verdicts that executed notebooks show, as rows."""
    return [row for notebook in notebooks if notebook.exists() for row in _outputs(notebook, MIME)]


def _outputs(notebook: Path, kind: str) -> list[Any]:
    """Return the outputs of one kind (a MIME type) in a notebook."""
    outputs = [output for cell in _load(notebook)["cells"] for output in cell.get("outputs", [])]
    return [output["data"][kind] for output in outputs if kind in output.get("data", {})]


def _injected(notebook: Path) -> dict[str, Any]:
    return metadata(notebook)["parameters"]


def metadata(notebook: Path) -> dict[str, Any]:
    """Return what papermill wrote about an execution: `parameters`, `start_time`, `duration`, `version`."""
    return _load(notebook)["metadata"]["papermill"]


def run(project: Path, out: Path, work: Mapping[Path, dict[str, Any]]) -> Iterator[Run]:
    """Execute notebooks into `out`/notebooks one after the other, yielding each as it is done.

    A notebook is skipped when its source, its parameters, the package, the files that its parameters name and the
    stored results it used are those of its last run. One that fails stays in `out`/failed, up to its error; what stood
    in `out`/notebooks is left as it was.

    Args:
        project: folder of the sources, where the kernels run.
        out: folder of this book.
        work: values to inject, by source, as `plan` returns them.

    Raises:
        UserError: a notebook stopped at a mistake of the user.
        Failed: it stopped at anything else.
    """
    for source, injected in work.items():
        target, key = out / "notebooks" / source.name, _key(project, source, injected)
        current = _is_current(project, target, key)
        warnings = "" if current else _execute(project, source, target, injected, key)
        yield Run(source.stem, metadata(target)["duration"], not current, warnings)


def _load(notebook: Path) -> dict[str, Any]:
    return json.loads(notebook.read_text(encoding="utf-8"))


def _execute(project: Path, source: Path, target: Path, injected: dict[str, Any], key: str) -> str:
    """Execute one notebook into its place, and return what it wrote to stderr: the pages do not show it."""
    import nbformat
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    failed = target.parents[1] / "failed" / source.name
    _make(target.parent, failed.parent)
    try:
        notebook = papermill.execute_notebook(
            source,
            failed,
            injected,
            cwd=project,
            execution_timeout=CELL_TIMEOUT,
            start_timeout=300,
            extra_arguments=["--log-level=CRITICAL"],
            progress_bar={"desc": source.stem, "leave": False, "disable": not sys.stderr.isatty()},
        )
    except papermill.PapermillExecutionError as error:
        if error.ename == "UserError":
            failed.unlink()
            _remove_empty(target.parent, failed.parent, target.parents[1])
            raise UserError(error.evalue) from error
        why = error.evalue.strip().partition("\n")[0]
        raise Failed(f"{source.stem} failed in cell {error.exec_count}: {error.ename}: {why} (see {failed})") from error
    except (CellTimeoutError, DeadKernelError) as error:
        raise Failed(f"{source.stem} failed: {str(error).splitlines()[0].strip('.')} (see {failed})") from error
    for private in ("input_path", "output_path"):
        notebook.metadata.papermill.pop(private)
    notebook.metadata["predact"] = {"key": key}
    nbformat.write(notebook, failed)
    failed.replace(target)
    _remove_empty(failed.parent)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.get("name") == "stderr")


def _make(*folders: Path) -> None:
    try:
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"out: cannot make {folder} ({error.strerror}); name a folder that can be written to."
        ) from error


def _remove_empty(*folders: Path) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _is_current(project: Path, target: Path, key: str) -> bool:
    if not target.exists() or _load(target)["metadata"]["predact"]["key"] != key:
        return False
    used, given = {result["sha256"] for result in results(target)}, values(target)
    stores = [project / given[name] for name in ("store", "published") if name in given]
    return used <= {_checksum(path) for store in stores for path in store.glob("*/*.json")}


def _checksum(sidecar: Path) -> str | None:
    with contextlib.suppress(ValueError):
        return json.loads(sidecar.read_bytes()).get("sha256")
    return None


def _key(project: Path, source: Path, injected: dict[str, Any]) -> str:
    """Hash of all that an execution depends on, but for the store."""
    parts = [source.read_text(encoding="utf-8"), injected, _package(), sorted(_files(project, injected))]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@cache
def _package() -> str:
    """Hash of the package: its code, its presets, its models."""
    digest = hashlib.sha256()
    for path in sorted(path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"):
        digest.update(f"{path.relative_to(PACKAGE)} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _files(project: Path, injected: dict[str, Any]) -> Iterator[tuple[str, int, int]]:
    """Name, size and time of the files that the parameters name, themselves or by way of a pair file; of no store."""
    named = [value for name, value in injected.items() if name != "store"]
    words = {str(word) for value in named for word in (value if isinstance(value, list) else [value])}
    pair = pairs.pair(injected["pair"]) if "pair" in injected else None
    words |= {*pair.corpora, pair.prompts} if pair else set()
    places = [project / word for word in words | {word.rpartition(":")[0] for word in words} - {""}]
    paths = [path for place in places for path in (sources.readable(place) if place.is_dir() else [place])]
    for model in pair.models.values() if pair else ():
        folder = project / model.source
        paths += [folder / model.gguf] if model.gguf else folder.glob("*")
    for path in paths:
        if path.is_file():
            yield str(path), path.stat().st_size, path.stat().st_mtime_ns
