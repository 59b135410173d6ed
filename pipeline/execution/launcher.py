"""Start a step in a process of its own, and end it with everything that it started."""

import multiprocessing
import signal
from collections.abc import Callable, Iterable
from typing import Any

from pipeline.execution.fork_server import OURS, Server, bring_in
from pipeline.execution.processes import stop_group, stop_tree
from pipeline.execution.runner import Exit

_servers: dict[str, Server] = {}


def server(name: str) -> Server:
    """The warm server of this name, `heavy` or `light`, started if it is not there."""
    if name not in _servers:
        _servers[name] = Server(_servers.values())
    return _servers[name]


def cool_down() -> None:
    """End the warm servers, if there are any."""
    while _servers:
        _servers.popitem()[1].close()


class Launcher:
    """Starts processes: forks of a warm server, or (`spawn`, and where nothing can fork) fresh interpreters."""

    def __init__(self, start_method: str = "forkserver"):
        self.warm = start_method == "forkserver" and "fork" in multiprocessing.get_all_start_methods()

    def import_ahead(self, everywhere: Iterable[str] = (), preload: Iterable[str] = ()) -> None:
        """Import here what every step needs, and start the server that goes on with what some steps `preload`."""
        if not self.warm:
            return
        for module in (*everywhere, *OURS):
            bring_in(module)
        self.start_heavy(preload)

    def start_heavy(self, preload: Iterable[str]) -> None:
        if preload := tuple(preload):
            server("heavy").do(bring_in, *preload)

    def get_ready(self, preload: Iterable[str], open_store: Callable, uri: str) -> None:
        """Start the server that forks all other steps, and have the store open in both.

        To be called as long as this process has no threads and no open connections: a fork would share them.
        """
        if not self.warm:
            return
        self.start_heavy(preload)
        if "heavy" in _servers:
            server("heavy").do(open_store, uri)
        server("light")

    def start(self, target: Callable, task: Any, preload: bool = False) -> "Process":
        """Run `target(task)` in a process; with `preload`, in one that has the modules of `preload` imported."""
        if not self.warm:
            return Spawned(target, task)
        return Forked(server("heavy" if preload else "light"), target, task)


class Process:
    """A step's process: the `Job` that the runner waits for. `sentinel` is ready when there may be news."""

    pid: int = 0  # 0 as long as it is not known
    sentinel: Any = None
    over: bool = False

    def code(self) -> int | None:
        raise NotImplementedError

    def ended(self) -> Exit | None:
        code = self.code()
        self.over = code is not None
        return Exit(128 - code if code > 128 else code) if self.over else None

    def stop(self, force: bool = False) -> None:
        """Ask the whole process tree to end, or end it; harmless where there is nothing left."""
        if self.pid:
            stop = stop_group if self.over else stop_tree
            stop(self.pid, signal.SIGKILL if force else signal.SIGTERM)


class Spawned(Process):
    def __init__(self, target: Callable, task: Any):
        self.process = multiprocessing.get_context("spawn").Process(target=target, args=(task,))
        self.process.start()
        self.sentinel, self.pid = self.process.sentinel, self.process.pid

    def code(self) -> int | None:
        return self.process.exitcode


class Forked(Process):
    def __init__(self, server: Server, target: Callable, task: Any):
        self.server, self.sentinel, self.unwanted = server, server.connection, False
        self.ticket = server.start(target, task)
        server.started[self.ticket] = self.has_started

    def has_started(self, pid: int) -> None:
        self.pid = pid
        if self.unwanted:
            super().stop(force=True)

    def code(self) -> int | None:
        self.server.listen()
        return self.server.codes.get(self.ticket)

    def stop(self, force: bool = False) -> None:
        self.unwanted = True  # it may not have started yet
        super().stop(force)
