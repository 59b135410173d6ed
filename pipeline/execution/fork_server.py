"""Processes that have the heavy modules imported already, and fork a step's process when asked.

    the orchestrator    imports OURS, forks heavy, composes the configuration, opens the store and plans, forks light
    heavy               imports what the steps ask for with `preload`, opens the store, then serves
    light               serves at once

    to serve, as long as the orchestrator is there:
        a step is asked for     fork, say its process ID
        a step has ended        say its exit code

MLflow is imported once, by the orchestrator, since every fork has what its parent had. Two servers, because the first
steps run while the modules of the later ones come in. `start_method: spawn` in config.yaml does without all of this.
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

from pipeline.execution.processes import stop_group, stop_tree

# What every step's process needs before the step's own code starts.
OURS = (
    "pipeline.execution.worker",
    "mlflow.store.tracking.sqlalchemy_store",
    "sqlalchemy.dialects.sqlite",
    "alembic.command",
    "mlflow.tracing.processor.base_mlflow",
)


class Server:
    """The orchestrator's end of a server; a ticket is a step asked for."""

    def __init__(self, others: Iterable["Server"] = ()):
        self.tickets = 0
        self.done: set[tuple[Callable, Any]] = set()
        self.started: dict[int, Callable[[int], None]] = {}
        self.codes: dict[int, int] = {}
        self.connection, requests = multiprocessing.Pipe()
        ends = [server.connection for server in (self, *others)]
        self.process = multiprocessing.get_context("fork").Process(target=serve, args=(requests, ends))
        self.process.start()
        requests.close()

    def do(self, function: Callable[[Any], None], *arguments: Any) -> None:
        """Let the server itself call the function with each of these before it forks again."""
        for argument in arguments:
            if (function, argument) not in self.done:
                self.done.add((function, argument))
                with contextlib.suppress(OSError):  # who starts a step will hear of it
                    self.connection.send((0, function, argument))

    def start(self, target: Callable, task: Any) -> int:
        self.tickets += 1
        try:
            self.connection.send((self.tickets, target, task))
        except OSError:  # the server was killed
            self.codes[self.tickets] = -signal.SIGKILL
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

    def close(self) -> None:
        stop_group(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.connection.close()


def serve(requests: Connection, ends: Iterable[Connection]) -> None:
    """Until the orchestrator's end of the connection closes, one of `ends`; then end what was started."""
    detach_from_orchestrator(ends)
    running: dict[int, Any] = {}  # sentinel -> (ticket, process)
    with contextlib.suppress(EOFError, OSError):
        while True:
            attend_to(requests, running)
    for _, process in running.values():
        stop_tree(process.pid, signal.SIGKILL)
    os._exit(0)


def attend_to(requests: Connection, running: dict[int, Any]) -> None:
    """Wait for news, and pass them on.

    Raises:
        EOFError, OSError: nobody asks for anything any more, or wants to know.
    """
    ready = wait([requests, *running])
    for sentinel in set(ready) & set(running):
        ticket, process = running.pop(sentinel)
        process.join()
        requests.send((ticket, 0, process.exitcode))
    if requests not in ready:
        return
    ticket, target, task = requests.recv()
    if not ticket:
        target(task)
        return
    gc.freeze()  # what is imported by now is never looked at again, and so stays shared with the fork
    process = multiprocessing.get_context("fork").Process(target=forked, args=(target, task))
    process.start()
    running[process.sentinel] = (ticket, process)
    requests.send((ticket, process.pid, 0))


def detach_from_orchestrator(ends: Iterable[Connection]) -> None:
    os.setsid()  # Ctrl-C in the terminal is for the orchestrator
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    for end in ends:
        end.close()  # what only the orchestrator holds closes when it dies
    gc.disable()  # nothing that an import makes is garbage: looking for it takes a quarter of the time


def forked(target: Callable, task: Any) -> None:
    gc.set_threshold(20_000, 20, 20)  # loading a model makes many objects, and none of them is garbage
    gc.enable()
    target(task)


def bring_in(module: str) -> None:
    with contextlib.suppress(Exception, SystemExit):  # the step will say so itself, if it needs it
        importlib.import_module(module)
