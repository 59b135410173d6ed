"""End processes with everything that they started."""

import contextlib
import os

import psutil


def stop_tree(pid: int, signal_number: int) -> None:
    """Send a signal to a process, its descendants, and its process group (which is its own, or not there yet)."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for descendant in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                descendant.send_signal(signal_number)
    stop_group(pid, signal_number)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal_number)


def stop_group(pid: int, signal_number: int) -> None:
    """Send a signal to what is left of a step's process group; its first process may be gone, and its ID used again."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(pid, signal_number)
