"""How far models are from the world that wrote their texts, where that world's probabilities are known."""

import numpy as np
import pandas as pd

from predact import stats
from predact.errors import UserError

WORLD = "world"
ENTROPY, KL, SHARE = "entropy, bits per byte", "KL, bits per byte", "KL, share of the entropy"


def from_world(documents: pd.DataFrame) -> pd.DataFrame:
    """Entropy of each corpus, and the distance of each model from the world: KL(world || m) = cross-entropy - entropy.

    With W the world's nll of a document, L_m the model's (nats) and B its bytes, summed over documents: entropy
    W / (B ln 2), KL (L_m - W) / (B ln 2), and its share of the entropy (L_m - W) / W.

    Args:
        documents: What `scores.pair_documents` returns with `end=True`: the model must pay for the end as the world
            does.

    Returns:
        category, corpus, model (`world` for the entropy), unit, estimate, low, high (95 % bootstrap over documents).

    Raises:
        UserError: A corpus whose world is not known.
    """
    unknown = documents[documents.world_nll.isna()].corpus.unique()
    if len(unknown):
        raise UserError(f"corpora: the probabilities of '{unknown[0]}' are not known; only pocket corpora have them.")
    rows = []
    for (category, corpus), group in documents.groupby(["category", "corpus"], sort=False):
        place = {"category": category, "corpus": corpus}
        world = group[group.model == "Base"].set_index("doc")[["world_nll", "bytes"]].astype(float)
        rows.append(place | {"model": WORLD, "unit": ENTROPY} | vars(stats.interval(world.to_numpy(), _entropy)))
        for model, scored in group.groupby("model", sort=False):
            excess = scored.set_index("doc").nll - world.world_nll
            values = vars(stats.interval(np.column_stack([excess, world]), _kl))
            for column, unit in enumerate((KL, SHARE)):
                numbers = {name: value[column] for name, value in values.items()}
                rows.append(place | {"model": model, "unit": unit} | numbers)
    return pd.DataFrame(rows)


def _entropy(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1] / np.log(2)


def _kl(totals: np.ndarray) -> np.ndarray:
    """Totals [..., excess, world's nll, bytes] to bits per byte and share of the entropy [..., 2]."""
    excess, world, size = (totals[..., column] for column in range(3))
    return np.stack([excess / size / np.log(2), excess / world], axis=-1)


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """The numbers of `from_world` as text, a row per corpus: entropy with interval, KL and its share of the entropy."""
    place = ["category", "corpus"]
    world = frame[frame.model == WORLD].set_index(place)
    spans = zip(world.estimate, world.low, world.high, strict=True)
    told = {"Entropy": [f"{estimate:.4f} ({low:.4f} to {high:.4f})" for estimate, low, high in spans]}
    for model in frame.model[frame.model != WORLD].unique():
        numbers = frame[frame.model == model].pivot(index=place, columns="unit", values="estimate").loc[world.index]
        pairs = zip(numbers[KL], numbers[SHARE], strict=True)
        told[f"KL of {model}"] = [f"{bits:.4f} ({share:.1%})" for bits, share in pairs]
    return pd.DataFrame(told, index=world.index)
