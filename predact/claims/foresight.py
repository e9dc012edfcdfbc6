"""What the crossed probes of `planning` tell: means with intervals, the contrasts of claim C9, an answer in words."""

import numpy as np
import pandas as pd

from predact import stats
from predact.claims.planning import AFFINE, MODELS, SKIP

GAINED, BITS = "bits gained over the skip-gram", "bits per token"
AHEAD = 2  # the first offset that counts as several positions ahead


def measures(sums: pd.DataFrame) -> pd.DataFrame:
    """Means over positions with intervals: prompts (or documents) held out are resampled.

    Returns:
        reader, author, source, layer, offset, measure (top-1, top-5, `BITS`, `GAINED`), estimate, low, high, prompts.
    """
    rows = []
    for (reader, author), part in sums.groupby(["reader", "author"], sort=False):
        part = part.assign(**{BITS: part.nll / np.log(2)})
        skip = part[part.source == SKIP].set_index(["group", "offset"])[BITS]
        base = skip.reindex(pd.MultiIndex.from_frame(part[["group", "offset"]])).to_numpy()
        part = part.assign(**{GAINED: base - part[BITS]})
        wide = part.pivot(index="group", columns=["source", "layer", "offset"], values=["top-1", "top-5", BITS, GAINED])
        count = part.groupby("group")["count"].first().reindex(wide.index)
        value = stats.interval(np.column_stack([wide.to_numpy(float), count]), stats.means)
        table = wide.columns.to_frame(index=False).set_axis(["measure", "source", "layer", "offset"], axis=1)
        rows.append(table.assign(**vars(value), reader=str(reader), author=str(author), prompts=len(wide)))
    return pd.concat(rows, ignore_index=True)


def contrasts(sums: pd.DataFrame) -> pd.DataFrame:
    """Compare what the affine probe gains over the skip-gram, on the mean over layers and offsets from AHEAD on.

    Returns:
        contrast, estimate (bits per token), low, high, prompts; nothing where a reader cannot read the other's text.
    """
    far = sums[(sums.offset >= AHEAD) & sums.source.isin([AFFINE, SKIP])].assign(bits=lambda each: each.nll / np.log(2))
    cells = {}
    for (reader, author), part in far.groupby(["reader", "author"]):
        means = part.groupby(["source", "group"])[["bits", "count"]].mean()  # of as many layers and offsets everywhere
        cells[reader, author] = means.loc[SKIP].bits - means.loc[AFFINE].bits, means.loc[SKIP]["count"]
    places = [(reader, author) for author in MODELS for reader in MODELS]
    if not set(places) <= cells.keys():
        return pd.DataFrame(columns=["contrast", "estimate", "low", "high", "prompts"])
    columns = [column for place in places for column in cells[place]]
    table = pd.concat(columns, axis=1).dropna().to_numpy(float)  # prompts that were tested with both authors' texts

    def gained(totals: np.ndarray) -> np.ndarray:
        base, easy, hard, rlhf = (totals[..., 2 * n] / totals[..., 2 * n + 1] for n in range(4))
        second, third = rlhf - hard, base - easy
        return np.stack([rlhf - base, second, third, second - third, second + third], -1)

    value = stats.interval(table, gained)
    return pd.DataFrame({"contrast": CONTRASTS} | vars(value)).assign(prompts=len(table))


CONTRASTS = [
    "RLHF reading RLHF, minus Base reading Base",
    "RLHF's text: RLHF reading, minus Base reading",
    "Base's text: Base reading, minus RLHF reading",
    "the second minus the third: is RLHF's advantage at home the larger one?",
    "the second plus the third, the interaction: has each the advantage at home?",
]


def answer(contrasts: pd.DataFrame) -> str:
    """What the crossed design says about the objection that RLHF's text is merely easier, in plain words (Markdown)."""
    if contrasts.empty:
        return "The two cut text into different tokens, so neither can read the other's: nothing tests the objection."
    own, second, third, larger, _ = (row for _, row in contrasts.iterrows())
    said = [
        "RLHF's states tell more of RLHF's text than Base's tell of Base's"
        if own.low > 0
        else "RLHF's states do not surely tell more of RLHF's text than Base's tell of Base's"
    ]
    said[0] += f" ({own.estimate:+.2f} bits per token). This is the paper's comparison."
    if second.low > 0:
        said.append(
            "**The objection is not the whole story:** in the very same text, RLHF's, its states tell "
            f"{second.estimate:.2f} bits more than Base's do, so it is not the text alone."
        )
    else:
        less = "do not tell more" if second.high < 0 else "do not surely tell more"
        said.append(f"**The objection stands:** in the very same text, RLHF's, its states {less} than Base's.")
    if third.low > 0:
        size = "larger" if larger.low > 0 else "smaller" if larger.high < 0 else "no larger or smaller for sure"
        said.append(
            f"But Base has such an advantage at home too ({third.estimate:.2f} bits): being at home explains that each "
            f"reads its own text best. RLHF's advantage is {size}."
        )
    else:
        said.append("Base has no sure advantage in its own text, so being at home does not explain it.")
    return " ".join(said)
