"""Processes that share work: the same function on many parts, the results in the parts' order.

Each worker is a Python process of its own that imports the function's module and no more, and ends with its input:
none is left behind when the one that started it is killed. (`multiprocessing` imports the program that was started
anew in each process, or forks one whose threads it does not have.) This file is of kit/, which `make kit` copies to
the steps that use it: edit it there.
"""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from step_error import StepError


def cores() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(futures: Iterable[Future[Any]], ahead: int) -> Iterator[Any]:
    """The results in the order of their futures, of which `ahead` are asked for in advance."""
    waiting: deque[Future[Any]] = deque()
    for future in futures:
        waiting.append(future)
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


class Workers:
    """`count` processes that know `job`, an object that is sent to each once."""

    def __init__(self, count: int, job: object) -> None:
        self.first = pickle.dumps(sys.path), pickle.dumps(job, protocol=5)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self.threads = ThreadPoolExecutor(count, "worker", self.start)

    def start(self) -> None:
        """One more process."""
        process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.processes.append(process)
        with contextlib.suppress(OSError):  # it has ended already, which shows when it is asked for something
            for known in self.first:
                send(process.stdin, known)
        self.idle.put(process)

    def submit(self, function: Callable[..., Any], *arguments: object) -> Future[Any]:
        """`function(job, *arguments)` in one of the processes; a module's function, whose exceptions come back.

        Raises (in the future):
            StepError: the process has ended, as when the system is short of memory.
        """
        return self.threads.submit(self.call, function, arguments)

    def call(self, function: Callable[..., Any], arguments: tuple[object, ...]) -> Any:
        process = self.idle.get()
        try:
            send(process.stdin, pickle.dumps((function, arguments), protocol=5))
            good, result = receive(process.stdout)
        except (OSError, EOFError):
            raise StepError(
                f"one of the {len(self.processes)} workers has ended with exit code {process.wait()}, which may be "
                "for want of memory; give workers=1, or fewer rows at a time: chunk_rows"
            ) from None
        self.idle.put(process)
        if not good:
            raise result
        return result

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        for process in self.processes:
            process.kill()  # it has nothing to put in order, and a thread that waits for it goes on
        self.threads.shutdown()
        for process in self.processes:
            process.communicate()


def send(stream: Any, data: bytes) -> None:
    stream.write(len(data).to_bytes(8, "big"))
    stream.write(data)
    stream.flush()


def receive(stream: Any) -> Any:
    """Raises EOFError where there is no more."""
    size = int.from_bytes(stream.read(8), "big")
    if not size:
        raise EOFError
    return pickle.loads(stream.read(size))  # noqa: S301 - from our own process, by a pipe that nobody else has


def work() -> None:
    """What a worker does: calls the functions that it is sent, until its input ends."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed must not get between the answers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that started it
    sys.path[:] = receive(requests)  # before the job, whose modules lie there
    job = receive(requests)
    with contextlib.suppress(EOFError, BrokenPipeError):  # nobody asks, or wants to know, any more
        while True:
            function, arguments = receive(requests)
            try:
                answer = True, function(job, *arguments)
            except Exception as error:
                answer = False, error
            send(answers, pickle.dumps(answer, protocol=5))


if __name__ == "__main__":
    work()
