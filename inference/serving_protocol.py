"""Uvicorn's HTTP protocol, but it hangs up on who does not send the head of a request in time, and answers at once.

An answer whose head has gone out, and whose body died with the server, can be asked of no other server any more.
"""

import asyncio
import functools
from typing import Any

from serving_settings import handed_on
from uvicorn.protocols.http.auto import AutoHTTPProtocol


@functools.cache
def read_seconds() -> float:
    return handed_on().read_seconds


class WholeWrites:
    """A transport that writes in one piece all that comes in one turn of the loop, such as a head and its body."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.transport, self.loop = transport, loop
        self.pieces: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def write(self, data: bytes) -> None:
        if not self.pieces:
            self.loop.call_soon(self.flush)
        self.pieces.append(data)

    def flush(self) -> None:
        if self.pieces:
            self.transport.write(b"".join(self.pieces))
            self.pieces.clear()

    def close(self) -> None:
        self.flush()
        self.transport.close()


class ImpatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # one of two classes, by what is installed
    patience: Any = None  # the timer that runs while there is no whole head

    def connection_made(self, transport: Any) -> None:
        super().connection_made(WholeWrites(transport, self.loop))
        self.look()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.look()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.patience:
            self.patience.cancel()
        super().connection_lost(exc)

    def look(self) -> None:
        under_way = self.cycle is not None and not self.cycle.response_complete
        if under_way and self.patience:
            self.patience.cancel()
            self.patience = None
        elif not under_way and not self.patience:
            self.patience = self.loop.call_later(read_seconds(), self.transport.close)
