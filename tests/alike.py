"""Two stores hold the same results: ids and texts to the letter, numbers to the rounding that other batches bring.

For the scripts that kill runs and those that spread them; see `tests/kill.sh` and `tests/cluster.sh`.
"""

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

NEAR = 1e-4  # what is computed in another company of texts differs in the last digits


def names(store):
    """The results in a store: their files, without the folder."""
    return {str(path.relative_to(store)) for path in store.rglob("*") if path.suffix in (".parquet", ".safetensors")}


def alike(first, second):
    """Whether two files hold the same result."""
    one, other = columns(first), columns(second)
    return one.keys() == other.keys() and all(same(one[each], other[each]) for each in one)


def columns(path):
    """Each column or tensor as one flat array, by name."""
    if path.suffix == ".safetensors":
        return {name: array.ravel() for name, array in load_file(path).items()}
    frame = pd.read_parquet(path)
    return {name: np.concatenate([np.atleast_1d(cell) for cell in frame[name]] or [[]]) for name in frame}


def same(first, second):
    if first.dtype.kind != "f":
        return np.array_equal(first, second)
    return first.shape == second.shape and np.allclose(first, second, rtol=NEAR, atol=NEAR, equal_nan=True)
