"""From executed notebooks and prose to HTML, with warnings as errors."""

import ctypes
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

from filelock import FileLock

from predact.build import pages
from predact.build.execute import Failed, find, on_generations, verdicts
from predact.discussion import across, published
from predact.errors import UserError
from predact.store import write, writing

SOURCES = ("_config.yml", "_toc.yml", "book")
LEFT_OUT = "This chapter was left out: it needs the models' weights, and of this pair only generations are known."
JUPYTER_BOOK = (sys.executable, "-c", "import sys; from jupyter_book.cli.main import main; sys.exit(main())")


def build(project: Path, out: Path, pair: str, written: bool = False) -> Path:
    """Build the book of a pair from the prose of the project and the notebooks that `execute.run` left in `out`.

    The HTML of an earlier build is replaced in one step at the end, and stays when this build fails or is killed.
    Where another process is building the same book, this one waits for it.

    Args:
        project: folder of the sources.
        out: folder of this book.
        pair: whose verdicts the front page shows.
        written: whether only generations of it are known; a chapter that needs more is then a sentence that says so.

    Returns:
        Path of the front page, `out`/html/index.html.

    Raises:
        Failed: jupyter-book warned or failed.
        UserError: `out` cannot be written to, or a source is missing.
    """
    missing = [name for name in SOURCES if not (project / name).exists()]
    if missing:
        raise UserError(f"no book here ({', '.join(missing)} missing); run predact in the project's folder.")
    with writing(out, "out"), FileLock(out / "building.lock"):
        _restore(out / "html")
        for name in SOURCES:
            _copy(project / name, out / name)
        sources = find(project)
        executed = on_generations(sources) if written else sources
        for source in set(sources) - set(executed):
            write(out / "notebooks" / source.name, left_out(source), "out")
        generated = out / "book" / "_generated"
        generated.mkdir()
        for name, page in _computed(project, out, pair, executed).items():
            (generated / name).write_text(page, encoding="utf-8")
        return _publish(_render(out), out / "html") / "index.html"


def left_out(source: Path) -> bytes:
    """Return a notebook that stands in the place of one that needs weights: its title, and that it was left out."""
    import nbformat

    notebook = nbformat.read(source, as_version=4)
    title = next((cell.source.partition("\n")[0] for cell in notebook.cells if cell.source.startswith("# ")), "# –")
    cells = [nbformat.v4.new_markdown_cell(f"{title}\n\n{LEFT_OUT}")]
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)).encode()


def _computed(project: Path, out: Path, pair: str, executed: list[Path]) -> dict[str, str]:
    """Return the computed parts of the pages, by the names of their files."""
    from predact.figures import across as across_figures  # and with it what draws: not needed by other commands

    notebooks = [out / "notebooks" / source.name for source in executed]
    mine, theirs = verdicts(notebooks), across.verdicts(project / published.FOLDER)
    everyone = across.in_order([*theirs, *mine])
    return {
        "scorecard.html": pages.scorecard(mine, pair, (notebook.stem for notebook in notebooks), theirs),
        "pairs.html": across_figures.verdicts(everyone, pair, numbers=False).data,
        "settings.html": pages.settings(),
        "status.html": pages.status(notebooks),
    }


def _copy(source: Path, target: Path) -> None:
    """Copy a file or a whole folder, with the modification times by which Sphinx detects changes."""
    if source.is_dir():
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("_generated"))
    else:
        shutil.copy2(source, target)


def _render(out: Path) -> Path:
    """Run jupyter-book and return its HTML; a failed build is deleted, so that the next one repeats its warnings."""
    work = out / "_build"
    command = (*JUPYTER_BOOK, "build", str(out), "--warningiserror", "--keep-going", "--quiet")
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    html = work / "html"
    if done.returncode or not (html / "index.html").exists():
        shutil.rmtree(work, ignore_errors=True)
        full = os.strerror(errno.ENOSPC)
        if full in done.stderr:
            raise OSError(errno.ENOSPC, full)
        said = done.stderr.replace(f"{out.resolve()}/", "").splitlines()
        warned = [line for line in said if "WARNING" in line or "ERROR" in line]
        raise Failed("\n  ".join(["the book did not build:", *(warned or said[-3:])]))
    return html


def _publish(built: Path, html: Path) -> Path:
    """Replace the HTML of the last build by a copy of the new one; `html` is a whole book before, then and after."""
    new, old = _beside(html)
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        shutil.copytree(built, new)
    except BaseException:  # a full disk, or the user
        shutil.rmtree(new, ignore_errors=True)
        raise
    if not html.exists():
        new.rename(html)
    elif _exchange(new, html):
        shutil.rmtree(new, ignore_errors=True)
    else:
        html.rename(old)
        new.rename(html)  # killed just before, the next build finds the last one: see `_restore`
        shutil.rmtree(old, ignore_errors=True)
    return html


def _restore(html: Path) -> None:
    """Bring back the last book where a build was killed on a system that cannot exchange two folders in one step."""
    old = _beside(html)[1]
    if old.exists() and not html.exists():
        old.rename(html)


def _beside(html: Path) -> tuple[Path, Path]:
    """The folders of the next and of the last book while one is published."""
    return html.with_name("html.new"), html.with_name("html.old")


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders exchange their names in one step; False where the system or the disk cannot."""
    if os.name == "nt":
        return False
    system, names = ctypes.CDLL(None), (os.fsencode(one.absolute()), os.fsencode(other.absolute()))
    if hasattr(system, "renameat2"):  # Linux: AT_FDCWD is -100, RENAME_EXCHANGE 2
        return system.renameat2(-100, names[0], -100, names[1], 2) == 0
    return hasattr(system, "renamex_np") and system.renamex_np(*names, 2) == 0  # macOS: RENAME_SWAP is 2
