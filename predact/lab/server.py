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
NEEDED = ("jupyterlab", "ipywidgets")


def copied(project: Path, pair: str) -> Path:
    """Write the notebook anew into a folder of the pair, with the pair as its parameter, and return the copy.

    So the notebook of the project stays as it is, whatever a reader tries.

    Args:
        project: its folder.
        pair: as `pairs.pair` reads it.

    Raises:
        UserError: there is no such pair, only generations of it are known, or there is no project here.
    """
    if pairs.pair(pair).written:
        raise UserError("pair: of this pair only generations are known; the laboratory needs its weights.")
    try:
        notebook: dict[str, Any] = json.loads((project / NOTEBOOK).read_text(encoding="utf-8"))
        tagged = [
            place for place, cell in enumerate(notebook["cells"]) if "parameters" in cell["metadata"].get("tags", [])
        ]
    except FileNotFoundError:
        raise UserError(f"no book here ({NOTEBOOK} is missing); run predact in the project's folder.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{NOTEBOOK} is damaged; take that of the project.") from error
    given = {"cell_type": "code", "execution_count": None, "id": "given", "metadata": {}, "outputs": []}
    notebook["cells"].insert(tagged[0] + 1, given | {"source": f"{INJECTED}pair = {pair!r}"})
    copy = project / "_build" / "lab" / pairs.slug(pair) / NOTEBOOK.name
    write(copy, (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode(), "lab")
    return copy


def server(project: Path, notebook: Path, port: int | None) -> Any:
    """Return JupyterLab, ready to `start`: its `display_url` is where the notebook is.

    It asks for no news and no updates, and has no manager of extensions that would: without a network, all of these
    would wait for one.

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

    opened = f"/lab/tree/{notebook.relative_to(project).as_posix()}"
    options = [
        f"--ServerApp.root_dir={project.resolve()}",
        f"--LabApp.default_url={opened}",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.extension_manager=readonly",
        "--ServerApp.log_level=ERROR",
        *([f"--ServerApp.port={port}", "--ServerApp.port_retries=0"] if port else []),
    ]
    return LabApp.initialize_server(options)
