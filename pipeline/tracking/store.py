"""Open the tracking store that the environment names, and one experiment of it.

`python -m pipeline.tracking.store` makes the store's tables, once, whoever asks at the same moment.
"""

import contextlib
import os
import re
import urllib.parse
from pathlib import Path

import mlflow
from filelock import FileLock
from mlflow.exceptions import MlflowException

from pipeline.errors import RequestError

SQLITE = "sqlite:///"


class TrackingStore:
    """A tracking store and an experiment of it: `client`, `uri` and `experiment_id`.

    Raises:
        RequestError: the store cannot be used, or has no such experiment.
    """

    def __init__(self) -> None:
        self.uri = absolute(mlflow.get_tracking_uri())
        mlflow.set_tracking_uri(self.uri)  # as it is now, absolute: the steps work in other folders
        try:
            with creation_lock(self.uri):
                self.client = mlflow.MlflowClient()
                self.experiment_id = self._experiment_id()
        except MlflowException as error:
            why = str(error).splitlines()[0]
            raise RequestError(f"cannot use the tracking store {without_password(self.uri)} ({why})") from error

    def _experiment_id(self) -> str:
        """The experiment that the environment names, as MLflow reads it; never one of our own choosing."""
        if name := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
            if experiment := self.client.get_experiment_by_name(name):
                return str(experiment.experiment_id)
            return str(self.client.create_experiment(name))
        found = os.environ.get("MLFLOW_EXPERIMENT_ID") or "0"
        self.client.get_experiment(found)  # opens the store, and says so where the experiment is not there
        return found

    def database(self) -> Path | None:
        """The store's file, where it is one."""
        return sqlite_file(self.uri)

    def sole_database(self) -> Path | None:
        """The one file that everything is in, the model registry too; None where there is more, or it is elsewhere."""
        return self.database() if mlflow.get_registry_uri() == self.uri else None

    def local_places(self) -> list[str]:
        """The files and folders on this machine that the store keeps its runs, artifacts and models in."""
        database = self.database()
        places = [str(database)] if database else []
        experiment = self.client.get_experiment(self.experiment_id)
        if (location := local_path(experiment.artifact_location)) is not None:
            of_all = location.name.isdigit() and location.parent.name == "mlruns"
            places.append(str(location.parent if of_all else location))
        return places

    def run_address(self) -> str:
        """The address that leads to a run in a browser when its ID is put behind; "" where no server shows it."""
        return f"{self.uri}/#/experiments/{self.experiment_id}/runs/" if self.uri.startswith("http") else ""

    def open_registry(self) -> None:
        """Open the model registry before a step has to wait for that."""
        with contextlib.suppress(MlflowException):
            self.client.search_registered_models(max_results=1)


def local_path(uri: str) -> Path | None:
    """The path that an artifact URI means on this machine; None where it is elsewhere."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme == "file":
        return Path(urllib.parse.unquote(parts.path))
    return Path(uri) if not parts.scheme else None


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite store; None of another."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith(SQLITE) else None


def creation_lock(uri: str) -> contextlib.AbstractContextManager[object]:
    """Two processes that open a new SQLite store at the same moment would both make its tables."""
    path = sqlite_file(uri)
    if path is None:
        return contextlib.nullcontext()
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{path}.lock")


def absolute(uri: str) -> str:
    """A relative SQLite file as an absolute one: each step, in its own folder, would make a database of its own."""
    path = uri.removeprefix(SQLITE)
    return uri if path == uri or Path(path).is_absolute() else f"{SQLITE}{Path(path).resolve()}"


def without_password(uri: str) -> str:
    """The address without the user name and password that may be in it."""
    return re.sub(r"//[^/@]*@", "//…@", uri)


if __name__ == "__main__":
    TrackingStore()
