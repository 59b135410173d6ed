"""An artifact server on loopback, with MLflow's REST interface, that stumbles when it is told to."""

import contextlib
import http.server
import json
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = "/api/2.0/mlflow-artifacts/artifacts"


@dataclass
class ArtifactServer:
    """`faults`: kind of request ("list", "get", "put") -> [status code, how many times yet]."""

    folder: Path
    uri: str = ""
    faults: dict[str, list[int]] = field(default_factory=dict)
    answers: threading.Event = field(default_factory=threading.Event)  # not set: it takes requests and does not answer
    asked: threading.Event = field(default_factory=threading.Event)  # somebody has waited for an answer

    def fault(self, kind: str) -> int:
        if not self.answers.is_set():
            self.asked.set()
            self.answers.wait()
        code, left = self.faults.get(kind, [0, 0])
        if left:
            self.faults[kind][1] -= 1
        return code if left else 0


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[ArtifactServer]:
    told = ArtifactServer(folder)
    told.answers.set()

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self, kind: str, body: bytes | None) -> None:
            code = told.fault(kind) or (404 if body is None else 200)
            self.send_response(code)
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def do_GET(self) -> None:
            parts = urllib.parse.urlsplit(self.path)
            if parts.path == ROOT:
                place = folder / dict(urllib.parse.parse_qsl(parts.query)).get("path", "")
                found = sorted(place.iterdir()) if place.is_dir() else []
                files = [{"path": f.name, "is_dir": f.is_dir(), "file_size": f.stat().st_size} for f in found]
                self.answer("list", json.dumps({"files": files}).encode())
            else:
                place = folder / urllib.parse.unquote(parts.path.removeprefix(ROOT + "/"))
                self.answer("get", place.read_bytes() if place.is_file() else None)

        def do_PUT(self) -> None:
            place = folder / urllib.parse.unquote(self.path.removeprefix(ROOT + "/"))
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(body)
            self.answer("put", b"{}")

        def log_message(self, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        told.uri = f"http://127.0.0.1:{server.server_port}{ROOT}"
        yield told
        told.answers.set()
        server.shutdown()
