"""Outcomes that became known after the passengers did. No MLflow here."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from cleaning import clean_text, convert
from csv_reading import CleaningError, Piece, inspect, pieces, refuse_repeats
from schema import KEY, TARGET, TEXT

SHOWN = 5  # values that a message names


@dataclass
class Labels:
    """Who was saved: int64 `ids`, sorted and each once, and `survived`, 0 or 1, of the same length."""

    ids: np.ndarray
    survived: np.ndarray
    lacking: int = 0  # rows that were left out by `join` for want of a label

    def find(self, ids: pd.arrays.IntegerArray) -> pd.arrays.IntegerArray:
        """The outcome of each passenger, missing where it is not known."""
        wanted = ids.to_numpy(np.int64, na_value=-1)
        place = np.minimum(np.searchsorted(self.ids, wanted), len(self.ids) - 1)
        return pd.arrays.IntegerArray(self.survived[place], self.ids[place] != wanted)


def read_labels(path: Path, chunk_rows: int = 50_000) -> Labels:
    """The labels in a CSV file with PassengerId and Survived; rows with an empty Survived are not known yet.

    Raises:
        CleaningError: a column is missing, a cell is no such value, a passenger has two outcomes, or nobody has one.
    """
    source = inspect(path)
    refuse_repeats(source.columns)
    if lacking := [column for column in (KEY, TARGET) if column not in source.columns]:
        raise CleaningError(
            f"labels {path.name} has no column {', '.join(lacking)}; give a CSV with {KEY} and {TARGET}"
        )
    parts = [pd.DataFrame({KEY: [], TARGET: []}, dtype="Int64")]
    for piece in pieces(source, chunk_rows):
        if piece.ragged:
            raise CleaningError(f"labels {path.name}, line {piece.ragged[0].line}: more or fewer cells than the header")
        values = pd.DataFrame({name: convert(name, clean_text(name, piece.cells[name]), {}) for name in (KEY, TARGET)})
        empty = clean_text(TARGET, piece.cells[TARGET]).is_null().to_numpy(zero_copy_only=False)
        wrong = ~empty & ~(values[KEY].notna() & values[TARGET].isin([0, 1])).to_numpy()
        if wrong.any():
            line, row = piece.lines[wrong][0], piece.cells[wrong].iloc[0]
            raise CleaningError(
                f"labels {path.name}, line {line}: {KEY} {row[KEY]!r} and {TARGET} {row[TARGET]!r} are not a number "
                "and 0 or 1; correct that line"
            )
        parts.append(values[~empty])
    known = pd.concat(parts).drop_duplicates().sort_values(KEY)
    twice = known[KEY][known[KEY].duplicated()].unique()
    if len(twice):
        names = ", ".join(map(str, twice[:SHOWN])) + (", …" if len(twice) > SHOWN else "")
        raise CleaningError(f"labels {path.name} has {KEY} {names} both with 0 and with 1; keep the right one")
    if known.empty:
        raise CleaningError(f"labels {path.name} has no {TARGET} in any row; wait until outcomes are known")
    return Labels(known[KEY].to_numpy(np.int64), known[TARGET].to_numpy(np.int64))


def join(piece: Piece, labels: Labels) -> Piece:
    """The piece's rows that have a label, with it; those whose PassengerId cannot be read stay, to be rejected."""
    ids = convert(KEY, clean_text(KEY, piece.cells[KEY]), {})
    outcome = labels.find(ids)
    known = ~outcome.isna() | ids.isna()
    labels.lacking += int((~known).sum())
    cells = piece.cells.assign(**{TARGET: pd.array(outcome.astype(object), dtype=TEXT)})
    return Piece(cells[known].reset_index(drop=True), piece.lines[known], piece.ragged)
