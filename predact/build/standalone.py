"""Blueprints of texts by any author: a file of generations in, one self-contained page out."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd

from predact import markup, stats
from predact.build import compared, pages
from predact.claims import backbone, shared_ngrams
from predact.claims.verdict import Protocol
from predact.errors import UserError
from predact.figures import backbone as backbone_figures
from predact.figures import shared_ngrams as shared_ngrams_figures
from predact.figures import skeleton as skeleton_figures
from predact.methods import alignment, alignments, anchors, blueprint, modes, ngrams
from predact.models.transcripts import Texts
from predact.texts import generations

SHOWN, DRAWN = 20, 120_000  # prompts in the diagram and the viewer, and words of their generations: at most
BESIDE = 4  # models that are drawn side by side
ROWS = 200  # generations of a prompt in the viewer
LISTED = 10  # modes and texts of a prompt
SHARES = (0.02, 0.05, 0.1, 0.15, 0.25, 0.4, 0.6, 0.8, 1)  # to choose from, in the diagram
LENGTHS = (3, 5, 8, 12, 20)
HALF = 0.5  # of the generations of a mode: those that a passage stands in to be marked
MOST = 5_000  # generations of a prompt by one model
PATIENCE = 3_600  # seconds: work of more is refused
_STEP = 2e-9  # seconds for one cell of an alignment's dynamic program
_WORD = 1e-4  # seconds for one word in all else that the page holds
STATIC = Path(__file__).parents[2] / "book" / "_static"


def read(path: Path, sample: int | None = None, seed: int = 0) -> Texts:
    """Read a file of generations and split them into words; their authors' tokenizers are not known.

    Args:
        path: of the file, as `generations.read` reads it.
        sample: keep so many generations of each prompt and model, drawn at random.
        seed: of the drawing.

    Raises:
        UserError: see `generations.read`; the sample or the seed is out of its range; no prompt has two generations by
            one model, or there are too many.
    """
    if sample is not None and not 2 <= sample <= MOST:
        raise UserError(f"sample: expected a whole number from 2 to {MOST:,}, not {sample:,}.")
    if not 0 <= seed < 2**32:
        raise UserError(f"seed: expected a whole number from 0 to {2**32 - 1:,}, not {seed:,}.")
    found, notes = generations.read(path)
    frame = pd.DataFrame(found)
    places = dict[str, str]()
    frame["prompt"] = [places.setdefault(prompt, str(len(places) + 1)) for prompt in frame["prompt"]]
    frame["sample"] = frame.groupby(["prompt", "model"], sort=False).cumcount()
    size = frame.groupby(["prompt", "model"], sort=False).text.transform("size")
    if (size < 2).all():
        raise UserError(
            f"file: no prompt in {str(path)!r} has two generations; two at least are needed, better a hundred."
        )
    alone = int((size < 2).sum())
    if alone:
        notes = [*notes, f"{alone:,} prompt{'s' * (alone > 1)} with a single generation left out."]
    frame = frame[size > 1]
    if sample is not None and size.max() > sample:
        kept = frame.groupby(["prompt", "model"], sort=False).sample(frac=1, random_state=seed)
        frame = kept.groupby(["prompt", "model"], sort=False).head(sample).sort_index()
        notes = [*notes, f"A random sample of {len(frame):,} of {len(found):,} generations, {sample:,} of a prompt."]
    if sample is None and size.max() > MOST:
        raise UserError(
            f"file: {size.max():,} generations of one prompt, {MOST:,} at most: draw a sample, --sample {MOST}."
        )
    frame["ids"], words = generations.numbered(map(generations.words, frame.text))
    generations.refuse_long(frame.ids, path)
    prompts = {number: text for text, number in places.items() if number in set(frame.prompt)}
    written = frame.assign(category=frame.model)[["model", "category", "prompt", "sample", "ids"]]
    return Texts(written.reset_index(drop=True), words, prompts, notes)


def seconds(texts: Texts) -> float:
    """Estimate how long the page of `texts` takes.

    Raises:
        UserError: it would take more than an hour.
    """
    sizes = texts.written.ids.map(len)
    units = sizes.groupby([texts.written.prompt, texts.written.model]).agg(["size", "mean"])
    count, mean = units["size"].to_numpy(float), units["mean"].to_numpy(float)
    judged = 4 if texts.written.model.nunique() > 1 else 0  # generations, nulls and halves are aligned once more
    kinds = (len(_kinds(texts)) + judged) / min(os.cpu_count() or 1, max(2, len(units)))
    steps = float((2 * count * mean * mean * np.sqrt(count)).sum())  # an alignment is about √G times as wide as a text
    wanted = 2 + kinds * _STEP * steps + _WORD * float(sizes.sum())
    if wanted > PATIENCE:
        fits = max(2, int(count.max() * (PATIENCE / 4 / wanted) ** (2 / 3)))
        raise UserError(f"file: this would take {wanted / 3600:.0f} hours; draw a sample, for example --sample {fits}.")
    return wanted


def shown(texts: Texts) -> dict[str, str]:
    """The prompts that the diagram and the viewer hold: the first ones, as many as leave the page small."""
    words = texts.written.ids.map(len).groupby(texts.written.prompt, sort=False).sum()
    fitting = max(1, int((words[list(texts.prompts)].cumsum() <= DRAWN).sum()))
    return dict(list(texts.prompts.items())[: min(SHOWN, fitting)])


def _kinds(texts: Texts) -> list[str]:
    """The kinds of text that are measured: other prompts only where they fill a sample."""
    enough = len(texts.prompts) >= texts.written.groupby(["prompt", "model"]).size().max()
    return [text for text in alignments.TEXTS if text != ngrams.ACROSS or enough]


def page(texts: Texts, title: str, protocol: Protocol = "book", bar: bool = False) -> str:
    """Return an HTML page: how many different texts there are, the Sankey diagram, the shared n-grams, the alignment.

    It loads no other file.

    Args:
        texts: what `read` returns.
        title: heading of the page.
        protocol: of the diagram and of the curves along the text that are shown: the paper's, on characters (with
            MAFFT where it is installed), or ours, on words.
        bar: whether to show a progress bar.

    Raises:
        UserError: the book's scripts are missing, because predact was not installed from its clone.
    """
    with tempfile.TemporaryDirectory() as folder:
        return _page(texts, title, protocol, bar, Path(folder))


def _page(texts: Texts, title: str, protocol: Protocol, bar: bool, root: Path) -> str:
    written, kinds = texts.written, _kinds(texts)
    names = list(dict.fromkeys(written.model))
    decode = dict.fromkeys(names, texts.decode)
    aligned = alignments.align_here(written, kinds, bar=bar)
    drawn_prompts, beside = shown(texts), names[:BESIDE]
    some = aligned[aligned.prompt.isin(list(drawn_prompts)) & aligned.model.isin(beside)]
    shares = shared_ngrams.shares_by_length(written)
    grid = None
    if protocol == "book":
        grid = blueprint.grid(some, decode, SHARES, LENGTHS)
        drawn = grid.drawn
        along = backbone_figures.companions_along_text(backbone.mean_curves(backbone.companion_curves(aligned)))
    else:
        characters = compared.characters(root, written, texts)
        some_characters = characters[characters.prompt.isin(list(drawn_prompts)) & characters.model.isin(beside)]
        drawn, along = {protocol: blueprint.of_paper(some_characters)}, _overlap(characters)
    charts = {
        "sankey": skeleton_figures.sankey(drawn, drawn_prompts, beside),
        "shares": shared_ngrams_figures.shares(shares[shares.text.isin(kinds)]),
        "along": along,
        "viewer": backbone_figures.viewer(_viewed(some, decode), drawn_prompts),
    }
    found, judged = _modes(texts), compared.compare(texts, protocol, root)
    return markup.render(
        "standalone.html",
        charts={name: _driven(chart) for name, chart in charts.items()},
        css=_static("predact.css"),
        vega=_static("vendor/vega.js"),
        draw=_static("predact.js"),
        numbers=_static("numbers.js"),
        title=title,
        told=_told(texts),
        notes=texts.notes + _hidden(texts, names),
        verdicts=[(each, pages.numbers(asdict(each))) for each in judged.verdicts],
        compared=judged.notes,
        several=len(names) > 1,
        models=_by_model(found),
        prompts=_by_prompt(texts, found),
        rows=_summary(texts, found),
        shown=list(drawn_prompts),
        first=_first(len(drawn_prompts)),
        thresholds=_thresholds(grid),
        table=_table(texts),
        protocol=protocol,
        length=anchors.LENGTH if protocol == "book" else anchors.PAPER_LENGTH,
        share=f"{anchors.PAPER_SHARE:.0%}",
        alike=f"{modes.ALIKE:.0%}",
        n=modes.N,
        version=version("predact"),
    )


def _told(texts: Texts) -> str:
    prompts = len(texts.prompts)
    return f"{len(texts.written):,} generations for {prompts:,} prompt{'s' * (prompts > 1)}"


def _hidden(texts: Texts, names: list[str]) -> list[str]:
    """What the page leaves out, each a sentence."""
    sizes = texts.written.groupby(["prompt", "model"]).size()
    drawn = len(shown(texts))
    return [
        *([f"The diagram and the alignment hold {_first(drawn)}."] if drawn < len(texts.prompts) else []),
        *([f"They hold the first {BESIDE} of {len(names)} models."] if len(names) > BESIDE else []),
        *([f"The alignment shows the first {ROWS} generations of a prompt."] if sizes.max() > ROWS else []),
    ]


def _first(prompts: int) -> str:
    return f"the first {prompts} prompts" if prompts > 1 else "the first prompt"


def _viewed(aligned: pd.DataFrame, decode: Mapping[str, blueprint.Decode]) -> pd.DataFrame:
    cells = blueprint.cells(aligned, decode)
    return cells[cells.row < ROWS]


def _driven(chart: alt.LayerChart) -> dict[str, Any]:
    """A figure, with all its rows, whose prompt and thresholds are chosen on the page, not below the figure.

    Numbers have four decimals: a tenth of a pixel at most.
    """
    with alt.data_transformers.enable("default", max_rows=None):
        spec = json.loads(chart.to_json(), parse_float=lambda number: round(float(number), 4))
    for param in spec.get("params", []):
        if param["name"] in ("prompt", "protocol"):
            param.pop("bind", None)
    return spec


def _thresholds(grid: blueprint.Grid | None) -> dict[str, Any] | None:
    """What the page's script needs to choose a blueprint by share and length."""
    if grid is None:
        return None
    shares = [f"{share:.0%}" for share in SHARES]
    usual = (SHARES.index(anchors.SHARE), LENGTHS.index(anchors.LENGTH))
    first = {prompt: place or usual for prompt, place in grid.first.items()}
    none = [prompt for prompt, place in grid.first.items() if place is None]
    return {"shares": shares, "lengths": LENGTHS, "names": grid.names, "first": first, "none": none}


