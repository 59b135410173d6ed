"""What goes on inside a step's process: a session and a log of its own, then `mlflow.run`."""

import atexit
import contextlib
import json
import logging
import multiprocessing
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import ExecutionException, MlflowException
from mlflow.projects.backend import loader
from mlflow.projects.backend.local import LocalBackend
from mlflow.projects.submitted_run import SubmittedRun
from mlflow.projects.utils import (
    MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG,
    PROJECT_ENV_MANAGER,
    PROJECT_STORAGE_DIR,
    get_entry_point_command,
    get_run_env_vars,
    load_project,
)
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENV

from pipeline.execution import environments
from pipeline.execution import prewarmed_interpreter as standby
from pipeline.execution.prewarmed_interpreter import run_script
from pipeline.execution.processes import stop_tree

# `python x.py …` and nothing that only a shell understands; `{name}` is where MLflow puts a (quoted) value.
PLAIN_PYTHON = re.compile(r"python3?\s+[\w./-]+\.py(\s+([\w./=,:@%+-]|\{\w+\})+)*\s*")


@dataclass(frozen=True)
class Task:
    """All that a step's process has to know; plain values, since it goes to another process."""

    folder: str
    entry_point: str
    parameters: Mapping[str, str]
    run_id: str  # "" where the backend makes the run
    experiment_id: str
    tracking_uri: str
    env_manager: str
    backend: str
    backend_config: Mapping[str, Any]
    log: str
    scratch: str  # a folder of this step's, for what MLflow downloads
    root: str
    verbose: bool = False
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StandBy:
    """What there is to know of a step before its inputs are there."""

    task: Task  # its run and its parameters are not known yet
    modules: tuple[str, ...]
    order: str  # a file: the whole task as JSON, without `environ`, once it is known
    imported: str  # a file: made once all imports are done


def stand_by(ahead: StandBy) -> None:
    """Get a step's environment and an interpreter of it ready, wait for the step itself, and run it as `run_step`."""
    detach(ahead.task.log)
    with contextlib.suppress(Exception):  # the step itself will say what is wrong
        StepBackend.interpreter = interpreter(ahead)
    if StepBackend.interpreter is None:
        Path(ahead.imported).touch()
    file = Path(ahead.order)
    while not file.exists():
        time.sleep(0.01)
    task = Task(**json.loads(file.read_text(encoding="utf-8")))
    carry_out_and_leave(replace(task, environ=ahead.task.environ))


def interpreter(ahead: StandBy) -> subprocess.Popen | None:
    """A Python of the step's environment that imports what the step will need; None where its command is no Python."""
    task = ahead.task
    project = load_project(task.folder)
    environment = environments.ensure(task.folder, task.env_manager)
    if environment is None or not is_plain_python(project, task.entry_point):
        return None
    script = shlex.split(project.get_entry_point(task.entry_point).command)[1]
    path = os.pathsep.join([str(environment / "bin"), task.environ.get("PATH", os.defpath)])
    return subprocess.Popen(
        [environment / "bin" / "python", standby.__file__, ahead.imported, Path(task.folder, script), *ahead.modules],
        stdin=subprocess.PIPE,
        cwd=task.folder,
        env={**task.environ, "PATH": path, "VIRTUAL_ENV": str(environment)},  # as activating it does
        text=True,
    )


def run_step(task: Task) -> None:
    """Run one step to its end. Leaves by `SystemExit` with the step's exit code, 128 + n for signal n."""
    detach(task.log)
    carry_out_and_leave(task)


def carry_out_and_leave(task: Task) -> None:
    os.environ.clear()
    os.environ.update(task.environ)
    os.environ.pop("MLFLOW_RUN_ID", None)
    tempfile.tempdir = None  # where that was, it is no more: the step has a folder of its own for such files
    mlflow.set_tracking_uri(task.tracking_uri)
    if not task.verbose:
        logging.getLogger("mlflow").setLevel(logging.WARNING)
    try:
        code = carry_out(task)
    except (ExecutionException, MlflowException) as error:
        print(f"{Path(task.folder).name}: {str(error).strip() or type(error).__name__}", file=sys.stderr)
        code = 1
    finish()
    sys.exit(code)


def opened(uri: str) -> None:
    """Open the store in this process, so that its forks need not."""
    mlflow.set_tracking_uri(uri)
    with contextlib.suppress(Exception):  # the step will say so itself
        client = mlflow.MlflowClient()
        client.search_experiments(max_results=1)
        client.search_registered_models(max_results=1)
    rest()


def rest() -> None:
    """Close the connections to a database: forks must not share them. The next query opens one."""
    for kind in ("tracking", "model_registry"):
        if module := sys.modules.get(f"mlflow.store.{kind}.sqlalchemy_store"):
            for engine in module.SqlAlchemyStore._engine_map.values():
                engine.dispose()


