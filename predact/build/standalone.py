"""Blueprints of texts by any author: a file of generations in, one self-contained page out."""

import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import pandas as pd

from predact import markup
from predact.claims import backbone, shared_ngrams
from predact.claims.verdict import Protocol
from predact.errors import UserError
from predact.figures import backbone as backbone_figures
from predact.figures import shared_ngrams as shared_ngrams_figures
from predact.figures import skeleton as skeleton_figures
from predact.methods import alignments, anchors, blueprint, ngrams
from predact.texts import sources

MODEL = "texts"  # whoever wrote them
EXPECTED = 'expected JSON Lines with {"prompt": "...", "generation": "..."}'
SHOWN = 20  # prompts in the diagram and the viewer
STATIC = Path(__file__).parents[2] / "book" / "_static"
# A word with the white space before it; in scripts without spaces (Thai, Chinese, Japanese, ...), a character.
WORD = re.compile(r"\s*(?:[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]+|\S)|\s+")


class Texts(NamedTuple):
    """Generations as ids of words: a frame like that of `sampling.sample_pair`, the word of each id, the prompts."""

    written: pd.DataFrame
    words: list[str]
    prompts: dict[str, str]

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids, exactly as in the file."""
        return "".join(self.words[each] for each in ids)


def read(path: Path) -> Texts:
    """Read a file of generations and split them into words; their authors' tokenizers are not known.

    Raises:
        UserError: the file is missing, empty, not UTF-8 or not JSON Lines; a field is missing; no prompt has two rows.
    """
    if not path.is_file():
        raise UserError(f"file: '{path}' is not a file; {EXPECTED}.")
    rows: list[dict] = []
    places: dict[str, str] = {}
    known: dict[str, int] = {}
    for place, record in sources.records(sources.lines(path, "file"), str(path), "file", EXPECTED):
        for field in ("prompt", "generation"):
            if not isinstance(record.get(field), str):
                raise UserError(f"file: {place}, has no text in the field {field!r}; {EXPECTED}.")
        prompt = places.setdefault(record["prompt"], str(len(places) + 1))
        ids = [known.setdefault(word, len(known)) for word in WORD.findall(record["generation"])]
        rows.append({"model": MODEL, "category": MODEL, "prompt": prompt, "ids": ids})
    if not rows:
        raise UserError(f"file: '{path}' is empty; {EXPECTED}.")
    written = pd.DataFrame(rows)
    written["sample"] = written.groupby("prompt", sort=False).cumcount()
    enough = written.groupby("prompt", sort=False).ids.transform("size") > 1
    if not enough.any():
        raise UserError(f"file: no prompt in '{path}' has two generations; two at least are needed, better a hundred.")
    prompts = {id: text for text, id in places.items() if id in set(written.prompt[enough])}
    return Texts(written[enough].reset_index(drop=True), list(known), prompts)


def page(texts: Texts, title: str, protocol: Protocol = "book") -> str:
    """Return an HTML page with the Sankey diagram, the shared n-grams and the alignment; it loads no other file.

    Args:
        texts: what `read` returns.
        title: heading of the page.
        protocol: of the diagram and of the curves along the text that are shown: the paper's, on characters (with
            MAFFT where it is installed), or ours, on words.

    Raises:
        UserError: the book's scripts are missing, because predact was not installed from its clone.
    """
    written, decode = texts.written, {MODEL: texts.decode}
    with tempfile.TemporaryDirectory() as root:
        aligned = alignments.align_pair(Path(root), written)
        characters = _characters(Path(root), texts) if protocol == "paper" else None
    shown = dict(list(texts.prompts.items())[:SHOWN])
    some = aligned[aligned.prompt.isin(list(shown))]
    shares = shared_ngrams.shares_by_length(written)
    curves = backbone.mean_curves(backbone.companion_curves(aligned))
    if len(texts.prompts) < written.groupby("prompt").size().max():  # too few other prompts to fill a sample
        shares, curves = (frame[frame.text != ngrams.ACROSS] for frame in (shares, curves))
    if characters is None:
        drawn, along = blueprint.blueprint(some, decode), backbone_figures.companions_along_text(curves)
    else:
        drawn, along = blueprint.of_paper(characters[characters.prompt.isin(list(shown))]), _overlap(characters)
    charts = {
        "sankey": skeleton_figures.sankey({protocol: drawn}, shown, (MODEL,)),
        "shares": shared_ngrams_figures.shares(shares),
        "along": along,
        "viewer": backbone_figures.viewer(blueprint.cells(some, decode), shown),
    }
    told = f"{len(written):,} generations for {len(texts.prompts):,} prompt{'s' * (len(texts.prompts) > 1)}"
    hidden = f"The diagram and the alignment hold the first {SHOWN} prompts." if len(texts.prompts) > SHOWN else ""
    return markup.render(
        "standalone.html",
        charts={name: chart.to_dict() for name, chart in charts.items()},
        css=_static("predact.css"),
        vega=_static("vendor/vega.js"),
        draw=_static("predact.js"),
        title=title,
        told=told,
        hidden=hidden,
        table=_table(texts),
        protocol=protocol,
        length=anchors.LENGTH if protocol == "book" else anchors.PAPER_LENGTH,
        share=f"{anchors.SHARE if protocol == 'book' else anchors.PAPER_SHARE:.0%}",
        version=version("predact"),
    )


def _characters(root: Path, texts: Texts) -> pd.DataFrame:
    """The generations and their shuffled words, aligned character by character by the engine of the paper, if there."""
    engine = alignments.paper_engine()
    return alignments.align_characters(root, texts.written, {MODEL: texts.decode}, engine)


def _overlap(characters: pd.DataFrame) -> alt.LayerChart:
    means = backbone.mean_along(backbone.overlap_curves(characters), backbone.OVERLAP)
    told = {backbone_figures.MATCHED: backbone.OVERLAP.capitalize()}
    return backbone_figures.along_text(means.assign(measure=backbone_figures.MATCHED), told)


def _static(name: str) -> str:
    try:
        return (STATIC / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"predact: {STATIC / name} is missing; install predact with -e from its clone.") from None


def _table(texts: Texts) -> list[tuple[Any, ...]]:
    """Return the rows of the table: the most shared n-gram of each prompt, for a long and a short n."""
    tables = [shared_ngrams.commonest_table(texts.written, {MODEL: texts.decode}, n) for n in (10, 5)]
    sizes = texts.written.groupby("prompt", sort=False).size()
    rows = []
    for row in (
        pd.concat(tables).sort_values("prompt", key=lambda ids: ids.astype(int), kind="stable").to_dict("records")
    ):
        share = f"{row['count']} of {sizes[row['prompt']]}"
        samples = ", ".join(map(str, row["samples"]))
        rows.append((texts.prompts[row["prompt"]], row["n"], row["text"].strip(), share, samples))
    return rows
