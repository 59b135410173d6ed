"""Open the tracking store that the environment names, and one experiment of it.

`python -m pipeline.tracking.store` makes the store's tables, once, whoever asks at the same moment.
"""

import contextlib
import errno
import importlib.util
import logging
import os
import re
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import sqlalchemy
from filelock import FileLock, Timeout
from mlflow.entities import Experiment
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from pipeline.errors import RequestError, StoreError
from pipeline.tracking.reach import check_connection, does_not_answer, without_password

SQLITE = "sqlite:///"
# The first call alone is impatient: a server that is there answers it, and MLflow's own retries take four minutes.
FIRST_CALL = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
NO_ANSWER = ("timed out", r"too many \d+ error responses", "Connection refused", "Max retries exceeded")
LOCK_TIMEOUT = 60.0  # seconds to wait for whoever makes the tables, which takes a few
SAY_SO = 2.0  # seconds after which it is said what is waited for
OF_A_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG}
OF_A_DISK |= {errno.ENOTDIR, errno.EISDIR, errno.EEXIST}
NOT_THERE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE", "NOT_FOUND")  # an alias that nobody carries: the 2nd
GO_ON = "see to that and run again, or set MLFLOW_TRACKING_URI to another"
DIALECTS = ("sqlite", "postgresql", "mysql", "mssql")
REMOTE = "-r requirements-remote.lock"  # locked together with all else: boto3 lives with few versions of others
# What an artifact address or a database's driver takes -> module, and what to type to have it.
ARTIFACT_MODULES = {
    "s3": ("boto3", REMOTE),
    "gs": ("google.cloud.storage", "google-cloud-storage"),
    "wasbs": ("azure.storage.blob", "azure-storage-blob azure-identity"),
    "abfss": ("azure.storage.filedatalake", "azure-storage-file-datalake azure-identity"),
}
DRIVER_PACKAGES = {"psycopg": REMOTE, "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}


class TrackingStore:
    """A tracking store and an experiment of it: `client`, `uri` and `experiment_id`.

    Raises:
        RequestError: the store has no such experiment.
        StoreError: it does not answer, or cannot be used.
    """

    def __init__(self) -> None:
        self.uri = absolute(mlflow.get_tracking_uri())
        mlflow.set_tracking_uri(self.uri)  # as it is now, absolute: the steps work in other folders
        check_connection(self.uri)
        with self.told(), creation_lock(self.uri), impatience():
            check_database(self.uri)
            self.client = mlflow.MlflowClient()
            self.experiment = self._experiment()
            self.experiment_id = str(self.experiment.experiment_id)
            check_artifacts(self.experiment.artifact_location)

    def told(self) -> contextlib.AbstractContextManager[None]:
        """What the store or a disk raises meanwhile becomes a StoreError, or a RequestError (nothing there)."""
        return in_a_sentence(self.uri)

    def _experiment(self) -> Experiment:
        """The experiment that the environment names, as MLflow reads it; never one of our own choosing."""
        if name := os.environ.get("MLFLOW_EXPERIMENT_NAME"):
            if found := self.client.get_experiment_by_name(name):
                return found
            try:
                return self.client.get_experiment(self.client.create_experiment(name))
            except MlflowException as error:
                made = self.client.get_experiment_by_name(name)  # by another pipeline, meanwhile
                if not made or error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                return made
        return self.client.get_experiment(os.environ.get("MLFLOW_EXPERIMENT_ID") or "0")

    def database(self) -> Path | None:
        """The store's file, where it is one."""
        return sqlite_file(self.uri)

    def sole_database(self) -> Path | None:
        """The one file that everything is in, the model registry too; None where there is more, or it is elsewhere."""
        return self.database() if mlflow.get_registry_uri() == self.uri else None

    def keeps_artifacts_here(self) -> bool:
        """Whether artifacts are files under a path of this machine."""
        return local_path(self.experiment.artifact_location) is not None

    def local_places(self) -> list[str]:
        """The files and folders on this machine that the store keeps its runs, artifacts and models in."""
        database = self.database()
        places = [str(database)] if database else []
        if (location := local_path(self.experiment.artifact_location)) is not None:
            of_all = location.name.isdigit() and location.parent.name == "mlruns"
            places.append(str(location.parent if of_all else location))
        return places

    def is_opened_here(self) -> bool:
        """Whether this process opens the database itself, and no server stands before it."""
        return self.uri.startswith(DIALECTS)

    def run_address(self) -> str:
        """The address that leads to a run in a browser when its ID is put behind; "" where no server shows it."""
        return f"{self.uri}/#/experiments/{self.experiment_id}/runs/" if self.uri.startswith("http") else ""

    def open_registry(self) -> None:
        """Open the model registry before a step has to wait for that."""
        with contextlib.suppress(MlflowException):
            self.client.search_registered_models(max_results=1)


def paged(search: Callable[..., Any], **arguments: Any) -> Iterator[Any]:
    """All that one of the client's searches finds, page by page."""
    token = None
    while token != "":
        page = search(**arguments, page_token=token)
        yield from page
        token = page.token or ""


def local_path(uri: str) -> Path | None:
    """The path that an artifact URI means on this machine; None where it is elsewhere."""
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme == "file":
        return Path(urllib.parse.unquote(parts.path))
    return Path(uri) if not parts.scheme else None


def sqlite_file(uri: str) -> Path | None:
    """The file of an SQLite store; None of another."""
    return Path(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith(SQLITE) else None


@contextlib.contextmanager
def creation_lock(uri: str) -> Iterator[None]:
    """Two processes that open a new SQLite store at the same moment would both make its tables.

    Raises:
        StoreError: another process has held it for LOCK_TIMEOUT seconds.
    """
    path = sqlite_file(uri)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{path}.lock")
    try:
        lock.acquire(timeout=SAY_SO)
    except Timeout:
        print(f"waiting for {lock.lock_file}, which another process holds", file=sys.stderr, flush=True)
        try:
            lock.acquire(timeout=LOCK_TIMEOUT)
        except Timeout:
            raise StoreError(
                f"another process has held {lock.lock_file} for {LOCK_TIMEOUT:g} s, and nothing can be opened "
                f"meanwhile; end that process (`fuser {lock.lock_file}` says which)"
            ) from None
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def impatience() -> Iterator[None]:
    """Have MLflow give up soon, as long as the environment does not say otherwise."""
    added = {name: value for name, value in FIRST_CALL.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def in_a_sentence(uri: str) -> Iterator[None]:
    """What a store at `uri` raises, as a sentence.

    Raises:
        RequestError: what was asked for is not there.
        StoreError: the store does not answer, or cannot be used.
    """
    where = f"the tracking store {without_password(uri)}"
    try:
        yield
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise RequestError(f"{where} says: {first_line(error)}; check what MLFLOW_* is set to") from error
        if no_answer := next((found[0] for words in NO_ANSWER if (found := re.search(words, str(error)))), ""):
            raise StoreError(does_not_answer(uri, no_answer)) from error
        raise StoreError(f"{where} cannot be used ({first_line(error)}); {GO_ON}") from error
    except ImportError as error:
        package = DRIVER_PACKAGES.get(error.name or "", error.name)
        raise StoreError(f"{where} needs {error.name}, which is not installed here: pip install {package}") from error
    except SQLAlchemyError as error:
        raise StoreError(f"{where} cannot be used ({first_line(error)}); {GO_ON}") from error
    except OSError as error:
        if error.errno not in OF_A_DISK:
            raise
        raise StoreError(
            f"{error.filename or where} cannot be used ({error.strerror}); see to that, and run again"
        ) from error


def if_there(ask: Callable[..., Any], *arguments: str) -> Any:
    """What the store answers; None where it says that there is no such thing, which is not the same as no answer."""
    try:
        return ask(*arguments)
    except MlflowException as error:
        if error.error_code in NOT_THERE:
            return None
        raise


def first_line(error: BaseException) -> str:
    """The line of what an error says that a database's driver wrote, or its first one, or its kind."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if re.match(r"\(\w+\.\w*Error\)", line)), lines[0])


def check_database(uri: str) -> None:
    """Open a database once before MLflow does, which tries ten times, for two minutes, whatever is wrong.

    Raises:
        StoreError, OSError, SQLAlchemyError: it cannot be used.
    """
    if uri.startswith(DIALECTS):
        engine = sqlalchemy.create_engine(uri, poolclass=sqlalchemy.NullPool)
        sqlalchemy.inspect(engine).has_table("alembic_version")


def check_artifacts(location: str) -> None:
    """Whether what an artifact address takes is installed.

    Raises:
        StoreError: it is not.
    """
    scheme = urllib.parse.urlsplit(location).scheme
    module, package = ARTIFACT_MODULES.get(scheme, ("", ""))
    if module and not is_installed(module):
        raise StoreError(
            f"the experiment's artifacts are at {without_password(location)}, which needs {module}, and that is not "
            f"installed here: pip install {package} (steps with an environment of their own need it there)"
        )


def is_installed(module: str) -> bool:
    """Whether a module can be imported; it is not."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # a package above it is not there
        return False


def absolute(uri: str) -> str:
    """A relative SQLite file as an absolute one: each step, in its own folder, would make a database of its own."""
    path = uri.removeprefix(SQLITE)
    return uri if path == uri or Path(path).is_absolute() else f"{SQLITE}{Path(path).resolve()}"


if __name__ == "__main__":
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # of the making of tables
    try:
        TrackingStore()
    except (RequestError, StoreError) as problem:
        sys.exit(f"error: {problem}")
