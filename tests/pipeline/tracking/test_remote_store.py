"""A pipeline on stores of other kinds, for real: MLflow's server with PostgreSQL, artifacts in S3, several at once."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
import requests

from tests.pipeline.conftest import AT_ONCE, HANG, wait_until

pytestmark = pytest.mark.integration
BUCKET = "runs"


def needs(*modules: str) -> None:
    """Skip where a package is not installed."""
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed here: pip install -r requirements-dev.lock")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextlib.contextmanager
def process(command: list[str], **options: object) -> Iterator[None]:
    """A server in a process group of its own, ended with all that it started."""
    started = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield
    finally:
        os.killpg(started.pid, signal.SIGTERM)
        started.wait(HANG)


def wait_for_answer(url: str, log: Path) -> None:
    def answers() -> bool:
        with contextlib.suppress(OSError):
            return requests.get(url, timeout=5).ok
        return False

    wait_until(answers, lambda: f"no answer from {url}: {log.read_text()}")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The address of an empty database."""
    needs("psycopg")
    found = shutil.which("initdb") or next(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), "")
    if not found:
        pytest.skip("PostgreSQL is not on this machine: apt-get install postgresql")
    programs, root = Path(found).resolve().parent, os.getuid() == 0  # as whom it does not start
    port = free_port()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if root:
            owner = pwd.getpwnam("postgres")
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        options = {"user": "postgres", "group": "postgres"} if root else {}
        quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL} | options
        data = str(Path(folder, "data"))
        subprocess.run([str(programs / "initdb"), "-D", data, "-A", "trust", "-U", "me", "-N"], check=True, **quiet)
        server = [str(programs / "postgres"), "-D", data, "-p", str(port), "-k", folder, "-h", "127.0.0.1", "-F"]
        with process(server, **quiet):
            ask = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            wait_until(lambda: subprocess.run(ask).returncode == 0, lambda: "PostgreSQL never answered")
            yield f"postgresql+psycopg://me@127.0.0.1:{port}/postgres"


@pytest.fixture(scope="module")
def tracking_server(postgresql: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an `mlflow server` that keeps its runs in PostgreSQL and serves their artifacts itself."""
    folder, port = tmp_path_factory.mktemp("server"), free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", postgresql, "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("w") as log, process(command, cwd=folder, stdout=log, stderr=log):
        wait_for_answer(f"http://127.0.0.1:{port}/health", folder / "log")
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of something that speaks S3, with one bucket."""
    needs("boto3", "moto")
    folder, port = tmp_path_factory.mktemp("s3"), free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "log").open("w") as log, process(command, cwd=folder, stdout=log, stderr=log):
        wait_for_answer(f"{address}/moto-api/", folder / "log")
        assert requests.put(f"{address}/{BUCKET}", timeout=HANG).ok
        yield address


@pytest.fixture
def on_server(toy, tracking_server: str, monkeypatch: pytest.MonkeyPatch):
    """The toy pipeline on the server, in an experiment of the test's own, which is not there yet."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_server)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", f"at {time.time()}")
    mlflow.set_tracking_uri(tracking_server)
    return toy


@pytest.fixture
def on_s3(toy, s3: str, monkeypatch: pytest.MonkeyPatch):
    """The toy pipeline on a database of its own whose artifacts are in S3."""
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", s3)
    for name, value in (("ACCESS_KEY_ID", "me"), ("SECRET_ACCESS_KEY", "mine"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "in S3")
    mlflow.MlflowClient().create_experiment("in S3", artifact_location=f"s3://{BUCKET}/{toy.folder.parent.name}")
    toy.config["pass_env"] = ["AWS_*"]
    return toy


@pytest.fixture(params=["on_server", "on_s3"])
def elsewhere(request: pytest.FixtureRequest):
    return request.getfixturevalue(request.param)


def test_what_is_made_elsewhere_is_reused_as_at_home(elsewhere):
    elsewhere.step("a")
    elsewhere.step("b", reads="a")
    elsewhere.config["outputs"] = ["${artifact:b,out.txt}"]
    elsewhere.save()
    assert elsewhere.run().code == 0
    assert elsewhere.states() == {"a": "executed", "b": "executed"}
    assert (elsewhere.folder / "outputs" / "out.txt").read_text() == "a\nb\n"
    assert elsewhere.run("b.text=other").code == 0
    assert elsewhere.states() == {"a": "reused", "b": "executed"}
    assert "parameter text b → other" in elsewhere.run("diff").out
    assert set(elsewhere.statuses()) == {"FINISHED"}
    failed = elsewhere.run("b.do=fail:no way")
    assert "b failed: no way" in failed.out
    assert "http" not in failed.out, "nothing of MLflow's own among what is said"


def test_several_pipelines_at_once_on_a_server_all_succeed(on_server):
    on_server.step("a")
    on_server.step("b", reads="a")
    on_server.all_succeed_at_once(AT_ONCE)
    runs = mlflow.search_runs(experiment_names=[os.environ["MLFLOW_EXPERIMENT_NAME"]], output_format="list")
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert on_server.run().code == 0
    assert on_server.states() == {"a": "reused", "b": "reused"}
