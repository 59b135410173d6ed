"""A process that has the heavy modules imported already, and forks a step's process when asked.

    the orchestrator    imports BASE_MODULES, forks the server, plans, and asks it for steps
    the server          as long as the orchestrator is there:
                            a step is asked for     import what it still lacks, fork, say its process ID
                            a step has ended        say its exit code
                            nothing to do           import the next of the modules that steps will need

MLflow is imported once, by the orchestrator, since every fork has what its parent had. There may be two servers: one is
for the steps before the one with the most to import, which need not wait until that is done. Scripts that need no
MLflow have a server of their own, in script_server.py. `start_method: spawn` in config.yaml does without all of this.
"""

import contextlib
import gc
import importlib
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from pipeline.execution.processes import stop_group, stop_tree

# What every step's process needs before the step's own code starts.
BASE_MODULES = (
    "pipeline.execution.worker",
    "mlflow.store.tracking.sqlalchemy_store",
    "sqlalchemy.dialects.sqlite",
    "alembic.command",
)
# What these import and hardly any step uses, with FastAPI, a compiler of Fortran and Pygments: a fifth of the time.
UNUSED = ("mlflow.gateway", "numpy.f2py", "mako.exceptions")
# What MLflow imports when it is first used: a step need not wait for it, if the server had the time.
AT_FIRST_USE = ("mlflow.tracing.processor.base_mlflow", "git")


IN_SERVER = 0  # the ID of a request that is not for a process


@dataclass(frozen=True)
class Request:
    """A step's process that is asked for: `target(task)`, in a fork that has `modules` imported."""

    id: int
    target: Callable[[Any], None]
    task: Any
    modules: tuple[str, ...] = ()


class ForkServer:
    """The orchestrator's end: starts the server, asks it for processes, and hears of them."""

    def __init__(self, modules: Iterable[str]):
        """The server imports `modules`, one by one, when it has nothing else to do."""
        self.last_id = 0
        self.on_start: dict[int, Callable[[int], None]] = {}  # request ID -> what to call with the process ID
        self.exit_codes: dict[int, int] = {}  # request ID -> exit code
        self.connection, requests = multiprocessing.Pipe()
        server = Server(requests, self.connection, deque(modules))
        self.process = multiprocessing.get_context("fork").Process(target=server.serve)
        self.process.start()
        requests.close()

    def start(self, target: Callable[[Any], None], task: Any, modules: tuple[str, ...]) -> int:
        """Ask for `target(task)` in a fork that has `modules` imported; the request's ID."""
        self.last_id += 1
        try:
            self.connection.send(Request(self.last_id, target, task, modules))
        except OSError:  # the server was killed
            self.exit_codes[self.last_id] = -signal.SIGKILL
        return self.last_id

    def call(self, function: Callable[[Any], None], argument: Any) -> None:
        """Have the server itself call the function before it forks again."""
        with contextlib.suppress(OSError):  # the server was killed: who starts a step will hear of it
            self.connection.send(Request(IN_SERVER, function, argument))

    def listen(self) -> None:
        """Take in what the server has said so far."""
        try:
            while self.connection.poll():
                request_id, pid, code = self.connection.recv()
                if pid:
                    self.on_start.pop(request_id, ignore)(pid)
                else:
                    self.exit_codes[request_id] = code
        except (EOFError, ConnectionResetError):  # the server was killed, and with it its steps
            for request_id in range(1, self.last_id + 1):
                self.exit_codes.setdefault(request_id, -signal.SIGKILL)

    def close(self) -> None:
        """End the server; its steps have ended by now."""
        if self.process.pid:
            stop_group(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.connection.close()


@dataclass
class Server:
    """The server's own end."""

    requests: Connection
    orchestrators_end: Connection  # a copy that comes with the fork: closed, so that the orchestrator's death is seen
    modules: deque[str]
    running: dict[Any, tuple[int, BaseProcess]] = field(default_factory=dict)  # sentinel -> (request ID, process)

    def serve(self) -> None:
        """Until the orchestrator's end of the connection closes; then end what was started."""
        os.setsid()  # Ctrl-C in the terminal is for the orchestrator
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        self.orchestrators_end.close()
        gc.disable()  # nothing that an import makes is garbage: looking for it takes a quarter of the time
        with contextlib.suppress(EOFError, OSError):
            while True:
                self.attend()
        for _, process in self.running.values():
            if process.pid:
                stop_tree(process.pid, signal.SIGKILL)
        os._exit(0)

    def attend(self) -> None:
        """Pass on one round of news, waiting for them only where there is nothing left to import.

        Raises:
            EOFError, OSError: nobody asks for anything any more, or wants to know.
        """
        ready = wait([self.requests, *self.running], timeout=0 if self.modules else None)
        for sentinel in set(ready) & set(self.running):
            request_id, process = self.running.pop(sentinel)
            process.join()
            self.requests.send((request_id, 0, process.exitcode))
        if self.requests in ready:
            request = self.requests.recv()
            if request.id == IN_SERVER:
                request.target(request.task)
            else:
                self.fork(request)
        elif not ready and self.modules:
            import_quietly(self.modules.popleft())

    def fork(self, request: Request) -> None:
        """Start a process as asked, and say its process ID."""
        import_first(request.modules, self.modules)
        gc.freeze()  # what is imported by now is never looked at again, and so stays shared with the fork
        process = multiprocessing.get_context("fork").Process(target=run_forked, args=(request.target, request.task))
        process.start()
        self.running[process.sentinel] = (request.id, process)
        self.requests.send((request.id, process.pid, 0))


def ignore(pid: int) -> None:
    """Nobody asked to hear of that process."""


def run_forked(target: Callable[[Any], None], task: Any) -> None:
    """In the fork: do what was asked for."""
    gc.set_threshold(20_000, 20, 20)  # loading a model makes many objects, and none of them is garbage
    gc.enable()
    target(task)


def import_first(wanted: Iterable[str], waiting: deque[str]) -> None:
    """Import those of the modules that wait for their turn which a step wants now."""
    for module in wanted:
        if module in waiting:
            waiting.remove(module)
            import_quietly(module)


def import_quietly(module: str) -> None:
    """Import a module ahead of time; where it cannot be, the step that needs it will say so."""
    if module.partition(".")[0] == "skops":
        import_quietly("scipy.special")
        look_up_first("numpy", "scipy")
    with contextlib.suppress(Exception, SystemExit):
        importlib.import_module(module)


def look_up_first(*packages: str) -> None:
    """Put the modules of these packages before all others in `sys.modules`, and leave their order as it is.

    skops looks for each of SciPy's and NumPy's functions in all modules, in this order, when it is imported: half of
    the time that this takes, after MLflow more. Only where no other thread imports anything.
    """
    for name in [*sys.modules]:
        if name.partition(".")[0] not in packages:
            sys.modules[name] = sys.modules.pop(name)
