"""What goes on inside a step's process: a session and a log of its own, then `mlflow.run`."""

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import mlflow
from mlflow.exceptions import ExecutionException, MlflowException
from mlflow.utils.process import ShellCommandException

from pipeline.execution.prewarming import Interpreter, script_of
from pipeline.execution.processes import detach, run_exit_handlers
from pipeline.execution.slurm import refusal
from pipeline.execution.step_outputs import log_files, log_model, read_records
from pipeline.execution.task import PrewarmTask, Submission, Task, leave_figures
from pipeline.files import write_atomically

try:
    from pipeline.execution import mlflow_internals
except (ImportError, AttributeError):  # another release of MLflow: its stock backend does as well, if slower
    mlflow_internals = None  # type: ignore[assignment] # every use asks first

POLL = 0.01  # seconds between two looks for a task file


def run_step(task: Task) -> NoReturn:
    """Run one step to its end. Leaves by `SystemExit` with the step's exit code, 128 + n for signal n."""
    detach_to(task.log)
    run_and_exit(task)


def prewarm(ahead: PrewarmTask) -> NoReturn:
    """Get a step's environment and an interpreter of it ready, wait for the step itself, and run it as `run_step`."""
    detach_to(ahead.task.log)
    interpreter = None
    with contextlib.suppress(Exception):  # the step itself will say what is wrong
        interpreter = prewarmed_interpreter(ahead)
    if interpreter is None:
        Path(ahead.ready_file).touch()
    else:
        mlflow_internals.StepBackend.interpreter = interpreter
    file = Path(ahead.task_file)
    while not file.exists():
        time.sleep(POLL)
    task = Task(**json.loads(file.read_text(encoding="utf-8")))
    run_and_exit(replace(task, environ=ahead.task.environ))


def prewarmed_interpreter(ahead: PrewarmTask) -> Interpreter | None:
    """A Python of the step's environment that imports what the step will need; None where its command is no Python."""
    if mlflow_internals is None:
        return None
    task = ahead.task
    environment = mlflow_internals.ensure_environment(task.folder, task.env_manager)
    script = script_of(mlflow_internals.entry_point_command(task.folder, task.entry_point))
    if environment is None or not script:
        return None
    path = os.pathsep.join([str(environment / "bin"), task.environ.get("PATH", os.defpath)])
    environ = {**task.environ, "PATH": path, "VIRTUAL_ENV": str(environment)}  # as activating it does
    return Interpreter(environment / "bin" / "python", task.folder, script, ahead.modules, ahead.ready_file, environ)


