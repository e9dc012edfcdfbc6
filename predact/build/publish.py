"""From the executed notebooks of a pair to its published results, see `discussion.published`: whole or not at all."""

from pathlib import Path
from typing import Any

import pandas as pd

from predact.build import execute
from predact.claims import summary
from predact.claims.verdict import claims
from predact.discussion import published
from predact.discussion.published import Execution, Provenance, Published, Text, Weights
from predact.errors import UserError
from predact.models import loading, pairs
from predact.models.pairs import ENDS, Pair
from predact.models.runs import Settings
from predact.store import write

CHAPTERS = sorted({claim.chapter for claim in claims().values()} | {each.chapter for each in summary.FIGURES.values()})


def publish(notebooks: Path, pair: str, root: Path = published.FOLDER, texts: bool = False) -> Path:
    """Write the results of a pair below `root`, and return their folder.

    Args:
        notebooks: folder of its executed notebooks.
        pair: as it was named when they were executed.
        root: of the published results.
        texts: some generations, too; nothing else that a model wrote is published.

    Raises:
        UserError: a chapter was not executed, or with other models, or its output is not what is published.
    """
    found = gathered(notebooks, pairs.pair(pair), pair)
    if texts:
        found = found._replace(texts=_texts(notebooks, pair))
    try:
        files = published.packed(found)
    except ValueError as error:
        raise UserError(f"pair: {error}; execute the chapters of {pair!r} again with `predact run`.") from error
    folder = root / pairs.slug(pair)
    if published.TEXTS not in files:
        (folder / published.TEXTS).unlink(missing_ok=True)  # of an earlier publication
    for name, data in files.items():  # the last one says what the others are: of half a publication nothing is read
        write(folder / name, data, "published")
    return folder


def gathered(notebooks: Path, models: Pair, pair: str) -> Published:
    """Return what the executed notebooks of a pair tell.

    Args:
        notebooks: their folder.
        models: of the pair.
        pair: its name.

    Raises:
        UserError: as `publish`.
    """
    missing = [name for name in CHAPTERS if not (notebooks / f"{name}.ipynb").exists()]
    if missing:
        raise UserError(f"pair: {', '.join(missing)} not executed for {pair!r}; {_again(missing[0][:2], pair)}.")
    title = pairs.title(pair)
    told = {name: _provenance(notebooks / f"{name}.ipynb", pair) for name in CHAPTERS}
    rows = execute.verdicts(notebooks / f"{name}.ipynb" for name in CHAPTERS)
    figures = [_figure(notebooks, name, pair) for name in summary.FIGURES]
    provenance = Provenance(
        pair=title,
        models=_weights(told, models, pair),
        chapters={name: _execution(notebooks / f"{name}.ipynb", each, pair) for name, each in told.items()},
    )
    whole = pd.concat(figures, ignore_index=True).assign(pair=title).astype(summary.COLUMNS)
    return Published(provenance, [row | {"pair": title} for row in rows], whole)


def _again(only: str, pair: str) -> str:
    return f"run `predact run --only {only}` for {pair!r}"


def _provenance(notebook: Path, pair: str) -> dict[str, Any]:
    told = execute.provenance(notebook)
    if not {"pair", "models", "commit", "seed"} <= told.keys():
        raise UserError(f"pair: {notebook.stem} has no provenance; {_again(notebook.stem[:2], pair)}.")
    if told["pair"] != pair:
        raise UserError(f"pair: {notebook.stem} was executed for {told['pair']!r}; {_again(notebook.stem[:2], pair)}.")
    return told


def _figure(notebooks: Path, name: str, pair: str) -> pd.DataFrame:
    chapter = summary.FIGURES[name].chapter
    found = execute.summaries(notebooks / f"{chapter}.ipynb")
    if name not in found:
        raise UserError(f"pair: {chapter} has no summary of Figure {name}; {_again(chapter[:2], pair)}.")
    try:
        return summary.from_data(found[name])
    except ValueError as error:
        raise UserError(f"pair: the summary in {chapter}: {error}; {_again(chapter[:2], pair)}.") from error


def _texts(notebooks: Path, pair: str) -> list[Text]:
    found = [Text(**row) for name in CHAPTERS for row in execute.texts(notebooks / f"{name}.ipynb")]
    if not found:
        raise UserError(f"pair: no chapter has kept texts; {_again('04', pair)}.")
    return found


def _weights(told: dict[str, dict[str, Any]], models: Pair, pair: str) -> dict[str, Weights]:
    """The models of all chapters, which must be the same."""
    found: dict[str, dict[str, Any]] = {}
    for chapter, each in told.items():
        for step, model in each["models"].items():
            if found.setdefault(step, model) != model:
                only = chapter[:2]
                raise UserError(f"pair: {step} in {chapter} is not that of other chapters; {_again(only, pair)}.")
    missing = [step for step in ENDS if step not in found]
    if missing:
        raise UserError(f"pair: no chapter says what {missing[0]} is; {_again(CHAPTERS[0][:2], pair)}.")
    return {
        step: Weights(**found[step], parameters=_parameters(models, step)) for step in models.models if step in found
    }


def _parameters(models: Pair, step: str) -> int:
    """Number of parameters of a model; where its configuration is not here, what the pair says."""
    try:
        return loading.parameters(models.models[step])
    except UserError as error:
        if not models.parameters:
            raise UserError(f"{error} Or set `parameters`, in billions, in a pair file.") from error
        return round(models.parameters * 1e9)


def _execution(notebook: Path, told: dict[str, Any], pair: str) -> Execution:
    results, full = told["results"], {name: field.default for name, field in Settings.model_fields.items()}
    if not results:
        raise UserError(f"pair: {notebook.stem} used no stored result; {_again(notebook.stem[:2], pair)}.")
    versions: dict[str, set[str]] = {}
    for each in results:
        for name, version in each["versions"].items():
            versions.setdefault(name, set()).add(version)
    return Execution(
        scale=told["scale"],
        seed=told["seed"],
        settings={name: value for name, value in told["settings"].items() if value != full.get(name)},
        versions={name: ", ".join(sorted(each)) for name, each in versions.items()},
        devices=sorted({each["device"] for each in results}),
        finished=execute.metadata(notebook)["end_time"],
        commit=told["commit"],
    )
