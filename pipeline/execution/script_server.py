"""A process that never imports MLflow, and forks one for the script of a step that needs no MLflow either.

    the orchestrator    forks the server, then imports MLflow
    the server          imports meanwhile what the scripts of those steps import, each on a core of its own
    a step's process    calls `mlflow.run`, whose backend has the script run by the server, and records what came of it

Importing MLflow takes a second, and what a training imports takes another: in one process, one after the other.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NoReturn

from pipeline.execution import read_tracer
from pipeline.execution.fork_server import UNUSED, import_first, import_quietly, run_forked
from pipeline.execution.lazy_modules import lazily_loaded
from pipeline.execution.prewarmed_interpreter import run_script
from pipeline.execution.processes import detach, run_exit_handlers, stop_group, stop_tree


@dataclass(frozen=True)
class Script:
    """A Python script to be run in `folder`, in a process that has `modules` imported."""

    arguments: list[str]
    folder: str
    environ: Mapping[str, str] = field(repr=False)
    root: str  # the orchestrator's folder, of which the script has nothing
    modules: tuple[str, ...] = ()


class ScriptServer:
    """The orchestrator's end, and that of the steps' processes, which are forks of it."""

    def __init__(self, modules: Iterable[str]):
        """The server imports `modules`, one by one, while nobody asks for anything."""
        # Datagrams: several processes may ask at once, each with one.
        self.socket, requests = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        context = multiprocessing.get_context("fork")
        self.process = context.Process(target=serve, args=(requests, self.socket, deque(modules)))
        self.process.start()
        requests.close()

    def run(self, script: Script) -> int:
        """Run a script to its end, with this process's output as its own; its exit code, 128 + n for signal n.

        SIGTERM is handed on; whatever else ends this process ends the script's, with all that it started, too.
        """
        ours, theirs = socket.socketpair()
        code = -int(signal.SIGKILL)  # the server was killed, and with it what it started
        with Connection(ours.detach()) as channel, contextlib.suppress(EOFError, OSError):
            with theirs:
                socket.send_fds(self.socket, [b"script"], [theirs.fileno(), 1, 2])
            channel.send(script)
            pid = channel.recv()
            before = signal.signal(signal.SIGTERM, lambda number, _: stop_tree(pid, number))
            try:
                code = int(channel.recv())
            finally:
                signal.signal(signal.SIGTERM, before)
        return 128 - code if code < 0 else code

    def close(self) -> None:
        """End the server, and whatever it started."""
        if self.process.pid and self.process.exitcode is None:
            stop_tree(self.process.pid, signal.SIGKILL)
        self.socket.close()


current: ScriptServer | None = None  # that of this process, or of the one it is a fork of


def serve(requests: socket.socket, orchestrators_end: socket.socket, modules: deque[str]) -> NoReturn:
    """In the server: until the orchestrator ends; then end what was started."""
    os.setsid()  # Ctrl-C in the terminal is for the orchestrator
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    orchestrators_end.close()
    gc.disable()  # nothing that an import makes is garbage: looking for it takes a quarter of the time
    server = Server(requests, modules)
    with lazily_loaded(*UNUSED):
        while server.attend():
            pass
    for process, _ in server.running.values():
        stop_tree(process.pid or 0, signal.SIGKILL)
    os._exit(0)


@dataclass
class Server:
    """The server's own end."""

    requests: socket.socket
    modules: deque[str]
    running: dict[Any, tuple[BaseProcess, Connection]] = field(default_factory=dict)  # by sentinel; who asked for it

    def attend(self) -> bool:
        """Take in one round of news, waiting for them only where there is nothing left to import.

        False where the orchestrator ended.
        """
        parent = multiprocessing.parent_process()
        asked_by = [channel for _, channel in self.running.values()]
        watched = [self.requests, *self.running, *asked_by, *([parent.sentinel] if parent else [])]
        ready = wait(watched, timeout=0 if self.modules else None)
        if parent and parent.sentinel in ready:
            return False
        for sentinel, (process, channel) in list(self.running.items()):
            if sentinel not in ready and channel in ready:  # who asked for it says no more, so it is gone
                stop_tree(process.pid or 0, signal.SIGKILL)
            if sentinel in ready or channel in ready:
                self.end(sentinel)
        if self.requests in ready:
            self.fork()
        elif not ready and self.modules:
            import_quietly(self.modules.popleft())
        return True

    def end(self, sentinel: int) -> None:
        """Say how a process ended, to who asked for it, and end what it left running."""
        process, channel = self.running.pop(sentinel)
        process.join()
        stop_group(process.pid or 0, signal.SIGKILL)
        with channel, contextlib.suppress(OSError):  # who asked for it is gone
            channel.send(process.exitcode)

    def fork(self) -> None:
        """Start a process as asked, and say its process ID."""
        _, files, _, _ = socket.recv_fds(self.requests, 16, 3)
        for file in files:  # for what a script starts as well
            os.set_inheritable(file, False)
        if len(files) < 3:  # there are too many open: who asked for it sees that it is closed
            for file in files:
                os.close(file)
            return
        channel: Connection = Connection(files[0])
        with contextlib.suppress(EOFError, OSError):  # who asked for it is gone
            script = channel.recv()
            import_first(script.modules, self.modules)
            gc.freeze()  # what is imported by now is never looked at again, and so stays shared with the fork
            context, task = multiprocessing.get_context("fork"), (script, channel, *files[1:])
            process = context.Process(target=run_forked, args=(self.run_apart, task))
            process.start()
            self.running[process.sentinel] = process, channel
            channel.send(process.pid)
        for file in files[1:]:
            os.close(file)

    def run_apart(self, task: tuple[Script, Connection, int, int]) -> NoReturn:
        """In the fork: run the script, whose output and errors go to these two files."""
        script, channel, output, errors = task
        self.requests.close()
        for connection in (channel, *(asked_by for _, asked_by in self.running.values())):
            connection.close()
        detach(output, errors)
        os.environ.clear()
        os.environ.update(script.environ)  # the tracer reads them
        tempfile.tempdir = None  # that of this process: the step has a folder of its own for such files
        code = run_here(script)
        run_exit_handlers()
        sys.exit(code)


def run_here(script: Script) -> int:
    """Run a script in this process, as if that had been started for it; its exit code."""
    read_tracer.start()
    forget_orchestrator(script.root)
    return run_script(script.arguments, script.folder, script.environ)


def forget_orchestrator(root: str) -> None:
    """Leave to a script what a fresh interpreter would have: nothing of the orchestrator's."""
    sys.path[:] = ["", *(p for p in sys.path if p and Path(p).resolve() != Path(root))]
    for name in [name for name in sys.modules if name.partition(".")[0] == "pipeline"]:
        del sys.modules[name]
