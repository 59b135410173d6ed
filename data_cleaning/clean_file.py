"""Clean a file of any length, in chunks, in flat memory. No MLflow here.

inspect -> for each part of the file, in one process or several: for each chunk: read, (label,) clean, count
        -> write, add up -> find failures -> reports
"""

import hashlib
import itertools
import json
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from byte_ranges import RANGE_BYTES, ByteRange
from checks import Checks
from cleaning import clean
from csv_reading import Chunk, Source, inspect, ranges, read_chunks, refuse_duplicate_columns, require_columns
from csv_writing import as_bytes, csv_lines, header_line
from data_profile import Profile
from duplicates import DuplicateDetector
from labelling import Labels, join_labels
from row_checks import TEXT
from spark import PROCESSES, SPARK, Spark
from step_error import StepError
from table import Table
from tqdm import tqdm
from workers import Workers, cores, in_order

CLEAN_DATA = "clean_data.csv"


@dataclass(frozen=True)
class Result:
    """What was found and made. `clean_data.csv` is there only where `checks.failures` is empty."""

    source: Source
    checks: Checks
    columns: list[str]  # of clean_data.csv
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Job:
    """What cleaning any part of a file takes. `columns` are those of clean_data.csv."""

    source: Source
    table: Table
    columns: list[str]
    labels: Labels | None
    missing: str
    extra_columns: str
    require_target: bool
    chunk_rows: int
    profile: bool

    @property
    def numbered(self) -> bool:
        """Whether the key is the row's number in the file."""
        return self.table.key.name not in self.source.columns


@dataclass
class Part:
    """What came of the rows of a part of the file; `start` rows are said to come before them."""

    place: ByteRange | None
    start: int
    seen: DuplicateDetector
    checks: Checks
    profile: Profile | None
    rows: int = 0
    labelled: int = 0
    unknown: int = 0
    clean: list[bytes] = field(default_factory=list)  # lines of clean_data.csv
    rejected: list[tuple[np.ndarray, pa.Array]] = field(default_factory=list)  # row numbers; rejected.csv without them


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
    workers: int = 1,
    engine: str = PROCESSES,
    master: str = "local[*]",
) -> Result:
    """Write clean_data.csv, datapackage.json, rejected.csv, checks.json, checks.html and profile.html to `folder`.

    `labels` are outcomes that are known by now; where there are none, a row keeps its own. `encoding` is the name of
    a codec; "" to find it out. `workers` processes share the work, 0: as many as there are processors; with
    engine=spark the cluster at `master` does it. The files are the same, byte for byte.

    Raises:
        StepError: the file cannot be read as such a table at all, or none of its rows has a label.
    """
    source = inspect(path, list(table.clean_by_name), encoding)
    if labels and table.target.name not in source.columns:
        columns = [*source.columns, table.target.name]
        joined = replace(source, columns=columns, header=[*source.header, table.target.name])
    else:
        joined = source
    require_columns(joined.columns, table, require_target=require_target)
    refuse_duplicate_columns(joined.columns)
    columns = [one.name for one in table.clean_fields if one.name in joined.columns or one is table.key]
    if extra_columns == "keep":
        columns += [name for name in joined.columns if name not in columns]
    job = Job(source, table, columns, labels, missing, extra_columns, require_target, chunk_rows, profile)
    whole = Part(None, 0, DuplicateDetector(), *reports(job))
    whole.checks.notes += [*source.notes, *(labels.notes if labels else ())]
    target = Writer(folder / CLEAN_DATA, columns)
    rejections = Writer(folder / "rejected.csv", ["row", "line", "reason", *joined.columns])
    try:
        with target, rejections, tqdm(unit=" rows", desc="data_cleaning", disable=None) as progress:
            for part in clean_parts(job, whole.seen, workers, master if engine == SPARK else ""):
                for lines in part.clean:
                    target.write(lines)
                for numbers, rest in part.rejected:
                    numbered = pa.array(numbers + (whole.rows - part.start)).cast(pa.string())
                    rejections.write(as_bytes(pc.binary_join_element_wise(numbered, rest, ",")))
                whole.checks.merge(part.checks)
                if whole.profile and part.profile:
                    whole.profile.merge(part.profile)
                whole.rows += part.rows
                whole.labelled += part.labelled
                whole.unknown += part.unknown
                progress.update(part.rows)
    except UnicodeError as error:
        raise StepError(f"{path.name} is not valid {source.encoding} ({error}); save it as UTF-8") from error
    if labels:
        labels.joined += whole.labelled
        if not labels.joined:
            raise StepError(f"none of the {table.rows} of {path.name} has a label; give the labels of these")
    checks, profiler = whole.checks, whole.profile
    if whole.unknown:
        what = f"{whole.unknown} {table.rows} have a {table.target.name} that cannot be"
        checks.notes.append(f"{what}; it is taken for not known, since none is needed")
    checks.find_failures(max_rejected)
    (folder / "checks.json").write_text(checks.json(), encoding="utf-8")
    (folder / "checks.html").write_text(checks.html(), encoding="utf-8")
    result = Result(joined, checks, columns, target.bytes, target.digest.hexdigest())
    if checks.failures:
        (folder / CLEAN_DATA).unlink()
    else:
        write_package(folder, table, result.sha256, result.bytes)
        if profiler:
            (folder / "profile.html").write_text(profiler.html(), encoding="utf-8")
    return result


