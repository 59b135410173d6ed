"""All that leans on MLflow's private parts, and may break with a new release: nothing else in the orchestrator does,
but for how tracking/artifacts.py lists what is in S3, which tests/pipeline/tracking/test_remote_store.py holds.

    StepBackend             MLflow's local backend, with the command's exit code kept, and plain Python run in this
                            process, by the script server, or in a prewarmed interpreter; put in the stock one's place
                            by `use_step_backend`, which has MLproject files read ten times as fast, too
    ensure_environment      an environment built once, whole, and for one process at a time
    dispose_connections     the connections of an open SQLite store closed, so that forks do not share them
    purge                   what `mlflow gc` does to runs and logged models, and to these alone
    environments            those that the orchestrator built or used, and when last

`python -m pipeline.execution.mlflow_internals FOLDER ENV_MANAGER` makes sure of a project's environment.

Imported where it is needed. Where that fails, steps run on MLflow's stock backend: slower, with exit code 1 for any
failure. `tests/pipeline/execution/test_mlflow_internals.py` holds each of these parts against the MLflow installed.
"""

import contextlib
import logging
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
from filelock import FileLock
from mlflow.projects import _project_spec, env_type
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
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.environment import _PythonEnv
from mlflow.utils.mlflow_tags import MLFLOW_PROJECT_ENV
from mlflow.utils.process import ShellCommandException
from mlflow.utils.virtualenv import _create_virtualenv, _get_mlflow_virtualenv_root, _get_virtualenv_name

from pipeline.execution import script_server
from pipeline.execution.bytecode import link_bytecode
from pipeline.execution.prewarming import Interpreter, script_of
from pipeline.execution.script_server import Script
from pipeline.execution.task import Task
from pipeline.files import read_yaml


def use_step_backend(task: Task) -> type["StepBackend"]:
    """Have `mlflow.run` use StepBackend in this process, for this task, and read MLproject by the parser in C."""
    loader.MLFLOW_BACKENDS["local"] = StepBackend
    _project_spec.yaml = SimpleNamespace(safe_load=read_yaml)  # type: ignore[attr-defined, assignment] # all that it uses
    StepBackend.submitted, StepBackend.task = None, task
    return StepBackend


def dispose_connections() -> None:
    """Close the connections to a database: forks must not share them. The next query opens one."""
    for kind in ("tracking", "model_registry"):
        if module := sys.modules.get(f"mlflow.store.{kind}.sqlalchemy_store"):
            for engine in module.SqlAlchemyStore._engine_map.values():
                engine.dispose()


def purge(runs: Mapping[str, str], models: Mapping[str, str]) -> None:
    """Delete runs and logged models, by ID with the URIs of their artifacts, for good, in the store that is set.

    `mlflow gc` itself deletes with the runs that it is given all experiments that were ever marked deleted.
    """
    store = mlflow.MlflowClient()._tracking_client.store
    for places, hard_delete in ((runs, store._hard_delete_run), (models, store._hard_delete_logged_model)):
        for entity_id, uri in places.items():
            get_artifact_repository(uri).delete_artifacts()
            hard_delete(entity_id)


def environments() -> dict[Path, float]:
    """The environments that `ensure_environment` made sure of, and when they were last used, in seconds since 1970."""
    locks = Path(_get_mlflow_virtualenv_root()).glob("*.lock")
    return {lock.with_suffix(""): last_used(lock) for lock in locks if lock.with_suffix("").is_dir()}


def last_used(lock: Path) -> float:
    """When an environment was last made sure of, or a Python of it started all the same, which reads a file."""
    read = lock.with_suffix("") / "pyvenv.cfg"
    return max(lock.stat().st_mtime, read.stat().st_atime if read.is_file() else 0)


def remove_environment(environment: Path) -> None:
    """Remove an environment; where that is broken off, the next who needs it finishes it."""
    with FileLock(f"{environment}.lock"):
        building_mark(environment).touch()
        shutil.rmtree(environment, ignore_errors=True)
        building_mark(environment).unlink()


def ensure_environment(folder: str, env_manager: str, quiet: bool = False) -> Path | None:
    """Make sure that the environment of the project in `folder` is there, for `uv` and `virtualenv`; where it is.

    None for the others: conda keeps its environments itself, `local` has none. MLflow takes an environment folder
    that exists for a finished one: a build that was killed half-way would be used for ever, and two builds at once
    would write into each other.
    """
    wanted = environment_of(folder) if env_manager in ("uv", "virtualenv") else None
    if wanted is None:
        return None
    python, environment = wanted
    environment.parent.mkdir(parents=True, exist_ok=True)
    building = building_mark(environment)
    with FileLock(lock := f"{environment}.lock"):
        Path(lock).touch()  # for `last_used`
        if building.exists():  # and nobody holds the lock: whoever built it died
            shutil.rmtree(environment, ignore_errors=True)
        if environment.exists():
            building.unlink(missing_ok=True)
            return environment
        building.touch()
        build_environment(Path(folder), python, environment, env_manager, quiet)
        with contextlib.suppress(FileNotFoundError):
            building.unlink()
    return environment


