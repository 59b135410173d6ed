"""serve: a model of wrap_onnx behind HTTP, as OpenAI's clients expect chat completions, whole or as they are made."""

import json
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import mlflow
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from mlflow.exceptions import MlflowException
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from step import parse_parameters, whole
from step_error import StepError, first_line

STEP = "serve"
MOST_BYTES = 64_000  # of a request


class Message(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str


class Chat(BaseModel):
    messages: list[Message] = Field(min_length=1)
    model: str = ""
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    stream: bool = False
    n: Literal[1] = 1


def main() -> int:
    try:
        given = parse_parameters(STEP, model=Path, host=str, port=whole(1, 65535), max_tokens=whole(1, 4096))
        app = application(open_model(given.model), given.max_tokens)
    except StepError as error:
        print(f"{STEP}: {error}", file=sys.stderr)
        return 1
    uvicorn.run(app, host=given.host, port=given.port, log_level="warning")
    return 0


def open_model(path: Path) -> Any:
    """The Python model that was logged from code.

    Raises:
        StepError: it is none of wrap_onnx.
    """
    try:
        found = mlflow.pyfunc.load_model(str(path)).unwrap_python_model()
        found.pieces  # noqa: B018  # looked up
    except Exception as error:  # of whatever the model's own code raises
        raise StepError(f"model {path.name} is no model of wrap_onnx ({first_line(error)})") from None
    return found


def application(model: Any, most_tokens: int) -> FastAPI:
    """The server; every refusal is of OpenAI's shape, with one sentence."""
    app = FastAPI(title="phi3", docs_url=None, redoc_url=None)

    @app.middleware("http")
    async def limited(request: Request, go_on: Any) -> Response:
        announced = request.headers.get("content-length", "0")
        if not announced.isdigit() or int(announced) > MOST_BYTES or "transfer-encoding" in request.headers:
            return refusal(413, f"a request is at most {MOST_BYTES} bytes long, and says so in Content-Length")
        answer: Response = await go_on(request)
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        return refusal(400, f"{place or 'the request'}: {first['msg']}", place)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"object": "list", "data": [{"id": "phi3-mini-onnx", "object": "model", "owned_by": "examples/phi3"}]}

    @app.post("/v1/chat/completions")
    async def complete(chat: Chat) -> Response:
        messages = [message.model_dump() for message in chat.messages]
        most = min(chat.max_completion_tokens or chat.max_tokens or most_tokens, most_tokens)
        try:
            start = len(model.tokens(model.prompt_of(messages)))
        except MlflowException as error:
            return refusal(400, error.message, "messages")
        settings = {"max_tokens": most, "temperature": chat.temperature, "top_p": chat.top_p, "seed": chat.seed}
        pieces = model.pieces(messages, **settings)
        if chat.stream:
            return StreamingResponse(streamed(pieces), media_type="text/event-stream")
        made = await run_in_threadpool(lambda: list(pieces))
        usage = {"prompt_tokens": start, "completion_tokens": sum(count for count, _ in made)}
        usage["total_tokens"] = sum(usage.values())
        message = {"role": "assistant", "content": "".join(text for _, text in made)}
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": "length" if usage["completion_tokens"] >= most else "stop",
        }
        return JSONResponse(frame("chat.completion") | {"choices": [choice], "usage": usage})

    return app


def streamed(pieces: Iterator[tuple[int, str]]) -> Iterator[str]:
    """Server-sent events, as OpenAI's API sends them."""
    head = frame("chat.completion.chunk")
    for delta in ({"role": "assistant", "content": ""}, *({"content": text} for _, text in pieces)):
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        yield f"data: {json.dumps(head | {'choices': [choice]})}\n\n"
    yield f"data: {json.dumps(head | {'choices': [{'index': 0, 'delta': {}, 'finish_reason': 'stop'}]})}\n\n"
    yield "data: [DONE]\n\n"


def frame(kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": "phi3-mini-onnx",
    }  # fmt: skip


def refusal(code: int, message: str, parameter: str | None = None) -> JSONResponse:
    error = {"message": message, "type": "invalid_request_error", "param": parameter or None, "code": None}
    return JSONResponse({"error": error}, code)


if __name__ == "__main__":
    sys.exit(main())
