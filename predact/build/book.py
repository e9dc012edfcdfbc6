"""From executed notebooks and prose to HTML, with warnings as errors."""

import shutil
import subprocess
import sys
from pathlib import Path

from predact.build import pages
from predact.build.execute import Failed, find, verdicts
from predact.discussion import across

SOURCES = ("_config.yml", "_toc.yml", "book")
PUBLISHED = Path("book", "published", "claims")  # verdicts of other pairs and other scales
JUPYTER_BOOK = (sys.executable, "-c", "import sys; from jupyter_book.cli.main import main; sys.exit(main())")


def build(project: Path, out: Path, pair: str) -> Path:
    """Build the book of a pair from the prose of the project and the notebooks that `execute.run` left in `out`.

    The HTML of an earlier build is replaced in one step at the end, and stays when this build fails.

    Args:
        project: folder of the sources.
        out: folder of this book.
        pair: whose verdicts the front page shows.

    Returns:
        Path of the front page, `out`/html/index.html.

    Raises:
        Failed: jupyter-book warned or failed.
    """
    for name in SOURCES:
        _copy(project / name, out / name)
    notebooks = [out / "notebooks" / source.name for source in find(project)]
    mine, published = verdicts(notebooks), across.published(project / PUBLISHED)
    everyone = across.in_order([*published, *mine])
    computed = {
        "scorecard.md": pages.scorecard(mine, pair, (notebook.stem for notebook in notebooks), published),
        "pairs.md": pages.pairs(everyone, pair),
        "pairs_short.md": pages.pairs(everyone, pair, numbers=False),
        "settings.md": pages.settings(),
        "status.md": pages.status(notebooks),
    }
    (out / "book" / "_generated").mkdir()
    for name, text in computed.items():
        (out / "book" / "_generated" / name).write_text(text, encoding="utf-8")
    return _publish(_render(out), out / "html") / "index.html"


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
        said = done.stderr.replace(f"{out.resolve()}/", "").splitlines()
        warned = [line for line in said if "WARNING" in line or "ERROR" in line]
        raise Failed("\n  ".join(["the book did not build:", *(warned or said[-3:])]))
    return html


def _publish(built: Path, html: Path) -> Path:
    """Replace the HTML of the last build by a copy of the new one."""
    new, old = html.with_name("html.new"), html.with_name("html.old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(built, new)
    if html.exists():
        html.rename(old)
    new.rename(html)
    shutil.rmtree(old, ignore_errors=True)
    return html
