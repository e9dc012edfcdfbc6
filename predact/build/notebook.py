"""What every notebook calls: `start` in the cell after its parameters, `provenance` in its last cell."""

import contextlib
import functools
import html
import json
import os
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from predact import store
from predact.build.parameters import assigned, check_names, check_types, declared

PROVENANCE = "application/vnd.predact.provenance+json"
INJECTED = "# Parameters\n"  # how the cell that papermill adds begins

warnings.filterwarnings("ignore", message="IProgress not found")  # as libraries are imported: bars need no widgets


def start(namespace: dict[str, Any]) -> Path:
    """Check the notebook's parameters, keep libraries from leaving traces in the page, and open the store.

    Args:
        namespace: the notebook's `globals()`. Its parameters are the annotated names of the cells run so far; those
            that papermill added must be among them, and every value must be of its annotated type.

    Returns:
        The folder of the store: the parameter `store`. This and every other path is seen from the project's folder,
        also where Jupyter runs the notebook inside `notebooks/`.

    Raises:
        UserError: an unknown parameter, or a value of the wrong type.
    """
    quiet()
    _bars_to_terminal()
    store.reset_used()
    cells = namespace.get("In", [])[:-1]
    known = {name: parameter for cell in cells for name, parameter in declared(cell).items()}
    check_names(known, [name for cell in cells if cell.startswith(INJECTED) for name in assigned(cell)])
    check_types(known, {name: namespace[name] for name in known if name in namespace})
    if Path.cwd().name == "notebooks" and Path("../_toc.yml").exists():
        os.chdir("..")
    return Path(namespace["store"])


def provenance() -> None:
    """Show where the numbers above come from: every stored result that the notebook used.

    The cell's output is a folded table for the reader and, as `PROVENANCE`, the same as data for the status page.
    """
    from IPython.display import display

    display({"text/html": _table(store.used()), PROVENANCE: {"results": store.used()}}, raw=True)


def brief(inputs: Mapping[str, Any]) -> str:
    """Return inputs as ``name value, name value`` with long hashes cut to twelve digits."""
    words = (f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in inputs.items())
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b", r"\1", ", ".join(words))


def quiet() -> None:
    """Silence the warnings and the chatter of libraries; predact's own warnings are kept."""
    os.environ |= {
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("default", module=r"predact\.")
    if "transformers" in sys.modules:
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()


def _bars_to_terminal() -> None:
    """Show progress bars in the terminal that started the kernel, where there is one, and never in the page."""
    with contextlib.suppress(OSError):
        if os.isatty(sys.stderr.fileno()):
            terminal = os.fdopen(os.dup(sys.stderr.fileno()), "w")
            tqdm.__init__ = functools.partialmethod(tqdm.__init__, file=terminal)  # type: ignore


def _table(results: list[dict]) -> str:
    heads = ("stage", "inputs", "time", "device", "made", "checksum")
    rows = [
        (
            result["stage"],
            brief(result["inputs"]),
            f"{result['seconds']:.1f} s",
            result["device"],
            result["created"][:16].replace("T", " "),
            result["sha256"][:12],
        )
        for result in results
    ]
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    seconds = sum(result["seconds"] for result in results)
    return (
        f'<details class="predact-provenance"><summary>Where these numbers come from: {len(results)} stored results, '
        f"{seconds:,.0f} s of computation</summary><table><thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}"
        f"</tr></thead><tbody>{body}</tbody></table></details>"
    )
