"""data_cleaning -e append: the clean table so far and new rows whose outcome is known in, one clean_data.csv out."""

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from clean_file import CLEAN_DATA, Writer, rejected_rows, write_package
from cleaning import DUPLICATE, INCOMPLETE, Cleaned, clean
from csv_reading import Chunk, Source, inspect, read_chunks
from csv_writing import as_bytes, csv_lines
from data_profile import Profile
from declaration import read_declaration
from duplicates import DuplicateDetector
from file_dataset import file_dataset, source_dataset
from recording import Record, record_step
from step import (
    MODEL_URI,
    boolean,
    choice,
    fetch,
    file_digest,
    number,
    parse_parameters,
    whole,
)
from step_error import StepError, first_line
from table import Table

STEP = "data_cleaning"


@dataclass
class Appended:
    """How many rows came from where, and which keys belong to other rows of the old table."""

    old: int = 0
    new: int = 0
    unlabelled: int = 0
    duplicates: int = 0
    incomplete: int = 0
    rejected: int = 0
    bytes: int = 0
    sha256: str = ""

    def metrics(self) -> dict[str, float]:
        """rows_in are those of `current`; rows_out are the old ones and the new ones."""
        rows_in = self.new + self.unlabelled + self.duplicates + self.incomplete + self.rejected
        figures: dict[str, float] = {
            "rows_in": rows_in,
            "rows_old": self.old,
            "rows_new": self.new,
            "rows_out": self.old + self.new,
        }
        figures |= {"rows_unlabelled": self.unlabelled, "duplicates": self.duplicates, "incomplete": self.incomplete}
        return figures | {"rejected": self.rejected, "bytes": self.bytes}


def main() -> int:
    return record_step(STEP, append)


def append(record: Record, folder: Path) -> None:
    """Read, check, write and record."""
    given = parse_parameters(
        STEP,
        current=Path,
        dataset=Path,
        old=str.strip,
        missing=choice("keep", "drop"),
        max_rejected=number(0, 1),
        chunk_rows=whole(1, 10_000_000),
        profile=boolean,
    )
    table = read_declaration(given.dataset).cleaned
    old = given.old or f"models:/{table.name}@champion"
    old_path, origin = fetch_old_table(old)
    profile = Profile(table) if given.profile else None
    names = list(table.clean_by_name)
    current, old_table = inspect(given.current, names), inspect(old_path, names)
    found = append_file(current, old_table, folder, table, given.missing, given.chunk_rows, profile)
    labelled = found.new + found.duplicates + found.incomplete + found.rejected
    too_many = found.rejected > given.max_rejected * labelled
    if too_many or not labelled:
        (folder / CLEAN_DATA).unlink()
    record.take(folder)
    record.metrics = found.metrics()
    record.datasets = [
        source_dataset(current, table, parameter="current"),
        source_dataset(old_table, table, source=origin),
    ]
    if not labelled:
        raise StepError(
            f"none of the {found.unlabelled} new {table.rows} has an outcome yet; give labels=FILE, a CSV with "
            f"{table.key.name} and {table.target.name}"
        )
    if found.rejected:
        print(f"{STEP}: {found.rejected} {table.rows} have the {table.key.name} of another one; see rejected.csv")
    if too_many:
        raise StepError(
            f"{found.rejected} of {labelled} {table.rows} have the {table.key.name} of another one, more than "
            f"max_rejected={given.max_rejected:g}; correct the input (see rejected.csv), or raise max_rejected"
        )
    made = names, table, found.old + found.new, found.bytes
    record.datasets.append(file_dataset(CLEAN_DATA, found.sha256, *made, "output", path=CLEAN_DATA))
    record.tags["data.sha256"] = found.sha256
    print(
        f"{STEP}: {found.new} labelled {table.rows} added to {found.old} ({found.unlabelled} have no label yet, "
        f"{found.duplicates} were there already, {found.rejected} rejected)"
    )


