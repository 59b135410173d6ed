"""A server on loopback that sends what it is told to, byte for byte: no library keeps it from being wrong."""

import contextlib
import socket
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable, Iterator

Send = Callable[[socket.socket, threading.Event], None]


class RawServer(socketserver.ThreadingTCPServer):
    """Each connection's request is read and kept; then `send(connection, stop)` does what it likes, until `stop`."""

    allow_reuse_address = True

    def __init__(self, send: Send, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), Connection)
        self.send, self.context, self.stop = send, context, threading.Event()
        self.requests: list[bytes] = []
        named = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if context else 'http'}://{named}:{self.server_address[1]}/list.csv"


class Connection(socketserver.BaseRequestHandler):
    server: RawServer

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # whom it sends to may be gone
            if not self.server.context:
                self.answer(self.request)
                return
            with self.server.context.wrap_socket(self.request, server_side=True) as connection:
                self.answer(connection)

    def answer(self, connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request and not request.startswith(b"\x16"):  # TLS, which is not spoken here
            if not (more := connection.recv(65536)):
                return
            request += more
        self.server.requests.append(request)
        self.server.send(connection, self.server.stop)


@contextlib.contextmanager
def serving(send: Send, host: str = "127.0.0.1", context: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """The server, at work; at the end every connection of it is over."""
    with RawServer(send, host, context) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.stop.set()
            server.shutdown()
            thread.join()


def sends(*parts: bytes) -> Send:
    """All at once, and the connection is closed."""
    return lambda connection, stop: connection.sendall(b"".join(parts))


def sends_and_keeps(*parts: bytes) -> Send:
    """All at once, and the connection stays open, whatever was asked for."""

    def send(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(b"".join(parts))
        stop.wait()

    return send


def sends_and_resets(*parts: bytes) -> Send:
    def send(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(b"".join(parts))
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()

    return send


def drips(start: bytes, forever: bytes) -> Send:
    """The start at once; then one byte after the other without end, so that no pause is long."""

    def send(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(start)
        while True:
            for byte in forever:
                if stop.wait(0.05):
                    return
                connection.sendall(bytes([byte]))

    return send


def floods(start: bytes, forever: bytes) -> Send:
    """The start, and then the same block over and over as fast as it is taken."""

    def send(connection: socket.socket, stop: threading.Event) -> None:
        connection.sendall(start)
        while not stop.is_set():
            connection.sendall(forever)

    return send
