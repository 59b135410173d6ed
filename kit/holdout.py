"""Which rows a model is judged on: by a hash of their key or group, so that nobody moves. No MLflow here.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

import numpy as np
import pandas as pd
from table import Table, text_of


def in_holdout_rows(table: Table, rows: pd.DataFrame, test_size: float, split_seed: int) -> np.ndarray:
    """Which rows, as `Table.read` gives them, are in the holdout: booleans of the same length.

    By the declared `group`, so that rows which belong together are on one side; by the key where that is empty, or
    where there is none. Nothing but a row's own cells counts: the holdout is not stratified.
    """
    held: np.ndarray = places(table, rows, split_seed) < test_size
    return held


def places(table: Table, rows: pd.DataFrame, seed: int) -> np.ndarray:
    """Where each row stands from 0 to below 1: by its group, where it has one, else by its key; float64."""
    found = place(rows[table.key.name], seed)
    if table.group in rows.columns:
        known = rows[table.group].notna().to_numpy()
        found[known] = place(rows.loc[known, table.group].map(text_of), seed)
    return found


def in_holdout(keys: pd.Series, test_size: float, split_seed: int) -> np.ndarray:
    """Which rows are in the holdout: booleans of the same length.

    A row's place depends on its key (int64 or text), `split_seed` and `test_size` (share, 0 to 1) alone, so that more
    rows, another order or another model seed move nobody; a larger `test_size` only adds to a smaller one's holdout.
    """
    held: np.ndarray = place(keys, split_seed) < test_size
    return held


def place(keys: pd.Series, seed: int) -> np.ndarray:
    """A number from 0 to below 1 for each key (int64 or text), as if drawn; float64.

    The hash is SplitMix64's finalizer (Steele, Lea, Flood 2014), applied twice; to pandas' hash of a text.
    """
    numbers = keys.to_numpy()
    if not np.issubdtype(numbers.dtype, np.integer):
        numbers = pd.util.hash_array(numbers.astype(object), categorize=False)
    with np.errstate(over="ignore"):
        own = splitmix64(np.array([seed], dtype=np.int64).astype(np.uint64))
        mixed = splitmix64(numbers.astype(np.uint64) ^ own)
    found: np.ndarray = (mixed >> np.uint64(11)) * 2.0**-53
    return found


def splitmix64(values: np.ndarray) -> np.ndarray:
    """uint64 to uint64, one to one; every bit of the input sways every bit of the output."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values
