"""A model over HTTP: MLflow's scoring protocol, with requests judged as data_cleaning judges raw rows.

Every answer of 400 or more is {"error_code": …, "message": one sentence}, without stack trace or request body.
"""

import json
import logging
import os
import traceback
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from declaration import Table
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response
from request_rows import RequestError, media_type, read_rows
from request_schema import Refusal, answer_model, request_body
from row_checks import Judged, judge, rules
from saved_model import SavedModel, open_model

MODEL_VARIABLE, BYTES_VARIABLE = "INFERENCE_SERVED_MODEL", "INFERENCE_MAX_BYTES"
MAX_REPORTED_ROWS = 5  # bad rows named in one answer
MAX_SHOWN = 40  # characters of a value that a message repeats
CODES = {400: "BAD_REQUEST", 404: "ENDPOINT_NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "REQUEST_TOO_LARGE"}
CODES |= {415: "UNSUPPORTED_MEDIA_TYPE", 500: "INTERNAL_ERROR"}


def create() -> FastAPI:
    """The application, for a uvicorn worker; the model's folder is in the environment."""
    return application(open_model(os.environ[MODEL_VARIABLE]), int(os.environ[BYTES_VARIABLE]))


def application(model: SavedModel, max_bytes: int) -> FastAPI:
    """The ASGI application that answers for `model`: /invocations, /ping, /health, /version, /docs, /openapi.json."""
    table = model.table
    app = FastAPI(title=table.title or table.name, description=table.intended_use, version=model.label, redoc_url=None)
    body, schemas = request_body(table, model.columns)
    responses: dict[int | str, dict[str, Any]] = {code: {"model": Refusal} for code in (400, 413, 415)}

    @app.get("/ping")
    @app.get("/health")
    async def ping() -> Response:
        """Whether the server answers."""
        return Response("\n", media_type="application/json")

    @app.get("/version")
    async def version() -> Response:
        """The version of MLflow."""
        return Response(mlflow.__version__, media_type="application/json")

    @app.post(
        "/invocations",
        openapi_extra={"requestBody": body},
        responses=responses | {200: {"model": answer_model(table)}},
    )
    async def invocations(request: Request) -> Response:
        """What the model predicts of each row."""
        try:
            kind = media_type(request.headers.get("content-type", ""))
            content = await read_body(request, max_bytes)
            # In a thread: the server goes on answering others.
            return await run_in_threadpool(
                lambda: Response(answer(model, kind, content), media_type="application/json")
            )
        except RequestError as error:
            return refusal(error.status, str(error))
        except Exception as error:  # the model's own, on rows that no rule forbids
            place = traceback.extract_tb(error.__traceback__)[-1]
            # Not its text: that may hold what was sent.
            logging.getLogger("uvicorn.error").error(
                "%s in %s, line %s", type(error).__name__, place.name, place.lineno
            )
            return refusal(500, "the server could not answer this request; its own log says why")

    @app.exception_handler(404)
    @app.exception_handler(405)
    async def elsewhere(request: Request, error: Any) -> Response:
        return refusal(error.status_code, error.detail)

    app.openapi()["components"]["schemas"] |= schemas
    return app


def answer(model: SavedModel, kind: str, body: bytes) -> bytes:
    """The answer to a body of that media type: {"predictions": [{target: …, probability: …}, …]} as JSON.

    Raises:
        RequestError: it is no table of the columns that the model reads, or a row breaks the declaration.
    """
    chars = {one.name: one.decimal_char for one in model.table.fields if one.decimal_char}
    cells = read_rows(kind, body, model.columns, chars)
    judged = judge(cells, model.table, target="optional")
    if judged.findings:
        raise RequestError(400, describe_bad_rows(judged, cells, model.table))
    if judged.frame.empty:
        return b'{"predictions": []}'
    said = model.predict(typed(judged.frame, model.table))
    if model.table.target.type == "boolean":
        said = said.astype({model.table.target.name: bool})
    return json.dumps({"predictions": said.to_dict("records")}).encode()


def typed(frame: pd.DataFrame, table: Table) -> pd.DataFrame:
    """Judged rows in the types of `Table.read`, in which models know them."""
    columns = {}
    for name, values in frame.items():
        one = table.by_name[str(name)]
        if one.type == "boolean":
            values = values.map({"true": 1.0, "false": 0.0})
        columns[name] = values.to_numpy("float64" if one.numeric else object, na_value=np.nan)
    return pd.DataFrame(columns)


def describe_bad_rows(judged: Judged, cells: dict[str, pd.Series], table: Table) -> str:
    """The first bad rows in a sentence: for each its reasons, the cell, and what it must be."""
    bad = np.flatnonzero(np.logical_or.reduce(list(judged.findings.values()))).tolist()
    shown = []
    for place in bad[:MAX_REPORTED_ROWS]:
        reasons = []
        for (name, rule), mask in judged.findings.items():
            if mask[place]:
                one, cell = table.by_name[name], cells[name].iloc[place]
                value = "" if rule == "missing" else f"{shorten(cell)}; "
                reasons.append(f"{name}_{rule} ({value}{rules(one, needed=one.required)[rule]})")
        shown.append(f"row {place + 1}: {', '.join(reasons)}")
    more = f"; and {len(bad) - MAX_REPORTED_ROWS} more rows" if len(bad) > MAX_REPORTED_ROWS else ""
    return "; ".join(shown) + more


def shorten(cell: str) -> str:
    """A cell for a message: short, in one line."""
    text = repr(cell)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The request's whole body.

    Raises:
        RequestError: it is larger than `max_bytes`.
    """
    chunks, size, more = [], 0, True
    while more:
        message = await request.receive()
        chunks.append(message.get("body", b""))  # none where the other side has hung up
        size += len(chunks[-1])
        if size > max_bytes:
            raise RequestError(413, f"the request is larger than {max_bytes} bytes; send fewer rows at a time")
        more = bool(message.get("more_body"))
    return b"".join(chunks)


def refusal(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error_code": CODES[status], "message": message}, status)
