"""What a file becomes: parts of a message, in order."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from g3n_cli.media.options import MediaOptions

if TYPE_CHECKING:  # a conversation with a server starts without it
    import numpy.typing as npt

MediumKind = Literal["image", "audio"]


@dataclass(frozen=True)
class TextPart:
    """Text."""

    text: str


@dataclass(frozen=True, eq=False)
class MediumPart:
    """A picture or a piece of sound.

    Attributes:
        kind: Which encoder reads it.
        values: [height, width, 3] uint8 RGB, or [n] float32 mono samples.
        label: What it is called while a person waits for it.
    """

    kind: MediumKind
    values: npt.NDArray[Any]
    label: str

    @cached_property
    def content_hash(self) -> str:
        """Equal for equal values of one kind."""
        values = self.values
        digest = hashlib.sha256(f"{self.kind} {values.shape} {values.dtype}".encode())
        digest.update(values.tobytes())
        return digest.hexdigest()


Part: TypeAlias = TextPart | MediumPart


@dataclass(frozen=True)
class FileReference:
    """A file, and how to know it again.

    Attributes:
        path: Where it is, from the root.
        kind: What it was found to be.
        sha256: Of its bytes.
        n_bytes: How many they are.
        options: What of it was wanted.
    """

    path: str
    kind: str
    sha256: str
    n_bytes: int
    options: MediaOptions


@dataclass(frozen=True, eq=False)
class Attachment:
    """A file that goes with a message.

    Attributes:
        name: As the person named it.
        description: What it holds, in a few words.
        parts: Its content.
        read_s: Seconds that reading, decoding, resizing and resampling took.
        reference: To read it again later; None for what came through a pipe.
    """

    name: str
    description: str
    parts: tuple[Part, ...]
    read_s: float = 0.0
    reference: FileReference | None = None

    @property
    def media(self) -> list[MediumPart]:
        """Its pictures and sounds."""
        return [part for part in self.parts if isinstance(part, MediumPart)]


def format_time(seconds: float) -> str:
    """``1:05``, or ``1:02:03`` from an hour on."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def parse_time(text: str) -> float:
    """Seconds of ``65``, ``1:05`` or ``1:02:03.5``.

    Raises:
        ValueError: it is none of these.
    """
    *larger, seconds = text.split(":")
    whole = [int(part) for part in larger]
    rest = float(seconds)
    if len(whole) > 2 or (whole and not 0 <= rest < 60) or any(part < 0 for part in whole):
        raise ValueError(f"{text!r} is no time")
    return sum(part * 60.0**i for i, part in enumerate(reversed(whole), 1)) + rest


def format_duration(seconds: float) -> str:
    """``4.2 s``, or as ``format_time`` from a minute on."""
    return f"{seconds:.1f} s" if seconds < 60 else format_time(seconds)
