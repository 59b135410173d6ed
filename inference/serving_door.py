"""What every request passes: its ID, the API key, a line in the log, the count. ASGI; nothing of models here.

A line says nothing of what was sent: neither its body nor an address that the server does not have.
"""

import hmac
import json
import logging
import os
import re
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi.responses import JSONResponse
from serving_metrics import Metrics
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MODEL_PATH = "/invocations"
OPEN = {"/health", "/ready", "/ping"}  # whoever watches over processes has no key
PATHS = {*OPEN, MODEL_PATH, "/version", "/model", "/metrics", "/docs", "/openapi.json"}
KINDS = {400: "BAD_REQUEST", 401: "UNAUTHORIZED", 404: "ENDPOINT_NOT_FOUND", 405: "METHOD_NOT_ALLOWED"}
KINDS |= {408: "REQUEST_TIMEOUT", 413: "REQUEST_TOO_LARGE", 415: "UNSUPPORTED_MEDIA_TYPE", 500: "INTERNAL_ERROR"}
KINDS |= {429: "TOO_MANY_REQUESTS", 503: "TOO_BUSY"}
GOOD_ID = re.compile(r"[\w.:-]{1,100}", re.ASCII)
logger = logging.getLogger("inference.requests")


@dataclass
class Told:
    """What the application says of a request to whoever logs it."""

    rows: int = 0
    version: str = ""


class Door:
    def __init__(self, app: ASGIApp, metrics: Metrics, key: str) -> None:
        self.app, self.metrics, self.key = app, metrics, key.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status = time.perf_counter(), 500
        headers = dict(scope["headers"])
        request_id = headers.get(b"x-request-id", b"").decode("latin-1")
        if not GOOD_ID.fullmatch(request_id):
            request_id = os.urandom(8).hex()
        told = scope["told"] = Told()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            if self.key and scope["path"] not in OPEN and not self.admits(headers):
                await refusal(401, "the request has no API key that is known here")(scope, receive, answer)
            else:
                await self.app(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - start
            if scope["path"] == MODEL_PATH:
                self.metrics.request(status, seconds)
            if status >= 400:
                self.metrics.errors[KINDS.get(status, str(status))] += 1
            line = {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "request_id": request_id,
                "method": scope["method"] if scope["method"] in ("GET", "POST") else "other",
                "path": scope["path"] if scope["path"] in PATHS else "other",
                "status": status,
                "ms": round(1000 * seconds, 1),
            }
            logger.info(json.dumps(line | ({"rows": told.rows, "version": told.version} if told.version else {})))

    def admits(self, headers: dict[bytes, bytes]) -> bool:
        kind, _, bearer = headers.get(b"authorization", b"").partition(b" ")
        given = headers.get(b"x-api-key") or (bearer.strip() if kind.lower() == b"bearer" else b"")
        return hmac.compare_digest(given, self.key)


def refusal(status: int, message: str) -> JSONResponse:
    """An answer of 400 or more; after those that leave a body unread the connection is closed."""
    headers = {"Retry-After": "1"} if status in (429, 503) else {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    if status in (401, 408, 413, 429):
        headers["Connection"] = "close"
    return JSONResponse({"error_code": KINDS[status], "message": message}, status, headers)


def log_to_standard_error() -> None:
    """Each request a line of JSON; the rest as uvicorn's own."""
    for name, form, level in (
        ("inference.requests", "%(message)s", logging.INFO),
        ("inference", "%(name)s: %(message)s", logging.WARNING),
    ):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter(form))
        one = logging.getLogger(name)
        one.handlers, one.propagate = [handler], False
        one.setLevel(level)
