"""data_cleaning: a table as it came in, clean_data.csv out, with what was wrong and what the data look like."""

import sys
from pathlib import Path

from clean_file import CLEAN_DATA, clean_file
from declaration import read_declaration
from file_dataset import file_dataset, source_dataset
from labelling import read_labels
from recording import Record, record_step
from spark import ENGINES
from step import boolean, choice, fetch, number, parse_parameters, whole
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
    )
    path, uri, options = given.input, given.labels, vars(given)
    table = read_declaration(options.pop("dataset"))
    del options["input"], options["labels"]
    labels = read_labels(fetch(uri, "labels"), table) if uri else None
    result = clean_file(path, folder, table, labels=labels, **options)
    record.take(folder)
    checks = result.checks
    print(checks.as_text())
    known = {"rows_labelled": labels.joined} if labels else {}
    record.metrics = checks.metrics() | known | {"bytes": result.bytes}
    if labels:
        record.datasets.append(source_dataset(labels.source, table, source=uri))
    record.datasets.append(source_dataset(result.source, table, checks.rows_in, parameter="input"))
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
