"""inference -e fleet: replicas of the server behind HAProxy, as many as the requests under way need.

HAProxy hands out the requests, looks after the replicas' health, and asks another replica where one breaks off; here
replicas are started, replaced and taken away. Each of them is a server as `serve` is: it looks at the alias itself, and
chooses the canary's rows by their keys, so that it does not matter which one answers.
"""

import argparse
import csv
import http.client
import math
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from types import FrameType

import mlflow
from serve import PARAMETERS, STEP, answer_on, prepare
from serving_settings import tls_files
from step import number, parse_parameters, run_step, whole
from step_error import StepError

HERE = "127.0.0.1"  # replicas answer HAProxy alone
LOOK_SECONDS = 0.2
END_SECONDS = 20  # for requests under way, when all ends
FAILED_STARTS = 3  # in a row, after which it is no accident
# Checks a second apart with short timeouts take a busy machine for a dead one; what breaks off is asked of another
# replica at once (retry-on), and ours that die are taken out as soon as we see it.
CONFIG = """\
global
  stats socket {control} mode 600 level admin
  hard-stop-after {end_seconds}s
  tune.bufsize 65536 # of requests: one that is larger cannot be sent to another replica
  ssl-load-extra-del-ext # tls.key beside tls.crt

defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout http-request {read_seconds}s
  timeout queue 30s
  timeout server {max_seconds}s
  timeout check 10s

frontend requests
  bind {address}
  default_backend replicas

backend replicas
  balance leastconn
  option forwardfor
  option http-buffer-request # of which a part has come only cannot be sent to another replica
  option redispatch 1
  retries 3
  retry-on conn-failure empty-response response-timeout
  option httpchk GET /ready
  default-server inter 2s fall 3 rise 1
{servers}
"""
signalled = threading.Event()


def main() -> int:
    for number_ in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number_, end)
    code = run_step(STEP, work)
    if not code:
        print(f"{STEP}: stopped")
    return code


def end(signum: int, frame: FrameType | None) -> None:
    signalled.set()


def work(run: mlflow.ActiveRun, folder: Path) -> None:
    replicas, seconds = whole(1, 64), number(0, 86400)
    arguments = parse_parameters(
        STEP, min=replicas, max=replicas, under_way=number(0.1, 1e6), calm_seconds=seconds, **PARAMETERS
    )
    if arguments.min > arguments.max:
        raise StepError(f"min={arguments.min} is more than max={arguments.max}; give as many or fewer")
    program = haproxy()
    where = prepare(arguments, tls_files(arguments.tls))
    proxy = Proxy(program, folder, arguments)
    fleet = Fleet(proxy, arguments)
    try:
        fleet.begin()
        print(f"{STEP}: {where}, {arguments.min} to {arguments.max} replicas", flush=True)
        while not signalled.wait(LOOK_SECONDS):
            fleet.look()
    finally:
        proxy.end()
        fleet.end()
        mlflow.log_metrics({"replicas_most": fleet.most, "replicas_died": fleet.died})


def haproxy() -> str:
    """Raises StepError where it is not installed."""
    if found := shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"):
        return found
    raise StepError("haproxy is not on this machine, and hands out the requests; apt-get install haproxy, or the like")


def config(control: Path | str, address: str, servers: Iterable[str], read_seconds: float, max_seconds: float) -> str:
    """HAProxy's configuration: `address` is all that stands behind `bind`, `servers` are names and addresses."""
    return CONFIG.format(
        control=control,
        address=address,
        servers="\n".join(f"  server {one}" for one in servers),
        end_seconds=END_SECONDS,
        read_seconds=math.ceil(read_seconds),
        max_seconds=math.ceil(read_seconds + max_seconds),  # ours says so before HAProxy does
    )


class Proxy:
    """HAProxy, and the socket on which it is told what to do."""

    def __init__(self, program: str, folder: Path, arguments: argparse.Namespace) -> None:
        self.control, file = folder / "control", folder / "haproxy.cfg"
        slots = [f"r{number_} {HERE}:1 check disabled" for number_ in range(1, arguments.max + 1)]
        address = f"{arguments.host}:{arguments.port}"
        if arguments.tls:
            address += f" ssl crt {arguments.tls}/tls.crt"
            if Path(arguments.tls, "ca.crt").exists():
                address += f" ca-file {arguments.tls}/ca.crt verify required"
        file.write_text(config(self.control, address, slots, arguments.read_seconds, arguments.max_seconds))
        self.process = context().Process(target=run_proxy, args=([program, "-db", "-q", "-f", str(file)],))

    def begin(self) -> None:
        """Raises StepError where it does not start."""
        self.process.start()
        while not self.control.exists():
            if not self.process.is_alive():
                raise StepError("HAProxy did not start; what it says above tells why")
            time.sleep(0.02)

    def tell(self, command: str) -> str:
        """HAProxy's answer.

        Raises:
            StepError: it is gone.
        """
        try:
            with socket.socket(socket.AF_UNIX) as control:
                control.settimeout(10)
                control.connect(str(self.control))
                control.sendall(f"{command}\n".encode())
                return b"".join(iter(lambda: control.recv(65536), b"")).decode()
        except OSError as error:
            raise StepError(f"HAProxy does not answer any more ({error}); start the fleet again") from None

    def under_way(self) -> dict[str, int]:
        """The requests that are under way or wait, by replica; `BACKEND` has all."""
        told = csv.DictReader(self.tell("show stat").removeprefix("# ").splitlines())
        return {row["svname"]: int(row["scur"]) + int(row["qcur"] or 0) for row in told if row["pxname"] == "replicas"}

    def end(self) -> None:
        """Take no more requests, and wait for the answers of those under way."""
        if self.process.pid:
            self.process.terminate()
            self.process.join(END_SECONDS + 5)


