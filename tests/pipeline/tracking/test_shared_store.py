"""A store that a team shares, behind `mlflow server`: how often it is asked, and what is noticed of its artifacts."""

import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

STEPS = 6
# `mlflow.run`, `start_run` and each artifact that a step logs are MLflow's own requests.
MOST_OF_A_STEP, MOST_UNCHANGED = 32, 20


@dataclass
class Server:
    """A real one, with artifacts that it serves itself."""

    uri: str
    artifacts: Path
    log: Path

    def requests(self) -> int:
        return len(re.findall(r'"(?:GET|POST|PUT|PATCH|DELETE) /api', self.log.read_text()))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = Server(f"http://127.0.0.1:{port}", tmp_path / "served", tmp_path / "server.log")
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{tmp_path / 'server.db'}", "--artifacts-destination"]
    with found.log.open("w") as log:
        process = subprocess.Popen([*command, str(found.artifacts)], stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(f"{found.uri}/health", process)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", found.uri)
        yield found
    finally:
        process.terminate()
        process.wait()


def wait_for(address: str, process: subprocess.Popen) -> None:
    while process.poll() is None:
        try:
            with urllib.request.urlopen(address):  # noqa: S310 - on loopback
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server ended")


@pytest.mark.integration
def test_a_server_is_asked_seldom_and_what_was_altered_there_is_made_again(toy, server):
    names = [f"s{number}" for number in range(STEPS)]
    for before, name in zip(["", *names], names, strict=False):
        toy.step(name, reads=before)
    counts = []
    for _ in range(2):
        before = server.requests()
        done = toy.run()
        assert done.code == 0, done.out
        counts.append(server.requests() - before)
    assert set(toy.states().values()) == {"reused"}
    print(f"requests: first run {counts[0] / STEPS:.1f} a step, nothing changed {counts[1]}")
    assert counts[0] <= MOST_OF_A_STEP * STEPS
    assert counts[1] <= MOST_UNCHANGED

    run_id = toy.manifest()["steps"]["s5"]["run_id"]
    (made,) = server.artifacts.rglob(f"{run_id}/artifacts/out.txt")
    content = made.read_bytes()
    made.write_bytes(b"x" * len(content))
    assert toy.run().code == 0
    assert toy.states()["s5"] == "reused", "the size is the same, and that is what is looked at"
    done = toy.run("verify=full")
    assert toy.states()["s5"] == "executed"
    assert "out.txt of run" in done.out and "was altered in the store" in done.out
    (again,) = server.artifacts.rglob(f"{toy.manifest()['steps']['s5']['run_id']}/artifacts/out.txt")
    for file in (made, again):
        file.write_bytes(content + b"more\n")
    done = toy.run()
    assert toy.states()["s5"] == "executed"
    assert "out.txt of run" in done.out and "was altered in the store" in done.out
