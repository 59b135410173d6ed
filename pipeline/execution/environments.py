"""Build a step's environment once, whole, and for one process at a time.

MLflow takes an environment folder that exists for a finished one: a build that was killed half-way would be used
for ever, and two builds at once would write into each other.
"""

import contextlib
import shutil
from pathlib import Path

from filelock import FileLock
from mlflow.projects import env_type
from mlflow.projects.utils import load_project
from mlflow.utils.environment import _PythonEnv
from mlflow.utils.virtualenv import _create_virtualenv, _get_mlflow_virtualenv_root, _get_virtualenv_name


def ensure(folder: str, env_manager: str) -> Path | None:
    """Make sure that the environment of the project in `folder` is there, for `uv` and `virtualenv`; where it is.

    None for the others: conda keeps its environments itself, `local` has none.
    """
    if env_manager not in ("uv", "virtualenv"):
        return None
    project = load_project(folder)
    if project.docker_env:
        return None
    if project.env_type == env_type.CONDA:
        python = _PythonEnv.from_conda_yaml(project.env_config_path)
    else:
        python = _PythonEnv.from_yaml(project.env_config_path) if project.env_config_path else _PythonEnv()
    environment = Path(_get_mlflow_virtualenv_root()) / _get_virtualenv_name(python, Path(folder))
    environment.parent.mkdir(parents=True, exist_ok=True)
    building = environment.with_name(f"{environment.name}.building")
    with FileLock(f"{environment}.lock"):
        if building.exists():  # and nobody holds the lock: whoever built it died
            shutil.rmtree(environment, ignore_errors=True)
        if environment.exists():
            building.unlink(missing_ok=True)
            return environment
        building.touch()
        _create_virtualenv(Path(folder), python, environment, env_manager=env_manager)
        with contextlib.suppress(FileNotFoundError):
            building.unlink()
    return environment
