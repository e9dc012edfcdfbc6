"""What notebooks call: `start`, `say`, `show` for a verdict, `keep` for what is published, `provenance`."""

import contextlib
import functools
import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
from tqdm import tqdm

from predact import markup, remarks, store
from predact.build.parameters import assigned, check_names, check_types, declared
from predact.claims import summary
from predact.claims.verdict import MIME, Protocol, Verdict
from predact.errors import UserError
from predact.models import loading, runs
from predact.models.pairs import Model, title
from predact.models.runs import Run

PROVENANCE = "application/vnd.predact.provenance+json"
TEXTS_MIME = "application/vnd.predact.texts+json"
FEW = 3  # prompts of which texts are kept, and texts of each prompt and model
INJECTED = "# Parameters\n"  # first line of the cell that papermill adds

_started = SimpleNamespace()  # the run of this notebook, and what it keeps to be published

warnings.filterwarnings("ignore", message="IProgress not found")  # raised on import; progress bars need no widgets


def start(namespace: dict[str, Any], **more: Any) -> Run:
    """Check the notebook's parameters, silence libraries, and return the run.

    Args:
        namespace: the notebook's `globals()`. Its parameters are the annotated names in the cells run so far. A name
            that papermill has added must be one of them or a setting (`runs.Settings`), with a value of its type.
        **more: pair, scale, seed or store, if the notebook has no such parameter.

    Returns:
        The run. Its paths are relative to the project's folder, even if Jupyter runs the notebook in a folder below it.

    Raises:
        UserError: an unknown parameter, or a value of the wrong type.
    """
    quiet()
    _bars_to_terminal()
    store.reset_used()
    remarks.reset()
    cells = namespace.get("In", [])[:-1]
    known = {name: kind for cell in cells for name, kind in declared(cell).items()}
    set_here = {name for cell in cells for name in assigned(cell)} | known.keys()
    settings = {name: namespace[name] for name in runs.Settings.model_fields if name in set_here}
    injected = [name for cell in cells if cell.startswith(INJECTED) for name in assigned(cell)]
    check_names([*known, *runs.Settings.model_fields], injected)
    check_types(known, {name: namespace[name] for name in known if name in namespace and name not in settings})
    _go_to_project()
    given = {name: namespace[name] for name in ("pair", "scale", "seed") if name in namespace}
    root = namespace.get("store", more.pop("store", "_build/store"))
    _started.run, _started.kept = runs.run(**more | given, root=root, **settings), {}
    _started.texts = []
    loading.keep_in(_started.run.root)
    return _started.run


def show(verdict: Verdict) -> None:
    """Show a verdict, and keep it in the notebook's output as `verdict.MIME`, with the pair and the scale.

    The scorecard and the tables of the book read verdicts from there, so they always agree with the chapter.
    """
    from IPython.display import display

    display({"text/html": verdict._repr_html_(), MIME: verdict.of_run(_started.run)}, raw=True)


def keep(figure: str, frame: pd.DataFrame, protocol: Protocol = "paper") -> None:
    """Keep the summary of a figure of the paper, to be published: see `summary.kept`.

    `provenance` puts it into the last output, as `summary.MIME`: an output of its own, with nothing to be seen, would
    be a second figure below the caption of its cell.

    Args:
        figure: a key of `summary.FIGURES`.
        frame: what the figure draws.
        protocol: whose measure it is.
    """
    _started.kept[figure, protocol] = summary.kept(figure, frame, _started.run.name, _started.run.scale, protocol)


def keep_texts(generations: pd.DataFrame, prompts: Mapping[str, str], decode: Mapping[str, Callable]) -> None:
    """Keep some generations to read, to be published if `predact publish` is asked for texts.

    Args:
        generations: model, prompt, sample, ids.
        prompts: texts by id; the first ones are taken.
        decode: for each model, the function that turns its ids into text.
    """
    some = generations[generations.prompt.isin(list(prompts)[:FEW]) & (generations["sample"] < FEW)]
    rows = some[["model", "prompt", "ids"]].to_numpy()
    _started.texts = [
        {"model": model, "prompt": prompts[prompt], "generation": decode[model](ids)} for model, prompt, ids in rows
    ]


