"""The interface of llama.cpp's server, as far as front ends need it to talk.

Source: README.md of llama.cpp's tools/server.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from g3n_cli.engine.stats import GenerationStats, StopReason
from g3n_cli.serve.fields import read_object, read_whole, refuse_given
from g3n_cli.serve.kept import CacheUse
from g3n_cli.serve.model import Served
from g3n_cli.serve.refusal import Json, RefusedError
from g3n_cli.serve.requests import TextRequest, parse_text
from g3n_cli.serve.wording import SSE, frame_event

_STOP_TYPES: dict[StopReason, str] = {
    "end": "eos",
    "stop": "word",
    "length": "limit",
    "context": "limit",
}


def parse_completion(body: Json) -> TextRequest:
    """A request to go on with a text.

    Raises:
        RefusedError: it makes no sense, or asks for what cannot be done.
    """
    refuse_given(body, ("image_data", "n_probs"))
    if schema := read_object(body, "json_schema"):
        wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
        body = {**body, "response_format": wanted}
    if (n_predict := read_whole(body, "n_predict", -(2**31))) is not None:
        body = {**body, "max_tokens": n_predict}
    return parse_text(body)


def describe_props(served: Served, cache: CacheUse) -> Json:
    """What ``/props`` tells; llama.cpp has no ``cache`` there."""
    return {
        "default_generation_settings": {"n_ctx": served.n_ctx, "params": served.defaults},
        "total_slots": 1,
        "model_alias": served.name,
        "model_path": served.path.name,
        "modalities": {"vision": served.sees, "audio": served.hears},
        "chat_template": served.chat_template or "",
        "build_info": served.version,
        "cache": asdict(cache),
    }


@dataclass(frozen=True)
class CompletionWording:
    """An answer of ``/completion``.

    Attributes:
        model: Who answers.
    """

    model: str
    media_type: str = SSE

    def first(self) -> list[Json]:
        """What a stream begins with."""
        return []

    def piece(self, text: str) -> Json:
        """A piece of the answer in a stream."""
        return {"index": 0, "content": text, "stop": False}

    def last(self, stats: GenerationStats) -> list[Json]:
        """What a stream ends with."""
        return [self.whole("", stats)]

    def whole(self, text: str, stats: GenerationStats) -> Json:
        """The answer where it is not streamed."""
        prompt, reused = stats.prompt_tokens or 0, stats.reused_tokens or 0
        output = stats.output_tokens or 0
        return {
            "index": 0,
            "content": text,
            "id_slot": 0,
            "stop": True,
            "model": self.model,
            "tokens_predicted": output,
            "tokens_evaluated": prompt,
            "tokens_cached": prompt + output,
            "truncated": False,
            "stop_type": _STOP_TYPES.get(stats.stop_reason, "none"),
            "stopping_word": "",
            "timings": {
                "cache_n": reused,
                "prompt_n": prompt - reused,
                "prompt_ms": 1000 * (stats.prefill_s or 0),
                "prompt_per_second": stats.prefill_tps,
                "predicted_n": output,
                "predicted_per_second": stats.decode_tps,
                "draft_n": stats.draft_tokens,
                "draft_n_accepted": stats.draft_accepted,
            },
        }

    def fail(self, refusal: RefusedError) -> Json:
        """What a stream that breaks off ends with."""
        return refusal.show()

    def frame(self, part: Json | None) -> bytes:
        """A part of a stream as bytes; nothing marks its end."""
        return b"" if part is None else frame_event(part)
