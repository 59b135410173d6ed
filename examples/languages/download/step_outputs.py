"""What a program of any language leaves in the folder $STEP_OUTPUTS, as the record of a run.

Files are artifacts, but for three: metrics.json holds metrics, tags.json tags, and dataset.json says which data were
read (or a list of such), where that was no argument: `{"source": "https://…", "path": "data.csv"}`, the path being that
of the bytes there. Of bytes that are not there: `name` and `sha256` instead; of an output that is such data: no source;
of what a parameter named: its name as `parameter` instead of a source. Beside them, if known, `context` ("input"),
`columns` with MLflow's types, such as `{"age": "double"}`, and `profile`, any figures.

This file is of kit/, which `make kit` copies to the steps that use it, and to the orchestrator: edit it there.
"""

import hashlib
import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, RunTag
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from mlflow.utils.time import get_current_time_millis


@dataclass(frozen=True)
class Records:
    """What the three files say."""

    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    datasets: list[dict[str, Any]] = field(default_factory=list)


FORMS = {
    "metrics.json": '{"rows_out": 900}',
    "tags.json": '{"data.source": "some text"}',
    "dataset.json": '{"source": "https://…", "path": "data.csv"}, with the path of an output',
}


def log_outputs(folder: Path, client: MlflowClient, run_id: str) -> None:
    """Log to the run what lies in the folder; the three files are gone afterwards.

    Raises:
        ValueError: one of the three is not of its form; the text is a sentence.
    """
    records = read_records(folder)
    log_figures(records, client, run_id)
    run = client.get_run(run_id)
    # MLflow stores parameters shell-quoted.
    requested = {name: (shlex.split(value) or [""])[0] for name, value in run.data.params.items()}
    log_files(folder, records, client, run_id, requested, str(run.info.artifact_uri))


def read_records(folder: Path) -> Records:
    """What the three files say; they are gone afterwards.

    Raises:
        ValueError: one of them is not of its form; the text is a sentence.
    """
    found: dict[str, Any] = {}
    for (name, form), read in zip(FORMS.items(), (metrics_in, tags_in, datasets_in), strict=True):
        file = folder / name
        if file.is_file():
            try:
                found[name] = read(json.loads(file.read_text(encoding="utf-8")), folder)
            except (ValueError, TypeError, AttributeError, KeyError):
                raise ValueError(f"its {name} is not of the form {form}; correct what writes it") from None
            file.unlink()
    return Records(found.get("metrics.json", {}), found.get("tags.json", {}), found.get("dataset.json", []))


def metrics_in(content: Any, folder: Path) -> dict[str, float]:
    """The numbers, by name; ValueError where one is not finite."""
    metrics = {name: float(value) for name, value in content.items()}
    if not all(map(math.isfinite, metrics.values())):
        raise ValueError
    return metrics


def tags_in(content: Any, folder: Path) -> dict[str, str]:
    """The texts, by name; TypeError where one is none."""
    if not all(isinstance(value, str) for value in content.values()):
        raise TypeError
    return dict(content)


def datasets_in(content: Any, folder: Path) -> list[dict[str, Any]]:
    """Each of the data with its `name` and `sha256`; ValueError where the bytes it names are not in the folder."""
    found = []
    for told in content if isinstance(content, list) else [content]:
        one = dict(told)
        if "path" in one:
            path = (folder / one["path"]).resolve()
            if not path.is_relative_to(folder.resolve()) or not path.is_file():
                raise ValueError
            one["name"] = path.name
            if "sha256" not in one:
                with path.open("rb") as file:
                    one["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        known = one.keys() & {"source", "parameter", "path"}
        if not known or not all(isinstance(one[key], str) for key in {"name", "sha256"} | known):
            raise ValueError
        found.append(one)
    return found


def log_figures(records: Records, client: MlflowClient, run_id: str) -> None:
    """Log metrics and tags, in one request."""
    now = get_current_time_millis()
    metrics = [Metric(name, value, now, 0) for name, value in records.metrics.items()]
    tags = [RunTag(name, value) for name, value in records.tags.items()]
    if metrics or tags:
        client.log_batch(run_id, metrics=metrics, tags=tags)


def log_files(
    folder: Path, records: Records, client: MlflowClient, run_id: str, requested: Mapping[str, str], artifact_uri: str
) -> None:
    """Log the artifacts, to where the run has them, and the data that were read.

    `requested`: the parameters as they were asked for.
    """
    if records.datasets:
        client.log_inputs(run_id, [dataset_input(told, run_id, requested) for told in records.datasets])
    if any(folder.iterdir()):
        get_artifact_repository(artifact_uri).log_artifacts(str(folder))


def dataset_input(told: Mapping[str, Any], run_id: str, requested: Mapping[str, str]) -> DatasetInput:
    """Data as MLflow has them, from one entry of dataset.json."""
    made = f"runs:/{run_id}/{told['path']}" if "path" in told else told["name"]
    source = told.get("source") or requested.get(told.get("parameter", "")) or made
    web = source.lower().startswith(("http://", "https://"))
    columns = [{"type": kind, "name": name, "required": False} for name, kind in told.get("columns", {}).items()]
    dataset = Dataset(
        name=told["name"],
        digest=told["sha256"][:32],  # MLflow keeps at most 36 characters
        source_type="http" if web else "local",  # which despite its name is any artifact URI
        source=json.dumps({"url" if web else "uri": source}),
        schema=json.dumps({"mlflow_colspec": columns}) if columns else None,
        profile=json.dumps(told["profile"]) if "profile" in told else None,
    )
    return DatasetInput(dataset, [InputTag(MLFLOW_DATASET_CONTEXT, told.get("context", "input"))])
