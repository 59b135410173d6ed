"""data_cleaning -e append: the clean list so far and newly labelled passengers in, one clean_data.csv out."""

import hashlib
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from clean_file import Result, clean_file
from cleaning_arguments import Parser, boolean
from csv_reading import CleaningError, Source, inspect
from file_dataset import FileDataset
from labelling import read_labels
from mlflow.exceptions import MlflowException

STEP = "data_cleaning"
MODEL_URI = re.compile(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))")


def main() -> int:
    try:
        arguments = parse_arguments()
        with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
            result = append(run, Path(folder), **arguments)
    except CleaningError as error:
        print(f"{STEP}: {error}", file=sys.stderr)
        return 1
    added = result.checks.rows_out
    print(
        f"{STEP}: {added} labelled passengers added to {result.rows_old} ({result.unlabelled} have no label yet, "
        f"{result.checks.duplicates} were there already, {result.checks.rejected} rejected)"
    )
    return 0


def parse_arguments() -> dict[str, Any]:
    parser = Parser(STEP, description=__doc__, allow_abbrev=False)
    parser.add_argument("--current", required=True)
    parser.add_argument("--labels", required=True)
    parser.add_argument("--old", required=True)
    parser.add_argument("--missing", required=True)
    parser.add_argument("--max_rejected", type=float, required=True)
    parser.add_argument("--chunk_rows", type=int, required=True)
    parser.add_argument("--profile", type=boolean, required=True)
    return vars(parser.parse_args())


def append(run: mlflow.ActiveRun, folder: Path, current: str, labels: str, old: str, **options: Any) -> Result:
    """Read, check, write and log.

    Raises:
        CleaningError: no labels, or something is wrong with one of the files.
    """
    if not labels.strip():
        raise CleaningError(
            "the labels of the new passengers have not arrived; give labels=FILE, a CSV with PassengerId and Survived"
        )
    output = folder / "output"
    output.mkdir()
    old_path, origin = fetch_old_list(old, folder) if old.strip() else (None, "")
    labels_path = fetch(labels, "labels", folder)
    result = clean_file(Path(current), output, old=old_path, labels=read_labels(labels_path), **options)
    print(result.checks.table())
    mlflow.log_artifacts(str(output))
    mlflow.log_metrics(metrics(result))
    requested = shlex.split(run.data.params.get("current", "")) or [current]
    sources = [(requested[0], result.source), (labels, inspect(labels_path))]
    if old_path:
        sources.append((origin, inspect(old_path)))
    for uri, source in sources:
        log_source(uri, source)
    if result.conflicts():
        print(f"{STEP}: {result.conflicts()}: the list has other passengers of these numbers; see rejected.csv")
    if result.checks.failures:
        raise CleaningError("; and ".join(result.checks.failures))
    rows, uri = result.rows_old + result.checks.rows_out, f"runs:/{run.info.run_id}/clean_data.csv"
    output_dataset = FileDataset(uri, "clean_data.csv", result.sha256, result.columns, rows, result.bytes)
    mlflow.log_input(output_dataset, context="output")
    mlflow.set_tag("data.sha256", result.sha256)
    return result


def fetch_old_list(old: str, folder: Path) -> tuple[Path, str]:
    """The file that `old` means, and its own URI: for a model, what its training run read.

    Raises:
        CleaningError: it could not be downloaded, or is not what the model was trained on any more.
    """
    match = MODEL_URI.fullmatch(old)
    if not match:
        return fetch(old, "old", folder), old
    client, (name, alias, number) = mlflow.MlflowClient(), match.groups()
    try:
        version = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
        uri = shlex.split(client.get_run(str(version.run_id)).data.params["input"])[0]
    except (MlflowException, KeyError, IndexError) as error:
        raise CleaningError(
            f"what {old} was trained on cannot be found ({first_line(error)}); train a model first, or give "
            "old=runs:/RUN_ID/clean_data.csv"
        ) from None
    path = fetch(uri, f"what {old} was trained on,", folder)
    with path.open("rb") as file:
        unchanged = hashlib.file_digest(file, "sha256").hexdigest() == version.tags.get("data.sha256")
    if not unchanged:
        raise CleaningError(f"{uri} is not what {old} was trained on any more; give old=runs:/RUN_ID/clean_data.csv")
    return path, uri


def fetch(uri: str, what: str, folder: Path) -> Path:
    """A local path, or a copy of what an artifact URI names."""
    if Path(uri).is_file():
        return Path(uri)
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise CleaningError(
            f"{what} {uri!r} could not be downloaded ({first_line(error)}); give a path or an artifact URI"
        ) from None


def first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def metrics(result: Result) -> dict[str, float]:
    """Of the new rows what data_cleaning tells of any; rows_out are the old ones and the new ones."""
    checks, old = result.checks, result.rows_old
    return checks.metrics() | {
        "rows_old": old,
        "rows_new": checks.rows_out,
        "rows_unlabelled": result.unlabelled,
        "rows_out": old + checks.rows_out,
        "bytes": result.bytes,
    }


def log_source(uri: str, source: Source) -> None:
    """Log a file that was read as an input of the run; `uri` is the address it was asked for by."""
    name = source.path.name
    mlflow.log_input(FileDataset(uri, name, source.sha256, source.columns, None, source.bytes), context="input")


if __name__ == "__main__":
    sys.exit(main())