class _Modes(NamedTuple):
    """The generations of a prompt by a model, by modes."""

    prompt: str
    model: str
    texts: list[str]
    ids: list[list[int]]
    groups: np.ndarray
    counts: dict[str, int]
    effective: stats.Interval
    known: bool  # whether so many generations tell the effective number


def _modes(texts: Texts) -> list[_Modes]:
    found = []
    for (prompt, model), part in texts.written.groupby(["prompt", "model"], sort=False):
        told = [texts.decode(ids) for ids in part.ids]
        groups = modes.modes([[texts.words[each] for each in ids] for ids in part.ids])
        known = modes.coverage(groups) >= modes.ENOUGH
        row = (str(prompt), str(model), told, list(part.ids), groups, modes.counts(told))
        found.append(_Modes(*row, modes.effective(groups), known))
    return found


def _effective(each: _Modes) -> str:
    value = each.effective
    if not each.known:
        return f"more than {value.low:,.0f}"
    return f"{value.estimate:,.1f} ({value.low:,.1f}–{value.high:,.1f})"


def _twins(counts: Mapping[str, int]) -> int:
    return sum(count for count in counts.values() if count > 1)


def _summary(texts: Texts, found: list[_Modes]) -> list[dict[str, Any]]:
    """A row for each prompt and model: how different its generations are."""
    return [
        {
            "prompt": each.prompt,
            "text": blueprint.shortened(texts.prompts[each.prompt], 90),
            "model": each.model,
            "generations": len(each.texts),
            "distinct": len(each.counts),
            "twins": _twins(each.counts),
            "modes": int(each.groups.max()) + 1,
            "largest": np.bincount(each.groups).max() / len(each.groups),
            "effective": _effective(each),
            "value": each.effective.low if not each.known else each.effective.estimate,
        }
        for each in found
    ]


