"""What every caption of a book says after its own words: how many (n), by whose protocol, at which scale.

It is read from the figure itself and from its run, so no chapter has to say it, or to keep it true.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from predact.build.notebook import PROVENANCE
from predact.figures import style
from predact.models.runs import scales

COUNTED = {  # columns that count, and what they count
    "documents": "documents",
    "passages": "passages",
    "prompts": "prompts",
    "prefixes": "beginnings",
    "questions": "questions",
    "answers": "answers",
    "positions": "positions",
    "n": "",
}
PROTOCOLS = {"paper": "the paper's", "book": "ours"}
OF_PAPER = re.compile(r"\b(Figures?|Table) \d")


def complete(notebook: Any) -> None:
    """Complete the captions of an executed notebook, in place."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    told: Mapping[str, Any] = next(
        (output.data[PROVENANCE] for output in outputs if PROVENANCE in output.get("data", {})), {}
    )
    for cell in notebook.cells:
        figure = cell.metadata.get("mystnb", {}).get("figure", {})
        if "caption" in figure:
            drawn = [output.data[style.MIME] for output in cell.outputs if style.MIME in output.get("data", {})]
            figure["caption"] += f" {ending(figure['caption'], drawn[0] if drawn else {}, told.get('scale', ''))}"


def ending(caption: str, spec: Mapping[str, Any], scale: str) -> str:
    """Return the last sentence of a caption: "n = 30 documents; protocol: the paper's; scale: laptop".

    A figure whose caption names one of the paper's is by the paper's protocol, any other by ours, unless its rows tell
    their own. Likewise the scale is that of the run unless rows tell theirs. A number that is not known is left out.

    Args:
        caption: in Markdown.
        spec: of the figure, Vega-Lite; empty for one that is a text.
        scale: as `Run.scale` names it; only the name is told, for what else was changed stands on the status page.
    """
    rows = [row for each in spec.get("datasets", {}).values() for row in each]
    protocols = _told(rows, "protocol", PROTOCOLS) or PROTOCOLS["paper" if OF_PAPER.search(caption) else "book"]
    names = {name: name for name in scales()}
    told = {"n =": _count(rows, _drawn(spec)), "protocol:": protocols}
    told["scale:"] = _told(rows, "scale", names) or names.get(scale.partition(",")[0], "")
    sentence = "; ".join(f"{name} {value}" for name, value in told.items() if value)
    return f"{sentence if told['n ='] else sentence.capitalize()}."


def _told(rows: Sequence[Mapping], field: str, names: Mapping[str, str]) -> str:
    """The values of a field that have a name, each once."""
    found = dict.fromkeys(str(row[field]).partition(",")[0] for row in rows if field in row)
    return " and ".join(names[each] for each in found if each in names)


def _count(rows: Sequence[Mapping], drawn: set[str]) -> str:
    """How many of what: of the first column that counts, the smallest and the largest number."""
    for column, unit in COUNTED.items():
        values = [row[column] for row in rows if row.get(column) is not None]
        if values and column not in drawn:
            low, high = f"{min(values):,.0f}", f"{max(values):,.0f}"
            return f"{low if low == high else f'{low} to {high}'} {unit}".rstrip()
    generations = {row["row"] for row in rows if "row" in row and "prompt" in row}
    return f"{len(generations):,} generations" if generations else ""


def _drawn(spec: Mapping[str, Any]) -> set[str]:
    """The fields that a mark's place or look shows: an `n` among them is the length of an n-gram, no count."""
    channels = {name: each for name, each in spec.get("encoding", {}).items() if name != "tooltip"}
    here = {each["field"] for each in channels.values() if isinstance(each, dict) and "field" in each}
    return here.union(*map(_drawn, spec.get("layer", [])))
