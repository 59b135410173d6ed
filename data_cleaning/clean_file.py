"""Clean a file of any length, in chunks, in flat memory. No MLflow here.

inspect -> for each chunk: read, (label,) clean, count, write -> find failures -> reports
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from checks import Checks
from cleaning import Cleaned, check_choice, clean
from csv_reading import Chunk, CleaningError, Source, inspect, read_chunks, refuse_duplicate_columns, require_columns
from csv_writing import csv_lines, header_line, text_of
from data_profile import Profile
from duplicates import DuplicateDetector
from labelling import Labels, join_labels
from schema import KEY, SCHEMA, TARGET, TEXT
from tqdm import tqdm


@dataclass(frozen=True)
class Result:
    """What was found and made. `clean_data.csv` is there only where `checks.failures` is empty."""

    source: Source
    checks: Checks
    columns: list[str]  # of clean_data.csv
    bytes: int
    sha256: str
    rows_old: int = 0  # of the list that was there before
    unlabelled: int = 0  # rows left out because their outcome is not known yet

    def conflicts(self) -> str:
        """Passengers left out because their PassengerId is another passenger's, in words; "" where there are none."""
        check = self.checks.checks[KEY, "duplicate"]
        more = ", …" if check.rows > len(check.values) else ""
        return f"{KEY} {', '.join(check.values)}{more} ({check.rows} rows)" if check.rows else ""


def clean_file(
    path: Path,
    folder: Path,
    *,
    missing: str = "keep",
    max_rejected: float = 0.05,
    extra_columns: str = "drop",
    require_target: bool = True,
    chunk_rows: int = 50_000,
    profile: bool = True,
    old: Path | None = None,
    labels: Labels | None = None,
) -> Result:
    """Write clean_data.csv, rejected.csv, checks.json, checks.html and profile.html to `folder`.

    `old` is a clean list that comes first in clean_data.csv, and whose passengers the others may not repeat; what is
    checked and counted is `path` alone. With `labels`, these are the outcomes, and rows without one are left out.

    Raises:
        CleaningError: a parameter is not valid, or the file cannot be read as a passenger list at all.
    """
    check_choice("missing", missing, ("keep", "drop"))
    check_choice("extra_columns", extra_columns, ("drop", "keep"))
    if not 0 <= max_rejected <= 1:
        raise CleaningError(f"max_rejected={max_rejected:g} is not a share from 0 to 1")
    if chunk_rows < 1:
        raise CleaningError(f"chunk_rows={chunk_rows} is not at least 1")
    source = inspect(path)
    require_columns(source.columns, require_target=require_target and labels is None)
    refuse_duplicate_columns(source.columns)
    chunks = read_chunks(source, chunk_rows)
    if labels:
        chunks = (join_labels(chunk, labels) for chunk in chunks)
        if TARGET not in source.columns:
            source = replace(source, header=[*source.header, TARGET], columns=[*source.columns, TARGET])
    columns = [name for name in SCHEMA.columns if name in source.columns]
    if extra_columns == "keep":
        columns += [name for name in source.columns if name not in SCHEMA.columns]
    checks, detector, profiler = (
        Checks(columns, require_target=require_target),
        DuplicateDetector(),
        Profile() if profile else None,
    )
    target = Writer(folder / "clean_data.csv", columns)
    rejections = Writer(folder / "rejected.csv", ["line", "reason", *source.header])
    rows_old = 0
    try:
        with target, rejections, tqdm(unit=" rows", desc="data_cleaning", disable=None) as progress:
            for cleaned in read_clean_list(old, chunk_rows, detector) if old else ():
                rows_old += len(cleaned.passengers)
                target.write(text_of(cleaned.lines))
                if profiler:
                    profiler.add(cleaned.passengers)
            for chunk in chunks:
                cleaned = clean(
                    chunk.cells,
                    missing=missing,
                    require_target=require_target,
                    extra_columns=extra_columns,
                    detector=detector,
                )
                checks.add(chunk.cells, chunk.lines, chunk.ragged, cleaned)
                target.write(text_of(cleaned.lines))
                rejections.write(text_of(csv_lines(rejected_rows(chunk, cleaned.reasons, source.separator))))
                if profiler:
                    profiler.add(cleaned.passengers)
                progress.update(len(chunk.lines))
    except UnicodeError as error:
        raise CleaningError(f"{path.name} is not valid {source.encoding} ({error}); save it as UTF-8") from error
    if labels and not checks.rows_in:
        raise CleaningError(f"none of the passengers of {path.name} has a label; give the labels of these")
    checks.find_failures(max_rejected, whole_list=old is None)
    (folder / "checks.json").write_text(checks.json(), encoding="utf-8")
    (folder / "checks.html").write_text(checks.html(), encoding="utf-8")
    if checks.failures:
        (folder / "clean_data.csv").unlink()
    elif profiler:
        (folder / "profile.html").write_text(profiler.html(), encoding="utf-8")
    unlabelled = labels.unlabelled if labels else 0
    return Result(source, checks, columns, target.bytes, target.digest.hexdigest(), rows_old, unlabelled)