def _by_model(found: list[_Modes]) -> list[dict[str, Any]]:
    """A row for each model, over its prompts; the effective number is their mean."""
    rows = []
    for model in dict.fromkeys(each.model for each in found):
        own = [each for each in found if each.model == model]
        known = [each.effective.estimate for each in own if each.known]
        if len(own) == 1:
            said = _effective(own[0])
        elif len(known) < len(own):  # the mean of the others would be too low
            said = f"not known of {len(own) - len(known)} prompts"
        else:
            value = stats.mean(np.array(known))
            said = f"{value.estimate:,.1f} ({value.low:,.1f}–{value.high:,.1f})"
        size = sum(len(each.texts) for each in own)
        row = {"model": model, "prompts": len(own), "generations": size, "effective": said}
        row |= {"distinct": sum(len(each.counts) for each in own), "twins": sum(_twins(each.counts) for each in own)}
        rows.append(row | {"modes": sum(int(each.groups.max()) + 1 for each in own)})
    return rows


def _by_prompt(texts: Texts, found: list[_Modes]) -> list[dict[str, Any]]:
    """For each prompt its text, and for each of its models the commonest texts and the largest modes."""
    return [
        {
            "id": prompt,
            "text": text,
            "label": blueprint.shortened(text, 80),
            "models": [
                {"model": each.model, "common": _common(each), "modes": _largest(each, texts)}
                for each in found
                if each.prompt == prompt
            ],
        }
        for prompt, text in texts.prompts.items()
    ]