def environment_of(folder: str) -> tuple[_PythonEnv, Path] | None:
    """What the environment of the project in `folder` is made of, and where it lies or would; None for an image."""
    project = load_project(folder)
    if project.docker_env:
        return None
    if project.env_type == env_type.CONDA:
        python = _PythonEnv.from_conda_yaml(project.env_config_path)
    else:
        python = _PythonEnv.from_yaml(project.env_config_path) if project.env_config_path else _PythonEnv()
    return python, Path(_get_mlflow_virtualenv_root(), _get_virtualenv_name(python, Path(folder)))


def missing_environment(folder: str) -> Path | None:
    """Where the environment of the project in `folder` will be built; None where it is there."""
    wanted = environment_of(folder)
    there = not wanted or (wanted[1].exists() and not building_mark(wanted[1]).exists())
    return wanted[1] if wanted and not there else None


def building_mark(environment: Path) -> Path:
    """The file that is there as long as an environment is being built."""
    return environment.with_name(f"{environment.name}.building")


def build_environment(folder: Path, python: _PythonEnv, environment: Path, env_manager: str, quiet: bool) -> None:
    """Have MLflow build the environment: with a lock file from what uv has in its cache, if that is all there.

    There is nothing to be chosen then, and asking the package index takes longer than installing. `quiet`: say what
    the tools say only where they fail.
    """
    build = partial(_create_virtualenv, folder, python, environment, env_manager=env_manager)  # type: ignore[arg-type] # one of the two
    if env_manager == "uv" and any(line.startswith(("-r ", "-c ")) for line in python.dependencies):
        logging.disable()  # that something has to be fetched is no news
        with contextlib.suppress(ShellCommandException):
            build(extra_env={"UV_OFFLINE": "1"}, capture_output=True)
        logging.disable(logging.NOTSET)
    if not environment.exists():
        build(capture_output=quiet)
    link_bytecode(environment)


def entry_point_command(folder: str, entry_point: str) -> str:
    """The command of an entry point, with its placeholders."""
    return str(load_project(folder).get_entry_point(entry_point).command)


class StepBackend(LocalBackend):
    """MLflow's local backend, with the exit code kept.

    Plain Python commands run in this very process, in one of the script server, or in the prewarmed interpreter of the
    step's environment.
    """

    task: Task
    submitted: "Submitted | None" = None  # what the latest call of `run` started
    interpreter: Interpreter | None = None  # prewarmed

    def run(
        self,
        project_uri: str,
        entry_point: str,
        params: Mapping[str, Any],
        version: str | None,
        backend_config: Mapping[str, Any],
        tracking_uri: str,
        experiment_id: str,
    ) -> "Submitted":
        """Start the entry point's command; MLflow calls this."""
        project = load_project(project_uri)
        env_manager = backend_config[PROJECT_ENV_MANAGER]
        run_id = backend_config[MLFLOW_LOCAL_BACKEND_RUN_ID_CONFIG]
        script = script_of(project.get_entry_point(entry_point).command)
        in_process = self.task.in_process and env_manager == "local" and not project.docker_env and bool(script)
        submitted: Submitted | None = None
        if in_process or self.interpreter:
            command = get_entry_point_command(project, entry_point, params, backend_config[PROJECT_STORAGE_DIR])
            arguments, environ = shlex.split(command[0])[1:], get_run_env_vars(run_id, experiment_id)
            if in_process:
                whole = {**os.environ, **environ}
                told = Script(arguments, project_uri, whole, self.task.root, self.task.script_modules)
                submitted = InProcess(run_id, told)
            elif self.interpreter and self.interpreter.send(arguments, project_uri, environ):
                mlflow.MlflowClient().set_tag(run_id, MLFLOW_PROJECT_ENV, env_manager)
                submitted = Subprocess(run_id, self.interpreter.process)
        if submitted is None:
            ensure_environment(project_uri, env_manager)
            arguments_of_stock = (
                project_uri,
                entry_point,
                params,
                version,
                backend_config,
                tracking_uri,
                experiment_id,
            )
            stock = super().run(*arguments_of_stock)  # type: ignore[no-untyped-call] # MLflow's has no types
            submitted = Subprocess(run_id, stock.command_proc)
        StepBackend.submitted = submitted
        return submitted


class Submitted(SubmittedRun):
    """A command of this step; `code` is its exit code once it ended, 128 + n for signal n."""

    def __init__(self, run_id: str):
        self._run_id = run_id
        self.code = 1

    @property
    def run_id(self) -> str:
        """The run that the command logs into."""
        return self._run_id

    def get_status(self) -> str:
        """Asked for by MLflow while it waits."""
        return "RUNNING"

    def cancel(self) -> None:
        """The orchestrator ends the whole process tree."""


class Subprocess(Submitted):
    """A command in a process of its own."""

    def __init__(self, run_id: str, process: "subprocess.Popen[str]"):
        super().__init__(run_id)
        self.process = process

    def wait(self) -> bool:
        """Until it ends; whether it ended well."""
        code = self.process.wait()
        self.code = 128 - code if code < 0 else code
        return code == 0


class InProcess(Submitted):
    """`python x.py …` run as if a process had been started for it: by the script server, or by this one."""

    def __init__(self, run_id: str, script: Script):
        super().__init__(run_id)
        self.script = script

    def wait(self) -> bool:
        """Run it to its end; whether it ended well."""
        server = script_server.current if self.script.modules else None
        self.code = server.run(self.script) if server else script_server.run_here(self.script)
        return self.code == 0


if __name__ == "__main__":
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    ensure_environment(sys.argv[1], sys.argv[2], quiet=True)
