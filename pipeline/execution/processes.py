"""Begin a step's process, and end processes with everything that they started."""

import atexit
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from typing import TextIO, cast

import psutil


def detach(output: int, errors: int) -> None:
    """Become the head of a session, write to these two files only, and die when the parent process does."""
    if hasattr(os, "setsid"):
        os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(output, 1)
    os.dup2(errors, 2)
    for file in {output, errors}:
        os.close(file)
    for stream in (sys.stdout, sys.stderr):
        cast(TextIO, stream).reconfigure(line_buffering=True)  # type: ignore[attr-defined] # a TextIOWrapper
    threading.Thread(target=die_with_parent, daemon=True).start()


def die_with_parent() -> None:
    """The parent may be killed without a chance to end its children: its end of a pipe tells."""
    parent = multiprocessing.parent_process()
    if parent:
        multiprocessing.connection.wait([parent.sentinel])
        stop_tree(os.getpid(), signal.SIGKILL)


def run_exit_handlers() -> None:
    """What an interpreter does when it ends, which a forked process leaves out."""
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()


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