def _common(each: _Modes) -> list[tuple[int, str]]:
    """The commonest texts that occur more than once, with their counts."""
    return [(count, text) for text, count in list(each.counts.items())[: LISTED // 2] if count > 1]


def _largest(each: _Modes, texts: Texts) -> list[dict[str, Any]]:
    """The largest modes of more than one generation: size, different texts, and the commonest one in parts."""
    rows = []
    sizes = np.bincount(each.groups)
    for group in np.flatnonzero(sizes[:LISTED] > 1):
        members = np.flatnonzero(each.groups == group)
        counts = modes.counts([each.texts[row] for row in members])
        common = next(iter(counts))
        ids = next(each.ids[row] for row in members if each.texts[row].strip() == common)
        inside = np.zeros(len(ids), bool)
        if len(counts) > 1:
            spans = anchors.spans(alignment.align([each.ids[row] for row in members]), HALF)
            inside = _inside(spans, ids)
        rows.append(
            {
                "count": int(sizes[group]),
                "share": sizes[group] / len(each.groups),
                "distinct": len(counts),
                "parts": _parts(ids, inside, texts),
            }
        )
    return rows


def _inside(spans: list[np.ndarray], ids: list[int]) -> np.ndarray:
    """Which words of a text are inside one of some spans."""
    inside = np.zeros(len(ids), bool)
    for span, place in zip(spans, anchors.starts(spans, [ids])[:, 0], strict=True):
        inside[place : place + len(span)] |= place >= 0
    return inside


def _parts(ids: list[int], inside: np.ndarray, texts: Texts) -> list[tuple[bool, str]]:
    """A text in parts, each inside spans or not."""
    ends = [*(np.flatnonzero(np.diff(inside)) + 1), len(ids)]
    begins = [0, *ends[:-1]]
    return [(bool(inside[at]), texts.decode(ids[at:end])) for at, end in zip(begins, ends, strict=True) if at < end]


def _overlap(characters: pd.DataFrame) -> alt.LayerChart:
    means = backbone.mean_along(backbone.overlap_curves(characters), backbone.OVERLAP)
    told = {backbone_figures.MATCHED: backbone.OVERLAP.capitalize()}
    return backbone_figures.along_text(means.assign(measure=backbone_figures.MATCHED), told)


def _static(name: str) -> str:
    try:
        return (STATIC / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"predact: {STATIC / name} is missing; install predact with -e from its clone.") from None


def _table(texts: Texts) -> list[dict[str, Any]]:
    """Return the rows of the table: the most shared n-gram of each prompt and model, for a long and a short n."""
    decode = dict.fromkeys(texts.written.model, texts.decode)
    tables = [shared_ngrams.commonest_table(texts.written, decode, n) for n in (10, 5)]
    sizes = texts.written.groupby(["prompt", "model"], sort=False).size()
    found = pd.concat(tables).sort_values("prompt", key=lambda ids: ids.astype(int), kind="stable")
    return [
        {"prompt": row["prompt"], "about": blueprint.shortened(texts.prompts[row["prompt"]], 90), "model": row["model"]}
        | {"n": row["n"], "text": row["text"].strip(), "count": row["count"], "samples": row["samples"]}
        | {"of": int(sizes[row["prompt"], row["model"]])}
        for row in found.to_dict("records")
    ]
