"""serve: a model of wrap_onnx behind HTTP, as OpenAI's clients expect chat completions, whole or as they are made."""

import json
import sys
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import mlflow
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from mlflow.exceptions import MlflowException
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from step import parse_parameters, whole
from step_error import StepError, first_line

STEP = "serve"
Name = Literal["phi3-mini-onnx"]
NAME: Name = "phi3-mini-onnx"
MOST_BYTES = 64_000  # of a request


class Message(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: str


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    include_usage: bool = False


class Chat(BaseModel):
    """What can be asked for: what is not here would be left out of account, and so is refused."""

    model_config = ConfigDict(extra="forbid")
    messages: list[Message] = Field(min_length=1)
    model: Name = NAME
    user: str = ""
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    stream: bool = False
    stream_options: StreamOptions = StreamOptions()
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
    started = int(time.time())

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
        return {
            "object": "list",
            "data": [{"id": NAME, "object": "model", "created": started, "owned_by": "examples/phi3"}],
        }

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
        ending = Ending(start, min(most, model.most - start))
        if chat.stream:
            lines = streamed(pieces, ending, chat.stream_options.include_usage)
            return StreamingResponse(lines, media_type="text/event-stream")
        text = await run_in_threadpool(lambda: "".join(ending.counted(pieces)))
        choice = {
            "index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": ending.reason,
        }  # fmt: skip
        return JSONResponse(frame("chat.completion") | {"choices": [choice], "usage": ending.usage})

    return app


class Ending:
    """The tokens of an answer to `prompt` tokens, of which there may be `most`, and so why it ended."""

    def __init__(self, prompt: int, most: int):
        self.prompt, self.most, self.made = prompt, most, 0

    def counted(self, pieces: Iterable[tuple[int, str]]) -> Iterator[str]:
        for count, text in pieces:
            self.made += count
            yield text

    @property
    def reason(self) -> str:
        return "length" if self.made >= self.most else "stop"

    @property
    def usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self.prompt, "completion_tokens": self.made, "total_tokens": self.prompt + self.made,
        }  # fmt: skip


def streamed(pieces: Iterable[tuple[int, str]], ending: Ending, with_usage: bool) -> Iterator[str]:
    """Server-sent events, as OpenAI's API sends them."""
    head = frame("chat.completion.chunk")

    def event(choices: list[dict[str, Any]], **more: Any) -> str:
        return f"data: {json.dumps(head | {'choices': choices} | more)}\n\n"

    def delta(content: dict[str, str], reason: str | None = None) -> str:
        return event([{"index": 0, "delta": content, "finish_reason": reason}])

    yield delta({"role": "assistant", "content": ""})
    for text in ending.counted(pieces):
        yield delta({"content": text})
    yield delta({}, ending.reason)
    if with_usage:
        yield event([], usage=ending.usage)
    yield "data: [DONE]\n\n"


def frame(kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": NAME,
    }  # fmt: skip


def refusal(code: int, message: str, parameter: str | None = None) -> JSONResponse:
    error = {"message": message, "type": "invalid_request_error", "param": parameter or None, "code": None}
    return JSONResponse({"error": error}, code)


if __name__ == "__main__":
    sys.exit(main())
