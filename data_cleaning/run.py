"""data_cleaning: a table as it came in, clean_data.csv out, with what was wrong and what the data look like."""

import sys
from dataclasses import replace
from pathlib import Path

from clean_file import CLEAN_DATA, clean_file
from declaration import read_declaration
from file_dataset import file_dataset, source_dataset
from labelling import read_labels
from parquet_files import as_csv, declared_types, write_parquet
from recording import Record, record_step
from spark import ENGINES
from step import boolean, choice, fetch, file_digest, number, parse_parameters, whole
from step_error import StepError

STEP = "data_cleaning"


def main() -> int:
    return record_step(STEP, clean_input)


def clean_input(record: Record, folder: Path) -> None:
    """Read, check, write and record."""
    given = parse_parameters(
        STEP,
        input=Path,
        dataset=Path,
        labels=str.strip,
        missing=choice("keep", "drop"),
        max_rejected=number(0, 1),
        extra_columns=choice("drop", "keep"),
        require_target=boolean,
        chunk_rows=whole(1, 10_000_000),
        profile=boolean,
        encoding=str.strip,
        workers=whole(0, 1024),
        engine=choice(*ENGINES),
        master=str.strip,
        parquet=boolean,
    )
    original, uri, parquet, options = given.input, given.labels, given.parquet, vars(given)
    table = read_declaration(options.pop("dataset"))
    del options["input"], options["labels"], options["parquet"]
    (output := folder / "output").mkdir()
    labels = read_labels(fetch(uri, "labels"), table) if uri else None
    path = as_csv(original, folder)
    result = clean_file(path, output, table, labels=labels, **options)
    checks, source = result.checks, result.source
    if path != original:
        print(f"{STEP}: {original.name} is a Parquet file: its first row is line 2")
        source = replace(source, path=original, bytes=original.stat().st_size, sha256=file_digest(original))
    if parquet and not checks.failures:
        write_parquet(output / CLEAN_DATA, output / "clean_data.parquet", declared_types(table))
    record.take(output)
    print(checks.as_text())
    known = {"rows_labelled": labels.joined} if labels else {}
    record.metrics = checks.metrics() | known | {"bytes": result.bytes}
    if labels:
        record.datasets.append(source_dataset(labels.source, table, source=uri))
    record.datasets.append(source_dataset(source, table, checks.rows_in, parameter="input"))
    if checks.failures:
        raise StepError("; and ".join(checks.failures))
    made = result.columns, table, checks.rows_out, result.bytes
    record.datasets.append(file_dataset(CLEAN_DATA, result.sha256, *made, "output", path=CLEAN_DATA))
    record.tags["data.sha256"] = result.sha256
    print(
        f"{STEP}: {checks.rows_out} of {checks.rows_in} rows are clean "
        f"({checks.rejected} rejected, {checks.duplicates} duplicates, {checks.incomplete} incomplete)"
    )


if __name__ == "__main__":
    sys.exit(main())