@dataclass
class Replica:
    """A server in one of HAProxy's slots."""

    slot: str
    port: int
    process: ForkServerProcess
    ready: bool = False
    leaving: bool = False


@dataclass
class Fleet:
    """The replicas; `look` does what is to be done now."""

    proxy: Proxy
    arguments: argparse.Namespace
    replicas: dict[str, Replica] = field(default_factory=dict)  # by slot
    calm_since: float = math.inf  # when fewer replicas began to be enough
    failed_starts: int = 0
    most: int = 0
    died: int = 0

    def begin(self) -> None:
        self.proxy.begin()
        while not signalled.is_set() and sum(one.ready for one in self.replicas.values()) < self.arguments.min:
            self.look()
            time.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Replace who died, let those in who are ready, and those go who are done; then see how many are wanted.

        Raises:
            StepError: HAProxy is gone, or no replica lives to be ready.
        """
        under_way = self.proxy.under_way()
        for replica in list(self.replicas.values()):
            if not replica.process.is_alive():
                self.remove(replica)
            elif replica.leaving:
                if not under_way.get(replica.slot):
                    replica.process.terminate()
            elif not replica.ready and is_ready(replica.port):
                self.admit(replica)
        self.scale(under_way["BACKEND"])

    def scale(self, under_way: int) -> None:
        """Start replicas, or let one go that has not been needed for a while."""
        given, now = self.arguments, time.monotonic()
        wanted = min(max(math.ceil(under_way / given.under_way), given.min), given.max)
        there = [one for one in self.replicas.values() if not one.leaving]
        for _ in range(min(wanted - len(there), given.max - len(self.replicas))):
            self.start()
        if wanted >= len(there):
            self.calm_since = math.inf
            return
        self.calm_since = min(self.calm_since, now)
        if now - self.calm_since >= given.calm_seconds:
            self.calm_since = math.inf
            there[-1].leaving = True
            self.proxy.tell(f"set server replicas/{there[-1].slot} state drain")
            self.say(f"one of {len(there)} replicas goes", under_way)

    def start(self) -> None:
        slot = next(name for n in range(1, self.arguments.max + 1) if (name := f"r{n}") not in self.replicas)
        port = free_port()
        process = context().Process(target=run_replica, args=(port,))
        process.start()
        self.replicas[slot] = Replica(slot, port, process)

    def admit(self, replica: Replica) -> None:
        replica.ready, self.failed_starts = True, 0
        self.proxy.tell(f"set server replicas/{replica.slot} addr {HERE} port {replica.port}")
        self.proxy.tell(f"set server replicas/{replica.slot} state ready")
        there = sum(one.ready and not one.leaving for one in self.replicas.values())
        self.most = max(self.most, there)
        self.say(f"{there} replica{'s' * (there > 1)}", self.proxy.under_way()["BACKEND"])

    def remove(self, replica: Replica) -> None:
        """Raises StepError where one after the other did not live to be ready."""
        self.proxy.tell(f"set server replicas/{replica.slot} state maint")
        del self.replicas[replica.slot]
        if replica.leaving:
            return
        self.died += 1
        self.failed_starts += not replica.ready
        print(f"{STEP}: a replica died ({replica.process.exitcode}), another takes its place", flush=True)
        if self.failed_starts == FAILED_STARTS:
            raise StepError(f"{FAILED_STARTS} replicas ended before they could answer; what they say above tells why")

    def say(self, what: str, under_way: int) -> None:
        print(f"{STEP}: {what}, {under_way} requests under way", flush=True)

    def end(self) -> None:
        for replica in self.replicas.values():
            replica.process.terminate()
        for replica in self.replicas.values():
            replica.process.join(END_SECONDS)
            replica.process.kill()


def context() -> multiprocessing.context.ForkServerContext:
    """Processes that have their imports done: a replica starts in a tenth of the time."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["serving", "serve"])
    return found


def run_replica(port: int) -> None:
    belong_to_fleet()
    answer_on(HERE, port)


def run_proxy(command: list[str]) -> None:
    """HAProxy, until SIGTERM, after which requests under way are finished."""
    proxy = subprocess.Popen(command, start_new_session=True)
    signal.signal(signal.SIGTERM, lambda signum, frame: proxy.send_signal(signal.SIGUSR1))
    belong_to_fleet()
    sys.exit(proxy.wait())


def belong_to_fleet() -> None:
    """Hear of Ctrl-C from the fleet alone, and stop when it is gone."""
    os.setsid()
    fleet = multiprocessing.parent_process()

    def watch() -> None:
        if fleet:
            fleet.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection(HERE, port, timeout=2)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def free_port() -> int:
    with socket.socket() as free:
        free.bind((HERE, 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
