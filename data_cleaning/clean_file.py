"""Clean a file of any length, in pieces, in flat memory. No MLflow here.

inspect -> for each piece: read, clean, count, write -> judge -> reports
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from checks import Checks
from cleaning import choose, clean
from csv_reading import CleaningError, Piece, Source, inspect, pieces, refuse_repeats, require_columns
from csv_writing import csv_lines, header_line, text_of
from data_profile import Profile
from duplicates import Seen
from schema import SCHEMA, TEXT
from tqdm import tqdm


@dataclass(frozen=True)
class Result:
    """What was found and made. `clean_data.csv` is there only where `checks.failures` is empty."""

    source: Source
    checks: Checks
    columns: list[str]  # of clean_data.csv
    bytes: int
    sha256: str


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
) -> Result:
    """Write clean_data.csv, rejected.csv, checks.json, checks.html and profile.html to `folder`.

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
    require_columns(source.columns, require_target=require_target)
    refuse_repeats(source.columns)
    columns = [name for name in SCHEMA.columns if name in source.columns]
    if extra_columns == "keep":
        columns += [name for name in source.columns if name not in SCHEMA.columns]
    checks, seen, overview = Checks(columns, require_target=require_target), Seen(), Profile() if profile else None
    target = Writer(folder / "clean_data.csv", columns)
    rejects = Writer(folder / "rejected.csv", ["line", "reason", *source.header])
    try:
        with target, rejects, tqdm(unit=" rows", desc="data_cleaning", disable=None) as progress:
            for piece in pieces(source, chunk_rows):
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
    checks.judge(max_rejected)
    (folder / "checks.json").write_text(checks.json(), encoding="utf-8")
    (folder / "checks.html").write_text(checks.html(), encoding="utf-8")
    if checks.failures:
        (folder / "clean_data.csv").unlink()
    elif overview:
        (folder / "profile.html").write_text(overview.html(), encoding="utf-8")
    return Result(source, checks, columns, target.bytes, target.digest.hexdigest())


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
