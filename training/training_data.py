"""Read the clean table and split it. No MLflow here."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from holdout import in_holdout_rows, places
from step_error import StepError
from table import Table

MIN_ROWS = 20
CHUNK_ROWS = 50_000
SAMPLE_SEED = 2**31  # no split_seed: who is in a sample has nothing to do with who is held out
MIN_TRAINED = 10  # rows to train on, of each class: enough for folds within folds


@dataclass(frozen=True)
class Split:
    """The table in its two parts, each in the file's own row order."""

    train: pd.DataFrame
    holdout: pd.DataFrame


def read_rows(table: Table, path: Path, max_rows: int = 0) -> tuple[pd.DataFrame, int]:
    """The clean table's rows, as `Table.read` gives them, and how many there are; of more than `max_rows` a sample.

    Raises:
        StepError: not clean, too few rows, a key twice, or the same target in all.
    """
    frame, count = draw_sample(table, path, max_rows) if max_rows else whole(table.read(path))
    target = frame[table.target.name]
    if len(frame) < MIN_ROWS:
        raise StepError(f"{path.name} has {len(frame)} rows; at least {MIN_ROWS} are needed to train and judge a model")
    if (again := frame[table.key.name].duplicated()).any():
        raise StepError(
            f"{path.name} has {table.key.name} {frame[table.key.name][again].iloc[0]} more than once; "
            "run data_cleaning on it first"
        )
    if target.nunique() == 1:
        value = table.class_label(target.iloc[0]) if table.classes else f"{target.iloc[0]:g}"
        raise StepError(
            f"{path.name} has only {table.rows} with {table.target.name} {value}; others are needed to tell them apart"
        )
    return frame, count


def whole(rows: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    return rows, len(rows)


def draw_sample(table: Table, path: Path, most: int) -> tuple[pd.DataFrame, int]:
    """At most so many rows, in the file's order, and how many the file has; memory holds twice as many and a chunk.

    Those with the lowest places: the same ones in any order of the file, groups whole, and a larger sample has all
    rows of a smaller one. Raises StepError where the file is not clean.
    """
    kept: list[pd.DataFrame] = []
    count, limit = 0, 1.0
    for chunk in table.read_chunks(path, CHUNK_ROWS):
        count += len(chunk)
        kept.append(chunk[places(table, chunk, SAMPLE_SEED) < limit])
        if sum(map(len, kept)) > 2 * most:
            kept, limit = lowest(table, kept, most, limit)
    kept, _ = lowest(table, kept, most, limit)
    return kept[0], count


def lowest(table: Table, parts: list[pd.DataFrame], most: int, limit: float) -> tuple[list[pd.DataFrame], float]:
    """The rows with the lowest places, at most so many; and the place below which they are."""
    rows = pd.concat(parts, ignore_index=True)
    if len(rows) <= most:
        return [rows], limit
    found = places(table, rows, SAMPLE_SEED)
    limit = float(np.partition(found, most)[most])
    return [rows[found < limit].reset_index(drop=True)], limit


def split(table: Table, rows: pd.DataFrame, test_size: float, split_seed: int, folds: int) -> Split:
    """The training part and the holdout.

    Raises:
        StepError: the training part has fewer than `folds` (or MIN_TRAINED) rows, or rows of a class; the holdout
            has not two different targets.
    """
    held = in_holdout_rows(table, rows, test_size, split_seed)
    parts = Split(rows[~held], rows[held])
    needed = max(folds, MIN_TRAINED)
    fewest = min(class_counts(table, parts.train).values(), default=len(parts.train))
    if fewest < needed or parts.holdout[table.target.name].nunique() < 2:
        each = f" of each {table.target.name}" if table.classes else ""
        raise StepError(
            f"test_size={test_size:g} and split_seed={split_seed} leave {described(table, parts.train)} to train on, "
            f"{described(table, parts.holdout)} held out; training needs at least {needed}{each} (cv_folds), the "
            f"holdout two different ones: give more {table.rows} or change these"
        )
    return parts


def class_counts(table: Table, rows: pd.DataFrame) -> dict[str, int]:
    """How many rows each class has, by its word; none for a number."""
    counts = rows[table.target.name].value_counts()
    return {table.class_label(value): int(counts.get(value, 0)) for value in table.classes}


def described(table: Table, rows: pd.DataFrame) -> str:
    counts = ", ".join(f"{count} {word}" for word, count in class_counts(table, rows).items())
    return f"{len(rows)} {table.rows}" + (f" ({counts})" if counts else "")