def reports(job: Job) -> tuple[Checks, Profile | None]:
    """Both without any rows yet."""
    checks = Checks(job.columns, job.table, require_target=job.require_target)
    return checks, Profile(job.table) if job.profile else None


def clean_parts(job: Job, seen: DuplicateDetector, count: int, master: str) -> Iterator[Part]:
    """The parts of the file in their order, by `count` processes, or by Spark at `master` where there is one.

    The parts are the same whoever does them, and so are the sums in them, to the last bit. `seen` comes to know all
    keys.
    """
    parts = ranges(job.source, RANGE_BYTES)
    count = 1 if job.source.bytes <= RANGE_BYTES else count or cores()
    if (count > 1 or master) and not job.source.can_be_cut:
        why = f"its line ends cannot be told from its bytes ({job.source.encoding})"
        print(f"data_cleaning: one process reads {job.source.path.name}: {why}")
        count, master = 1, ""
    if master:
        yield from by_spark(job, seen, list(parts), master)
    elif count > 1:
        yield from by_workers(job, seen, parts, count)
    else:
        rows = 0
        for part in parts:
            done = clean_part(job, part, rows, seen)
            rows += done.rows
            yield done


def by_workers(job: Job, seen: DuplicateDetector, parts: Iterator[ByteRange | None], count: int) -> Iterator[Part]:
    """The parts by processes of this machine."""
    with Workers(count, job) as workers:

        def again(done: Part) -> Future[Part]:
            """The part; cleaned once more, with the earlier rows of its keys in mind, if it has some of these."""
            if known := seen.absorb(done.seen):
                return workers.submit(clean_part, done.place, done.start, known)
            finished: Future[Part] = Future()
            finished.set_result(done)
            return finished

        starts: Iterator[int] = itertools.repeat(0)
        if job.numbered:
            counted = list(parts)
            rows_of = in_order((workers.submit(count_rows, one) for one in counted), count + 2)
            starts, parts = itertools.accumulate(rows_of, initial=0), iter(counted)
        cleaned = (workers.submit(clean_part, *task) for task in zip(parts, starts, strict=False))
        yield from in_order(map(again, in_order(cleaned, count + 2)), count)


def by_spark(job: Job, seen: DuplicateDetector, parts: list[ByteRange | None], master: str) -> Iterator[Part]:
    """The parts by a cluster: all of them, then those once more that have keys of earlier parts."""
    with Spark(master, job) as spark:
        starts = [0] * len(parts)
        if job.numbered:
            rows_of = spark.map(count_rows, [(one,) for one in parts])
            starts = list(itertools.accumulate(rows_of, initial=0))[:-1]
        tasks = list(zip(parts, starts, strict=True))
        first = spark.map(clean_part, tasks)
        known = [seen.absorb(found) for found in first.each(attrgetter("seen"))]
        again = iter(spark.map(clean_part, [(*task, ids) for task, ids in zip(tasks, known, strict=True) if ids]))
        for done, ids in zip(first, known, strict=True):
            yield next(again) if ids else done


def count_rows(job: Job, part: ByteRange | None) -> int:
    return sum(map(len, read_chunks(job.source, job.chunk_rows, part)))


def clean_part(job: Job, part: ByteRange | None, start: int = 0, seen: DuplicateDetector | None = None) -> Part:
    """Clean a part of the file, of which None is all; `seen` knows the rows of earlier ones, and of this one then."""
    done = Part(part, start, DuplicateDetector() if seen is None else seen, *reports(job))
    for chunk in read_chunks(job.source, job.chunk_rows, part, start):
        if job.labels:
            chunk, labelled = join_labels(chunk, job.labels, job.table)
            done.labelled += labelled
        cleaned = clean(
            chunk.cells,
            job.table,
            missing=job.missing,
            require_target=job.require_target,
            extra_columns=job.extra_columns,
            detector=done.seen,
            numbers=chunk.numbers(chunk.lines),
        )
        done.rows += len(chunk)
        done.unknown += cleaned.unknown
        done.checks.add(chunk.cells, chunk.lines, chunk.ragged, cleaned)
        done.clean.append(as_bytes(cleaned.lines))
        rejected = rejected_rows(chunk, cleaned.reasons, job.source)
        if len(rejected):
            done.rejected.append((rejected.pop("row").to_numpy(np.int64), csv_lines(rejected)))
        if done.profile:
            done.profile.add(cleaned.rows)
    return done


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

    def write(self, data: bytes) -> None:
        self.file.write(data)
        self.digest.update(data)
        self.bytes += len(data)


def rejected_rows(chunk: Chunk, reasons: pd.Series, source: Source) -> pd.DataFrame:
    """The dropped rows as they came: row, line, reason, then the original cells; in the order of the file.

    A ragged row is filled up with empty cells, or its surplus is joined into the last one: no cell is lost.
    """
    rows: pd.DataFrame = chunk.cells.loc[reasons.index]
    rows = rows.apply(lambda cells: cells.str.lstrip(" "))  # both readers alike
    width = rows.shape[1]
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
