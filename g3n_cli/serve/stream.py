"""An answer on its way to a client: whole, or piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import TypeAlias

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from g3n_cli.chat.transcribe import Segment
from g3n_cli.engine.stats import GenerationStats
from g3n_cli.serve.queue import Event, Job, JobQueue
from g3n_cli.serve.refusal import RefusedError
from g3n_cli.serve.requests import Request
from g3n_cli.serve.wording import Wording

PATIENCE_S = 60.0
"""How long a client may take none of what it is sent."""

Progressing: TypeAlias = str | Segment | GenerationStats
"""An event that is no refusal."""

NOTE = "g3n.note"
"""Key of a scope: what the log says of a request beside its status."""


class AnswerResponse:
    """An ASGI response that waits in the queue, and leaves it when its client does.

    Nothing is sent before the first piece of the answer is there: what fails until then has a
    status of its own.

    Args:
        queue: Where the request is computed.
        request: What is asked.
        wording: How the answer is worded.
        is_stream: Send pieces as they come.
    """

    def __init__(
        self, queue: JobQueue, request: Request, wording: Wording, *, is_stream: bool
    ) -> None:
        self._queue, self._request, self._wording = queue, request, wording
        self._is_stream = is_stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless the client hangs up.

        Raises:
            RefusedError: there is no answer, and nothing was sent.
        """

        async def answer(events: asyncio.Queue[Event]) -> None:
            await self._answer(scope, events, send)

        await answer_in_turn(self._queue, self._request, answer, scope, receive)

    async def _answer(self, scope: Scope, events: asyncio.Queue[Event], send: Send) -> None:
        if not self._is_stream:
            text, stats = await _collect(events)
            scope[NOTE] = _describe(stats)
            await JSONResponse(self._wording.whole(text, stats))(scope, never, send)
            return
        parts = self._word(scope, events, await expect(events))
        headers = [
            (b"content-type", f"{self._wording.media_type}; charset=utf-8".encode()),
            (b"cache-control", b"no-cache"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for part in parts:
            async with asyncio.timeout(PATIENCE_S):
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _word(
        self, scope: Scope, events: asyncio.Queue[Event], event: Progressing
    ) -> AsyncIterator[bytes]:
        """Bytes of the stream, from the first event on."""
        frame, wording = self._wording.frame, self._wording
        for part in wording.first():
            yield frame(part)
        try:
            while isinstance(event, str):
                yield frame(wording.piece(event))
                event = await expect(events)
        except RefusedError as refusal:
            scope[NOTE] = f"broken off: {refusal.message}"
            yield frame(wording.fail(refusal))
            return
        assert isinstance(event, GenerationStats)
        scope[NOTE] = _describe(event)
        for part in wording.last(event):
            yield frame(part)
        yield frame(None)


async def answer_in_turn(
    queue: JobQueue,
    request: Request,
    answer: Callable[[asyncio.Queue[Event]], Coroutine[None, None, None]],
    scope: Scope,
    receive: Receive,
) -> None:
    """Have a request computed, unless its client hangs up before its answer is sent.

    Args:
        queue: Where it is computed.
        request: What is asked.
        answer: Sends what comes of it.
        scope: Gets a note if the client has left.
        receive: Tells when it leaves.

    Raises:
        RefusedError: there is no answer, and nothing was sent.
    """
    loop, events = asyncio.get_running_loop(), asyncio.Queue[Event]()

    def deliver(event: Event) -> None:
        with suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(events.put_nowait, event)

    job = Job(request, deliver)
    queue.put(job)
    answering = asyncio.create_task(answer(events))
    leaving = asyncio.create_task(_wait_until_gone(receive))
    try:
        await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        queue.cancel(job)
        for task in (answering, leaving):
            task.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)
    if answering.cancelled():
        scope[NOTE] = "the client has left"
        return
    try:
        answering.result()
    except TimeoutError:
        scope[NOTE] = f"the client took nothing for {PATIENCE_S:g} s"


async def _collect(events: asyncio.Queue[Event]) -> tuple[str, GenerationStats]:
    pieces: list[str] = []
    while isinstance(event := await expect(events), str):
        pieces.append(event)
    assert isinstance(event, GenerationStats)
    return "".join(pieces), event


async def expect(events: asyncio.Queue[Event]) -> Progressing:
    """The next event.

    Raises:
        RefusedError: it is one.
    """
    event = await events.get()
    if isinstance(event, RefusedError):
        raise event
    return event


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def never() -> dict[str, str]:
    """Stands for the client where nothing more is expected of it."""
    return {"type": "http.disconnect"}


def _describe(stats: GenerationStats) -> str:
    prompt, reused = stats.prompt_tokens or 0, stats.reused_tokens or 0
    return f"{prompt} + {stats.output_tokens or 0} tokens, {reused} of them kept"
