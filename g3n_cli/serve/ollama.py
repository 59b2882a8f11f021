"""The interface of ollama's server, as far as front ends need it to talk.

Source: docs/api.md of ollama.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from g3n_cli.engine.stats import GenerationStats
from g3n_cli.serve.fields import (
    read_object,
    read_objects,
    read_text,
    read_whole,
    refuse,
    refuse_given,
)
from g3n_cli.serve.model import Served
from g3n_cli.serve.refusal import Json, RefusedError
from g3n_cli.serve.requests import (
    ChatRequest,
    Request,
    TextRequest,
    parse_rules,
    read_conversation,
)
from g3n_cli.serve.wording import name_reason

_NS = 10**9
_OPTIONS = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty", "seed", "stop")


def parse_chat(body: Json) -> ChatRequest | None:
    """A request for the next answer of a conversation; None where only the model is wanted.

    Raises:
        RefusedError: it makes no sense, or asks for what cannot be done.
    """
    refuse_given(body, ("tools",))
    messages = [_translate(message) for message in read_objects(body, "messages")]
    rules = parse_rules(_read_options(body))
    return read_conversation(messages, rules) if messages else None


def parse_generate(body: Json) -> Request | None:
    """A request for one answer; None where only the model is wanted.

    Raises:
        RefusedError: it makes no sense, or asks for what cannot be done.
    """
    refuse_given(body, ("suffix", "context", "template"))
    rules, prompt = parse_rules(_read_options(body)), read_text(body, "prompt")
    if not prompt:
        return None
    if body.get("raw") is True:
        return TextRequest(prompt, rules)
    question = _translate({"role": "user", "content": prompt, "images": body.get("images")})
    system = {"role": "system", "content": read_text(body, "system")}
    return read_conversation([system, question], rules)


def describe_model(served: Served) -> Json:
    """The model in a list of models."""
    return {
        "name": served.name,
        "model": served.name,
        "modified_at": _format_time(served.modified),
        "size": served.n_bytes,
        "digest": "",
        "details": _describe_details(served),
    }


def describe_running(served: Served) -> Json:
    """The model in a list of what runs; it stays as long as the server does."""
    return {
        **describe_model(served),
        "expires_at": "9999-12-31T00:00:00Z",
        "size_vram": 0,
        "context_length": served.n_ctx,
    }


def show_model(served: Served) -> Json:
    """What ``/api/show`` tells."""
    architecture = served.architecture
    sees = ["vision"] if served.sees else []
    return {
        "modelfile": "",
        "parameters": "",
        "template": served.chat_template or "",
        "details": _describe_details(served),
        "model_info": {
            "general.architecture": architecture,
            f"{architecture}.context_length": served.n_ctx,
        },
        "capabilities": ["completion", *sees],
        "modified_at": _format_time(served.modified),
    }


@dataclass(frozen=True)
class LineWording:
    """An answer as lines of JSON.

    Attributes:
        model: Who answers.
        is_chat: ``/api/chat`` answers messages, ``/api/generate`` text.
        started: ``time.perf_counter`` when the request came.
    """

    model: str
    is_chat: bool
    started: float = field(default_factory=time.perf_counter)
    media_type: str = "application/x-ndjson"

    def first(self) -> list[Json]:
        """What a stream begins with."""
        return []

    def piece(self, text: str) -> Json:
        """A piece of the answer in a stream."""
        return {**self._say(text), "done": False}

    def last(self, stats: GenerationStats) -> list[Json]:
        """What a stream ends with."""
        return [self.whole("", stats)]

    def whole(self, text: str, stats: GenerationStats) -> Json:
        """The answer where it is not streamed; durations are nanoseconds."""
        n, rate = stats.output_tokens or 0, stats.decode_tps
        return {
            **self._say(text),
            "done": True,
            "done_reason": name_reason(stats),
            "total_duration": int(_NS * (time.perf_counter() - self.started)),
            "load_duration": 0,
            "prompt_eval_count": stats.prompt_tokens or 0,
            "prompt_eval_duration": int(_NS * (stats.prefill_s or 0)),
            "eval_count": n,
            "eval_duration": int(_NS * (n - 1) / rate) if rate else 0,
        }

    def loaded(self) -> Json:
        """The answer to a request that only wants the model."""
        return {**self._say(""), "done": True, "done_reason": "load"}

    def fail(self, refusal: RefusedError) -> Json:
        """What a stream that breaks off ends with."""
        return show_error(refusal)

    def frame(self, part: Json | None) -> bytes:
        """A part of a stream as bytes; nothing marks its end."""
        if part is None:
            return b""
        return json.dumps(part, ensure_ascii=False).encode(errors="replace") + b"\n"

    def _say(self, text: str) -> Json:
        said = {"message": {"role": "assistant", "content": text}}
        return {
            "model": self.model,
            "created_at": _format_time(time.time()),
            **(said if self.is_chat else {"response": text}),
        }


def show_error(refusal: RefusedError) -> Json:
    """A refusal, as ollama words them."""
    return {"error": refusal.message}


def _translate(message: Json) -> Json:
    """A message with OpenAI's parts where ollama has a list of pictures."""
    refuse_given(message, ("tool_calls",))
    images = message.get("images") or []
    if not isinstance(images, list) or not all(isinstance(image, str) for image in images):
        refuse("images", "must be a list of base64 texts")
    parts: list[Json] = [
        {"type": "image_url", "image_url": f"data:;base64,{image}"} for image in images
    ]
    text = read_text(message, "content")
    return {
        "role": message.get("role"),
        "content": [*parts, {"type": "text", "text": text}] if parts else text,
    }


def _read_options(body: Json) -> Json:
    """Options by OpenAI's names."""
    options = read_object(body, "options")
    rules: Json = {name: options.get(name) for name in _OPTIONS}
    rules["max_tokens"] = read_whole(options, "num_predict", -(2**31))
    wanted = body.get("format")
    if isinstance(wanted, dict):
        rules["response_format"] = {"type": "json_schema", "json_schema": {"schema": wanted}}
    elif wanted == "json":
        rules["response_format"] = {"type": "json_object"}
    elif wanted not in (None, ""):
        refuse("format", 'must be "json" or a JSON Schema')
    return rules


def _describe_details(served: Served) -> Json:
    return {
        "parent_model": "",
        "format": "gguf",
        "family": served.architecture,
        "families": [served.architecture],
        "parameter_size": "",
        "quantization_level": "",
    }


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
