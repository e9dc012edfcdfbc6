"""Many pairs side by side, the paper's own five among them: what its figures show for each, and effects by claim."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from predact.claims import mass, summary
from predact.claims.foresight import OTHERS
from predact.claims.last_word import WRONG
from predact.claims.paper_figures import of_paper
from predact.claims.self_reading import RATIO
from predact.claims.verdict import claims
from predact.discussion.published import Published
from predact.models.passages import GOLD, OWN

PAPER, HERE = "the paper", "published"  # whose measurement
BANDS = {
    "below 1 billion": 1.0,
    "1 to 10 billion": 10.0,
    "above 10 billion": np.inf,
}  # of parameters, below this number
ENOUGH = 3  # pairs of which it makes sense to ask if size matters


def figures(found: Sequence[Published]) -> pd.DataFrame:
    """Return the summaries of all figures, of the paper's pairs and of published ones, by their number of parameters.

    Returns:
        The columns of `summary.COLUMNS`, and whose (`PAPER` or `HERE`), label (the pair, for an axis), family,
        parameters (of RLHF, in billions), size (one of `BANDS`).
    """
    theirs = pd.concat([of_paper(figure) for figure in summary.FIGURES]).assign(whose=PAPER)
    theirs = theirs.assign(parameters=theirs.pair.map(billions), label=theirs.pair + ", paper")
    ours = [
        each.figures.assign(whose=HERE, parameters=_parameters(each), label=each.provenance.pair)
        for each in found
        if len(each.figures)
    ]
    whole = pd.concat([theirs, *ours], ignore_index=True)
    whole = whole.assign(family=whole.pair.map(family), size=whole.parameters.map(size))
    return whole.sort_values("parameters", kind="stable", ignore_index=True)


def overview(found: Sequence[Published]) -> pd.DataFrame:
    """Return which published pairs there are.

    Returns:
        pair, family, parameters (of RLHF, in billions), steps, scale, made (the last day), devices, and how many
        verdicts and figures there are.
    """
    rows = []
    for each in found:
        told = each.provenance
        ran = told.chapters.values()
        row = {"pair": told.pair, "family": family(told.pair), "parameters": _parameters(each)}
        row |= {"steps": ", ".join(told.models), "scale": "; ".join(sorted({chapter.scale for chapter in ran}))}
        row |= {"made": f"{max(chapter.finished for chapter in ran):%Y-%m-%d}"}
        row |= {"devices": "; ".join(sorted({device for chapter in ran for device in chapter.devices}))}
        rows.append(row | {"verdicts": len(each.verdicts), "figures": each.figures.figure.nunique()})
    columns = ["pair", "family", "parameters", "steps", "scale", "made", "devices", "verdicts", "figures"]
    return pd.DataFrame(rows, columns=columns)


def texts(found: Sequence[Published]) -> pd.DataFrame:
    """Return the generations that were published to be read, those of one prompt together.

    Returns:
        prompt, pair, model, generation.
    """
    rows = [text.model_dump() | {"pair": each.provenance.pair} for each in found for text in each.texts]
    frame = pd.DataFrame(rows, columns=["prompt", "pair", "model", "generation"])
    return frame.sort_values("prompt", kind="stable", ignore_index=True)


def billions(name: str) -> float:
    """Return the number of parameters in billions that a name tells, as in Llama 2 7B; NaN if it tells none."""
    told = re.search(r"(\d+(?:\.\d+)?)([BM])\b", name, re.IGNORECASE)
    return float(told[1]) / (1 if told[2].upper() == "B" else 1000) if told else np.nan


def family(name: str) -> str:
    """Return what a name says before the size, in small letters; the first word of a name without a size.

    So Llama 2 7B and llama2-70b are one family, as are pocket and pocket-dpo.
    """
    before = re.split(r"[-_ ]?\d+(?:\.\d+)?[BM]\b", name, maxsplit=1, flags=re.IGNORECASE)
    first = before[0] if len(before) > 1 else re.split(r"[-_ ]", name)[0]
    return re.sub(r"[-_ ]", "", first).lower() or name


def size(parameters: float) -> str:
    """Return the band of a number of parameters, in billions."""
    return next(band for band, below in BANDS.items() if parameters < below)


def _parameters(each: Published) -> float:
    return each.provenance.models["RLHF"].parameters / 1e9


def effects(found: Sequence[Published]) -> pd.DataFrame:
    """Return the effect on which each verdict rests, by claim and pair: published ones, and those of the paper.

    Only verdicts by the paper's rules, of claims that were measured for at least `ENOUGH` pairs.

    Returns:
        id, pair, label, whose, verdict (empty for the paper, which gives no intervals), estimate, low, high, unit,
        parameters (of RLHF, in billions).
    """
    rows = [
        row | {"whose": HERE, "parameters": _parameters(each), "label": each.provenance.pair}
        for each in found
        for row in each.verdicts
        if row["protocol"] == "paper" and row["estimate"] is not None
    ]
    rows += [
        row | {"whose": PAPER, "parameters": billions(row["pair"]), "label": row["pair"] + ", paper"}
        for row in estimates_of_paper()
    ]
    columns = ["id", "pair", "label", "whose", "verdict", "estimate", "low", "high", "unit", "parameters"]
    frame = pd.DataFrame(rows)[columns].astype({"low": float, "high": float})
    frame = frame[frame.groupby("id").pair.transform("size") >= ENOUGH]
    order = list(claims())
    return frame.sort_values("id", key=lambda ids: ids.map(order.index), kind="stable", ignore_index=True)


def estimates_of_paper() -> list[dict[str, Any]]:
    """Return what the paper's own values give for the claims: rows as of verdicts, without interval and verdict.

    The estimate is taken as the claim's rule takes it, see `EFFECTS`. Where a rule takes the mean over corpora, it is
    the mean over categories here. C11 is left out: its figure has no summary.
    """
    rows = []
    for id, (figure, unit, effect) in EFFECTS.items():
        for pair, part in of_paper(figure).groupby("pair", sort=False):
            row = {"id": id, "claim": claims()[id].claim, "verdict": "", "estimate": float(effect(part))}
            row |= {"low": None, "high": None, "unit": unit, "n": 0, "null": None, "protocol": "paper"}
            rows.append(row | {"pair": pair, "scale": PAPER})
    return rows


def _apart(part: pd.DataFrame) -> pd.Series:
    """RLHF minus Base, by series and place."""
    wide = part.pivot(index=["series", "x"], columns="model", values="estimate")
    return wide["RLHF"] - wide["Base"]


def _mean(part: pd.DataFrame) -> float:
    return part[part.model == "RLHF"].estimate.mean()


def _least_mass(part: pd.DataFrame) -> float:
    return _apart(part[part.x.isin([str(k) for k in mass.KS])]).min()


def _support(part: pd.DataFrame) -> float:
    apart = _apart(part).droplevel("x")
    return min(apart[GOLD], -apart[OWN])


def _ratio(part: pd.DataFrame) -> float:
    return np.exp(np.log(part[(part.model == "RLHF") & (part.unit == RATIO)].estimate).mean())


def _least_own(part: pd.DataFrame) -> float:
    return _apart(part[part.series.str.endswith(OWN)]).min()


def _least_others(part: pd.DataFrame) -> float:
    return (-_apart(part[part.series.str.endswith(OTHERS)])).min()


def _guesses(part: pd.DataFrame) -> float:
    return _apart(part[part.unit == WRONG]).item()


def _least(part: pd.DataFrame) -> float:
    return _apart(part).min()


Effect = Callable[[pd.DataFrame], float]  # of the summary of one pair
EFFECTS: dict[str, tuple[str, str, Effect]] = {  # by claim: figure, unit, how the estimate is taken
    "C1": ("2A", "perplexity increase", _mean),
    "C2": ("2B", "perplexity increase after finetuning", _mean),
    "C3": ("3", "more mass of the likeliest tokens than Base, the least difference", _least_mass),
    "C4": ("4", "percentage points of the vocabulary, the smaller difference", _support),
    "C5": ("5", "perplexity ratio", _ratio),
    "C6": ("7A", "share of RLHF's generations with their commonest n-gram less Base's, the least", _least),
    "C7": ("14", "share of generations inside an anchor span, RLHF's mean along the text", _mean),
    "C8": ("13", "proportion of pairs that match, RLHF's mean along the text", _mean),
    "C9": ("6", "percentage points, own text, the least of six", _least_own),
    "C10": ("Table 1", "more wrong guesses before the last word than Base", _guesses),
    "C12": ("6", "percentage points, the other's text, the least of six", _least_others),
}
