"""Clean a file of any length, in chunks, in flat memory. No MLflow here.

inspect -> for each chunk: read, (label,) clean, count, write -> find failures -> reports
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from checks import Checks
from cleaning import clean
from csv_reading import Chunk, Source, inspect, read_chunks, refuse_duplicate_columns, require_columns
from csv_writing import csv_lines, header_line, text_of
from data_profile import Profile
from declaration import Table
from duplicates import DuplicateDetector
from labelling import Labels, join_labels
from row_checks import TEXT
from step_error import StepError
from tqdm import tqdm

CLEAN_DATA = "clean_data.csv"


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
    table: Table,
    *,
    labels: Labels | None = None,
    missing: str = "keep",
    max_rejected: float = 0.05,
    extra_columns: str = "drop",
    require_target: bool = True,
    chunk_rows: int = 50_000,
    profile: bool = True,
    encoding: str = "",
) -> Result:
    """Write clean_data.csv, datapackage.json, rejected.csv, checks.json, checks.html and profile.html to `folder`.

    `labels` are outcomes that are known by now; where there are none, a row keeps its own. `encoding` is the name of
    a codec; "" to find it out.

    Raises:
        StepError: the file cannot be read as such a table at all, or none of its rows has a label.
    """
    source = inspect(path, list(table.clean_by_name), encoding)
    chunks = read_chunks(source, chunk_rows)
    if labels and table.target.name not in source.columns:
        columns = [*source.columns, table.target.name]
        source = replace(source, columns=columns, header=[*source.header, table.target.name])
    require_columns(source.columns, table, require_target=require_target)
    refuse_duplicate_columns(source.columns)
    columns = [one.name for one in table.clean_fields if one.name in source.columns or one is table.key]
    if extra_columns == "keep":
        columns += [name for name in source.columns if name not in columns]
    checks = Checks(columns, table, require_target=require_target)
    checks.notes += [*source.notes, *(labels.notes if labels else ())]
    detector, profiler = DuplicateDetector(), Profile(table) if profile else None
    unknown = 0
    target = Writer(folder / CLEAN_DATA, columns)
    rejections = Writer(folder / "rejected.csv", ["row", "line", "reason", *source.columns])
    try:
        with target, rejections, tqdm(unit=" rows", desc="data_cleaning", disable=None) as progress:
            for chunk in chunks:
                chunk = join_labels(chunk, labels, table) if labels else chunk
                cleaned = clean(
                    chunk.cells,
                    table,
                    missing=missing,
                    require_target=require_target,
                    extra_columns=extra_columns,
                    detector=detector,
                    numbers=chunk.numbers(chunk.lines),
                )
                unknown += cleaned.unknown
                checks.add(chunk.cells, chunk.lines, chunk.ragged, cleaned)
                target.write(text_of(cleaned.lines))
                rejections.write(text_of(csv_lines(rejected_rows(chunk, cleaned.reasons, source))))
                if profiler:
                    profiler.add(cleaned.rows)
                progress.update(len(chunk))
    except UnicodeError as error:
        raise StepError(f"{path.name} is not valid {source.encoding} ({error}); save it as UTF-8") from error
    if labels and not labels.joined:
        raise StepError(f"none of the {table.rows} of {path.name} has a label; give the labels of these")
    if unknown:
        what = f"{unknown} {table.rows} have a {table.target.name} that cannot be"
        checks.notes.append(f"{what}; it is taken for not known, since none is needed")
    checks.find_failures(max_rejected)
    (folder / "checks.json").write_text(checks.json(), encoding="utf-8")
    (folder / "checks.html").write_text(checks.html(), encoding="utf-8")
    result = Result(source, checks, columns, target.bytes, target.digest.hexdigest())
    if checks.failures:
        (folder / CLEAN_DATA).unlink()
    else:
        write_package(folder, table, result.sha256, result.bytes)
        if profiler:
            (folder / "profile.html").write_text(profiler.html(), encoding="utf-8")
    return result


def write_package(folder: Path, table: Table, sha256: str, size: int) -> None:
    """Write datapackage.json, which says what clean_data.csv is (https://specs.frictionlessdata.io/data-package/)."""
    resource: dict[str, Any] = {"name": "clean_data", "path": CLEAN_DATA, "profile": "tabular-data-resource"}
    resource |= {"format": "csv", "mediatype": "text/csv", "encoding": "utf-8", "bytes": size}
    resource |= {"hash": f"sha256:{sha256}", "schema": table.schema()}
    package: dict[str, Any] = {"profile": "tabular-data-package", "name": table.name.lower(), "resources": [resource]}
    text = json.dumps(package, indent=1, ensure_ascii=False) + "\n"
    (folder / "datapackage.json").write_text(text, encoding="utf-8")


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


def rejected_rows(chunk: Chunk, reasons: pd.Series, source: Source) -> pd.DataFrame:
    """The dropped rows as they came: row, line, reason, then the original cells; in the order of the file.

    A ragged row is filled up with empty cells, or its surplus is joined into the last one: no cell is lost.
    """
    rows: pd.DataFrame = chunk.cells.loc[reasons.index, source.columns]
    rows = rows.apply(lambda cells: cells.str.lstrip(" "))  # both readers alike
    width = len(source.columns)
    rows.columns = pd.RangeIndex(width)
    rows.insert(0, "reason", reasons.astype(TEXT))
    rows.insert(0, "line", chunk.lines[reasons.index])
    if chunk.ragged:
        cells = [fit_to_width(row.cells, width, source.separator) for row in chunk.ragged]
        ragged = pd.DataFrame(cells, columns=range(width), dtype=TEXT)
        ragged.insert(0, "reason", pd.Series(["ragged"] * len(ragged), dtype=TEXT))
        ragged.insert(0, "line", np.array([row.line for row in chunk.ragged], dtype=np.int64))
        rows = pd.concat([rows, ragged]).sort_values("line", kind="stable") if len(rows) else ragged
    rows.insert(0, "row", chunk.numbers(rows["line"].to_numpy(np.int64)))
    return rows


def fit_to_width(cells: list[str], width: int, separator: str) -> list[str]:
    """The cells of a ragged row as exactly `width` cells."""
    cells = cells + [""] * (width - len(cells))
    return [*cells[: width - 1], separator.join(cells[width - 1 :])]