def append_file(
    current: Source, old: Source, folder: Path, table: Table, missing: str, chunk_rows: int, profile: Profile | None
) -> Appended:
    """Write clean_data.csv, datapackage.json, rejected.csv and profile.html to `folder`.

    Both tables are clean. Rows of `current` without an outcome wait; those that were there already are left out, and
    so are those whose key is another row's. Rows of a table without a key go on counting.

    Raises:
        StepError: one of the tables is not clean.
    """
    names = list(table.clean_by_name)
    found, detector, highest = Appended(), DuplicateDetector(), 0
    target = Writer(folder / CLEAN_DATA, names)
    rejections = Writer(folder / "rejected.csv", ["row", "line", "reason", *current.columns])

    def write(cleaned: Cleaned) -> int:
        target.write(as_bytes(cleaned.lines))
        if profile:
            profile.add(cleaned.rows)
        return len(cleaned.rows)

    with target, rejections:
        for chunk in read_chunks(old, chunk_rows):
            cleaned = clean(chunk.cells, table, detector=detector)
            refuse_unclean(old.path, chunk, cleaned.reasons)
            found.old += write(cleaned)
            if not table.has_key and len(cleaned.rows):
                highest = max(highest, int(cleaned.rows[table.key.name].max()))
        for chunk in with_outcome(current, table, chunk_rows, found):
            shifted = chunk.cells
            if not table.has_key:
                shifted = shifted.assign(**{table.key.name: shifted[table.key.name].astype("int64") + highest})
            cleaned = clean(shifted.reindex(columns=names), table, missing=missing, detector=detector)
            taken = f"{table.key.name}_{DUPLICATE}"  # the key is another row's
            refuse_unclean(current.path, chunk, cleaned.reasons[~cleaned.reasons.isin([DUPLICATE, INCOMPLETE, taken])])
            found.new += write(cleaned)
            found.duplicates += int((cleaned.reasons == DUPLICATE).sum())
            found.incomplete += int((cleaned.reasons == INCOMPLETE).sum())
            found.rejected += int((cleaned.reasons == taken).sum())
            rejections.write(as_bytes(csv_lines(rejected_rows(chunk, cleaned.reasons, current))))
    found.bytes, found.sha256 = target.bytes, target.digest.hexdigest()
    write_package(folder, table, found.sha256, found.bytes)
    if profile:
        (folder / "profile.html").write_text(profile.html(), encoding="utf-8")
    return found


def with_outcome(source: Source, table: Table, rows: int, found: Appended) -> Iterator[Chunk]:
    """The rows whose target is known, chunk by chunk; the others are counted."""
    for chunk in read_chunks(source, rows):
        refuse_unclean(source.path, chunk, pd.Series(dtype=object))
        target = chunk.cells.get(table.target.name)
        known = np.zeros(len(chunk.lines), bool) if target is None else (target != "").to_numpy(bool)
        found.unlabelled += int((~known).sum())
        yield Chunk(chunk.cells[known].reset_index(drop=True), chunk.lines[known], [], chunk.start)


def refuse_unclean(path: Path, chunk: Chunk, reasons: pd.Series) -> None:
    """Raises StepError that names the first row that data_cleaning would not have let through."""
    problems = [*zip(chunk.lines[reasons.index.to_numpy(int)], reasons, strict=True)]
    problems += [(row.line, "ragged") for row in chunk.ragged]
    if problems:
        line, reason = min(problems)
        raise StepError(
            f"{path.name} is not clean (line {line}: {reason}); run data_cleaning on it, and give its clean_data.csv"
        )


def fetch_old_table(old: str) -> tuple[Path, str]:
    """The file that `old` means, and its own URI: for a model, what its training run read.

    Raises:
        StepError: it could not be downloaded, or is not what the model was trained on any more.
    """
    match = MODEL_URI.fullmatch(old)
    if not match:
        return fetch(old, "old"), old
    import mlflow

    client, (name, alias, number) = mlflow.MlflowClient(), match.groups()
    try:
        version = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
        uri = shlex.split(client.get_run(str(version.run_id)).data.params["input"])[0]
    except (mlflow.MlflowException, KeyError, IndexError) as error:
        raise StepError(
            f"what {old} was trained on cannot be found ({first_line(error)}); train a model first, or give "
            "old=runs:/RUN_ID/clean_data.csv"
        ) from None
    path = fetch(uri, f"what {old} was trained on,")
    if file_digest(path) != version.tags.get("data.sha256"):
        raise StepError(f"{uri} is not what {old} was trained on any more; give old=runs:/RUN_ID/clean_data.csv")
    return path, uri


if __name__ == "__main__":
    sys.exit(main())
