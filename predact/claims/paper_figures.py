"""The paper's own values as summaries: its five pairs in the columns in which ours are kept."""

from collections.abc import Callable

import pandas as pd

from predact.claims import paper
from predact.claims.backbone import OVERLAP, PAPER_PAIRS
from predact.claims.foresight import BEGINNINGS, OTHERS, PERCENT, QUESTIONS
from predact.claims.last_word import AS_THE_PAPER
from predact.claims.mass import MASS
from predact.claims.prediction import INCREASES
from predact.claims.self_reading import PERPLEXITY, RATIO
from predact.claims.shared_ngrams import PER_PROMPT, UNIT
from predact.claims.skeleton import INSIDE
from predact.claims.summary import check, place, typed
from predact.claims.support import PERCENT as OF_VOCABULARY
from predact.methods.ngrams import GENERATIONS
from predact.models.passages import OWN

CATEGORIES = {"new corpora": "new", "instruction tuning": "instruction", "instruction data": "instruction"}
PAIRS = {"TULU 7B": "Tulu 2 7B", "TULU 70B": "Tulu 2 70B"}  # where the paper has several names for one pair


def of_paper(figure: str) -> pd.DataFrame:
    """Return the paper's own values of a figure as a summary, see `summary.COLUMNS`; intervals where it has some.

    Args:
        figure: a key of `summary.FIGURES`.
    """
    found = _VALUES[figure]().rename(columns={"value": "estimate"}).dropna(subset="estimate")
    return check(typed(found.assign(figure=figure, scale="", protocol="paper", x=found.x.map(place))))


def _increases(panel: str) -> pd.DataFrame:
    found = paper.values("2", panel)
    categories = found.x.str.lower().replace(CATEGORIES)
    return found.assign(pair=found.model.replace(PAIRS), model="RLHF", series="", x=categories, unit=INCREASES[0])


def _masses() -> pd.DataFrame:
    found = _of_pairs(paper.values("3"))
    return found.assign(series=found.condition.map(paper.TEXTS), unit=MASS)


def _supports() -> pd.DataFrame:
    found = _of_pairs(paper.values("4"))
    return found.assign(series=found.condition.map(paper.TEXTS), x="", unit=OF_VOCABULARY)


def _self_perplexities() -> pd.DataFrame:
    """The perplexities, and as multiples of Base's."""
    found = _of_pairs(paper.values("5"))
    found = found.assign(series="", x=found.x.str.lower().replace(CATEGORIES))
    base = found[found.model == "Base"].set_index(["pair", "x"]).value.rename("base")
    ratios = found.join(base, on=["pair", "x"])
    ratios = ratios.assign(value=ratios.value / ratios.base, unit=RATIO)
    return pd.concat([found.assign(unit=PERPLEXITY), ratios], ignore_index=True)


def _accuracies() -> pd.DataFrame:
    found = _of_pairs(paper.values("6"))
    kinds = found.panel.str.contains("Pile").map({True: BEGINNINGS, False: QUESTIONS})
    texts = found.panel.str.contains("own").map({True: OWN, False: OTHERS})
    return found.assign(series=kinds + ", " + texts, unit=PERCENT)


def _commonest() -> pd.DataFrame:
    found = _of_pairs(paper.values("7", "A"))
    return found.assign(series="", value=found.value / 100, unit=UNIT)


def _histogram() -> pd.DataFrame:
    found = _of_pairs(paper.values("7", "B"))
    return found.assign(series="", value=found.value / paper.PROMPTS, unit=PER_PROMPT)


def _along(figure: str, unit: str) -> pd.DataFrame:
    found = paper.values(figure)
    parts = [
        found[found.model == name].assign(pair=pair, model=model)
        for pair, names in PAPER_PAIRS.items()
        for model, name in zip(("Base", "RLHF"), names, strict=True)
    ]
    whole = pd.concat(parts, ignore_index=True)
    return whole.assign(series=GENERATIONS, x=whole.x + 0.5, unit=unit)


def _last_words() -> pd.DataFrame:
    found = _of_pairs(paper.values("Table 1"))
    return found.assign(series="", unit=found.x.map(AS_THE_PAPER), x="")


def _of_pairs(found: pd.DataFrame) -> pd.DataFrame:
    """Part the paper's names of models, such as Llama 2 7B Base, into pair and model."""
    names = found.model.str.rsplit(n=1)
    return found.assign(pair=names.str[0].replace(PAIRS), model=names.str[1])


_VALUES: dict[str, Callable[[], pd.DataFrame]] = {  # pair, model, series, x, unit, value, low, high
    "2A": lambda: _increases("A"),
    "2B": lambda: _increases("B"),
    "Table 1": _last_words,
    "3": _masses,
    "4": _supports,
    "5": _self_perplexities,
    "7A": _commonest,
    "7B": _histogram,
    "14": lambda: _along("14", INSIDE),
    "13": lambda: _along("13", OVERLAP),
    "6": _accuracies,
}
