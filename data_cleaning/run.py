"""data_cleaning: data.csv in, clean_data.csv out, with what was wrong and what the data look like."""

import argparse
import json
import shlex
import sys
import tempfile
from pathlib import Path

import mlflow
from clean_file import Result, clean_file
from csv_reading import CleaningError
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource
from mlflow.types import ColSpec, DataType, Schema
from schema import SCHEMA, kind

STEP = "data_cleaning"
TYPES = {"whole number": DataType.long, "number": DataType.double, "text": DataType.string}


class FileDataset(MetaDataset):
    """A CSV file as an MLflow dataset, described without being held in memory."""

    def __init__(self, path_or_uri: str, name: str, sha256: str, columns: list[str], rows: int, size: int) -> None:
        kinds = [(name, kind(name) if name in SCHEMA.columns else "text") for name in columns]
        schema = Schema([ColSpec(TYPES[held], name, required=False) for name, held in kinds])
        self.figures = {"num_rows": rows, "num_elements": rows * len(columns), "bytes": size, "sha256": sha256}
        source = LocalArtifactDatasetSource(path_or_uri)  # despite its name it takes any artifact URI
        super().__init__(source, name=name, digest=sha256[:32], schema=schema)  # MLflow keeps at most 36 characters

    def to_dict(self) -> dict[str, str]:
        return super().to_dict() | {"profile": json.dumps(self.figures)}


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


class Parser(argparse.ArgumentParser):
    """Tells a wrong argument as this step tells all that is wrong with a request."""

    def error(self, message: str) -> None:
        raise CleaningError(message)


def parse_arguments() -> dict:
    parser = Parser(STEP, description=__doc__, allow_abbrev=False)
    parser.add_argument("--input", required=True)
    parser.add_argument("--missing", default="keep")
    parser.add_argument("--max_rejected", type=float, default=0.05)
    parser.add_argument("--extra_columns", default="drop")
    parser.add_argument("--require_target", type=boolean, default=True)
    parser.add_argument("--chunk_rows", type=int, default=50_000)
    parser.add_argument("--profile", type=boolean, default=True)
    return vars(parser.parse_args())


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def log_datasets(run: mlflow.ActiveRun, path: Path, result: Result) -> None:
    """What was read and what was written; the first with the URI that was asked for, where MLflow has it."""
    source, checks = result.source, result.checks
    given = shlex.split(run.data.params.get("input", "")) or [str(path)]  # MLflow stores parameters shell-quoted
    read = FileDataset(given[0], path.name, source.sha256, source.columns, checks.rows_in, source.bytes)
    mlflow.log_input(read, context="input")
    if not checks.failures:
        uri = f"runs:/{run.info.run_id}/clean_data.csv"
        made = FileDataset(uri, "clean_data.csv", result.sha256, result.columns, checks.rows_out, result.bytes)
        mlflow.log_input(made, context="output")
        mlflow.set_tag("data.sha256", result.sha256)


if __name__ == "__main__":
    sys.exit(main())