def detach(log: str) -> None:
    """Become the head of a session, write to the log only, and die when the orchestrator does."""
    if hasattr(os, "setsid"):
        os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.close(file)
    sys.stdout.reconfigure(line_buffering=True)
    sys.stderr.reconfigure(line_buffering=True)
    threading.Thread(target=die_with_parent, daemon=True).start()


def die_with_parent() -> None:
    """The orchestrator may be killed without a chance to end its steps: its end of a pipe tells."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    stop_tree(os.getpid(), signal.SIGKILL)


def carry_out(task: Task) -> int:
    if task.backend != "local":
        return on_other_backend(task)
    # The stock local backend forgets the command's exit code, and has no other way to start Python than a shell.
    loader.MLFLOW_BACKENDS["local"] = StepBackend
    StepBackend.submitted, StepBackend.root = None, task.root
    try:
        mlflow.run(
            task.folder,
            entry_point=task.entry_point,
            parameters=dict(task.parameters),
            experiment_id=task.experiment_id,
            run_id=task.run_id,
            env_manager=task.env_manager,
            storage_dir=task.scratch,
            synchronous=True,
        )
    except ExecutionException:
        if StepBackend.submitted is None:
            raise
    return StepBackend.submitted.code


def on_other_backend(task: Task) -> int:
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


class StepBackend(LocalBackend):
    """MLflow's local backend, with the exit code kept.

    Plain Python commands run in this very process, or in the interpreter of the step's environment that stands by.
    """

    submitted: "Submitted | None" = None
    interpreter: subprocess.Popen | None = None  # of the step's environment, standing by
    root = ""

    def run(self, project_uri, entry_point, params, version, backend_config, tracking_uri, experiment_id):
        project = load_project(project_uri)
        env_manager = backend_config[PROJECT_ENV_MANAGER]
        run_id = backend_config[MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG]
        here = env_manager == "local" and not project.docker_env and is_plain_python(project, entry_point)
        submitted = None
        if here or self.interpreter:
            command = get_entry_point_command(project, entry_point, params, backend_config[PROJECT_STORAGE_DIR])
            arguments, environ = shlex.split(command[0])[1:], get_run_env_vars(run_id, experiment_id)
            if here:
                submitted = InProcess(run_id, arguments, project_uri, environ, self.root)
            elif give(self.interpreter, {"arguments": arguments, "folder": project_uri, "environ": environ}):
                mlflow.MlflowClient().set_tag(run_id, MLFLOW_PROJECT_ENV, env_manager)
                submitted = Subprocess(run_id, self.interpreter)
        if submitted is None:
            environments.ensure(project_uri, env_manager)
            stock = super().run(project_uri, entry_point, params, version, backend_config, tracking_uri, experiment_id)
            submitted = Subprocess(run_id, stock.command_proc)
        StepBackend.submitted = submitted
        return submitted


def give(interpreter: subprocess.Popen, order: Mapping[str, Any]) -> bool:
    """Tell what stands by what to do; False where it died meanwhile."""
    try:
        print(json.dumps(order), file=interpreter.stdin, flush=True)
    except OSError:
        return False
    return True


def is_plain_python(project: Any, entry_point: str) -> bool:
    return bool(PLAIN_PYTHON.fullmatch(project.get_entry_point(entry_point).command.strip()))


class Submitted(SubmittedRun):
    """A command of this step; `code` is its exit code once it ended, 128 + n for signal n."""

    def __init__(self, run_id: str):
        self._run_id = run_id
        self.code = 1

    @property
    def run_id(self) -> str:
        return self._run_id

    def get_status(self) -> str:
        return "RUNNING"

    def cancel(self) -> None:
        """The orchestrator ends the whole process tree."""


class Subprocess(Submitted):
    def __init__(self, run_id: str, process: Any):
        super().__init__(run_id)
        self.process = process

    def wait(self) -> bool:
        code = self.process.wait()
        self.code = 128 - code if code < 0 else code
        return code == 0


class InProcess(Submitted):
    """`python x.py …` run as if this process had been started for it."""

    def __init__(self, run_id: str, arguments: list[str], folder: str, environ: Mapping[str, str], root: str):
        super().__init__(run_id)
        self.arguments, self.folder, self.environ, self.root = arguments, folder, environ, root

    def wait(self) -> bool:
        forget_orchestrator(self.root)
        self.code = run_script(self.arguments, self.folder, self.environ)
        return self.code == 0


def forget_orchestrator(root: str) -> None:
    """Leave to a script what a fresh interpreter would have: nothing of the orchestrator's."""
    sys.path[:] = ["", *(p for p in sys.path if p and Path(p).resolve() != Path(root))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "pipeline"]:
        del sys.modules[name]


def finish() -> None:
    """What an interpreter does when it ends, which a forked process leaves out."""
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
