"""Cues of subtitles. Source: SubRip's files as players read them; WebVTT of the W3C."""

from __future__ import annotations

from typing import Literal

CueFormat = Literal["srt", "vtt"]

HEADERS: dict[CueFormat, str] = {"srt": "", "vtt": "WEBVTT\n\n"}
"""What a file begins with."""

_MARKS: dict[CueFormat, str] = {"srt": ",", "vtt": "."}


def format_cue(kind: CueFormat, number: int, start_s: float, end_s: float, text: str) -> str:
    """A cue and the blank line after it.

    Args:
        kind: The format.
        number: Of the cue, from 1 on.
        start_s: Where it begins.
        end_s: Where it ends.
        text: What was said; lines without text, which would end the cue, are left out.
    """
    start, end = (_format_exact(at_s, _MARKS[kind]) for at_s in (start_s, end_s))
    lines = "\n".join(line for line in text.splitlines() if line.strip())
    return f"{number}\n{start} --> {end}\n{lines.replace('-->', '->')}\n\n"


def _format_exact(seconds: float, mark: str) -> str:
    """``00:01:02,345``."""
    ms = round(seconds * 1000)
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02}{mark}{ms % 1000:03}"
