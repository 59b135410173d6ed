"""The run of a step that one machine does for another: what it is told there, and what becomes of it."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from pipeline.errors import RequestError
from pipeline.files import RESERVED
from pipeline.states import RunStatus
from pipeline.tracking.artifacts import TASK_ARTIFACT, no_read
from pipeline.tracking.liveness import is_dead
from pipeline.tracking.reach import check_connection
from pipeline.tracking.store import absolute, if_there, impatience, in_a_sentence
from pipeline.tracking.tags import EXIT_CODE, LEASE, PIPELINE_RUN, PROCESS, REASON, STATE, as_metrics, as_tags

NOTHING: Mapping[str, Any] = {}


class RemoteRun:
    """A run of the store that the environment names.

    Raises:
        RequestError: there is no such run, or nobody has left a task with it.
        StoreError: the store does not answer, or its artifacts cannot be read.
    """

    def __init__(self, run_id: str):
        self.run_id, self.uri = run_id, absolute(mlflow.get_tracking_uri())
        mlflow.set_tracking_uri(self.uri)
        check_connection(self.uri)
        self.client = mlflow.MlflowClient()
        with in_a_sentence(self.uri), impatience():
            run = if_there(self.client.get_run, run_id)
        if run is None:
            raise RequestError(f"there is no run {run_id!r} in the tracking store; check what MLFLOW_* is set to")
        self.experiment_id, self.artifact_uri = str(run.info.experiment_id), str(run.info.artifact_uri)

    def task(self, scratch: Path) -> str:
        """What another machine has left of the step, as JSON."""
        return self.fetch(TASK_ARTIFACT, scratch).read_text(encoding="utf-8")

    def fetch(self, artifact: str, target: Path) -> Path:
        """A local copy, below the folder `target`, of an artifact of the run."""
        target.mkdir(parents=True, exist_ok=True)
        try:
            return Path(get_artifact_repository(self.artifact_uri).download_artifacts(artifact, str(target)))
        except Exception as error:  # of whatever library reads there
            raise no_read(f"runs:/{self.run_id}/{artifact}", error) from error

    def is_wanted(self) -> bool:
        """Whether anybody waits for the step: its run is not settled, and who planned it lives."""
        tags = self.client.get_run(self.run_id).data.tags
        head = tags.get(PIPELINE_RUN, self.run_id)
        heads = self.client.get_run(head).data.tags if head != self.run_id else tags
        return STATE not in tags and not is_dead(tags.get(PROCESS, ""), heads.get(LEASE, ""))

    def end(self, status: RunStatus, reason: str) -> None:
        """Close the run, which nobody else does any more."""
        with in_a_sentence(self.uri):
            self.client.log_batch(self.run_id, tags=as_tags({STATE: status.lower(), REASON: reason}))
            self.client.set_terminated(self.run_id, status)

    def leave(
        self, log: Path, code: int, metrics: Mapping[str, float] = NOTHING, tags: Mapping[str, str] = NOTHING
    ) -> None:
        """Leave with the run how the step ended, what it wrote, and the metrics and tags that it left to be logged."""
        with in_a_sentence(self.uri):
            if log.is_file():
                self.client.log_artifact(self.run_id, str(log), RESERVED)
            told = {**tags, EXIT_CODE: str(code)}
            self.client.log_batch(self.run_id, metrics=as_metrics(metrics), tags=as_tags(told))


def outcome(client: mlflow.MlflowClient, run_id: str, log: Path) -> int | None:
    """The exit code that the other machine has left with a step's run, and its log; None: it has left nothing."""
    run = client.get_run(run_id)
    code = run.data.tags.get(EXIT_CODE)
    if code is None:
        return None
    repository = get_artifact_repository(run.info.artifact_uri)
    with tempfile.TemporaryDirectory(dir=log.parent) as folder:
        Path(repository.download_artifacts(f"{RESERVED}/{log.name}", folder)).replace(log)
    return int(code)
