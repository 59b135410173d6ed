"""What a program of any language leaves in the folder $STEP_OUTPUTS, as the record of a run.

Files are artifacts, but for three: metrics.json holds metrics, tags.json tags, and dataset.json says which data were
read where that was no argument: `{"source": "https://…", "path": "data.csv"}`, the path being that of the bytes there.

This file is of kit/, which `make kit` copies to the steps that use it, and to the orchestrator: edit it there.
"""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset
from mlflow.data.sources import LocalArtifactDatasetSource  # type: ignore[attr-defined]  # made at run time
from mlflow.entities import DatasetInput, InputTag, Metric, RunTag
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from mlflow.utils.time import get_current_time_millis


def log_outputs(folder: Path, client: MlflowClient, run_id: str) -> None:
    """Log to the run what lies in the folder; the three files are gone afterwards.

    Raises:
        ValueError: one of the three is not of its form; the text is a sentence.
    """
    for name, (form, log) in RECORDS.items():
        record = folder / name
        if record.is_file():
            try:
                log(json.loads(record.read_text(encoding="utf-8")), folder, client, run_id)
            except (ValueError, TypeError, AttributeError, KeyError):
                raise ValueError(f"its {name} is not of the form {form}; correct what writes it") from None
            record.unlink()
    if any(folder.iterdir()):
        client.log_artifacts(run_id, str(folder))


def log_metrics(content: Any, folder: Path, client: MlflowClient, run_id: str) -> None:
    """Log the numbers, by name; ValueError where one is not finite."""
    metrics = {name: float(value) for name, value in content.items()}
    if not all(map(math.isfinite, metrics.values())):
        raise ValueError
    now = get_current_time_millis()
    client.log_batch(run_id, metrics=[Metric(name, value, now, 0) for name, value in metrics.items()])


def log_tags(content: Any, folder: Path, client: MlflowClient, run_id: str) -> None:
    """Log the texts, by name; TypeError where one is none."""
    if not all(isinstance(value, str) for value in content.values()):
        raise TypeError
    client.log_batch(run_id, tags=[RunTag(name, value) for name, value in content.items()])


def log_data(content: Any, folder: Path, client: MlflowClient, run_id: str) -> None:
    """Log the data that were read, with where they came from; ValueError where their bytes are not in the folder."""
    path = (folder / content["path"]).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise ValueError
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    # MLflow keeps at most 36 characters of a digest. That its MetaDataset lacks a `profile` is its own omission.
    dataset = MetaDataset(  # type: ignore[abstract]  # see above
        LocalArtifactDatasetSource(str(content["source"])), name=path.name, digest=digest[:32]
    )
    read = DatasetInput(dataset._to_mlflow_entity(), [InputTag(MLFLOW_DATASET_CONTEXT, "input")])
    client.log_inputs(run_id, [read])


RECORDS: dict[str, tuple[str, Callable[[Any, Path, MlflowClient, str], None]]] = {  # file -> its form, what logs it
    "metrics.json": ('{"rows_out": 900}', log_metrics),
    "tags.json": ('{"data.source": "some text"}', log_tags),
    "dataset.json": ('{"source": "https://…", "path": "data.csv"}, with the path of an output', log_data),
}
