"""What nobody needs any more, removed for good: runs that are marked deleted, environments of long ago."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from pipeline.execution import mlflow_internals
from pipeline.tracking.retention import Survey
from pipeline.tracking.store import local_path


def purge(found: Survey) -> None:
    """Delete what goes, with its artifacts."""
    runs = {run.run_id: run.artifact_uri for run in found.going}
    models = {model.model_id: model.artifact_location for model in found.models_going}
    mlflow_internals.purge(runs, models)
    for uri in (*runs.values(), *models.values()):
        if place := local_path(uri):
            with contextlib.suppress(OSError):  # MLflow leaves the folder that had the artifacts' one
                place.parent.rmdir()


def environments(folders: Iterable[Path], since: float) -> dict[Path, str]:
    """The environments that this orchestrator, in whichever folder, has used, and why each stays; "" of those that go.

    `folders` are the projects that need theirs; those used since `since`, in seconds since 1970, stay.
    """
    needed = {where for folder in folders for where in environment_of(folder)}
    running = set(in_use())
    found = {}
    for environment, used in mlflow_internals.environments().items():
        why = "of a step" if environment in needed else "used since" if used >= since else ""
        found[environment] = why or ("a process runs in it" if environment in running else "")
    return found


def environment_of(folder: Path) -> list[Path]:
    """Where the environment of the project in a folder is, if it has one that can be named."""
    with contextlib.suppress(Exception):  # of whatever is wrong with a project that is not run now
        if wanted := mlflow_internals.environment_of(str(folder)):
            return [wanted[1]]
    return []


def in_use() -> Iterator[Path]:
    """The environments that processes were activated in, or started from."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError, IndexError):
            yield Path(process.cmdline()[0]).parent.parent
        with contextlib.suppress(psutil.Error, OSError, KeyError):
            yield Path(process.environ()["VIRTUAL_ENV"])


def remove(environments: Iterable[Path]) -> None:
    """Remove these environments."""
    for environment in environments:
        mlflow_internals.remove_environment(environment)
