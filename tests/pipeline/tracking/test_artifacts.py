"""Where a run's artifacts are."""

from pathlib import Path

import mlflow
import pytest

from pipeline.tracking.artifacts import Artifacts
from pipeline.tracking.store import TrackingStore


@pytest.fixture
def artifacts(store: str) -> Artifacts:
    return Artifacts(TrackingStore())


def test_an_artifact_that_lies_here_is_named_by_its_path(artifacts: Artifacts, tmp_path: Path) -> None:
    with mlflow.start_run() as run:
        mlflow.log_text("a", "folder/data.csv")
    uri = f"runs:/{run.info.run_id}"
    assert artifacts.local(f"{uri}/folder/data.csv") is None, "of a run that nobody has looked at, nothing is known"
    artifacts.known_runs[run.info.run_id] = mlflow.get_run(run.info.run_id)
    path = artifacts.local(f"{uri}/folder/data.csv")
    assert path is not None
    assert path.read_text() == "a"
    assert artifacts.local(f"{uri}/other.csv") is None
    assert artifacts.local(str(tmp_path)) is None


def test_an_artifact_elsewhere_has_no_path(artifacts: Artifacts) -> None:
    experiment = mlflow.create_experiment("elsewhere", artifact_location="s3://bucket/path")
    with mlflow.start_run(experiment_id=experiment) as run:
        pass
    artifacts.known_runs[run.info.run_id] = mlflow.get_run(run.info.run_id)
    assert artifacts.local(f"runs:/{run.info.run_id}/data.csv") is None
