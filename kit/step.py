"""The frame of a step's program: parameters in, one MLflow run, one line where it fails.

This file is of kit/, which `make kit` copies to the steps that use it: edit it there.
"""

import argparse
import hashlib
import math
import re
import shlex
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from step_error import StepError, first_line

if TYPE_CHECKING:
    import mlflow

MODEL_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")
Kind = Callable[[str], Any]  # a parameter's text -> its value; ValueError: its text says what would be one


class Parser(argparse.ArgumentParser):
    """Tells a wrong argument as a step tells all that is wrong with a request."""

    def error(self, message: str) -> NoReturn:
        raise StepError(message)


def parse_parameters(step: str, **kinds: Kind) -> argparse.Namespace:
    """The command line `--NAME VALUE …`, every parameter of `kinds` given, in its kind.

    Raises:
        StepError: parameters are missing, or have values that are none; all of them are named.
    """
    parser = Parser(step, allow_abbrev=False)
    for name in kinds:
        parser.add_argument(f"--{name}", required=True)
    texts = vars(parser.parse_args())
    values, problems = {}, []
    for name, kind in kinds.items():
        try:
            values[name] = kind(texts[name])
        except ValueError as error:
            problems.append(f"{name}={texts[name]!r} is {error}")
    if problems:
        raise StepError("; ".join(problems))
    return argparse.Namespace(**values)


def boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("neither true nor false")
    return text.lower() == "true"


def choice(*values: str) -> Kind:
    def parse(text: str) -> str:
        if text not in values:
            raise ValueError(f"not one of {', '.join(values)}")
        return text

    return parse


def number(low: float, high: float) -> Kind:
    return in_range(float, "a number", low, high)


def whole(low: int, high: int) -> Kind:
    return in_range(int, "a whole number", low, high)


def in_range(kind: type[int] | type[float], what: str, low: float, high: float) -> Kind:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"not {what} from {low:.15g} to {high:.15g}")
        return value

    return parse


def optional(kind: Kind) -> Kind:
    """The kind, or None where the text is empty."""
    return lambda text: kind(text) if text.strip() else None


def run_step(step: str, work: Callable[["mlflow.ActiveRun", Path], None]) -> int:
    """`work` in the MLflow run that was started for it (or a new one), with a folder of its own; the exit code."""
    import mlflow

    try:
        with mlflow.start_run() as run, tempfile.TemporaryDirectory() as folder:
            work(run, Path(folder))
    except StepError as error:
        print(f"{step}: {error}", file=sys.stderr)
        return 1
    return 0


def fetch(uri: str, what: str) -> Path:
    """A local path, or a copy of what an artifact URI names.

    Raises:
        StepError: it could not be had.
    """
    if Path(uri).is_file():
        return Path(uri)
    import mlflow

    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri))
    except (mlflow.MlflowException, OSError) as error:
        raise StepError(
            f"{what} {uri!r} could not be downloaded ({first_line(error)}); give a path or an artifact URI"
        ) from None


def requested_uri(run: "mlflow.ActiveRun", parameter: str, path: Path) -> str:
    """The parameter as requested: a URI, where `path` has become a local copy."""
    return unquoted(run.data.params.get(parameter, "")) or str(path)


def unquoted(text: str) -> str:
    """A parameter as it was given: MLflow stores it shell-quoted."""
    try:
        return "".join(shlex.split(text)[:1])
    except ValueError:  # it was not MLflow who did
        return text


def log_dataset(path: Path, uri: str, context: str) -> str:
    """Log a file as a dataset of the run, with where it came from; returns its SHA-256 in hex."""
    import mlflow
    from mlflow.data.meta_dataset import MetaDataset
    from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time

    digest = file_digest(path)
    # MLflow keeps at most 36 characters of a digest. That its MetaDataset lacks a `profile` is its own omission.
    dataset = MetaDataset(  # type: ignore[abstract]  # see above
        LocalArtifactDatasetSource(uri or path.name), name=path.name, digest=digest[:32]
    )
    mlflow.log_input(dataset, context)
    return digest


def file_digest(path: Path) -> str:
    """SHA-256, in hex, of a file's bytes, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
