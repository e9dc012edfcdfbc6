"""How far models are from the world that wrote their texts, where that world's probabilities are known."""

import numpy as np
import pandas as pd

from predact import stats
from predact.errors import UserError

WORLD = "world"


def from_world(documents: pd.DataFrame) -> pd.DataFrame:
    """Entropy of each corpus, and the distance of each model from the world: KL(world || m) = cross-entropy - entropy.

    With W the world's nll of a document, L_m the model's (nats) and B its bytes, summed over documents: entropy
    W / (B ln 2), KL (L_m - W) / (B ln 2), and its share of the entropy (L_m - W) / W.

    Args:
        documents: What `scoring.pair_documents` returns with `end=True`: the model must pay for the end as the world
            does.

    Returns:
        category, corpus, of (`world` or a model), estimate, low, high (bits per byte, 95 % bootstrap over documents),
        share, share_low, share_high (for models).

    Raises:
        UserError: A corpus whose world is not known.
    """
    unknown = documents[documents.world_nll.isna()].corpus.unique()
    if len(unknown):
        raise UserError(f"corpora: the probabilities of '{unknown[0]}' are not known; only pocket corpora have them.")
    rows = []
    for (category, corpus), group in documents.groupby(["category", "corpus"], sort=False):
        world = group[group.model == "Base"].set_index("doc")[["world_nll", "bytes"]].astype(float)
        entropy = stats.interval(world.to_numpy(), _bits)
        rows.append({"category": category, "corpus": corpus, "of": WORLD, **vars(entropy)})
        for model, scored in group.groupby("model", sort=False):
            excess = scored.set_index("doc").nll - world.world_nll
            values = stats.interval(np.column_stack([excess, world]), _kl)
            bits, share = ({name: value[i] for name, value in vars(values).items()} for i in (0, 1))
            told = {"share": share["estimate"], "share_low": share["low"], "share_high": share["high"]}
            rows.append({"category": category, "corpus": corpus, "of": model, **bits, **told})
    return pd.DataFrame(rows)


def _bits(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1] / np.log(2)


def _kl(totals: np.ndarray) -> np.ndarray:
    """Totals [..., excess, world's nll, bytes] to bits per byte and share of the entropy [..., 2]."""
    excess, world, size = (totals[..., i] for i in range(3))
    return np.stack([excess / size / np.log(2), excess / world], axis=-1)


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The numbers of `from_world` as text: per corpus the world's entropy and each model's KL, with intervals."""
    text = [f"{row.estimate:.4f} ({row.low:.4f} to {row.high:.4f})" for row in frame.itertuples()]
    share = [f", {row.share:.1%}" if row.of != WORLD else "" for row in frame.itertuples()]
    told = frame.assign(text=[a + b for a, b in zip(text, share, strict=True)])
    cells = told.set_index(["category", "corpus", "of"]).text.unstack("of", sort=False)
    names = {model: f"KL of {model}" for model in cells.columns} | {WORLD: "entropy of the world"}
    return cells.rename(columns=names).rename_axis(columns=None)