def read_clean_list(old: Path, chunk_rows: int, detector: DuplicateDetector) -> Iterator[Cleaned]:
    """The rows of a list that is clean already, chunk by chunk.

    Raises:
        CleaningError: it is not.
    """
    source = inspect(old)
    require_columns(source.columns, require_target=True)
    for chunk in read_chunks(source, chunk_rows):
        cleaned = clean(chunk.cells, detector=detector)
        problems = [*zip(chunk.lines[cleaned.reasons.index], cleaned.reasons, strict=True)]
        problems += [(row.line, "ragged") for row in chunk.ragged]
        if problems:
            line, reason = min(problems)
            raise CleaningError(
                f"the old list {old.name} is not clean (line {line}: {reason}); run data_cleaning on it, and give "
                "old=runs:/RUN_ID/clean_data.csv of that run"
            )
        yield cleaned


class Writer:
    """A CSV file under way: counts and digests what is written."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        self.path, self.columns = path, columns
        self.digest, self.bytes = hashlib.sha256(), 0

    def __enter__(self) -> "Writer":
        self.file = self.path.open("wb")
        self.write(header_line(self.columns))
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, text: str) -> None:
        data = text.encode()
        self.file.write(data)
        self.digest.update(data)
        self.bytes += len(data)


def rejected_rows(chunk: Chunk, reasons: pd.Series, separator: str) -> pd.DataFrame:
    """The dropped rows as they came: line, reason, then the original cells; in the order of the file.

    A ragged row is filled up with empty cells, or its surplus is joined into the last one: no cell is lost.
    """
    rows: pd.DataFrame = chunk.cells.loc[reasons.index].apply(lambda cells: cells.str.lstrip(" "))  # both readers alike
    rows.columns = pd.RangeIndex(len(rows.columns))
    rows.insert(0, "reason", reasons.astype(TEXT))
    rows.insert(0, "line", chunk.lines[reasons.index])
    if not chunk.ragged:
        return rows
    width = len(chunk.cells.columns)
    ragged = pd.DataFrame(
        [fit_to_width(row.cells, width, separator) for row in chunk.ragged], columns=range(width), dtype=TEXT
    )
    ragged.insert(0, "reason", pd.Series(["ragged"] * len(ragged), dtype=TEXT))
    ragged.insert(0, "line", np.array([row.line for row in chunk.ragged], dtype=np.int64))
    return pd.concat([rows, ragged]).sort_values("line", kind="stable") if len(rows) else ragged


def fit_to_width(cells: list[str], width: int, separator: str) -> list[str]:
    """The cells of a ragged row as exactly `width` cells."""
    cells = cells + [""] * (width - len(cells))
    return [*cells[: width - 1], separator.join(cells[width - 1 :])]
