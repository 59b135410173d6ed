"""`mlflow run FOLDER --backend slurm`: MLflow's project backend of that name, which deploy/mlflow_slurm/ registers."""

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import ExecutionException
from mlflow.projects.backend.abstract_backend import AbstractBackend
from mlflow.projects.submitted_run import SubmittedRun
from mlflow.projects.utils import (
    PROJECT_BUILD_IMAGE,
    PROJECT_DOCKER_ARGS,
    PROJECT_DOCKER_AUTH,
    PROJECT_ENV_MANAGER,
    PROJECT_STORAGE_DIR,
    PROJECT_SYNCHRONOUS,
    fetch_and_validate_project,
    get_or_create_run,
)
from mlflow.utils.process import ShellCommandException

from pipeline.config import Step
from pipeline.errors import RequestError
from pipeline.execution import jobs, slurm
from pipeline.execution.environ import handed_on
from pipeline.execution.runner import POLL, Exit, tail
from pipeline.execution.snapshot import pack
from pipeline.execution.task import RemoteTask, figures_left
from pipeline.execution.worker import hand_over
from pipeline.files import PROJECT, RESERVED, copy_from
from pipeline.planning.fingerprint import environment_of, folder_files
from pipeline.planning.project import load
from pipeline.planning.references import local_file
from pipeline.states import RunStatus
from pipeline.tracking.artifacts import TASK_ARTIFACT
from pipeline.tracking.liveness import new_lease, renewing, this_process
from pipeline.tracking.remote_run import outcome
from pipeline.tracking.store import local_path, sqlite_file
from pipeline.tracking.tags import LEASE, PROCESS, REASON, STATE, as_metrics, as_tags

OF_MLFLOW = {  # what it adds to every backend config
    PROJECT_BUILD_IMAGE, PROJECT_DOCKER_ARGS, PROJECT_DOCKER_AUTH, PROJECT_ENV_MANAGER, PROJECT_STORAGE_DIR,
    PROJECT_SYNCHRONOUS,
}  # fmt: skip


class Ended(SubmittedRun):
    """A run whose job has ended well."""

    def __init__(self, run_id: str):
        self._run_id = run_id

    @property
    def run_id(self) -> str:
        return self._run_id

    def wait(self) -> bool:
        return True

    def get_status(self) -> str:
        return RunStatus.FINISHED

    def cancel(self) -> None:
        pass


class SlurmBackend(AbstractBackend):
    """Runs a project as a Slurm job, and waits for it: `mlflow run` itself would not, and nobody would follow the log.

    The backend config is a step's `backend_config`; `pass_env` in it names further environment variables.
    """

    def run(
        self,
        project_uri: str,
        entry_point: str,
        params: Mapping[str, Any],
        version: str | None,
        backend_config: Mapping[str, Any],
        tracking_uri: str,
        experiment_id: str,
    ) -> Ended:
        """Do the entry point to its end; MLflow calls this.

        Raises:
            ExecutionException: it failed; the text is a sentence.
        """
        folder = Path(fetch_and_validate_project(project_uri, version, entry_point, params)).resolve()
        is_here = Path(project_uri).is_dir()  # else it was fetched to where the nodes do not look
        env_manager = backend_config.get(PROJECT_ENV_MANAGER) or ""
        config = {key: value for key, value in backend_config.items() if key not in OF_MLFLOW}
        pass_env = jobs.as_words(config.pop("pass_env", ()))
        given = {name: str(value) for name, value in params.items()}
        step = Step(folder.name, given, entry_point=entry_point, backend="slurm", backend_config=config)
        client = mlflow.MlflowClient(tracking_uri)
        place = client.get_experiment(experiment_id).artifact_location
        try:
            for warning in slurm.check([step], sqlite_file(tracking_uri), local_path(place) is not None):
                print(f"warning: {warning}", file=sys.stderr)
            project = load(step, folder, check=False)
        except RequestError as error:
            raise ExecutionException(str(error)) from None
        asked = project.defaults() | given
        files = {
            name: path
            for name, value in asked.items()
            if (path := local_file(Path.cwd(), value, project.is_path(name)))
        }
        run_id = get_or_create_run(
            None, project_uri, experiment_id, str(folder), version, entry_point, params
        ).info.run_id
        cluster = slurm.Cluster()
        shared = cluster.is_shared(config)
        uploads = {} if shared else files
        code = pack(folder, folder_files(folder))
        told = RemoteTask(
            step=step.name,
            entry_point=entry_point,
            parameters=asked | {name: str(path) for name, path in files.items() if shared},
            requested=asked,
            inputs=jobs.artifacts_of(uploads),
            code=f"{RESERVED}/{code.name}",
            env_manager=env_manager,
            env={},
            pass_env=tuple(pass_env),
            toolchain=(),
            environment=environment_of(env_manager, "slurm", config),
            ignored=(),
        )
        environ = handed_on(os.environ, [*pass_env, *cluster.variables])

        def tell(job: str) -> None:
            print(f"{step.name}: queued as {job}", file=sys.stderr)

        def renew() -> None:
            client.set_tag(run_id, LEASE, new_lease())

        with jobs.jobs_folder(PROJECT) as job_folder, renewing(renew):
            log, archive = job_folder / f"{step.name}.log", job_folder / code.name
            archive.write_bytes(code.content)
            client.log_artifact(run_id, str(archive), RESERVED)
            client.log_text(run_id, jobs.as_text(told), TASK_ARTIFACT)
            client.log_batch(run_id, tags=as_tags({PROCESS: this_process(), LEASE: new_lease()}))
            ask = jobs.submission(
                cluster, told, run_id, tracking_uri, config, folder, log, uploads, environ, is_seen=shared and is_here
            )
            fetch_outcome = None if shared else lambda: outcome(client, run_id, log)
            exit = done(cluster.job(None, ask, config, tell, fetch_outcome), log)
            figures = figures_left(log.parent)
            if any(figures.values()):
                client.log_batch(run_id, metrics=as_metrics(figures["metrics"]), tags=as_tags(figures["tags"]))
            if log.is_file():
                client.log_artifact(run_id, str(log), RESERVED)
            if not exit.ok:
                reason = exit.why or "".join(tail(log, 1)) or str(exit)
                client.log_batch(run_id, tags=as_tags({STATE: "failed", REASON: reason}))
                client.set_terminated(run_id, RunStatus.FAILED)
                raise ExecutionException(f"{step.name} failed: {reason.removeprefix(f'{step.name}: ')} (run {run_id})")
            client.set_terminated(run_id, RunStatus.FINISHED)
        return Ended(run_id)


def done(job: slurm.SlurmJob, log: Path) -> Exit:
    """Submit a job and pass on what it writes until it ends; Ctrl-C ends it."""
    try:
        job.watch(hand_over(job.ask))
    except (ShellCommandException, OSError, ValueError) as error:
        return Exit(1, str(error))
    position, interrupted = 0, ""
    while True:
        try:
            exit = job.ended()
            position = copy_from(log, position, sys.stdout.buffer)
            if exit:
                return Exit(exit.code, interrupted or exit.why)
            time.sleep(POLL)
        except KeyboardInterrupt:
            interrupted = "interrupted"
            job.stop()
