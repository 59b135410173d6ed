"""Processes that have the heavy modules imported already, and fork a step's process when asked.

    light    imports what every step needs, then forks heavy, then serves
    heavy    imports what the steps ask for with `preload`, then serves

    to serve, as long as the orchestrator is there:
        a step is asked for     fork, say its process ID
        a step has ended        say its exit code

Two, because Python's own `forkserver` serves nobody before everything is imported: here the first steps run while the
modules of the later ones come in. `start_method: spawn` in config.yaml does without all of this.
"""

import contextlib
import gc
import importlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, wait
from typing import Any

from pipeline.processes import stop_group, stop_tree

# What every step's process needs before the step's own code starts.
OURS = (
    "pipeline.child",
    "mlflow.store.tracking.sqlalchemy_store",
    "sqlalchemy.dialects.sqlite",
    "alembic.command",
    "mlflow.tracing.processor.base_mlflow",
)


class Server:
    """The orchestrator's end of one of the two; a ticket is a step asked for."""

    def __init__(self, connection: Connection):
        self.connection = connection
        self.tickets = 0
        self.started: dict[int, Callable[[int], None]] = {}
        self.codes: dict[int, int] = {}

    def start(self, target: Callable, task: Any) -> int:
        self.tickets += 1
        self.connection.send((self.tickets, target, task))
        return self.tickets

    def listen(self) -> None:
        """Take in what the server has said so far."""
        try:
            while self.connection.poll():
                ticket, pid, code = self.connection.recv()
                if pid:
                    self.started.pop(ticket, lambda _: None)(pid)
                else:
                    self.codes[ticket] = code
        except (EOFError, ConnectionResetError):  # the server was killed, and with it its steps
            for ticket in range(1, self.tickets + 1):
                self.codes.setdefault(ticket, -signal.SIGKILL)


class WarmServers:
    """Both of them. They serve all the steps of this process's pipeline runs."""

    def __init__(self):
        (light, their_light), (heavy, their_heavy) = multiprocessing.Pipe(), multiprocessing.Pipe()
        self.light, self.heavy = Server(light), Server(heavy)
        self.asked: set[str] = set()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=serve_light, args=(their_light, their_heavy), name="warm")
        self.process.start()
        their_light.close()
        their_heavy.close()

    def preload(self, modules: Iterable[str]) -> None:
        """Let heavy import these, once it is there."""
        if new := [m for m in dict.fromkeys(modules) if m not in self.asked]:
            self.asked.update(new)
            self.heavy.connection.send(new)

    def close(self) -> None:
        stop_group(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.light.connection.close()
        self.heavy.connection.close()


def serve_light(light: Connection, heavy: Connection) -> None:
    os.setsid()  # Ctrl-C in the terminal is for the orchestrator
    gc.disable()  # nothing that an import makes is garbage: looking for it takes a quarter of the time
    for module in OURS:
        bring_in(module)
    multiprocessing.get_context("fork").Process(target=serve_heavy, args=(light, heavy)).start()
    heavy.close()
    serve(light)


def serve_heavy(light: Connection, heavy: Connection) -> None:
    light.close()
    serve(heavy)


def serve(requests: Connection) -> None:
    """Until the orchestrator's end of the connection closes."""
    fork = multiprocessing.get_context("fork")
    running: dict[int, Any] = {}  # sentinel -> (ticket, process)
    while True:
        ready = wait([requests, *running])
        for sentinel in set(ready) & set(running):
            ticket, process = running.pop(sentinel)
            process.join()
            requests.send((ticket, 0, process.exitcode))
        if requests not in ready:
            continue
        try:
            message = requests.recv()
        except EOFError:
            for _, process in running.values():
                stop_tree(process.pid, signal.SIGKILL)
            os._exit(0)
        if isinstance(message, list):
            for module in message:
                bring_in(module)
        else:
            ticket, target, task = message
            gc.freeze()  # what is imported by now is never looked at again, and so stays shared with the fork
            process = fork.Process(target=forked, args=(target, task))
            process.start()
            running[process.sentinel] = (ticket, process)
            requests.send((ticket, process.pid, 0))


def forked(target: Callable, task: Any) -> None:
    gc.set_threshold(20_000, 20, 20)  # loading a model makes many objects, and none of them is garbage
    gc.enable()
    target(task)


def bring_in(module: str) -> None:
    with contextlib.suppress(ImportError):  # the step will say so itself, if it needs it
        importlib.import_module(module)
