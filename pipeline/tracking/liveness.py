"""Whether a pipeline that the store calls RUNNING is alive: seen at once where it is near, by a lease elsewhere.

A process is named by where it is (host, boot, PID namespace), its ID, and when it started, counted from the boot, so
that no change of the clock matters. From elsewhere it cannot be seen: its record has a lease, a time until which it
counts as alive, and it renews that as long as it lives.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

LEASE = 300.0  # seconds that a pipeline counts as alive after it was last heard of
RENEWAL = 60.0  # seconds between two times that it is heard of


def place() -> str:
    """Where process IDs mean what they mean here: the host, its boot and the PID namespace, without spaces."""
    parts = [socket.gethostname().replace(" ", "-")]
    with contextlib.suppress(OSError):  # Linux has them
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return "/".join(parts)


def start_of(pid: int) -> str:
    """When a process started, counted from the boot where that is told; "" where there is none, or only its remains."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else rest[18]
    except OSError:
        pass
    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.NoSuchProcess:
        return ""


def this_process() -> str:
    """This process's name, for `is_dead`."""
    pid = psutil.Process().pid
    return f"{place()} {pid} {start_of(pid)}"


def new_lease() -> str:
    """A lease from now on: seconds since 1970."""
    return f"{time.time() + LEASE:.0f}"


def is_dead(process: str, lease: str) -> bool:
    """Whether the process of this name lives no more, as far as can be told: where it cannot be seen, by its lease."""
    with contextlib.suppress(ValueError):
        where, pid, start = process.split(" ")
        if where == place():
            return start_of(int(pid)) != start
        return time.time() > float(lease)
    return False  # by another release


@contextlib.contextmanager
def renewing(renew: Callable[[], None]) -> Iterator[None]:
    """Call `renew` every RENEWAL seconds meanwhile; what it raises is of no consequence before the lease is over."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(RENEWAL):
            with contextlib.suppress(Exception):
                renew()

    thread = threading.Thread(target=go_on, daemon=True, name="lease")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(1.0)
