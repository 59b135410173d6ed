"""A store that a team shares, behind `mlflow server`: how often it is asked, and what is noticed of its artifacts."""

import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import pytest

STEPS = 6
MOST_OF_A_STEP, MOST_OF_A_PIPELINE, MOST_UNCHANGED = 12, 12, 20
MOST_OF_MLFLOW = (
    26  # of a step that calls MLflow itself: `start_run` and each artifact and metric have their own requests
)
RECORDING = """
import json, os, sys
from pathlib import Path

text = Path(sys.argv[sys.argv.index("--input") + 1]).read_text() if "--input" in sys.argv else ""
outputs = Path(os.environ["STEP_OUTPUTS"])
(outputs / "out.txt").write_text(text + Path.cwd().name + "\\n")
(outputs / "metrics.json").write_text(json.dumps({"lines": len(text.splitlines()) + 1}))
(outputs / "tags.json").write_text(json.dumps({"made.by": "a test"}))
(outputs / "dataset.json").write_text(json.dumps({"path": "out.txt", "context": "output"}))
"""


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


def chain(toy) -> list[str]:
    """Steps each of which reads what the one before it made."""
    names = [f"s{number}" for number in range(STEPS)]
    for before, name in zip(["", *names], names, strict=False):
        toy.step(name, reads=before)
    return names


@pytest.mark.integration
def test_steps_that_call_mlflow_ask_a_server_no_more_than_they_must(toy, server):
    chain(toy)
    before = server.requests()
    done = toy.run()
    assert done.code == 0, done.out
    made = (server.requests() - before) / STEPS
    print(f"requests: {made:.1f} a step")
    assert made <= MOST_OF_MLFLOW


@pytest.mark.integration
def test_a_server_is_asked_seldom_and_what_was_altered_there_is_made_again(toy, server):
    names = chain(toy)
    for name in names:
        (toy.folder / name / "run.py").write_text(RECORDING)
    counts = []
    for _ in range(2):
        before = server.requests()
        done = toy.run()
        assert done.code == 0, done.out
        counts.append(server.requests() - before)
    assert set(toy.states().values()) == {"reused"}
    last = mlflow.MlflowClient(server.uri).get_run(toy.manifest()["steps"]["s5"]["run_id"])
    assert last.data.metrics["lines"] == STEPS and last.data.tags["made.by"] == "a test"
    (dataset,) = last.inputs.dataset_inputs
    assert json.loads(dataset.dataset.source) == {"uri": f"runs:/{last.info.run_id}/out.txt"}
    print(f"requests: first run {counts[0]} for {STEPS} steps, nothing changed {counts[1]}")
    assert counts[0] <= MOST_OF_A_STEP * STEPS + MOST_OF_A_PIPELINE
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
