"""A model over HTTP: MLflow's scoring protocol, with requests judged as data_cleaning judges raw rows.

Every answer of 400 or more is {"error_code": …, "message": one sentence}, without stack trace or request body.
"""

import asyncio
import logging
import os
import traceback
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import mlflow
from explanation import without_background
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from request_rows import Cells, RequestError, decimal_chars, media_type, read_rows
from request_schema import Refusal, answer_model, request_body
from saved_model import SavedModel, open_model
from serving_batches import Answer, Batches, Job, Models, answer_alone
from serving_door import MODEL_PATH, Door, log_to_standard_error, refusal
from serving_live import Live
from serving_metrics import Metrics
from serving_settings import KEY_VARIABLE, Settings, handed_on
from table import text_of

SMALL = 1 << 16  # bytes of a request that is read at once; the others in a thread
logger = logging.getLogger("uvicorn.error")
HELD = 4  # times max_bytes: of all requests that are under way, together


def create() -> FastAPI:
    """The application, for a uvicorn worker; what it serves, and how, is in the environment."""
    settings = handed_on()
    log_to_standard_error()
    return application(open_model(settings.folder), settings)


def application(model: SavedModel, settings: Settings) -> FastAPI:
    """The ASGI application that answers for `model`, and for what its alias names later."""
    table = model.table
    live, batches, metrics = Live(model, settings), Batches(), Metrics()
    desk = Desk(live, batches, metrics, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batches.start()
        live.start()
        yield
        await run_in_threadpool(batches.stop)
        await run_in_threadpool(live.stop)

    title = f"Predictions of {table.title or table.name}"
    app = FastAPI(title=title, description=table.intended_use, version=model.label, redoc_url=None, lifespan=lifespan)
    app.add_middleware(Door, metrics=metrics, key=os.environ.get(KEY_VARIABLE, ""))
    body, schemas = request_body(table, live.current.columns)
    responses: dict[int | str, dict[str, Any]] = {
        code: {"model": Refusal} for code in (400, 401, 408, 413, 415, 429, 500, 503)
    }

    @app.get("/ping", response_class=PlainTextResponse)
    @app.get("/health", response_class=PlainTextResponse)
    async def ping() -> str:
        """Whether the server is alive."""
        return "\n"

    @app.get("/ready", response_class=PlainTextResponse, responses={503: {"model": Refusal}})
    async def ready() -> Response:
        """Whether there is a model that answers."""
        return PlainTextResponse("\n") if batches.alive() else refusal(503, "nothing answers")

    @app.get("/version", response_class=PlainTextResponse)
    async def version() -> str:
        """The version of MLflow."""
        return mlflow.__version__

    @app.get("/model")
    async def which() -> dict[str, str]:
        """Which model answers, since when, and what is wrong with the version that should."""
        return described(live)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def counted() -> Response:
        """What was counted, for Prometheus."""
        gauges = {
            "waiting_requests": desk.waiting,
            "held_bytes": desk.held,
            "model_since_seconds": live.champion.since,
            "model_swaps": live.champion.swaps,
            "model_problem": any(one.problem for one in live.roles),
            "logged_rows": live.log.written if live.log else 0,
            "log_lost_rows": live.log.lost if live.log else 0,
        }
        told = described(live)
        text = metrics.text(gauges, {name: told[name] for name in ("name", "version", "run_id")})
        return Response(text, media_type="text/plain; version=0.0.4")

    @app.post(
        MODEL_PATH,
        openapi_extra={"requestBody": body},
        responses=responses | {200: {"model": answer_model(table, settings.canary > 0)}},
    )
    async def invocations(request: Request, reasons: bool = False) -> Response:
        """What the model predicts of each row; with `?reasons=true` also which three columns add most to that."""
        try:
            return await desk.answer(request, reasons)
        except RequestError as error:
            return refusal(error.status, str(error))
        except Exception as error:  # the model's own, on rows that no rule forbids
            place = traceback.extract_tb(error.__traceback__)[-1]
            # Not its text: that may hold what was sent.
            logger.error("%s in %s, line %s", type(error).__name__, place.name, place.lineno)
            return refusal(500, "the server could not answer this request; its own log says why")

    @app.exception_handler(RequestValidationError)
    async def not_boolean(request: Request, error: Any) -> JSONResponse:
        return refusal(400, "reasons is neither true nor false")

    @app.exception_handler(404)
    @app.exception_handler(405)
    async def elsewhere(request: Request, error: Any) -> JSONResponse:
        return refusal(error.status_code, error.detail)

    app.openapi()["components"]["schemas"] |= schemas
    return app


class Desk:
    """Takes requests in, within the limits, and hands out their answers. Of the event loop's thread alone."""

    def __init__(self, live: Live, batches: Batches, metrics: Metrics, settings: Settings) -> None:
        self.live, self.batches, self.metrics, self.settings = live, batches, metrics, settings
        self.waiting = 0  # requests
        self.clients: Counter[str] = Counter()  # requests under way, by the address that they are from
        self.held = 0  # bytes

    async def answer(self, request: Request, reasons: bool) -> Response:
        """Raises RequestError, or what the model stumbled over."""
        client, most = request.client.host if request.client else "", self.settings.max_waiting_per_client
        if self.clients[client] >= most:
            raise RequestError(429, f"{most} requests of this client are under way; wait for an answer")
        self.clients[client] += 1
        try:
            return await self.answer_one(request, reasons)
        finally:
            self.clients[client] -= 1
            if not self.clients[client]:
                del self.clients[client]

    async def answer_one(self, request: Request, reasons: bool) -> Response:
        kind = media_type(request.headers.get("content-type", ""))
        models = self.live.current  # for all rows of this request, whatever comes after it
        told = request.scope["told"]
        told.version = models.label
        for model in (models.champion, models.challenger):
            if reasons and model and model.background is None:
                raise RequestError(400, without_background(model))
        chunks: list[bytes] = []
        try:
            content = await self.read_body(request, chunks)
            if self.waiting >= self.settings.max_waiting:
                raise RequestError(503, f"{self.waiting} requests are waiting already; ask again later")
            self.waiting += 1
            try:
                async with asyncio.timeout(self.settings.max_seconds):
                    cells = await self.read_rows(kind, content, models)
                    told.rows = rows = len(next(iter(cells.values())))
                    job = Job(models, cells, rows, reasons)
                    found: Answer = await asyncio.wrap_future(self.batches.submit(job))
            except TimeoutError:
                limit = self.settings.max_seconds
                raise RequestError(503, f"there was no answer within {limit:g} seconds; send fewer rows") from None
            finally:
                self.waiting -= 1
        finally:
            self.held -= sum(map(len, chunks))
        self.metrics.rows += rows
        self.metrics.predictions.update({text_of(value): count for value, count in found.predictions.items()})
        return Response(found.body, media_type="application/json", headers={"X-Model-Version": models.label})

    async def read_body(self, request: Request, chunks: list[bytes]) -> bytes:
        """The request's whole body; `chunks` gets what has come so far.

        Raises:
            RequestError: it is too large, too slow, or all together are too large.
        """
        limit, size, more = self.settings.max_bytes, 0, True
        try:
            async with asyncio.timeout(self.settings.read_seconds):
                while more:
                    message = await request.receive()
                    chunk = message.get("body", b"")  # none where the other side has hung up
                    chunks.append(chunk)
                    size += len(chunk)
                    self.held += len(chunk)
                    if size > limit:
                        raise RequestError(413, f"the request is larger than {limit} bytes; send fewer rows at a time")
                    if self.held > HELD * limit:
                        raise RequestError(503, "the requests under way are too large together; ask again later")
                    more = bool(message.get("more_body"))
        except TimeoutError:
            seconds = self.settings.read_seconds
            raise RequestError(408, f"the request had not come within {seconds:g} seconds") from None
        return b"".join(chunks)

    async def read_rows(self, kind: str, content: bytes, models: Models) -> Cells:
        also = models.log.columns if models.log else []
        also = [name for name in also if name not in models.columns]
        given = (kind, content, models.columns, decimal_chars(models.table), also)
        read = read_rows(*given) if len(content) <= SMALL else await run_in_threadpool(read_rows, *given)
        rows = len(next(iter(read.values())))
        if rows > self.settings.max_rows:
            raise RequestError(413, f"the request has {rows} rows, over {self.settings.max_rows}; send fewer at a time")
        return read


def answer(model: SavedModel, kind: str, body: bytes) -> bytes:
    """The answer to a body of that media type: {"predictions": [{target: …, probability: …}, …]} as JSON.

    Raises:
        RequestError: it is no table of the columns that the model reads, or a row breaks the declaration.
    """
    return answer_alone(model, read_rows(kind, body, model.wanted, decimal_chars(model.table)))


def described(live: Live) -> dict[str, str]:
    def moment(seconds: float) -> str:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

    models, champion = live.current, live.champion
    model = models.champion
    return {
        "name": model.name or model.table.name,
        "version": model.label,
        "run_id": model.run_id,
        "sha256": model.sha256,
        "alias": champion.alias,
        "since": moment(champion.since),
        "checked": moment(champion.checked),
        "problem": "; ".join(one.problem for one in live.roles if one.problem),
        "challenger": models.challenger.label if models.challenger else "",
        "shadow": models.shadow.label if models.shadow else "",
    }
