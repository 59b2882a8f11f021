"""Figures of one answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

StopReason = Literal["end", "length", "stop", "context", "interrupted", "dropped"]


@dataclass(frozen=True)
class GenerationStats:
    """Figures of one answer. Times are seconds, rates tokens per second, None without meaning.

    A server counts the tokens of its answers, or does not: then all that depends on them is None.

    Attributes:
        prompt_tokens: Positions of the prompt.
        reused_tokens: Those of them that were computed before.
        disk_tokens: Those of ``reused_tokens`` that were read from disk for this answer.
        output_tokens: Tokens of the answer, without the one that ended it.
        ttft_s: From ``started`` to the choice of the first token, ``encode_s`` included but not
            ``read_s``; of a server's answer, to the arrival of its first text.
        prefill_tps: (prompt_tokens - reused_tokens) / time of the prefill alone.
        decode_tps: (output_tokens - 1) / (choice of the last - choice of the first token); of a
            server's answer, by the arrival of its last and first text.
        stop_reason: What ended the answer; "interrupted" also if nobody asked for the rest,
            "dropped" if a server failed.
        gaps_s: Seconds between the pieces of a server's answer as they arrived.
        prefill_s: Time of the prefill alone.
        encode_s: Encoding of the message's pictures and sounds, as far as it was not done before,
            opening the encoders included.
        read_s: Reading of the message's files: decoding, resizing and resampling included.
        draft_tokens: Tokens that were guessed and checked.
        draft_accepted: Those of them that were right.
    """

    prompt_tokens: int | None
    reused_tokens: int | None
    output_tokens: int | None
    ttft_s: float | None
    prefill_tps: float | None
    decode_tps: float | None
    stop_reason: StopReason
    gaps_s: tuple[float, ...] = ()
    prefill_s: float | None = None
    encode_s: float | None = None
    read_s: float | None = None
    disk_tokens: int | None = None
    draft_tokens: int | None = None
    draft_accepted: int | None = None
