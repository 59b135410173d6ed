"""data_cleaning: a table as it came in, clean_data.csv out, with what was wrong and what the data look like."""

import sys
from pathlib import Path

import mlflow
from clean_file import CLEAN_DATA, Result, clean_file
from declaration import Table, read_declaration
from file_dataset import FileDataset, log_source
from labelling import read_labels
from step import boolean, choice, fetch, number, parse_parameters, requested_uri, run_step, whole
from step_error import StepError

STEP = "data_cleaning"


def main() -> int:
    return run_step(STEP, clean_input)


def clean_input(run: mlflow.ActiveRun, folder: Path) -> None:
    """Read, check, write and log."""
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
    )
    path, uri, options = given.input, given.labels, vars(given)
    table = read_declaration(options.pop("dataset"))
    del options["input"], options["labels"]
    output = folder / "output"
    output.mkdir()
    labels = read_labels(fetch(uri, "labels"), table) if uri else None
    result = clean_file(path, output, table, labels=labels, **options)
    checks = result.checks
    print(checks.as_text())
    mlflow.log_artifacts(str(output))
    known = {"rows_labelled": labels.joined} if labels else {}
    mlflow.log_metrics(checks.metrics() | known | {"bytes": result.bytes})
    if labels:
        log_source(uri, labels.source, table)
    log_datasets(run, path, table, result)
    if checks.failures:
        raise StepError("; and ".join(checks.failures))
    print(
        f"{STEP}: {checks.rows_out} of {checks.rows_in} rows are clean "
        f"({checks.rejected} rejected, {checks.duplicates} duplicates, {checks.incomplete} incomplete)"
    )


def log_datasets(run: mlflow.ActiveRun, path: Path, table: Table, result: Result) -> None:
    """What was read and what was written; the first with the URI that was asked for, where MLflow has it."""
    checks = result.checks
    log_source(requested_uri(run, "input", path), result.source, table, checks.rows_in)
    if not checks.failures:
        uri = f"runs:/{run.info.run_id}/{CLEAN_DATA}"
        made = FileDataset(uri, CLEAN_DATA, result.sha256, result.columns, table, checks.rows_out, result.bytes)
        mlflow.log_input(made, context="output")
        mlflow.set_tag("data.sha256", result.sha256)


if __name__ == "__main__":
    sys.exit(main())
