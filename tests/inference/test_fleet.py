"""Replicas behind HAProxy: no request fails while they come, go, die, and take over new versions of the model."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import fleet
import mlflow
import psutil
import pytest

from tests.pipeline.conftest import HANG, wait_until
from tests.services import free_port
from tests.step_programs import ROOT, command_line, defaults, run_program

REQUESTS = int(os.environ.get("PIPELINE_REQUESTS", "500"))  # at least
CLIENTS = 8
ROW = {"Pclass": 3, "Name": "Owen, Mr. William", "Sex": "male", "Age": 42, "SibSp": 0, "Parch": 0}
ROW |= {"Ticket": "CA 2", "Fare": 8.05, "Cabin": None, "Embarked": "S"}


class Fleet:
    """The fleet as a process, and what it says."""

    def __init__(self, folder: Path, **parameters: object) -> None:
        self.port, self.log = free_port(), folder / "fleet.log"
        command = [sys.executable, *command_line("inference", "fleet", port=self.port, **parameters)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT / "inference", stdout=log, stderr=log, start_new_session=True
            )

    def wait_for(self, text: str, times: int = 1) -> None:
        def said() -> bool:
            return self.log.read_text().count(text) >= times or self.process.poll() is not None

        wait_until(said, lambda: f"{text!r} never came: {self.log.read_text()[-3000:]}")
        assert self.log.read_text().count(text) >= times, self.log.read_text()[-3000:]

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def replicas(self) -> list[psutil.Process]:
        """Those of its processes that listen, but for HAProxy."""
        return [
            one
            for one in self.family()
            if one.name() != "haproxy" and any(c.status == psutil.CONN_LISTEN for c in one.net_connections("tcp"))
        ]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    if not shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"):
        pytest.skip("haproxy is not on this machine: apt-get install haproxy")
    started: list[Fleet] = []

    def start(**parameters: object) -> Fleet:
        started.append(Fleet(tmp_path, **parameters))
        return started[-1]

    yield start
    for running in started:
        left = running.family() if running.process.poll() is None else []
        running.process.kill()
        running.process.wait()
        for one in left:
            if one.is_running():
                one.kill()


class Clients:
    """Each asks for one row after the other, on a connection that it keeps; what came of it is counted."""

    def __init__(self, port: int) -> None:
        self.port, self.wanted, self.lock = port, CLIENTS, threading.Lock()
        self.answers: Counter[tuple[int | str, str]] = Counter()  # by status, or error, and version
        self.threads = [threading.Thread(target=self.ask, args=(number,)) for number in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def ask(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HANG)
        question = (
            "POST",
            "/invocations",
            json.dumps({"dataframe_records": [ROW]}),
            {"Content-Type": "application/json"},
        )
        while number < self.wanted:
            try:
                connection.request(*question)
                answer = connection.getresponse()
                body = answer.read()
                found = (answer.status, answer.headers.get("X-Model-Version", body.decode()))
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                found = (repr(error), "")
            with self.lock:
                self.answers[found] += 1
        connection.close()

    def wait_for(self, version: str, count: int) -> None:
        end = self.answers[200, version] + count
        wait_until(lambda: self.answers[200, version] >= end, lambda: f"no answers by {version}: {self.answers}")

    def leave(self, left: int) -> None:
        self.wanted = left
        for thread in self.threads[left:]:
            thread.join(HANG)


@pytest.mark.integration
def test_no_request_fails_while_versions_change_and_replicas_come_go_and_die(start, register, capsys):
    versions = [register("champion"), register(seed=1)]
    running = start(model="models:/titanic@champion", min=1, max=4, under_way=1.5, calm_seconds=0.5, reload_seconds=0.2)
    running.wait_for("1 to 4 replicas")
    clients = Clients(running.port)
    try:
        running.wait_for("4 replicas,")
        client = mlflow.MlflowClient()
        for swap in range(10):
            version = versions[(swap + 1) % 2]
            client.set_registered_model_alias("titanic", "champion", version)
            clients.wait_for(version, 20)
        assert len(running.replicas()) == 4
        running.replicas()[0].kill()
        running.wait_for("a replica died (-9)")
        running.wait_for("4 replicas,", times=2)
        wait_until(lambda: clients.answers.total() >= REQUESTS, lambda: f"too slow: {clients.answers}")
        clients.leave(1)
        running.wait_for("replicas goes", times=3)
        wait_until(lambda: len(running.replicas()) == 1, lambda: running.log.read_text())
        clients.wait_for(versions[0], 5)
    finally:
        clients.leave(0)
    assert {status for status, _ in clients.answers} == {200}, clients.answers
    assert {version for _, version in clients.answers} == set(versions)
    with capsys.disabled():
        print(f"\n{clients.answers.total()} requests through ten swaps, a SIGKILL, 1 to 4 replicas and back: all 200")
    family = running.family()
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(HANG) == 0
    assert "inference: stopped" in running.log.read_text()
    wait_until_gone(family)


@pytest.mark.integration
def test_a_request_whose_body_comes_late_is_asked_of_another_replica_when_one_dies(start, register):
    register("champion")
    running = start(model="models:/titanic@champion", min=2, max=2)
    running.wait_for("2 to 2 replicas")
    body = json.dumps({"dataframe_records": [ROW]}).encode()
    head = f"POST /invocations HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n"
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", running.port)
        connections = [stack.enter_context(socket.create_connection(address, HANG)) for _ in range(2)]
        for connection in connections:
            connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode())
        time.sleep(0.3)  # were heads handed on by themselves, each replica would have one now
        running.replicas()[0].kill()
        running.wait_for("a replica died (-9)")
        for connection in connections:
            connection.sendall(body)
        assert [connection.recv(65536).split(b" ")[1] for connection in connections] == [b"200"] * 2


@pytest.mark.integration
def test_every_replica_chooses_the_same_rows_for_the_canary_and_who_is_killed_leaves_nothing_behind(start, register):
    register("champion")
    register("challenger", seed=1)
    running = start(model="models:/titanic@champion", min=2, max=2, canary=0.5)
    running.wait_for("2 to 2 replicas")
    chosen: dict[int, set[str]] = {}
    for key in [*range(30)] * 4:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", running.port, timeout=HANG)) as connection:
            rows = json.dumps({"dataframe_records": [ROW | {"PassengerId": key}]})
            connection.request("POST", "/invocations", rows, {"Content-Type": "application/json"})
            (said,) = json.load(connection.getresponse())["predictions"]
            chosen.setdefault(key, set()).add(said["model_version"])
    assert all(len(versions) == 1 for versions in chosen.values())
    assert set().union(*chosen.values()) == {"1", "2"}
    family = running.family()
    running.process.kill()
    running.process.wait()
    wait_until_gone(family)


def wait_until_gone(family: list[psutil.Process]) -> None:
    wait_until(lambda: not any(map(alive, family)), lambda: f"left: {[one for one in family if alive(one)]}")


def alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def test_the_configuration_by_hand_is_the_one_that_the_fleet_writes():
    servers = [f"r{number} 127.0.0.1:{5001 + number} check" for number in range(1, 5)]
    serving = defaults("inference", "fleet")
    limits = (float(serving["read_seconds"]), float(serving["max_seconds"]))
    written = fleet.config("/run/haproxy-inference.sock", f"{serving['host']}:{serving['port']}", servers, *limits)
    assert (ROOT / "deploy" / "haproxy.cfg").read_text().partition("\n\n")[2] == written


def test_it_is_said_what_is_lacking_before_anything_starts(store, monkeypatch, capsys):
    assert run_program("inference", "fleet", min=3, max=2) == 1
    assert "min=3 is more than max=2" in capsys.readouterr().err
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    assert run_program("inference", "fleet") == 1
    assert "haproxy is not on this machine" in capsys.readouterr().err
