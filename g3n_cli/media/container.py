"""Opening containers of sound and video with PyAV."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
import av.container

from g3n_cli.errors import InputError
from g3n_cli.media.source import Source

_LISTS = {"hls", "dash", "concat", "applehttp", "sdp", "rtsp"}
"""Formats that only name other files or addresses."""

_OPEN_ENDED = (0xFFFFFFFF, *range(0x7FFFF000, 0x80000001))
"""Lengths that a program writes into a WAV whose end it does not know yet."""

DURATION_SLACK_S = 1.0
_DURATION_SLACK = 0.05
_DECLARES_DURATION = ("mov,mp4", "matroska,webm", "flac", "wav", "avi")


@contextmanager
def open_container(source: Source) -> Iterator[Any]:
    """The container; whatever PyAV raises becomes an InputError.

    Nothing but the file itself is opened: no other file, no address that it may name.

    Raises:
        InputError: it is none, is truncated, or breaks while it is read.
    """
    _check_wav(source)
    stream = source.open()
    try:
        with av.open(stream, options={"protocol_whitelist": "file"}, metadata_errors="replace") as (
            container
        ):
            if _LISTS & set(container.format.name.split(",")):
                raise InputError(f"{source.name} is a list of other files")
            yield container
    except (av.FFmpegError, ValueError, LookupError, OSError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise InputError(f"cannot read {source.name}: {reason}") from error
    finally:
        stream.close()


def check_duration(source: Source, container: Any, reached_s: float) -> None:  # noqa: ANN401
    """Refuse a file that ends before the time it declares.

    Raises:
        InputError: it does.
    """
    declared = container.duration
    if declared is None or not container.format.name.startswith(_DECLARES_DURATION):
        return
    declared_s = declared / av.time_base
    if reached_s < declared_s * (1 - _DURATION_SLACK) - DURATION_SLACK_S:
        raise InputError(
            f"{source.name} is truncated: it should last {declared_s:.1f} s,"
            f" but ends after {reached_s:.1f} s"
        )


class FaultCounter:
    """Tolerates single broken packets, as players do, but not many.

    Args:
        name: What the file is called.
    """

    MOST_SHARE = 0.02

    def __init__(self, name: str) -> None:
        self._name = name
        self._n_packets = self._n_faults = 0

    def decode(self, packet: Any) -> list[Any]:  # noqa: ANN401
        """Frames of a packet; none of a broken one."""
        self._n_packets += 1
        try:
            return list(packet.decode())
        except av.InvalidDataError:
            self._n_faults += 1
            return []

    def check(self) -> None:
        """Refuse a file of which too much was broken.

        Raises:
            InputError: it was.
        """
        if self._n_faults > max(1, self.MOST_SHARE * self._n_packets):
            raise InputError(
                f"{self._name} is broken: {self._n_faults:,} of {self._n_packets:,} packets"
                " cannot be decoded"
            )


def _check_wav(source: Source) -> None:
    """Refuse a WAV whose sound is longer than the file. Other formats are not looked at."""
    with source.open() as stream:
        if stream.read(12)[:4] != b"RIFF":
            return
        while len(header := stream.read(8)) == 8:
            name, size = struct.unpack("<4sI", header)
            if name == b"data":
                left = source.n_bytes - stream.tell()
                if size > left and size not in _OPEN_ENDED:
                    raise InputError(
                        f"{source.name} is truncated: {size:,} bytes of sound are promised,"
                        f" {left:,} are there"
                    )
                return
            stream.seek(size + size % 2, 1)
