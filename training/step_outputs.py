"""What a program of any language leaves in the folder $STEP_OUTPUTS, as the record of a run.

Files are artifacts, but for four: metrics.json holds metrics, tags.json tags, and dataset.json says which data were
read (or a list of such), where that was no argument: `{"source": "https://…", "path": "data.csv"}`, the path being that
of the bytes there. Of bytes that are not there: `name` and `sha256` instead; of an output that is such data: no source;
of what a parameter named: its name as `parameter` instead of a source. Beside them, if known, `context` ("input"),
`columns` with MLflow's types, such as `{"age": "double"}`, and `profile`, any figures.

model.json says that a folder there is a model: `{"path": "model", "name": "houses", "tags": {"seed": "0"}}`. It has an
MLmodel file, which MLflow documents, and is logged as the run's model, under the folder's name; the metrics are its
metrics, too. `name` is that of the registered model that it becomes a version of; without one, it is not registered.

This file is of kit/, which `make kit` copies to the steps that use it, and to the orchestrator: edit it there.
"""

import hashlib
import json
import math
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, RunTag
from mlflow.models import Model
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT
from mlflow.utils.time import get_current_time_millis


@dataclass(frozen=True)
class Records:
    """What the four files say."""

    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    datasets: list[dict[str, Any]] = field(default_factory=list)
    model: dict[str, Any] = field(default_factory=dict)


FORMS = {  # what it is -> the file that says it, and its form
    "metrics": ("metrics.json", '{"rows_out": 900}'),
    "tags": ("tags.json", '{"data.source": "some text"}'),
    "datasets": ("dataset.json", '{"source": "https://…", "path": "data.csv"}, with the path of an output'),
    "model": (
        "model.json",
        '{"path": "model", "name": "houses"}, with the path of a folder that has an MLmodel file',
    ),
}


def log_outputs(folder: Path, client: MlflowClient, run_id: str) -> None:
    """Log to the run what lies in the folder; the four files are gone afterwards.

    Raises:
        ValueError: one of the four is not of its form; the text is a sentence.
    """
    records = log_model(folder, read_records(folder), client, run_id)
    log_figures(records, client, run_id)
    run = client.get_run(run_id)
    # MLflow stores parameters shell-quoted.
    requested = {name: (shlex.split(value) or [""])[0] for name, value in run.data.params.items()}
    log_files(folder, records, client, run_id, requested, str(run.info.artifact_uri))


def read_records(folder: Path) -> Records:
    """What the four files say; they are gone afterwards.

    Raises:
        ValueError: one of them is not of its form; the text is a sentence.
    """
    found: dict[str, Any] = {}
    readers = metrics_in, tags_in, datasets_in, model_in
    for (what, (name, form)), read in zip(FORMS.items(), readers, strict=True):
        file = folder / name
        if file.is_file():
            try:
                found[what] = read(json.loads(file.read_text(encoding="utf-8")), folder)
            except (ValueError, TypeError, AttributeError, KeyError):
                raise ValueError(f"its {name} is not of the form {form}; correct what writes it") from None
            file.unlink()
    return Records(**found)


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


def model_in(content: Any, folder: Path) -> dict[str, Any]:
    """`path`, `name` ("" where it is not to be registered) and `tags` of the model, and what is `saved` there.

    Raises:
        ValueError, TypeError, AttributeError, KeyError: it is none, or not in the folder.
    """
    told = {"name": "", "tags": {}, **content}
    path = folder.resolve() / told["path"]
    links = any(one.is_symlink() for one in (path, *path.rglob("*")))
    if not isinstance(told["name"], str) or len(told) > 3 or path.resolve().parent != folder.resolve() or links:
        raise ValueError
    try:
        saved = Model.load(str(path))
    except Exception as error:  # MLflow's own, YAML's, the disk's
        raise ValueError from error
    example = saved.saved_input_example_info or {}
    files = [(path / example[key]).resolve() for key in ("artifact_path", "serving_input_path") if key in example]
    if not saved.flavors or not all(file.is_file() and file.is_relative_to(path) for file in files):
        raise ValueError
    return told | {"path": path.resolve().name, "tags": tags_in(told["tags"], folder), "saved": saved}


class SavedFolder:
    """A flavor, as `Model.log` calls it, whose models have been saved already."""

    @staticmethod
    def save_model(path: str, mlflow_model: Model, folder: Path, saved: Model, **_: object) -> None:
        """Move what is `saved` in `folder` to `path`, with what MLflow knows of it in its MLmodel file."""
        of_run = ("run_id", "artifact_path", "model_id", "model_uuid", "utc_time_created")
        vars(mlflow_model).update({name: value for name, value in vars(saved).items() if name not in of_run})
        shutil.move(folder, path)
        mlflow_model.save(str(Path(path, "MLmodel")))


def log_model(folder: Path, records: Records, client: MlflowClient, run_id: str) -> Records:
    """Log and register the model that lies in the folder, if one does, and its metrics; what is left to be logged."""
    if not records.model:
        return records
    told, tags = records.model, {}
    info = Model.log(
        artifact_path=None,
        name=told["path"],
        flavor=SavedFolder,
        flavor_name=next((name for name in told["saved"].flavors if name != "python_function"), "pyfunc"),
        registered_model_name=told["name"] or None,
        await_registration_for=0,
        run_id=run_id,
        tags=told["tags"],
        folder=folder / told["path"],
        saved=told["saved"],
        validate_serving_input=False,
    )
    if told["name"]:
        version = str(info.registered_model_version)
        # The last is looked at before the run is reused: whether that version is still there.
        effect = json.dumps({"model": told["name"], "version": version})
        tags = {"model.name": told["name"], "model.version": version, "effect.registry": effect}
    log_figures(Records(records.metrics), client, run_id, info.model_id)
    return replace(records, metrics={}, tags=records.tags | tags, model={})


def log_figures(records: Records, client: MlflowClient, run_id: str, model_id: str | None = None) -> None:
    """Log metrics, of the run and of its model if it has one, and tags, in one request."""
    now = get_current_time_millis()
    metrics = [Metric(name, value, now, 0, model_id=model_id) for name, value in records.metrics.items()]
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
