"""The application under a real uvicorn on loopback, in this process."""

import contextlib
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import serving_protocol
import uvicorn
from saved_model import SavedModel
from serving import application
from serving_settings import SETTINGS_VARIABLE, Settings


@contextlib.contextmanager
def running(model: SavedModel, settings: Settings, tls: Mapping[str, Any] | None = None) -> Iterator[int]:
    """Its port; `tls` as `tls_files` gives it."""
    settings.hand_on()
    serving_protocol.read_seconds.cache_clear()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            application(model, settings),
            http=serving_protocol.ImpatientProtocol,
            log_config=None,
            access_log=False,
            **(tls or {}),
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
            os.environ.pop(SETTINGS_VARIABLE, None)


class Client:
    """One connection that is kept."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        """`address` is the client's own."""
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(address, 0))

    def __del__(self) -> None:
        self.connection.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, str]:
        self.connection.request("GET", path, headers=dict(headers or {}))
        response = self.connection.getresponse()
        return response.status, response.read().decode()

    def ask(
        self, body: Any, kind: str = "application/json", headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, JSON and headers of the answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.connection.request("POST", "/invocations", data, {"Content-Type": kind, **(headers or {})})
        response = self.connection.getresponse()
        return response.status, json.loads(response.read()), response.headers
