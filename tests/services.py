"""Servers of other makers, for real, on loopback; a test is skipped where one is not installed."""

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
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.pipeline.conftest import HANG, wait_until

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
def process(command: list[str], end: signal.Signals = signal.SIGTERM, **options: object) -> Iterator[None]:
    """A server in a process group of its own, ended by the signal with all that it started."""
    started = subprocess.Popen(command, start_new_session=True, **options)
    try:
        yield
    finally:
        os.killpg(started.pid, end)
        started.wait(HANG)


def wait_for_answer(url: str, log: Path) -> None:
    def answers() -> bool:
        with contextlib.suppress(OSError):
            return requests.get(url, timeout=5).ok
        return False

    wait_until(answers, lambda: f"no answer from {url}: {log.read_text()}")


@contextlib.contextmanager
def tracking_server(folder: Path, database: str) -> Iterator[str]:
    """The address of an `mlflow server` that serves artifacts itself; they, and its log, are in `folder`."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--backend-store-uri", database, "--artifacts-destination", str(folder / "artifacts")]
    with (folder / "log").open("w") as log, process(command, cwd=folder, stdout=log, stderr=log):
        wait_for_answer(f"{address}/health", folder / "log")
        yield address


@contextlib.contextmanager
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
        with process(server, signal.SIGINT, **quiet):  # which asks its clients to go
            ask = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            wait_until(lambda: subprocess.run(ask).returncode == 0, lambda: "PostgreSQL never answered")
            yield f"postgresql+psycopg://me@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[str]:
    """The address of something that speaks S3, with one bucket; its log is in `folder`."""
    needs("boto3", "moto")
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "log").open("w") as log, process(command, cwd=folder, stdout=log, stderr=log):
        wait_for_answer(f"{address}/moto-api/", folder / "log")
        assert requests.put(f"{address}/{BUCKET}", timeout=HANG).ok
        yield address
