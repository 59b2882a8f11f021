"""Segments of speech as text, subtitles or data."""

from __future__ import annotations

import json
from typing import Literal

from g3n_cli.chat.cues import HEADERS, format_cue
from g3n_cli.chat.transcribe import Segment
from g3n_cli.media.parts import format_time
from g3n_cli.ui.text import escape_json, make_visible

SubtitleFormat = Literal["txt", "srt", "vtt", "json"]


def format_header(kind: SubtitleFormat) -> str:
    """What a file begins with."""
    return HEADERS[kind] if kind in ("srt", "vtt") else ""


def format_title(name: str, kind: SubtitleFormat, *, is_first: bool) -> str:
    """What stands between the texts of several files; ``json`` has the name in each object."""
    if kind != "txt":
        return ""
    gap = "" if is_first else "\n"
    return f"{gap}{make_visible(name)}:\n"


def format_segment(
    segment: Segment, kind: SubtitleFormat, number: int, name: str, *, has_times: bool
) -> str:
    """One segment, with its line ends.

    Args:
        segment: What was said.
        kind: The format; of ``json`` an object on a line.
        number: Of the segment, from 1 on.
        name: The file it is from.
        has_times: Times in ``txt``; the other formats always have them.
    """
    if kind == "json":
        cue = {
            "file": name,
            "start_s": round(segment.start_s, 3),
            "end_s": round(segment.end_s, 3),
            "text": segment.text,
        }
        return escape_json(json.dumps(cue, ensure_ascii=False)) + "\n"
    text = make_visible(segment.text)
    if kind == "txt":
        times = f"[{format_time(segment.start_s)} - {format_time(segment.end_s)}] "
        return f"{times if has_times else ''}{text}\n"
    return format_cue(kind, number, segment.start_s, segment.end_s, text)
