"""The server's routes: OpenAI's interface, and what front ends for llama.cpp and ollama ask."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from g3n_cli import __version__
from g3n_cli.serve import llamacpp, ollama
from g3n_cli.serve.fields import parse_body, read_flag, read_text
from g3n_cli.serve.gate import Access, Gate, TokenCheck, make_response
from g3n_cli.serve.model import ServedModel
from g3n_cli.serve.multipart import parse_form
from g3n_cli.serve.queue import JobQueue
from g3n_cli.serve.refusal import Json, RefusedError
from g3n_cli.serve.requests import Request as Asked
from g3n_cli.serve.requests import parse_chat, parse_text, wants_usage
from g3n_cli.serve.speech import TranscriptResponse, parse_speech
from g3n_cli.serve.stream import PATIENCE_S, AnswerResponse
from g3n_cli.serve.tokens import detokenize, tokenize
from g3n_cli.serve.wording import ChatWording, TextWording, Wording

MOST_BODY_BYTES = 32 << 20
"""Of a request, pictures and sound included."""

Endpoint = Callable[[Request], Awaitable[Response | AnswerResponse | TranscriptResponse]]

_NO_EMBEDDINGS = (
    "/v1/embeddings",
    "/embeddings",
    "/embedding",
    "/api/embed",
    "/api/embeddings",
)


def make_app(
    model: ServedModel, queue: JobQueue, access: Access, log: Callable[[str], None]
) -> ASGIApp:
    """The server as an ASGI application.

    Args:
        model: What may be known of it at once; answers come from ``queue``.
        queue: Where requests are computed.
        access: Who may ask.
        log: Given a line for each request.
    """
    api = _Api(model, queue)
    middleware = [Middleware(Gate, access=access, log=log)]
    if access.origins:
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=access.origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
            )
        )
    if access.token is not None:
        middleware.append(Middleware(TokenCheck, token=access.token))

    async def refuse(request: Request, error: Exception) -> Response:
        match error:
            case RefusedError():
                return make_response(request.scope, error)
            case HTTPException(status_code=404):
                return make_response(
                    request.scope, RefusedError(404, "there is nothing at this path")
                )
            case HTTPException(status_code=status, detail=detail):
                return make_response(request.scope, RefusedError(status, detail))
        log(f"error: {type(error).__name__}: {error}")
        return make_response(
            request.scope, RefusedError(500, "the server failed; its output tells why")
        )

    handlers = {RefusedError: refuse, HTTPException: refuse, Exception: refuse}
    return Starlette(routes=api.make_routes(), middleware=middleware, exception_handlers=handlers)


class _Api:
    """Endpoints."""

    def __init__(self, model: ServedModel, queue: JobQueue) -> None:
        self._model, self._queue = model, queue
        self._served = model.describe()
        self._name = self._served.name
        self._tokenizing = asyncio.Lock()  # one at a time: the model's thread needs a core too

    def make_routes(self) -> list[Route]:
        """All paths."""
        get: dict[str, Endpoint] = {
            "/": _hello,
            "/health": _tell_health,
            "/v1/health": _tell_health,
            "/v1/models": self.list_models,
            "/models": self.list_models,
            "/v1/models/{name:path}": self.show_model,
            "/props": self.tell_props,
            "/api/version": _tell_version,
            "/api/tags": self.list_tags,
            "/api/ps": self.list_running,
        }
        post: dict[str, Endpoint] = {
            "/v1/chat/completions": self.chat,
            "/chat/completions": self.chat,
            "/v1/completions": self.complete,
            "/completion": self.complete_as_llamacpp,
            "/completions": self.complete_as_llamacpp,
            "/tokenize": self.tokenize,
            "/detokenize": self.detokenize,
            "/v1/audio/transcriptions": self.transcribe,
            "/audio/transcriptions": self.transcribe,
            "/api/chat": self.chat_as_ollama,
            "/api/generate": self.generate,
            "/api/show": self.show_as_ollama,
            **dict.fromkeys(_NO_EMBEDDINGS, _refuse_embeddings),
        }
        routes = [Route(path, endpoint, methods=["GET"]) for path, endpoint in get.items()]
        return routes + [Route(path, endpoint, methods=["POST"]) for path, endpoint in post.items()]

    async def list_models(self, _request: Request) -> Response:
        """The one model there is."""
        return JSONResponse({"object": "list", "data": [self._describe()]})

    async def show_model(self, request: Request) -> Response:
        """The model, by its name."""
        name = request.path_params["name"]
        if name != self._name:
            raise RefusedError(404, f"there is no model {name!r}", "model", "model_not_found")
        return JSONResponse(self._describe())

    async def chat(self, request: Request) -> AnswerResponse:
        """OpenAI's chat completions."""
        body = await read_body(request)
        return self._answer(body, parse_chat(body), ChatWording(self._name, wants_usage(body)))

    async def complete(self, request: Request) -> AnswerResponse:
        """OpenAI's completions."""
        body = await read_body(request)
        return self._answer(body, parse_text(body), TextWording(self._name, wants_usage(body)))

    async def complete_as_llamacpp(self, request: Request) -> AnswerResponse:
        """A text that goes on, by llama.cpp's interface."""
        body = await read_body(request)
        wording = llamacpp.CompletionWording(self._name)
        return self._answer(body, llamacpp.parse_completion(body), wording)

    async def tokenize(self, request: Request) -> Response:
        """Tokens of a text, by llama.cpp's interface; nothing is waited for but others of these."""
        body = await read_body(request)
        async with self._tokenizing:
            return JSONResponse(await asyncio.to_thread(tokenize, self._model.tokenizer, body))

    async def detokenize(self, request: Request) -> Response:
        """The text of tokens, by llama.cpp's interface."""
        body = await read_body(request)
        async with self._tokenizing:
            return JSONResponse(await asyncio.to_thread(detokenize, self._model.tokenizer, body))

    async def transcribe(self, request: Request) -> TranscriptResponse:
        """OpenAI's transcriptions."""
        content = await read_content(request)
        if not self._served.hears:
            message = f"{self._name} has no audio encoder; g3n serve --mmproj FILE gives it one"
            raise RefusedError(400, message, "model", "unsupported_model")
        form = parse_form(request.headers.get("content-type", ""), content)
        return TranscriptResponse(self._queue, *parse_speech(form))

    async def tell_props(self, _request: Request) -> Response:
        """What llama.cpp's server tells of itself."""
        return JSONResponse(llamacpp.describe_props(self._served, self._model.cache_use))

    async def chat_as_ollama(self, request: Request) -> Response | AnswerResponse:
        """A chat, by ollama's interface."""
        body = await read_body(request)
        wording = ollama.LineWording(self._name, is_chat=True)
        if (asked := ollama.parse_chat(body)) is None:
            return JSONResponse(wording.loaded())
        return self._answer(body, asked, wording, streams=True)

    async def generate(self, request: Request) -> Response | AnswerResponse:
        """A single answer, by ollama's interface."""
        body = await read_body(request)
        wording = ollama.LineWording(self._name, is_chat=False)
        if (asked := ollama.parse_generate(body)) is None:
            return JSONResponse(wording.loaded())
        return self._answer(body, asked, wording, streams=True)

    async def show_as_ollama(self, request: Request) -> Response:
        """What ollama tells of a model."""
        body = await read_body(request)
        name = read_text(body, "model") or read_text(body, "name")
        if name not in (self._name, f"{self._name}:latest"):
            raise RefusedError(404, f"model '{name}' not found")
        return JSONResponse(ollama.show_model(self._served))

    async def list_tags(self, _request: Request) -> Response:
        """The list of models, by ollama's interface."""
        return JSONResponse({"models": [ollama.describe_model(self._served)]})

    async def list_running(self, _request: Request) -> Response:
        """What is in memory, by ollama's interface."""
        return JSONResponse({"models": [ollama.describe_running(self._served)]})

    def _answer(
        self, body: Json, asked: Asked, wording: Wording, *, streams: bool = False
    ) -> AnswerResponse:
        """The answer to a request that may say whether it is streamed."""
        is_stream = read_flag(body, "stream", default=streams)
        return AnswerResponse(self._queue, asked, wording, is_stream=is_stream)

    def _describe(self) -> Json:
        served = self._served
        return {
            "id": served.name,
            "object": "model",
            "created": int(served.modified),
            "owned_by": "g3n",
            "meta": {
                key: value
                for key, value in asdict(served).items()
                if key in ("architecture", "size", "n_ctx", "n_ctx_train", "n_bytes")
            },
        }


async def read_body(request: Request) -> Json:
    """The JSON object that a request brings.

    Raises:
        RefusedError: it is none, too large, or too slow.
    """
    return parse_body(await read_content(request))


async def read_content(request: Request) -> bytes:
    """The bytes that a request brings.

    Raises:
        RefusedError: they are too many, or too slow.
    """
    blocks: list[bytes] = []
    n_bytes = 0
    try:
        async with asyncio.timeout(PATIENCE_S):
            async for block in request.stream():
                n_bytes += len(block)
                if n_bytes > MOST_BODY_BYTES:
                    raise RefusedError(413, f"the request has more than {MOST_BODY_BYTES:,} bytes")
                blocks.append(block)
    except TimeoutError:
        raise RefusedError(408, f"the request took more than {PATIENCE_S:g} s to arrive") from None
    return b"".join(blocks)


async def _hello(_request: Request) -> Response:
    return PlainTextResponse("g3n is running")


async def _tell_health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _tell_version(_request: Request) -> Response:
    return JSONResponse({"version": __version__})


async def _refuse_embeddings(_request: Request) -> Response:
    raise RefusedError(501, "this server makes answers, not embeddings", code="not_supported")