def submit(ask: Submission) -> NoReturn:
    """Hand a step to a cluster. Exit code 1, and a sentence: it failed."""
    detach_to(ask.log)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    try:
        write_atomically(Path(ask.job_file), hand_over(ask))
    except (ExecutionException, MlflowException, ShellCommandException, OSError, ValueError) as error:
        print(f"{Path(ask.folder).name}: {str(error).strip() or type(error).__name__}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def hand_over(ask: Submission) -> str:
    """Build the environment of a step, upload what it reads, and submit it; the job's ID, or name.

    Raises:
        ValueError: the cluster refuses it; the text is a sentence.
        ExecutionException, MlflowException, ShellCommandException, OSError: it did not come so far.
    """
    if mlflow_internals:
        mlflow_internals.ensure_environment(ask.folder, ask.env_manager)
    client = mlflow.MlflowClient(ask.tracking_uri)
    for folder, place in ask.uploads.items():
        log = client.log_artifacts if Path(place).is_dir() else client.log_artifact
        log(ask.run_id, place, folder)
    if not ask.command:
        return ask.name
    done = subprocess.run(ask.command, input=ask.script, env=dict(ask.environ), capture_output=True, text=True)
    job_id = done.stdout.strip().partition(";")[0]  # behind it, the cluster's name
    if done.returncode or not job_id:
        raise ValueError(refusal(done.stderr))
    return job_id


def detach_to(log: str) -> None:
    """Become a process of its own, which writes to the log only."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    detach(file, file)


def missing_environment(folder: str) -> Path | None:
    """Where a step's environment will be built; None where it is there, or where nobody knows."""
    with contextlib.suppress(Exception):  # the step itself will say what is wrong
        return mlflow_internals.missing_environment(folder) if mlflow_internals else None
    return None


def run_and_exit(task: Task) -> NoReturn:
    """Run the task with its own environment variables; the step's exit code becomes this process's."""
    os.environ.clear()
    os.environ.update(task.environ)
    os.environ.pop("MLFLOW_RUN_ID", None)
    tempfile.tempdir = None  # where that was, it is no more: the step has a folder of its own for such files
    mlflow.set_tracking_uri(task.tracking_uri)
    if not task.verbose:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
    try:
        code = run_project(task) if task.backend == "local" else run_on_other_backend(task)
        if code == 0 and task.run_id:
            code = record_outputs(task)
    except (ExecutionException, MlflowException) as error:
        print(f"{Path(task.folder).name}: {str(error).strip() or type(error).__name__}", file=sys.stderr)
        code = 1
    run_exit_handlers()
    sys.exit(code)


def run_project(task: Task) -> int:
    """Run the step here; its command's exit code (on MLflow's stock backend, which forgets it: an exception)."""
    backend = mlflow_internals.use_step_backend(task) if mlflow_internals else None
    try:
        mlflow.run(
            task.folder,
            entry_point=task.entry_point,
            parameters=dict(task.parameters) | copied_folders(task),
            experiment_id=task.experiment_id,
            run_id=task.run_id,
            env_manager=task.env_manager or None,
            storage_dir=task.environ["TMPDIR"],
            synchronous=True,
        )
    except ExecutionException:
        if backend is None or backend.submitted is None:
            raise
    return backend.submitted.code if backend and backend.submitted else 0


def copied_folders(task: Task) -> dict[str, str]:
    """The parameters that get a copy of a folder: MLflow would make the same one, after many looks at the store."""
    found = {}
    for name, folder in task.folders.items():
        with contextlib.suppress(OSError):  # it went meanwhile: MLflow will say so
            copy = Path(tempfile.mkdtemp(dir=task.environ["TMPDIR"]), name)
            found[name] = str(shutil.copytree(folder, copy))
    return found


def record_outputs(task: Task) -> int:
    """Log what the step left in its $STEP_OUTPUTS, if anything; its exit code, for what is there may be wrong.

    Metrics and tags are left to the orchestrator, which has others to log with them.
    """
    outputs = Path(task.environ["STEP_OUTPUTS"])
    try:
        if any(outputs.iterdir()):
            # MLflow looks there for the experiment of a model, which is its run's.
            os.environ.pop("MLFLOW_EXPERIMENT_NAME", None)
            os.environ["MLFLOW_EXPERIMENT_ID"] = task.experiment_id
            client = mlflow.MlflowClient(task.tracking_uri)
            records = log_model(outputs, read_records(outputs), client, task.run_id)
            log_files(outputs, records, client, task.run_id, task.requested, task.artifact_uri)
            leave_figures(Path(task.scratch), {"metrics": records.metrics, "tags": records.tags})
    except ValueError as error:
        print(f"{Path(task.folder).name}: {error}", file=sys.stderr)
        return 1
    return 0


def run_on_other_backend(task: Task) -> int:
    """Hand the step to a backend that makes its own run; which one it is goes into a file for the orchestrator."""
    submitted = mlflow.run(
        task.folder,
        entry_point=task.entry_point,
        parameters=dict(task.parameters),
        experiment_id=task.experiment_id,
        env_manager=None if task.env_manager == "inherit" else task.env_manager,
        backend=task.backend,
        backend_config=dict(task.backend_config),
        synchronous=False,
    )
    Path(task.scratch, "run_id").write_text(submitted.run_id or "")
    return 0 if submitted.wait() else 1


def open_store(uri: str) -> None:
    """Open the store in this process, so that its forks need not."""
    mlflow.set_tracking_uri(uri)
    with contextlib.suppress(Exception):  # the step will say so itself
        client = mlflow.MlflowClient()
        client.search_experiments(max_results=1)
        client.search_registered_models(max_results=1)
    dispose_connections()


def dispose_connections() -> None:
    """Close the connections to a database: forks must not share them."""
    if mlflow_internals:
        mlflow_internals.dispose_connections()
