"""Clean a file of any length, in pieces, in flat memory. No MLflow here.

inspect -> for each piece: read, (label,) clean, count, write -> judge -> reports
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from checks import Checks
from cleaning import Cleaned, choose, clean
from csv_reading import CleaningError, Piece, Source, inspect, pieces, refuse_repeats, require_columns
from csv_writing import csv_lines, header_line, text_of
from data_profile import Profile
from duplicates import Seen
from labelling import Labels, join
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
    unlabelled: int = 0  # rows left out since nobody knows their outcome yet

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
    choose("missing", missing, ("keep", "drop"))
    choose("extra_columns", extra_columns, ("drop", "keep"))
    if not 0 <= max_rejected <= 1:
        raise CleaningError(f"max_rejected={max_rejected:g} is not a share from 0 to 1")
    if chunk_rows < 1:
        raise CleaningError(f"chunk_rows={chunk_rows} is not at least 1")
    source = inspect(path)
    require_columns(source.columns, require_target=require_target and labels is None)
    refuse_repeats(source.columns)
    read = pieces(source, chunk_rows)
    if labels:
        read = (join(piece, labels) for piece in read)
        if TARGET not in source.columns:
            source = replace(source, header=[*source.header, TARGET], columns=[*source.columns, TARGET])
    columns = [name for name in SCHEMA.columns if name in source.columns]
    if extra_columns == "keep":
        columns += [name for name in source.columns if name not in SCHEMA.columns]
    checks, seen, overview = Checks(columns, require_target=require_target), Seen(), Profile() if profile else None
    target = Writer(folder / "clean_data.csv", columns)
    rejects = Writer(folder / "rejected.csv", ["line", "reason", *source.header])
    rows_old = 0
    try:
        with target, rejects, tqdm(unit=" rows", desc="data_cleaning", disable=None) as progress:
            for cleaned in carried_over(old, chunk_rows, seen) if old else ():
                rows_old += len(cleaned.passengers)
                target.write(text_of(cleaned.lines))
                if overview:
                    overview.add(cleaned.passengers)
            for piece in read:
                cleaned = clean(
                    piece.cells,
                    missing=missing,
                    require_target=require_target,
                    extra_columns=extra_columns,
                    seen=seen,
                )
                checks.add(piece.cells, piece.lines, piece.ragged, cleaned)
                target.write(text_of(cleaned.lines))
                rejects.write(text_of(csv_lines(rejected(piece, cleaned.reasons, source.separator))))
                if overview:
                    overview.add(cleaned.passengers)
                progress.update(len(piece.lines))
    except UnicodeError as error:
        raise CleaningError(f"{path.name} is not valid {source.encoding} ({error}); save it as UTF-8") from error
    if labels and not checks.rows_in:
        raise CleaningError(f"none of the passengers of {path.name} has a label; give the labels of these")
    checks.judge(max_rejected, whole_list=old is None)
    (folder / "checks.json").write_text(checks.json(), encoding="utf-8")
    (folder / "checks.html").write_text(checks.html(), encoding="utf-8")
    if checks.failures:
        (folder / "clean_data.csv").unlink()
    elif overview:
        (folder / "profile.html").write_text(overview.html(), encoding="utf-8")
    unlabelled = labels.lacking if labels else 0
    return Result(source, checks, columns, target.bytes, target.digest.hexdigest(), rows_old, unlabelled)


def carried_over(old: Path, chunk_rows: int, seen: Seen) -> Iterator[Cleaned]:
    """The rows of a list that is clean already, piece by piece.

    Raises:
        CleaningError: it is not.
    """
    source = inspect(old)
    require_columns(source.columns, require_target=True)
    for piece in pieces(source, chunk_rows):
        cleaned = clean(piece.cells, seen=seen)
        wrong = [*zip(piece.lines[cleaned.reasons.index], cleaned.reasons, strict=True)]
        wrong += [(row.line, "ragged") for row in piece.ragged]
        if wrong:
            line, reason = min(wrong)
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


def rejected(piece: Piece, reasons: pd.Series, separator: str) -> pd.DataFrame:
    """The dropped rows as they came: line, reason, then the original cells; in the order of the file.

    A ragged row is filled up with empty cells, or its surplus is joined into the last one: no cell is lost.
    """
    rows = piece.cells.loc[reasons.index].apply(lambda cells: cells.str.lstrip(" "))  # both readers alike
    rows.columns = range(len(rows.columns))
    rows.insert(0, "reason", pd.array(reasons, dtype=TEXT))
    rows.insert(0, "line", piece.lines[reasons.index])
    if not piece.ragged:
        return rows
    width = len(piece.cells.columns)
    ragged = pd.DataFrame([fit(row.cells, width, separator) for row in piece.ragged], columns=range(width), dtype=TEXT)
    ragged.insert(0, "reason", pd.array(["ragged"] * len(ragged), dtype=TEXT))
    ragged.insert(0, "line", np.array([row.line for row in piece.ragged], dtype=np.int64))
    return pd.concat([rows, ragged]).sort_values("line", kind="stable") if len(rows) else ragged


def fit(cells: list[str], width: int, separator: str) -> list[str]:
    cells = cells + [""] * (width - len(cells))
    return [*cells[: width - 1], separator.join(cells[width - 1 :])]
