"""The time that a download has, also where a library knows none."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

SILENCE_SECONDS = 30  # waited for a connection, and for the next byte, before a server counts as silent
Result = TypeVar("Result")


class TimeIsUp(Exception):
    """The download's total time is over. Not an OSError: no library is to take it for a try that failed."""


class Clock:
    """The time that a download has: `timeout` seconds from now, `silence` of them at most without a byte."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.silence = min(max(SILENCE_SECONDS, timeout / 10), 3600)
        self.end = time.monotonic() + timeout

    def left(self) -> float:
        """Seconds, more than 0.

        Raises:
            TimeIsUp: there are none.
        """
        if (seconds := self.end - time.monotonic()) <= 0:
            raise TimeIsUp
        return seconds

    def wait_for(self, call: Callable[[], Result]) -> Result:
        """What `call` gives, in a thread of its own: one that hangs keeps nobody waiting, not even at the very end.

        Raises:
            TimeIsUp: it gave nothing in time.
        """
        answer: Future[Result] = Future()

        def run() -> None:
            try:
                answer.set_result(call())
            except BaseException as error:
                answer.set_exception(error)

        Thread(target=run, daemon=True).start()
        try:
            return answer.result(self.left())
        except TimeoutError:
            if answer.done():  # its own error
                raise
            raise TimeIsUp from None

    def wait_for_each(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        """The chunks, each waited for."""
        while chunk := self.wait_for(lambda: next(chunks, b"")):
            yield chunk
