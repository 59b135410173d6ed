"""data_cleaning: data.csv in, clean_data.csv out, with what was wrong and what the data look like."""

import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from clean_file import Result, clean_file
from cleaning_arguments import Parser, boolean
from csv_reading import CleaningError
from file_dataset import FileDataset

STEP = "data_cleaning"


def main() -> int:
    try:
        arguments = parse_arguments()
        path = Path(arguments.pop("input"))
        with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
            result = clean_file(path, Path(folder), **arguments)
            print(result.checks.table())
            mlflow.log_artifacts(folder)
            mlflow.log_metrics(result.checks.metrics() | {"bytes": result.bytes})
            log_datasets(run, path, result)
            if result.checks.failures:
                raise CleaningError("; and ".join(result.checks.failures))
    except CleaningError as error:
        print(f"{STEP}: {error}", file=sys.stderr)
        return 1
    checks = result.checks
    print(
        f"{STEP}: {checks.rows_out} of {checks.rows_in} rows are clean "
        f"({checks.rejected} rejected, {checks.duplicates} duplicates, {checks.incomplete} incomplete)"
    )
    return 0


def parse_arguments() -> dict[str, Any]:
    parser = Parser(STEP, description=__doc__, allow_abbrev=False)
    parser.add_argument("--input", required=True)
    parser.add_argument("--missing", required=True)
    parser.add_argument("--max_rejected", type=float, required=True)
    parser.add_argument("--extra_columns", required=True)
    parser.add_argument("--require_target", type=boolean, required=True)
    parser.add_argument("--chunk_rows", type=int, required=True)
    parser.add_argument("--profile", type=boolean, required=True)
    return vars(parser.parse_args())


def log_datasets(run: mlflow.ActiveRun, path: Path, result: Result) -> None:
    """What was read and what was written; the first with the URI that was asked for, where MLflow has it."""
    source, checks = result.source, result.checks
    requested = shlex.split(run.data.params.get("input", "")) or [str(path)]  # MLflow stores parameters shell-quoted
    input_dataset = FileDataset(requested[0], path.name, source.sha256, source.columns, checks.rows_in, source.bytes)
    mlflow.log_input(input_dataset, context="input")
    if not checks.failures:
        uri = f"runs:/{run.info.run_id}/clean_data.csv"
        output_dataset = FileDataset(
            uri, "clean_data.csv", result.sha256, result.columns, checks.rows_out, result.bytes
        )
        mlflow.log_input(output_dataset, context="output")
        mlflow.set_tag("data.sha256", result.sha256)


if __name__ == "__main__":
    sys.exit(main())
