"""Opening the laboratory: a copy of its notebook about a pair, in a JupyterLab that needs no network."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from predact.build.notebook import INJECTED
from predact.errors import UserError
from predact.models import pairs
from predact.store import write

NOTEBOOK = Path("notebooks", "explore.ipynb")
ANNOUNCEMENTS = "@jupyterlab/apputils-extension:announcements"
_ASIDE = {"collapsed": True, "visible": False, "widgets": []}
LAYOUT = {  # of JupyterLab's page: the notebook alone, so that it can be used on a phone
    "data": {"layout-restorer:data": {"left": _ASIDE, "right": _ASIDE, "relativeSizes": [0, 1, 0]}},
    "metadata": {"id": "default"},
}
LIVE = "skip-execution"  # tag of the cell that shows the laboratory: a book leaves it out
NEEDED = ("jupyterlab", "ipywidgets", "vl_convert")


def copied(project: Path, pair: str) -> Path:
    """Write the live part of the notebook anew into a folder of the pair, with the pair as its parameter.

    So the notebook of the project stays as it is, whatever a reader tries.

    Args:
        project: its folder.
        pair: as `pairs.pair` reads it.

    Returns:
        The path of the copy: the notebook up to the cell that shows the laboratory.

    Raises:
        UserError: there is no such pair, only generations of it are known, or there is no project here.
    """
    if pairs.pair(pair).written:
        raise UserError("pair: of this pair only generations are known; the laboratory needs its weights.")
    try:
        notebook: dict[str, Any] = json.loads((project / NOTEBOOK).read_text(encoding="utf-8"))
        parameters, live = (_tagged(notebook["cells"], tag) for tag in ("parameters", LIVE))
    except FileNotFoundError:
        raise UserError(f"no book here ({NOTEBOOK} is missing); run predact in the project's folder.") from None
    except (OSError, ValueError, KeyError, TypeError, StopIteration) as error:
        raise UserError(f"{NOTEBOOK} is damaged; take that of the project.") from error
    given: dict[str, Any] = {"cell_type": "code", "execution_count": None, "id": "given", "metadata": {}, "outputs": []}
    notebook["cells"] = notebook["cells"][: live + 1]
    notebook["cells"].insert(parameters + 1, given | {"source": f"{INJECTED}pair = {pair!r}"})
    copy = project / "_build" / "lab" / pairs.slug(pair) / NOTEBOOK.name
    write(copy, (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode(), "lab")
    return copy


def _tagged(cells: list[dict[str, Any]], tag: str) -> int:
    """The place of the first cell with a tag."""
    return next(place for place, cell in enumerate(cells) if tag in cell["metadata"].get("tags", []))


def server(project: Path, notebook: Path, port: int | None) -> Any:
    """Return JupyterLab, ready to `start`; the first word of its `display_url` is the address of the notebook.

    Its page shows the notebook alone, in a layout of its own: that of the user stays as it is. It asks for no news and
    no updates, and has no manager of extensions that would: without a network, all of these would wait for one.

    Args:
        project: the folder that it shows.
        notebook: what it opens.
        port: where it listens, on this machine only; None: JupyterLab's own, or the next that is free.

    Raises:
        UserError: JupyterLab or ipywidgets are not installed.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise UserError(f"lab: {' and '.join(missing)} missing; install them with `pip install -e '.[lab]'`.")
    from jupyterlab.labapp import LabApp
    from jupyterlab_server.workspaces_handler import WorkspacesManager

    workspaces = project.resolve() / "_build" / "lab" / "workspaces"
    opened = f"/doc/tree/{notebook.relative_to(project).as_posix()}"
    options = [
        f"--ServerApp.root_dir={project.resolve()}",
        f"--LabApp.default_url={opened}",
        f"--LabApp.workspaces_dir={workspaces}",
        "--LabApp.extension_manager=readonly",
        "--ServerApp.allow_root=True",  # who is in a container is root there; it listens to this machine only
        "--Application.log_level=ERROR",
        *([f"--ServerApp.port={port}", "--ServerApp.port_retries=0"] if port else []),
    ]
    WorkspacesManager(str(workspaces)).save("default", json.dumps(LAYOUT))
    made = LabApp.initialize_server(options)
    made.web_app.settings["page_config_hook"] = _without_news
    return made


def _without_news(_: Any, page: dict[str, Any]) -> dict[str, Any]:
    """Leave out of JupyterLab's page what asks for news and updates."""
    return page | {"disabledExtensions": [*page.get("disabledExtensions", []), ANNOUNCEMENTS]}
