"""Read what is to be compared: clean tables, of which long ones are thinned, and predictions. No MLflow here."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from declaration import REGRESSION, Table
from step_error import StepError, first_line

CHUNK_ROWS = 50_000


def read_rows(table: Table, path: Path, max_rows: int, columns: list[str] | None = None) -> tuple[pd.DataFrame, int]:
    """A clean table's rows, at most `max_rows` of them (evenly spaced over a longer file); and how many it has.

    `columns` are those wanted beside key and target, else all; the target is there where the file has it, with gaps.

    Raises:
        StepError: it is not clean, or has no rows.
    """
    kept, rows = [], 0
    for chunk in table.read_chunks(path, CHUNK_ROWS, target="optional", columns=columns):
        if not rows:  # counted once the file is known to be readable
            step = every_nth(path, max_rows)
        if table.task != REGRESSION and table.target.name in chunk:
            chunk[table.target.name] = chunk[table.target.name].astype(object)  # in every chunk, gaps or not
        kept.append(chunk[np.arange(rows, rows + len(chunk)) % step == 0])
        rows += len(chunk)
    if not rows:
        raise StepError(f"{path.name} has no {table.rows}; there is nothing to compare")
    return pd.concat(kept, ignore_index=True), rows


def every_nth(path: Path, max_rows: int) -> int:
    """Each how many-th row of a CSV is taken: its lines without the header are never fewer than its rows."""
    with path.open("rb") as file:
        return max(1, -(-(sum(1 for _ in file) - 1) // max_rows))


def read_predictions(
    table: Table, path: Path, needed: list[str], keys: pd.Series | None = None, max_rows: int = 0
) -> tuple[pd.DataFrame, float]:
    """The columns `needed` of predictions, and the share of all rows that have none.

    Of the rows with a prediction, those whose key is in `keys`, with that key as text for an index; without keys at
    most `max_rows`, evenly spaced. The target is as `Table.read` gives it, probabilities are float64.

    Raises:
        StepError: no CSV file, a column missing, what is no prediction, a key with two of them.
    """
    key = table.key.name
    wanted = None if keys is None else set(keys.astype(str))
    names = needed if wanted is None else [key, *needed]
    options: dict[str, Any] = {"usecols": names, "dtype": str, "keep_default_na": False, "na_values": [""]}
    kept, rows, unscored = [], 0, 0
    try:
        step = every_nth(path, max_rows) if wanted is None else 1
        with pd.read_csv(path, encoding="utf-8", chunksize=CHUNK_ROWS, **options) as reader:
            for chunk in reader:
                rows += len(chunk)
                scored = chunk[needed].notna().all(axis=1)
                unscored += int((~scored).sum())
                here = chunk.index.to_numpy() % step == 0 if wanted is None else chunk[key].isin(wanted)
                kept.append(chunk[scored & here])
        found = pd.concat(kept) if kept else pd.DataFrame(columns=names, dtype=object)
        for name in needed:
            said = found[name]
            found[name] = table.parse_target(said) if name == table.target.name else said.astype("float64")
    except OSError as error:
        raise StepError(f"{str(path)!r} cannot be read ({error.strerror}); give a CSV file's path") from None
    except ValueError as error:  # pandas' own errors are ValueErrors
        raise StepError(
            f"{path.name} is no file of predictions with {', '.join(names)} ({first_line(error)}); give one that "
            "inference made"
        ) from None
    if wanted is not None:
        found = found.set_index(key)
        if not found.index.is_unique:
            twice = found.index[found.index.duplicated()][0]
            raise StepError(f"{path.name} has two predictions for {key} {twice}; keep one for each {table.row}")
    return found, unscored / rows if rows else 0.0
