"""Outcomes that became known later than the passengers themselves. No MLflow here."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from cleaning import clean_text, convert_whole_numbers
from csv_reading import Chunk, CleaningError, inspect, read_chunks, refuse_duplicate_columns
from schema import KEY, TARGET, TEXT

MAX_SHOWN = 5  # values that a message names


@dataclass
class Labels:
    """The known outcomes: int64 `ids`, sorted and each once, and `survived`, 0 or 1, of the same length."""

    ids: np.ndarray
    survived: np.ndarray
    unlabelled: int = 0  # rows that were left out by `join_labels` for want of a label

    def look_up(self, ids: pd.arrays.IntegerArray) -> pd.arrays.IntegerArray:
        """The outcome of each passenger, missing where it is not known."""
        passenger_ids = ids.to_numpy(np.int64, na_value=-1)
        place = np.minimum(np.searchsorted(self.ids, passenger_ids), len(self.ids) - 1)
        return pd.arrays.IntegerArray(self.survived[place], self.ids[place] != passenger_ids)


def read_labels(path: Path, chunk_rows: int = 50_000) -> Labels:
    """The labels in a CSV file with PassengerId and Survived; rows with an empty Survived are not known yet.

    Raises:
        CleaningError: a column is missing, a cell is no such value, a passenger has two outcomes, or nobody has one.
    """
    source = inspect(path)
    refuse_duplicate_columns(source.columns)
    if missing := [column for column in (KEY, TARGET) if column not in source.columns]:
        raise CleaningError(
            f"labels {path.name} has no column {', '.join(missing)}; give a CSV with {KEY} and {TARGET}"
        )
    parts = [pd.DataFrame({KEY: [], TARGET: []}, dtype="Int64")]
    for chunk in read_chunks(source, chunk_rows):
        if chunk.ragged:
            raise CleaningError(f"labels {path.name}, line {chunk.ragged[0].line}: more or fewer cells than the header")
        values = pd.DataFrame(
            {name: convert_whole_numbers(name, clean_text(name, chunk.cells[name]), {}) for name in (KEY, TARGET)}
        )
        empty = clean_text(TARGET, chunk.cells[TARGET]).is_null().to_numpy(zero_copy_only=False)
        wrong = ~empty & ~(values[KEY].notna() & values[TARGET].isin([0, 1])).to_numpy()
        if wrong.any():
            line, row = chunk.lines[wrong][0], chunk.cells[wrong].iloc[0]
            raise CleaningError(
                f"labels {path.name}, line {line}: {KEY} {row[KEY]!r} and {TARGET} {row[TARGET]!r} are not a number "
                "and 0 or 1; correct that line"
            )
        parts.append(values[~empty])
    known = pd.concat(parts).drop_duplicates().sort_values(KEY)
    conflicting = known[KEY][known[KEY].duplicated()].unique()
    if len(conflicting):
        names = ", ".join(map(str, conflicting[:MAX_SHOWN])) + (", …" if len(conflicting) > MAX_SHOWN else "")
        raise CleaningError(f"labels {path.name} has {KEY} {names} both with 0 and with 1; keep the right one")
    if known.empty:
        raise CleaningError(f"labels {path.name} has no {TARGET} in any row; wait until outcomes are known")
    return Labels(known[KEY].to_numpy(np.int64), known[TARGET].to_numpy(np.int64))


def join_labels(chunk: Chunk, labels: Labels) -> Chunk:
    """The chunk's rows that have a label, with it; those whose PassengerId cannot be read stay, to be rejected."""
    ids = convert_whole_numbers(KEY, clean_text(KEY, chunk.cells[KEY]), {})
    outcome = labels.look_up(ids)
    known = ~outcome.isna() | ids.isna()
    labels.unlabelled += int((~known).sum())
    cells = chunk.cells.assign(**{TARGET: pd.Series(outcome, dtype=object).astype(TEXT).array})
    return Chunk(cells[known].reset_index(drop=True), chunk.lines[known], chunk.ragged)
