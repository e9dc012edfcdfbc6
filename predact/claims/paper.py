"""The paper's own values: what its figures and tables show for its models, to set beside ours."""

from functools import cache
from pathlib import Path

import pandas as pd

from predact.models.passages import GOLD, GREEDY, OWN

VALUES = Path("book", "published", "paper", "values.csv")
TEXTS = {"gold": GOLD, "generated p=0.9": OWN, "generated greedy": GREEDY}  # kinds of text, as its values name them
PROMPTS = 80  # of the paper: its Figure 7B counts the n-grams of all of them together


def values(figure: str, panel: str = "") -> pd.DataFrame:
    """Return what a figure or a table of the paper shows.

    Numbers of figures were read off their pictures; `error` is how far such a reading may be off.

    Args:
        figure: as the paper numbers it: "2", "13", "Table 4".
        panel: only this panel, for example "A"; by default all of them.

    Returns:
        panel, model, condition, x (a number where the axis is one), value, low, high (NaN where there is no band),
        unit, how (`table`, or `raster` for a picture), error.

    Raises:
        ValueError: no numbers are known of such a figure or panel.
    """
    known = _all()
    wanted = (known.figure == figure) & (known.panel.eq(panel) | (not panel))
    found = known[wanted].drop(columns="figure").reset_index(drop=True)
    if found.empty:
        raise ValueError(f"no values of the paper's figure {figure!r}, panel {panel!r}")
    numbers = pd.to_numeric(found.x, errors="coerce")
    return found if numbers.isna().any() else found.assign(x=numbers)


@cache
def _all() -> pd.DataFrame:
    return pd.read_csv(VALUES, dtype={"figure": str, "x": str, "panel": str}).fillna({"panel": ""})
