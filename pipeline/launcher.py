"""Start a step in a process of its own, and end it with everything that it started.

The process comes from `multiprocessing`: with `forkserver` it is a fork of a server that has the heavy modules
imported already, with `spawn` (and wherever forking is not possible) a fresh interpreter. Nothing else differs.
"""

import contextlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
from collections.abc import Iterable
from typing import Any

import psutil

from pipeline.runner import Exit

# What every step's process needs before the step's own code starts.
OURS = ("__main__", "pipeline.child", "mlflow.projects", "mlflow.store.tracking.sqlalchemy_store")


class Launcher:
    """Starts processes by one of multiprocessing's start methods."""

    def __init__(self, start_method: str = "forkserver", preload: Iterable[str] = ()):
        if start_method not in multiprocessing.get_all_start_methods():
            start_method = "spawn"
        self.context = multiprocessing.get_context(start_method)
        if start_method == "forkserver":
            self.context.set_forkserver_preload([*OURS, *preload])

    def warm_up(self) -> None:
        """Start the fork server now, so that it imports while this process does something else."""
        if self.context.get_start_method() == "forkserver":
            multiprocessing.forkserver.ensure_running()

    def start(self, target: Any, *arguments: Any) -> "Process":
        process = self.context.Process(target=target, args=arguments)
        process.start()
        return Process(process)


class Process:
    """A started process; the `Job` that the runner waits for."""

    def __init__(self, process: multiprocessing.Process):
        self.process = process
        self.sentinel = process.sentinel
        self.pid = process.pid

    def ended(self) -> Exit | None:
        code = self.process.exitcode
        return None if code is None else Exit(128 - code if code > 128 else code)

    def stop(self, force: bool = False) -> None:
        """Ask the whole process tree to end, or end it; harmless where there is nothing left."""
        stop_tree(self.pid, signal.SIGKILL if force else signal.SIGTERM)


def stop_tree(pid: int, signal_number: int) -> None:
    """Send a signal to a process, its descendants, and its process group, also where the process itself is gone."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for descendant in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                descendant.send_signal(signal_number)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(pid, signal_number)  # its group is its own, or does not exist yet
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal_number)
