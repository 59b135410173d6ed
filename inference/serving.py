"""MLflow's own scoring server over a model, with two things of ours.

In it, the model answers with prediction and probability, and each row is judged by the rules that batch scoring has.
Around it, a layer says what is wrong with a request in one sentence, without stack trace or request body.
"""

import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import ContextVar
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from batch_scoring import Scorer
from fastapi import FastAPI
from mlflow.exceptions import MlflowException
from mlflow.models import Model
from mlflow.protos.databricks_pb2 import BAD_REQUEST
from mlflow.pyfunc import PyFuncModel, scoring_server
from mlflow.types.schema import AnyType, ColSpec, Schema
from model_files import LoadedModel, load
from passenger_rows import WHOLE, ParsedColumn, check, from_objects, from_text

MODEL_VARIABLE, BYTES_VARIABLE = "INFERENCE_SERVED_MODEL", "INFERENCE_MAX_BYTES"
MAX_BYTES = 32 << 20  # of a request's body
MAX_REPORTED_ROWS = 5  # bad rows named in one answer
CODES = {400: "BAD_REQUEST", 404: "ENDPOINT_NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "REQUEST_TOO_LARGE"}
CODES |= {415: "UNSUPPORTED_MEDIA_TYPE", 500: "INTERNAL_ERROR", 504: "TIMEOUT"}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

from_csv: ContextVar[bool] = ContextVar("from_csv", default=False)  # of the request being answered


def create() -> "ErrorMiddleware":
    """The application, for a uvicorn worker; the model's folder is in the environment."""
    return application(load(os.environ[MODEL_VARIABLE]), int(os.environ.get(BYTES_VARIABLE, MAX_BYTES)))


def application(model: LoadedModel, max_bytes: int = MAX_BYTES) -> "ErrorMiddleware":
    """The ASGI application that serves `model`: /invocations, /ping, /health, /version."""
    served: Any = ServedModel(model)  # the scoring server asks a PyFuncModel for no more than this has
    return ErrorMiddleware(scoring_server.init(served), list(model.kinds), max_bytes)


class UntypedSchema(Schema):
    """Named columns whose cells are taken as they come, so that whoever judges them still sees what was sent."""

    def __init__(self, names: list[str]) -> None:
        anything = AnyType()
        super().__init__([ColSpec(anything, name, required=False) for name in names])

    def pandas_types(self) -> list[np.dtype]:
        """Text, for CSV: "007" stays a ticket's number."""
        return [np.dtype(object)] * len(self.inputs)


class Metadata:
    """What the scoring server asks of a model's metadata when it parses a request."""

    def __init__(self, names: list[str]) -> None:
        self.names = names

    def get_input_schema(self) -> Schema:
        return UntypedSchema(self.names)

    def get_params_schema(self) -> None:
        return None


class ServedModel:
    """The model as the scoring server sees it: parsed request in, a frame of Survived and probability out."""

    def __init__(self, model: LoadedModel) -> None:
        self.kinds = model.kinds
        self.metadata = Metadata(list(model.kinds))
        # MLflow's own model object enforces the signature once more, on rows that ours let through.
        self.model = PyFuncModel(Model.load(str(model.folder)), ScorerModel(Scorer(model.classifier, model.kinds)))

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Raises MlflowException (400) that names the fields and rows which the signature or the rules refuse."""
        frame = as_frame(data, list(self.kinds))
        if missing := [name for name in self.kinds if name not in frame.columns]:
            raise bad_request(f"missing fields: {', '.join(missing)} (null is a value, where the model allows it)")
        checked = check({name: self.cells(frame[name], kind) for name, kind in self.kinds.items()}, self.kinds)
        if bad := np.flatnonzero(~checked.good).tolist():
            shown = [f"row {place + 1}: {checked.reasons[place]}" for place in bad[:MAX_REPORTED_ROWS]]
            more = f"; and {len(bad) - MAX_REPORTED_ROWS} more rows" if len(bad) > MAX_REPORTED_ROWS else ""
            raise bad_request("; ".join(shown) + more)
        if frame.empty:
            return pd.DataFrame({"Survived": [], "probability": []})
        whole = {name: "int64" for name, kind in self.kinds.items() if kind == WHOLE}
        # PyFuncModel returns what ScorerModel.predict did, which its types cannot say.
        return cast(pd.DataFrame, self.model.predict(checked.frame.astype(whole)))

    def cells(self, column: pd.Series, kind: str) -> ParsedColumn:
        if from_csv.get():
            return from_text(pa.array(column, pa.string(), from_pandas=True), kind)
        return from_objects(column.tolist(), kind)


class ScorerModel:
    """A scorer in the form that MLflow's PyFuncModel calls."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        survived, probability = self.scorer(frame)
        return pd.DataFrame({"Survived": survived, "probability": probability})


def as_frame(data: Any, names: list[str]) -> pd.DataFrame:
    """A request's data, which MLflow parses to a frame, a list of records, a dict of columns or one record."""
    if isinstance(data, dict):
        data = {name: data[name] for name in names if name in data}
        if data and not any(isinstance(value, list | np.ndarray) for value in data.values()):
            data = [data]
    try:
        frame = data if isinstance(data, pd.DataFrame) else pd.DataFrame(data)
    except (ValueError, TypeError) as error:
        raise bad_request(f"the data is not a table of named columns ({error})") from None
    if not frame.columns.is_unique:
        raise bad_request("a column is named more than once")
    return frame


def bad_request(text: str) -> MlflowException:
    return MlflowException(text, error_code=BAD_REQUEST)


class ErrorMiddleware:
    """ASGI layer round the scoring server: refuses what it would stumble over, and rewrites its error answers.

    Every answer of 400 or more is {"error_code": …, "message": one sentence}.
    """

    def __init__(self, app: FastAPI, names: list[str], max_bytes: int) -> None:
        self.app, self.names, self.max_bytes = app, names, max_bytes

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        responder = ErrorResponder(send)
        if scope["path"] == "/invocations" and scope["method"] == "POST":
            kind = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1").lower()
            body = await read_body(receive, self.max_bytes)
            if body is None:
                await responder.refuse(
                    413, f"the request is larger than {self.max_bytes} bytes; send fewer rows at a time"
                )
                return
            if problem := self.find_problem(kind, body):
                await responder.refuse(*problem)
                return
            receive = replay(body, receive)
            from_csv.set(kind.startswith("text/csv"))
        try:
            await self.app(scope, receive, responder)
        except Exception:
            # Starlette has answered 500 already and raises for the log's sake; where it has not, that is for us.
            if not responder.done:
                await responder.refuse(500, "")
            raise

    def find_problem(self, kind: str, body: bytes) -> tuple[int, str] | None:
        """Status and message where the request can be refused before it is parsed in earnest."""
        if not kind.startswith(("application/json", "text/csv")):
            return 415, "the Content-Type is none of application/json, text/csv"
        if not body.strip():
            return 400, "the request is empty"
        if kind.startswith("text/csv"):
            return None
        try:
            request = json.loads(body)
        except (ValueError, RecursionError) as error:
            return 400, f"the request is not JSON ({str(error)[:100]})"
        return self.missing_fields(request)

    def missing_fields(self, request: Any) -> tuple[int, str] | None:
        """Records that lack a field: in a table, a missing field could not be distinguished from null."""
        if not isinstance(request, dict):
            return 400, "the request is not a JSON object with dataframe_split, dataframe_records, instances or inputs"
        records = next((request[key] for key in ("dataframe_records", "instances", "inputs") if key in request), None)
        if not isinstance(records, list):
            return None
        for number, record in enumerate(records, 1):
            if not isinstance(record, dict):
                return 400, f"row {number} is not an object of named fields"
            if missing := [name for name in self.names if name not in record]:
                return 400, f"row {number}: missing fields: {', '.join(missing)}"
        return None


class ErrorResponder:
    """Sends an answer on as it is, unless it is an error: then only its code and its one sentence."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.status, self.body = 200, b""
        self.done = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if self.status < 400:
                await self.send(message)
        elif self.status < 400:
            self.done = not message.get("more_body")
            await self.send(message)
        else:
            self.body += message.get("body", b"")
            if not message.get("more_body"):
                await self.refuse(self.status, error_message(self.body))

    async def refuse(self, status: int, text: str) -> None:
        self.done = True
        code = CODES.get(status, "ERROR")
        text = text or "the server could not answer this request; its own log says why"
        body = json.dumps({"error_code": code, "message": text}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})


def error_message(body: bytes) -> str:
    """What MLflow's error answer says, without the request's data, advice on its versions and the stack trace."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
        text = str(found.get("message") or found.get("detail") or "") if isinstance(found, dict) else str(found)
    except ValueError:
        pass
    if text == "Internal Server Error":
        return ""
    text = text.rpartition("\nError: ")[2]
    for tail in ("\nInput:", " IMPORTANT:", "Traceback (most recent call last)"):
        text = text.partition(tail)[0]
    return " ".join(text.split())[:500]


async def read_body(receive: Receive, max_bytes: int) -> bytes | None:
    """The request's whole body; None where it is larger than `max_bytes`."""
    chunks, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b""
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > max_bytes:
            return None
        if not message.get("more_body"):
            return b"".join(chunks)


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that hands out `body` first."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
