"""A store that is not there, is no store, or lacks a library: one sentence, and never MLflow's own two minutes."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import RequestError, StoreError
from pipeline.tracking import store as stores
from pipeline.tracking.reach import check_connection
from pipeline.tracking.store import TrackingStore, check_artifacts


@contextlib.contextmanager
def listening() -> Iterator[int]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed_port() -> int:
    with listening() as port:
        return port


def refusal(monkeypatch: pytest.MonkeyPatch, uri: str, kind: type[Exception] = StoreError) -> str:
    """The sentence that a store at `uri` is refused with."""
    monkeypatch.setattr(stores.mlflow, "get_tracking_uri", lambda: uri)
    with pytest.raises(kind) as error:
        TrackingStore()
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


@pytest.mark.parametrize("scheme", ["http", "postgresql", "mysql+pymysql"])
def test_where_nobody_listens_it_is_said_before_anything_is_imported(scheme, closed_port):
    with pytest.raises(StoreError, match=r"does not answer \(Connection refused\); start it, or set MLFLOW_TRACKING_"):
        check_connection(f"{scheme}://user:hidden@127.0.0.1:{closed_port}/x")


def test_the_password_of_a_store_is_not_said(closed_port):
    with pytest.raises(StoreError) as error:
        check_connection(f"http://user:hidden@127.0.0.1:{closed_port}")
    assert "hidden" not in str(error.value)


def test_a_server_that_takes_connections_and_never_answers_is_given_up(store, monkeypatch):
    monkeypatch.setitem(stores.FIRST_CALL, "MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with listening() as port:
        assert "does not answer (timed out)" in refusal(monkeypatch, f"http://127.0.0.1:{port}")


def test_only_the_first_call_is_impatient(store, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "77")
    with stores.impatience():
        assert stores.os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77", "what somebody set is left"
        assert stores.os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "1"
    assert "MLFLOW_HTTP_REQUEST_MAX_RETRIES" not in stores.os.environ


def test_a_missing_library_is_named_with_the_command_to_type(monkeypatch):
    monkeypatch.setattr(stores, "is_installed", lambda module: False)
    with pytest.raises(
        StoreError, match=r"needs boto3, and that is not installed here: pip install -r requirements-remote\.lock"
    ):
        check_artifacts("s3://bucket/folder")
    check_artifacts("/a/folder")


def test_a_missing_driver_is_named_with_the_command_to_type(store, monkeypatch):
    monkeypatch.setitem(stores.sys.modules, "psycopg", None)  # as if it were not installed
    with listening() as port:
        said = refusal(monkeypatch, f"postgresql://user:hidden@127.0.0.1:{port}/x")
    assert said.endswith("needs psycopg, which is not installed here: pip install -r requirements-remote.lock")
    assert "hidden" not in said


@pytest.mark.parametrize("content", [b"these are not tables, they are words\n" * 9, bytes(range(256)) * 99, None])
def test_what_is_no_database_is_said_at_once_and_left_as_it_is(content, store, monkeypatch, tmp_path):
    file = tmp_path / "other.db"
    file.mkdir() if content is None else file.write_bytes(content)
    assert f"{file} cannot be used" in refusal(monkeypatch, f"sqlite:///{file}")
    assert content is None or file.read_bytes() == content


def test_a_lock_that_a_hung_process_holds_is_waited_for_aloud_and_not_for_ever(store, monkeypatch, capsys):
    monkeypatch.setattr(stores, "SAY_SO", 0.05)
    monkeypatch.setattr(stores, "LOCK_TIMEOUT", 0.2)
    with stores.creation_lock(store):
        said = refusal(monkeypatch, store)
    file = Path(f"{stores.sqlite_file(store)}.lock")
    assert capsys.readouterr().err == f"waiting for {file}, which another process holds\n"
    assert f"`fuser {file}` says which" in said


def test_an_experiment_that_is_not_there_is_the_requests_mistake(store, monkeypatch):
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "77")
    assert "No Experiment with id=77 exists; check what MLFLOW_" in refusal(monkeypatch, store, RequestError)
