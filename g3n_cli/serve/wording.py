"""How answers are worded for clients: each interface has its own way, whole or piece by piece."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Protocol

from g3n_cli.engine.stats import GenerationStats, StopReason
from g3n_cli.serve.refusal import Json, RefusedError

SSE = "text/event-stream"

_REASONS: dict[StopReason, str] = {"length": "length", "context": "length"}


class Wording(Protocol):
    """The words of one answer."""

    @property
    def media_type(self) -> str:
        """Of a stream."""
        ...

    def first(self) -> list[Json]:
        """What a stream begins with."""
        ...

    def piece(self, text: str) -> Json:
        """A piece of the answer in a stream."""
        ...

    def last(self, stats: GenerationStats) -> list[Json]:
        """What a stream ends with."""
        ...

    def whole(self, text: str, stats: GenerationStats) -> Json:
        """The answer where it is not streamed."""
        ...

    def fail(self, refusal: RefusedError) -> Json:
        """What a stream that breaks off ends with."""
        ...

    def frame(self, part: Json | None) -> bytes:
        """A part of a stream as bytes; None for its end."""
        ...


def frame_event(part: Json) -> bytes:
    """A server-sent event. Source: the event stream format of the HTML standard."""
    return b"data: " + json.dumps(part, ensure_ascii=False).encode(errors="replace") + b"\n\n"


def name_reason(stats: GenerationStats) -> str:
    """Why an answer ended, by OpenAI's names."""
    return _REASONS.get(stats.stop_reason, "stop")


def count_usage(stats: GenerationStats) -> Json:
    """Tokens, by OpenAI's names."""
    prompt, output = stats.prompt_tokens or 0, stats.output_tokens or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": stats.reused_tokens or 0},
    }


@dataclass(frozen=True)
class _OpenAI:
    """What both of OpenAI's interfaces share.

    Attributes:
        model: Who answers.
        has_usage: A stream ends with the number of tokens.
    """

    model: str
    has_usage: bool = False
    created: int = field(default_factory=lambda: int(time.time()))
    number: str = field(default_factory=lambda: secrets.token_hex(12))
    media_type: str = SSE

    def fail(self, refusal: RefusedError) -> Json:
        """What a stream that breaks off ends with."""
        return refusal.show()

    def frame(self, part: Json | None) -> bytes:
        """A part of a stream as bytes; None for its end."""
        return b"data: [DONE]\n\n" if part is None else frame_event(part)

    def _wrap(self, prefix: str, kind: str, choice: Json | None) -> Json:
        return {
            "id": f"{prefix}-{self.number}",
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": [] if choice is None else [{"index": 0, "logprobs": None, **choice}],
        }

    def _end(self, last: Json, usage: Json, stats: GenerationStats) -> list[Json]:
        return [last, {**usage, "usage": count_usage(stats)}] if self.has_usage else [last]


@dataclass(frozen=True)
class ChatWording(_OpenAI):
    """Source: OpenAI's API reference, "The chat completion (chunk) object"."""

    def first(self) -> list[Json]:
        """What a stream begins with."""
        return [self._chunk({"role": "assistant", "content": ""})]

    def piece(self, text: str) -> Json:
        """A piece of the answer in a stream."""
        return self._chunk({"content": text})

    def last(self, stats: GenerationStats) -> list[Json]:
        """What a stream ends with."""
        usage = self._wrap("chatcmpl", "chat.completion.chunk", None)
        return self._end(self._chunk({}, name_reason(stats)), usage, stats)

    def whole(self, text: str, stats: GenerationStats) -> Json:
        """The answer where it is not streamed."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {"message": message, "finish_reason": name_reason(stats)}
        usage = {"usage": count_usage(stats)}
        return self._wrap("chatcmpl", "chat.completion", choice) | usage

    def _chunk(self, delta: Json, reason: str | None = None) -> Json:
        choice = {"delta": delta, "finish_reason": reason}
        return self._wrap("chatcmpl", "chat.completion.chunk", choice)


@dataclass(frozen=True)
class TextWording(_OpenAI):
    """Source: OpenAI's API reference, "The completion object"."""

    def first(self) -> list[Json]:
        """What a stream begins with."""
        return []

    def piece(self, text: str) -> Json:
        """A piece of the answer in a stream."""
        return self._choose(text, None)

    def last(self, stats: GenerationStats) -> list[Json]:
        """What a stream ends with."""
        usage = self._wrap("cmpl", "text_completion", None)
        return self._end(self._choose("", name_reason(stats)), usage, stats)

    def whole(self, text: str, stats: GenerationStats) -> Json:
        """The answer where it is not streamed."""
        return self._choose(text, name_reason(stats)) | {"usage": count_usage(stats)}

    def _choose(self, text: str, reason: str | None) -> Json:
        return self._wrap("cmpl", "text_completion", {"text": text, "finish_reason": reason})