def say(sentence: str) -> None:
    """Show a sentence; what stands between two pairs of asterisks is strong, all else is text as it is."""
    from IPython.display import display

    display({"text/html": markup.render("sentence.html", parts=sentence.split("**")), "text/plain": sentence}, raw=True)


def provenance() -> None:
    """Show where the numbers above come from: remarks, such as texts left out, the settings, every stored result used.

    The cell's output is sentences and a folded table for the reader; and as data, the same with models and commit
    (`PROVENANCE`), for the status page and `predact publish`, and what was kept (`keep`, `keep_texts`).
    """
    from IPython.display import display

    run, used = _started.run, store.used()
    told = {"pair": run.name, "scale": run.scale, "seed": run.seed, "settings": run.settings.model_dump()}
    told |= {"results": used, "remarks": remarks.remarks(), "models": _models(run) if used else {}, "commit": _commit()}
    kept: dict[str, list[dict]] = {figure: [] for figure, _ in _started.kept}
    for (figure, _), each in _started.kept.items():
        kept[figure] += summary.as_data(each)
    shown = {"text/html": _table(told), PROVENANCE: told}
    shown |= {kind: each for kind, each in ((summary.MIME, kept), (TEXTS_MIME, _started.texts)) if each}
    display(shown, raw=True)


def brief(inputs: Mapping[str, Any]) -> str:
    """Return inputs as ``name value, name value`` with long hashes cut to twelve digits."""
    words = (f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in inputs.items())
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b", r"\1", ", ".join(words))


def quiet() -> None:
    """Silence warnings and messages of libraries; keep predact's own warnings, each in a line."""
    os.environ |= {
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    warnings.filterwarnings("ignore")
    warnings.filterwarnings("default", module=r"predact\.")
    warnings.formatwarning = lambda message, *_, **__: f"predact: {message}\n"
    if "transformers" in sys.modules:
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()


def _go_to_project() -> None:
    """Change to the nearest folder above that has a table of contents: the project's, where there is one."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "_toc.yml").exists():
            os.chdir(folder)
            return


def _models(run: Run) -> dict[str, dict[str, Any]]:
    """What identifies the models of a run, by step; those that cannot be found here have taken no part in it."""
    told = {}
    for step, model in run.pair.models.items():
        with contextlib.suppress(UserError):
            told[step] = _identity(model) | {"fingerprint": loading.fingerprint(model)}
    return told


def _identity(model: Model) -> dict[str, Any]:
    """How a model is named; of a folder on this machine only the name, not where it lies."""
    name = loading.name(model)
    where = Path(name).name if Path(name).exists() else name
    return {"source": where, "revision": model.revision, "dtype": model.dtype, "template": model.template}


def _commit() -> str:
    """Return the last commit that changed the package; empty where it is not in a repository."""
    command = ("git", "log", "-1", "--format=%h", "--", ".")
    with contextlib.suppress(OSError):
        done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
        return done.stdout.strip()
    return ""


def _bars_to_terminal() -> None:
    """Show progress bars in the terminal that started the kernel, if there is one, and never in the page."""
    with contextlib.suppress(OSError):
        if os.isatty(sys.stderr.fileno()):
            terminal = os.fdopen(os.dup(sys.stderr.fileno()), "w")
            tqdm.__init__ = functools.partialmethod(tqdm.__init__, file=terminal)  # type: ignore


def _table(told: Mapping[str, Any]) -> str:
    results = told["results"]
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
    seconds = sum(result["seconds"] for result in results)
    about = {"pair": title(told["pair"]), "commit": told["commit"], "remarks": told["remarks"]}
    return markup.render("provenance.html", results=rows, seconds=f"{seconds:,.0f}", **about)
