"""Start a step in a process of its own, and end it with everything that it started."""

import contextlib
import functools
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib import metadata
from typing import Any

from pipeline.execution import script_server
from pipeline.execution.fork_server import AT_FIRST_USE, BASE_MODULES, UNUSED, ForkServer, import_quietly
from pipeline.execution.lazy_modules import lazily_loaded
from pipeline.execution.processes import stop_group, stop_tree
from pipeline.execution.runner import Exit

Target = Callable[[Any], None]


class Launcher:
    """Starts processes: forks of a fork server, or (`spawn`, and where nothing can fork) fresh interpreters."""

    def __init__(self, start_method: str = "forkserver"):
        self.forks = start_method == "forkserver" and "fork" in multiprocessing.get_all_start_methods()
        self.server: ForkServer | None = None
        self.early: ForkServer | None = None  # serves the steps that come before the one with the most to import
        self.called: set[tuple[Target, Any]] = set()

    def start_script_server(self, modules: Iterable[str]) -> None:
        """Start what runs scripts that need no MLflow, if `modules` are what they need; it has not been imported yet.

        See `start_server` for when. On Linux alone: macOS may lose a file on its way to another process.
        """
        if (wanted := list(modules)) and sys.platform == "linux":
            script_server.current = script_server.ScriptServer(wanted)

    def import_base_modules(self) -> None:
        """Import here, once, what every step needs: a fork has what its parent had."""
        if self.forks:
            with entry_points_read_once(), lazily_loaded(*UNUSED):
                for module in BASE_MODULES:
                    import_quietly(module)

    def has_base_modules(self) -> bool:
        """Whether all of them have been imported here."""
        return all(module in sys.modules for module in BASE_MODULES)

    def start_server(self, modules: Iterable[str]) -> None:
        """Start the fork server, if it is not there: it imports `modules`, one by one, while nobody asks for a step.

        To be called as long as this process has no threads and no open connections: a fork would share them.
        """
        if self.forks and not self.server:
            self.server = ForkServer((*AT_FIRST_USE, *modules))

    def start_early_server(self, modules: Iterable[str]) -> None:
        """Start a second one, for steps that need no more than `modules`: they do not wait for what others import.

        To be called when the store has been opened here, so that it is open there; see `start_server` for the rest.
        """
        if self.forks and not self.early:
            self.early = ForkServer(modules)

    def call_once(self, function: Target, argument: Any) -> None:
        """Have the fork server call `function(argument)` before it forks again, unless it did."""
        if self.server and (function, argument) not in self.called:
            self.called.add((function, argument))
            self.server.call(function, argument)

    def start(self, target: Target, task: Any, modules: tuple[str, ...] = (), early: bool = False) -> "Process":
        """Run `target(task)` in a process of its own; in a fork, `modules` are imported by then.

        `early`: whether the second server is to fork it.
        """
        if not self.server:
            return Spawned(target, task)
        return Forked((self.early if early else None) or self.server, target, task, modules)

    def close(self) -> None:
        """End the servers."""
        for server in (self.early, self.server):
            if server:
                server.close()
        self.early = self.server = None
        if script_server.current:
            script_server.current.close()
            script_server.current = None


@contextlib.contextmanager
def entry_points_read_once() -> Iterator[None]:
    """Look through the installed packages for entry points once, as long as this lasts.

    MLflow does ten times while it is imported, which is a twelfth of the time that this takes.
    """
    read, over = metadata.entry_points, False
    found = functools.cache(read)

    def entry_points(**wanted: Any) -> Any:
        return (read() if over else found()).select(**wanted)  # some module may have kept this function

    metadata.entry_points = entry_points
    try:
        yield
    finally:
        metadata.entry_points, over = read, True


class Process:
    """A step's process: the `Job` that the runner waits for. `sentinel` is ready when there may be news."""

    pid: int = 0  # 0 as long as it is not known
    sentinel: Any = None
    over: bool = False

    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None as long as it runs."""
        raise NotImplementedError

    def ended(self) -> Exit | None:
        """How it ended; None as long as it runs."""
        code = self.exit_code()
        self.over = code is not None
        return None if code is None else Exit(128 - code if code > 128 else code)

    def stop(self, force: bool = False) -> None:
        """Ask the whole process tree to end, or end it; harmless where there is nothing left."""
        if self.pid:
            stop = stop_group if self.over else stop_tree
            stop(self.pid, signal.SIGKILL if force else signal.SIGTERM)


class Spawned(Process):
    """A fresh interpreter."""

    def __init__(self, target: Target, task: Any):
        self.process = multiprocessing.get_context("spawn").Process(target=target, args=(task,))
        self.process.start()
        self.sentinel, self.pid = self.process.sentinel, self.process.pid or 0

    def exit_code(self) -> int | None:
        return self.process.exitcode


class Forked(Process):
    """A fork of the fork server."""

    def __init__(self, server: ForkServer, target: Target, task: Any, modules: tuple[str, ...]):
        self.server, self.sentinel, self.unwanted = server, server.connection, False
        self.request_id = server.start(target, task, modules)
        server.on_start[self.request_id] = self.has_started

    def has_started(self, pid: int) -> None:
        """The server says which process it is."""
        self.pid = pid
        if self.unwanted:
            super().stop(force=True)

    def exit_code(self) -> int | None:
        self.server.listen()
        return self.server.exit_codes.get(self.request_id)

    def stop(self, force: bool = False) -> None:
        self.unwanted = True  # it may not have started yet
        super().stop(force)
