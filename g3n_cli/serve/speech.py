"""What is said in a file, by OpenAI's interface.

Source: OpenAI's API reference, "Create transcription". Figures of a segment that this program does
not have, such as ``avg_logprob``, are left out.
"""

from __future__ import annotations

import asyncio
import math
import re
from typing import Literal, get_args

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from g3n_cli.chat.cues import HEADERS, format_cue
from g3n_cli.chat.transcribe import Segment
from g3n_cli.serve.fields import read_number, refuse, refuse_given
from g3n_cli.serve.queue import Event, JobQueue
from g3n_cli.serve.refusal import Json
from g3n_cli.serve.requests import SpeechRequest
from g3n_cli.serve.stream import NOTE, answer_in_turn, expect, never

TranscriptFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]

_UNSUPPORTED = ("prompt", "include[]", "stream")
_LANGUAGE = re.compile(r"[^\W\d_]{1,20}(?:[ -][^\W\d_]{1,20}){0,3}")
_FORMATS: dict[str, TranscriptFormat] = {name: name for name in get_args(TranscriptFormat)}


def parse_speech(form: dict[str, list[bytes]]) -> tuple[SpeechRequest, TranscriptFormat]:
    """What is asked, and how the answer is written.

    Raises:
        RefusedError: it makes no sense, or asks for what cannot be done.
    """
    file = form.pop("file", [b""])[0]
    if not file:
        refuse("file", "is missing or empty")
    fields = {name: values[0].decode(errors="replace").strip() for name, values in form.items()}
    if fields.get("stream", "").lower() in ("false", "0"):
        del fields["stream"]
    refuse_given(fields, _UNSUPPORTED)
    if any(value.strip() != b"segment" for value in form.get("timestamp_granularities[]", [])):
        refuse("timestamp_granularities[]", "can only be segment")
    if (kind := _FORMATS.get(fields.get("response_format") or "json")) is None:
        refuse("response_format", f"must be one of {', '.join(_FORMATS)}")
    language = fields.get("language", "")
    if language and not _LANGUAGE.fullmatch(language):
        refuse("language", "must be a code such as de, or a name")
    return SpeechRequest(file, language or None, _read_temperature(fields)), kind


def write_transcript(
    segments: list[Segment], kind: TranscriptFormat, language: str | None
) -> Response:
    """The answer."""
    text = " ".join(segment.text for segment in segments if segment.text)
    if kind == "text":
        return PlainTextResponse(text + "\n")
    if kind in ("srt", "vtt"):
        cues = (
            format_cue(kind, number, segment.start_s, segment.end_s, segment.text)
            for number, segment in enumerate(segments, 1)
        )
        return PlainTextResponse(HEADERS[kind] + "".join(cues))
    end_s = segments[-1].end_s
    told: Json = {"text": text, "usage": {"type": "duration", "seconds": math.ceil(end_s)}}
    if kind == "verbose_json":
        told |= {
            "task": "transcribe",
            "language": language or "unknown",
            "duration": round(end_s, 3),
            "segments": [
                {
                    "id": i,
                    "start": round(segment.start_s, 3),
                    "end": round(segment.end_s, 3),
                    "text": segment.text,
                }
                for i, segment in enumerate(segments)
            ],
        }
    return JSONResponse(told)


class TranscriptResponse:
    """An ASGI response that waits in the queue, and is sent as a whole.

    Args:
        queue: Where the request is computed.
        request: What is asked.
        kind: How the answer is written.
    """

    def __init__(self, queue: JobQueue, request: SpeechRequest, kind: TranscriptFormat) -> None:
        self._queue, self._request, self._kind = queue, request, kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, unless the client hangs up.

        Raises:
            RefusedError: there is no answer, and nothing was sent.
        """

        async def answer(events: asyncio.Queue[Event]) -> None:
            segments: list[Segment] = []
            while isinstance(event := await expect(events), Segment):
                segments.append(event)
            scope[NOTE] = _describe(segments)
            response = write_transcript(segments, self._kind, self._request.language)
            await response(scope, never, send)

        await answer_in_turn(self._queue, self._request, answer, scope, receive)


def _read_temperature(fields: dict[str, str]) -> float:
    if not (text := fields.get("temperature")):
        return 0.0
    try:
        value = float(text)
    except ValueError:
        refuse("temperature", "must be a number")
    return read_number({"temperature": value}, "temperature", 0, 100) or 0.0


def _describe(segments: list[Segment]) -> str:
    n_cut = sum(not segment.is_complete for segment in segments)
    cut = f", {n_cut} of them cut off" if n_cut else ""
    return f"{segments[-1].end_s:.1f} s of sound in {len(segments)} pieces{cut}"
