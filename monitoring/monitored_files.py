"""Read what is to be compared: clean tables, of which long ones are thinned, and predictions. No MLflow here."""

import contextlib
import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from byte_ranges import ByteRange, header_range, open_ranges
from sharing import ONE_PROCESS, Sharing, is_short
from step_error import StepError, first_line
from table import REGRESSION, Table, read_header

CHUNK_ROWS = 50_000


class Thinned(NamedTuple):
    """The rows of a table that are compared; how many it has, and how many empty cells each column has in all of them.

    Of predictions, those that are looked at; `missing` counts the rows without one.
    """

    frame: pd.DataFrame
    rows: int
    missing: Any


@dataclass(frozen=True)
class Job:
    """What reading any part of a file takes: each `step`-th row is taken."""

    table: Table
    path: Path
    head: ByteRange
    step: int
    columns: list[str] | None
    wanted: frozenset[str] | None = None  # keys of predictions; None: any

    def taken(self, part: ByteRange, start: int, rows: int) -> np.ndarray:
        """Which of the rows from the `start`-th of the part on are.

        A row's number is that of the lines above the part and of the part's rows: known without reading what is above,
        and where no cell has a line end its own.
        """
        numbers = part.line - self.head.line + start + np.arange(rows)
        return np.asarray(numbers % self.step == 0)


def read_rows(
    table: Table, path: Path, max_rows: int, columns: list[str] | None = None, sharing: Sharing = ONE_PROCESS
) -> Thinned:
    """A clean table's rows, at most `max_rows` of them, evenly spaced over a longer file.

    `columns` are those wanted beside key and target, else all; the target is there where the file has it, with gaps.

    Raises:
        StepError: it is not clean, or has no rows.
    """
    read_header(path)  # which tells of a file that is none
    found = read_parts(rows_of_part, table, path, columns, sharing, max_rows=max_rows)
    if not found.rows:
        raise StepError(f"{path.name} has no {table.rows}; there is nothing to compare")
    return found


def read_parts(
    function: Callable[[Job, ByteRange], Thinned],
    table: Table,
    path: Path,
    columns: list[str] | None,
    sharing: Sharing,
    *,
    max_rows: int = 0,
    wanted: frozenset[str] | None = None,
) -> Thinned:
    """What `function` gives of all parts of the file, joined; a short file is read here, whoever else would share it.

    At most `max_rows` rows, 0: all; of predictions those of the keys `wanted`, None: of any.

    Raises:
        StepError: a part's own; rows are counted from the file's beginning.
    """
    head = header_range(path)
    job = Job(table, path, head, every_nth(path, head, max_rows) if max_rows else 1, columns, wanted)
    try:
        parts = list((ONE_PROCESS if is_short(path) else sharing).each(function, job, path, head))
    except StepError:
        function(job, ByteRange(head.end, path.stat().st_size, head.line))
        raise
    frames = [part.frame for part in parts if len(part.frame)] or [parts[0].frame]
    return Thinned(
        pd.concat(frames, ignore_index=True), sum(part.rows for part in parts), sum(part.missing for part in parts)
    )


def every_nth(path: Path, head: ByteRange, max_rows: int) -> int:
    """Each how many-th row of a CSV is taken: its lines without the header are never fewer than its rows."""
    with path.open(encoding="latin-1", newline="") as file:  # a character for each byte; all ways in which a line ends
        return max(1, -(-(sum(1 for _ in file) - head.line) // max_rows))


def rows_of_part(job: Job, part: ByteRange) -> Thinned:
    """The rows of a part of a clean table."""
    table, kept, rows = job.table, [], 0
    missing: Any = 0
    options: dict[str, Any] = {"target": "optional", "columns": job.columns}
    options["part"] = partial(open_ranges, job.path, job.head, part)
    for chunk in table.read_chunks(job.path, CHUNK_ROWS, **options):
        if table.task != REGRESSION and table.target.name in chunk:
            chunk[table.target.name] = chunk[table.target.name].astype(object)  # in every chunk, gaps or not
        kept.append(chunk[job.taken(part, rows, len(chunk))])
        missing += chunk.isna().sum()
        rows += len(chunk)
    return Thinned(pd.concat(kept, ignore_index=True), rows, missing)


def read_predictions(
    table: Table,
    path: Path,
    needed: list[str],
    keys: pd.Series | None = None,
    max_rows: int = 0,
    sharing: Sharing = ONE_PROCESS,
) -> tuple[pd.DataFrame, float]:
    """The columns `needed` of predictions, and the share of all rows that have none.

    Of the rows with a prediction, those whose key is in `keys`, with that key as text for an index; without keys at
    most `max_rows`, evenly spaced. The target is as `Table.read` gives it, probabilities are float64.

    Raises:
        StepError: no CSV file, a column missing, what is no prediction, a key with two of them.
    """
    key = table.key.name
    wanted = None if keys is None else frozenset(keys.astype(str))
    names = needed if wanted is None else [key, *needed]
    with told_in_a_sentence(path, names):
        most = max_rows if wanted is None else 0
        found, rows, unscored = read_parts(
            predictions_of_part, table, path, needed, sharing, max_rows=most, wanted=wanted
        )
        for name in needed:
            said = found[name]
            found[name] = table.parse_target(said) if name == table.target.name else said.astype("float64")
    if wanted is not None:
        found = found.set_index(key)
        if not found.index.is_unique:
            twice = found.index[found.index.duplicated()][0]
            raise StepError(f"{path.name} has two predictions for {key} {twice}; keep one for each {table.row}")
    return found, unscored / rows if rows else 0.0


def predictions_of_part(job: Job, part: ByteRange) -> Thinned:
    """The cells, as text, of the predictions in a part of their file."""
    needed, key = job.columns or [], job.table.key.name
    names = needed if job.wanted is None else [key, *needed]
    options: dict[str, Any] = {"usecols": names, "dtype": str, "keep_default_na": False, "na_values": [""]}
    kept, rows, unscored = [pd.DataFrame(columns=names, dtype=object)], 0, 0
    with (
        told_in_a_sentence(job.path, names),
        open_ranges(job.path, job.head, part) as file,
        pd.read_csv(file, encoding="utf-8", chunksize=CHUNK_ROWS, **options) as reader,
    ):
        for chunk in reader:
            scored = chunk[needed].notna().all(axis=1)
            unscored += int((~scored).sum())
            here = job.taken(part, rows, len(chunk)) if job.wanted is None else chunk[key].isin(job.wanted)
            kept.append(chunk[scored & here])
            rows += len(chunk)
    return Thinned(pd.concat(kept, ignore_index=True), rows, unscored)


@contextlib.contextmanager
def told_in_a_sentence(path: Path, names: list[str]) -> Iterator[None]:
    """Raises StepError where the file cannot be read, or has no predictions in the columns `names`."""
    try:
        yield
    except OSError as error:
        raise StepError(f"{str(path)!r} cannot be read ({error.strerror}); give a CSV file's path") from None
    except (ValueError, csv.Error) as error:  # pandas' own errors are ValueErrors
        raise StepError(
            f"{path.name} is no file of predictions with {', '.join(names)} ({first_line(error)}); give one that "
            "inference made"
        ) from None
