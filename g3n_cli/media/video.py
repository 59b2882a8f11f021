"""Video as pictures and sound, in the order of time.

Gemma 3n knows no video. Source: Google's "Video analysis with Gemma" takes one frame per second
and the sound track; the times between them are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from g3n_cli.errors import InputError
from g3n_cli.media.audio import read_audio, read_clips
from g3n_cli.media.container import FaultCounter, check_duration, open_container
from g3n_cli.media.image import Pixels, check_pixels, flatten, squash
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import (
    Attachment,
    MediumPart,
    Part,
    TextPart,
    format_duration,
    format_time,
)
from g3n_cli.media.source import Source

MOST_CANDIDATES = 7200
"""Frames that are looked at before some are chosen; of a longer video, at a lower rate."""

SCENE_CHANGE = 0.08
"""Mean difference of brightness, of 1, from which on a frame shows something new."""

_THUMB = 32


@dataclass(frozen=True)
class Frame:
    """A frame that may be taken.

    Attributes:
        at_s: Its time.
        change: Mean difference of its brightness to the candidate before, 0 to 1.
    """

    at_s: float
    change: float


def read_sound_or_video(source: Source, options: MediaOptions, *, is_certain: bool) -> Attachment:
    """A container's content, whichever it is; a cover does not make a video.

    Args:
        source: The file.
        options: What is wanted of it.
        is_certain: Its first bytes are those of a container.

    Raises:
        InputError: it cannot be read, or has neither.
    """
    try:
        with open_container(source) as container:
            has_video = find_video(container) is not None
        return read_video(source, options) if has_video else read_audio(source, options)
    except InputError:
        if is_certain:
            raise
        raise InputError(
            f"{source.name} is binary and no picture, sound, video, PDF or text"
        ) from None


def find_video(container: Any) -> Any:  # noqa: ANN401
    """The first video track that is not a cover picture, or None."""
    for stream in container.streams.video:
        if not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    return None


def read_video(source: Source, options: MediaOptions) -> Attachment:
    """Frames and sound with their times.

    Raises:
        InputError: it is broken, or has no frames in the wanted time.
    """
    chosen, length_s = _choose(source, options)
    timed: list[tuple[float, int, list[Part]]] = []
    for at_s, pixels in _take(source, [frame.at_s for frame in chosen], options):
        mark = format_time(at_s)
        picture = MediumPart("image", pixels, f"{source.name} {mark}")
        timed.append((at_s, 0, [TextPart(f"[{mark}]"), picture]))
    n_frames, n_clips = len(timed), 0
    if options.has_sound:
        with open_container(source) as container:
            if container.streams.audio:
                for clip in read_clips(source, container, options):
                    n_clips += 1
                    parts: list[Part] = [TextPart(f"[{clip.span}]"), clip.to_part(source.name)]
                    timed.append((clip.start_s, 1, parts))
    timed.sort(key=lambda entry: entry[:2])
    what = f"video, {n_frames} frame{'s' if n_frames != 1 else ''} of {format_duration(length_s)}"
    what += ", with sound" if n_clips else ", without sound"
    return Attachment(source.name, what, tuple(part for _, _, parts in timed for part in parts))


def choose_frames(frames: Sequence[Frame], most: int) -> list[Frame]:
    """At most ``most`` frames: scene changes first, the largest first, then evenly in between.

    Args:
        frames: In order of time.
        most: At least 1.

    Returns:
        The chosen ones in order of time, always with the first.
    """
    if len(frames) <= most:
        return list(frames)
    by_change = sorted(range(1, len(frames)), key=lambda i: (-frames[i].change, i))
    scenes = [i for i in by_change if frames[i].change >= SCENE_CHANGE]
    chosen = sorted({0, *scenes[: most - 1]})
    while len(chosen) < most:
        ends = [*chosen[1:], len(frames)]
        gap, start = max((end - at, -at) for at, end in zip(chosen, ends, strict=True))
        chosen = sorted({*chosen, -start + gap // 2})
    return [frames[i] for i in chosen]


def _choose(source: Source, options: MediaOptions) -> tuple[list[Frame], float]:
    """Frames to take, and seconds of the span that they are from."""
    with open_container(source) as container:
        stream = find_video(container)
        assert stream is not None
        check_pixels(source.name, stream.width, stream.height)
        duration_s = (container.duration or 0) / av.time_base
        length_s = min(options.end_s or duration_s, duration_s) - options.start_s
        step_s = 1 / options.fps
        if options.frames is not None and length_s > 0:
            step_s = min(step_s, length_s / options.frames)
        step_s = max(step_s, length_s / MOST_CANDIDATES)
        most = min(options.frames or options.most_frames, options.most_frames)
        if length_s / step_s > 8 * most:  # look at the frames that stand alone only
            stream.codec_context.skip_frame = "NONKEY"
        frames = list(_list_candidates(source, container, stream, step_s, options))
    if not frames:
        raise InputError(f"{source.name} has no frames" + _describe_span(options))
    length_s = max(length_s, frames[-1].at_s - options.start_s)  # not every file tells its own
    if options.frames is not None and len(frames) > most:
        return [frames[len(frames) * i // most] for i in range(most)], length_s
    return choose_frames(frames, most), length_s


def _describe_span(options: MediaOptions) -> str:
    if not options.start_s and options.end_s is None:
        return ""
    end = "the end" if options.end_s is None else format_time(options.end_s)
    return f" between {format_time(options.start_s)} and {end}"


def _list_candidates(
    source: Source,
    container: Any,  # noqa: ANN401
    stream: Any,  # noqa: ANN401
    step_s: float,
    options: MediaOptions,
) -> Iterator[Frame]:
    """The first frame at or after each step of time."""
    last: npt.NDArray[np.float32] | None = None
    next_s, end_s = options.start_s, float("inf") if options.end_s is None else options.end_s
    reached_s = 0.0
    for frame in _decode(source, container, stream):
        at_s = _time_of(frame, stream)
        reached_s = max(reached_s, at_s)
        if at_s >= end_s:
            return
        if at_s + 1e-3 < next_s:
            continue
        next_s = max(next_s + step_s, at_s + step_s / 2)
        thumb = frame.reformat(_THUMB, _THUMB, "gray").to_ndarray().astype(np.float32)
        change = 1.0 if last is None else float(np.abs(thumb - last).mean()) / 255
        last = thumb
        yield Frame(at_s, change)
    if stream.codec_context.skip_frame != "NONKEY":
        check_duration(source, container, reached_s + _last_frame_s(stream))


def _last_frame_s(stream: Any) -> float:  # noqa: ANN401
    return float(1 / stream.average_rate) if stream.average_rate else 0.0


def _take(
    source: Source, times: Sequence[float], options: MediaOptions
) -> Iterator[tuple[float, Pixels]]:
    """Pixels of the frames at the given times."""
    wanted = iter(times)
    next_s = next(wanted, None)
    with open_container(source) as container:
        stream = find_video(container)
        for frame in _decode(source, container, stream):
            at_s = _time_of(frame, stream)
            if next_s is None:
                return
            if at_s + 1e-6 < next_s:
                continue
            image = frame.to_image()
            if frame.rotation:
                image = image.rotate(frame.rotation, expand=True)
            yield at_s, squash(flatten(image), options.image_size)
            next_s = next(wanted, None)


def _decode(source: Source, container: Any, stream: Any) -> Iterator[Any]:  # noqa: ANN401
    stream.thread_type = "AUTO"
    faults = FaultCounter(source.name)
    for packet in container.demux(stream):
        yield from faults.decode(packet)
    faults.check()


def _time_of(frame: Any, stream: Any) -> float:  # noqa: ANN401
    """Seconds since the track began."""
    if frame.time is None:
        return 0.0
    start = float(stream.start_time * stream.time_base) if stream.start_time else 0.0
    return max(0.0, float(frame.time) - start)
