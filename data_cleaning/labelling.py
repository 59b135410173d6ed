"""The outcomes that have become known since: a CSV with the key and the target, joined to the rows. No MLflow here."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from csv_reading import Chunk, Source, inspect, read_chunks, refuse_duplicate_columns
from csv_writing import csv_lines
from row_checks import TEXT, judge
from step_error import StepError
from table import Table

MAX_SHOWN = 5  # values that a message names


@dataclass
class Labels:
    """The known outcomes as text, by key (int or text), and how many rows they were joined to so far.

    `notes` say in sentences what was assumed of the file.
    """

    source: Source
    outcomes: dict[int | str, str]
    joined: int = 0

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(f"labels {self.source.path.name}: {note}" for note in self.source.notes)


def read_labels(path: Path, table: Table, chunk_rows: int = 50_000) -> Labels:
    """The labels in a CSV file with the key and the target; rows with an empty target are not known yet.

    Raises:
        StepError: a column is missing, a cell is no such value, a row has two outcomes, or nobody has one.
    """
    key, target = table.key.name, table.target.name
    source = inspect(path, [key, target])
    refuse_duplicate_columns(source.columns)
    if missing := [column for column in (key, target) if column not in source.columns]:
        raise StepError(f"labels {path.name} has no column {', '.join(missing)}; give a CSV with {key} and {target}")
    parts = []
    for chunk in read_chunks(source, chunk_rows):
        if chunk.ragged:
            raise StepError(f"labels {path.name}, line {chunk.ragged[0].line}: more or fewer cells than the header")
        judged = judge({key: chunk.cells[key], target: chunk.cells[target]}, table, target="optional")
        values = pd.DataFrame({key: judged.frame[key], target: target_text(judged.frame[[target]])})
        known = values[target].notna().to_numpy() | np.logical_or.reduce(
            [mask for (name, _), mask in judged.findings.items() if name == target] or [np.zeros(len(values), bool)]
        )
        wrong = known & (judged.reasons() != "")
        if wrong.any():
            line, row = chunk.lines[wrong][0], chunk.cells[wrong].iloc[0]
            raise StepError(
                f"labels {path.name}, line {line}: {key} {row[key]!r} and {target} {row[target]!r} cannot be "
                f"({judged.reasons()[wrong][0]}); correct that line"
            )
        parts.append(values[known])
    known_rows = pd.concat(parts).drop_duplicates() if parts else pd.DataFrame({key: [], target: []})
    twice = known_rows[key][known_rows[key].duplicated()].unique()
    if len(twice):
        names = ", ".join(map(str, twice[:MAX_SHOWN])) + (", …" if len(twice) > MAX_SHOWN else "")
        raise StepError(f"labels {path.name} has {key} {names} with more than one {target}; keep the right one")
    if known_rows.empty:
        raise StepError(f"labels {path.name} has no {target} in any row; wait until outcomes are known")
    return Labels(source, dict(zip(known_rows[key].tolist(), known_rows[target].tolist(), strict=True)))


def target_text(column: pd.DataFrame) -> pd.Series:
    """The one column as it is written in a file; missing where it is empty."""
    written = pd.Series(csv_lines(column).to_pylist(), index=column.index, dtype=object)
    return written.where(column.iloc[:, 0].notna())


def join_labels(chunk: Chunk, labels: Labels, table: Table) -> tuple[Chunk, int]:
    """The chunk with the outcomes that are known, and how many these are; its own stay where none is."""
    key, target = table.key.name, table.target.name
    if key in chunk.cells:
        keys = judge({key: chunk.cells[key]}, table).frame[key]
    else:
        keys = pd.Series(chunk.numbers(chunk.lines), dtype="Int64")
    outcome = keys.astype(object).map(labels.outcomes)
    if char := table.target.decimal_char:  # they are read once more, as the raw cells that they stand among
        outcome = outcome.str.replace(".", char)
    own = chunk.cells[target] if target in chunk.cells else pd.Series("", index=chunk.cells.index)
    joined = outcome.set_axis(chunk.cells.index).fillna(own).astype(TEXT)
    return replace(chunk, cells=chunk.cells.assign(**{target: joined})), int(outcome.notna().sum())
