"""An answer as it comes from a server."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from g3n_cli.engine.server import (
    CHECK_ADDRESS,
    Server,
    ServerResponse,
    is_context_full,
    parse_json,
)
from g3n_cli.engine.stats import GenerationStats, StopReason
from g3n_cli.errors import ContextFullError, ServerError

_DONE = b"[DONE]"
_STREAM = "text/event-stream"


class ServerGeneration(Iterator[str]):
    """Iterator over the pieces of an answer, each one valid text and none empty.

    Nothing is sent before the first piece is asked for. Close it if it is left before its end.

    Args:
        server: Whom to ask.
        request: Body of the request, without what makes it a stream.

    Attributes:
        ids: None: a server sends text.
        text: What has been handed out so far.
    """

    def __init__(self, server: Server, request: dict[str, Any]) -> None:
        self.ids: tuple[int, ...] = ()
        self.text = ""
        self._server = server
        self._request = request
        self._response: ServerResponse | None = None
        self._usage: dict[str, Any] = {}
        self._is_complete = False
        self._stop_reason: StopReason = "interrupted"  # until another one is known
        self._started = time.perf_counter()
        self._arrivals: list[float] = []
        self._pieces = self._receive()

    def __next__(self) -> str:
        piece = next(self._pieces)
        self.text += piece
        return piece

    def close(self) -> None:
        """Hang up. Closing twice is harmless."""
        if self._response is not None:
            self._response.close()

    @property
    def stats(self) -> GenerationStats:
        """Figures so far."""
        arrivals, n = self._arrivals, self._count("completion_tokens")
        lasted = arrivals[-1] - arrivals[0] if arrivals else 0
        details = self._usage.get("prompt_tokens_details")
        reused = details.get("cached_tokens") if isinstance(details, dict) else None
        return GenerationStats(
            prompt_tokens=self._count("prompt_tokens"),
            reused_tokens=reused if isinstance(reused, int) else None,
            output_tokens=n,
            ttft_s=arrivals[0] - self._started if arrivals else None,
            prefill_tps=None,
            decode_tps=(n - 1) / lasted if n is not None and n > 1 and lasted else None,
            stop_reason=self._stop_reason,
            gaps_s=tuple(b - a for a, b in pairwise(arrivals)),
        )

    def _count(self, name: str) -> int | None:
        count = self._usage.get(name)
        return count if isinstance(count, int) else None

    def _receive(self) -> Iterator[str]:
        try:
            yield from self._read()
        except ServerError:
            self._stop_reason = "dropped"
            raise
        finally:
            self.close()

    def _read(self) -> Iterator[str]:
        request = {**self._request, "stream": True, "stream_options": {"include_usage": True}}
        self._response = self._server.open_chat(request)
        # JSON may write half of a character's surrogate pair in one event, half in the next.
        decoder = codecs.getincrementaldecoder("utf-16-le")(errors="replace")
        for event in self._response.read_events():
            if event == _DONE:
                self._is_complete = True
                break
            text = self._take(event)
            if piece := decoder.decode(text.encode("utf-16-le", "surrogatepass")):
                self._arrivals.append(time.perf_counter())
                yield piece
        if not self._is_complete:
            raise self._explain_end(self._response.content_type)
        if piece := decoder.decode(b"", final=True):
            yield piece
        if self._stop_reason == "interrupted":
            self._stop_reason = "end"

    def _explain_end(self, content_type: str) -> ServerError:
        """Why a stream ended before the answer did.

        A stream without a word is what llama-cpp-python's server makes of a prompt beyond its
        context, for example; asked for one token, not as a stream, it tells.

        Raises:
            ServerError: it refuses that, too, and says why.
        """
        address = self._server.address
        if self._arrivals:
            return ServerError(f"{address} broke off in the middle of the answer")
        if content_type != _STREAM:
            return ServerError(f"{address} sends {content_type}, no {_STREAM}", CHECK_ADDRESS)
        self._server.ask_chat({**self._request, "max_tokens": 1})
        return ServerError(f"{address} ended without an answer")

    def _take(self, event: bytes) -> str:
        """The text of an event; takes note of what else it tells.

        Raises:
            ServerError: it tells of a failure, or is not JSON.
        """
        parsed = parse_json(event)
        address = self._server.address
        match parsed:
            case {"error": {"message": str(why)}} | {"error": str(why)}:
                kind = ContextFullError if is_context_full(parsed) else ServerError
                raise kind(f"{address} gave up: {self._server.show(why)}")
            case {"usage": dict(usage)}:
                self._usage = usage
        match parsed:
            case {"choices": [{"finish_reason": str(reason)}, *_]}:
                self._is_complete = True
                self._stop_reason = self._name_reason(reason)
        match parsed:
            case {"choices": [{"delta": {"content": str(text)}}, *_]}:
                return text
            case {"choices": _} | {"usage": _}:
                return ""
        raise ServerError(f"{address} sends something that is no part of an answer")

    def _name_reason(self, reason: str) -> StopReason:
        if reason != "length":
            return "end"  # also for a stop text: servers don't tell them apart
        return "length" if "max_tokens" in self._request else "context"
