"""Sound of any container PyAV reads, in pieces that an encoder takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from g3n_cli.errors import InputError
from g3n_cli.media.container import FaultCounter, check_duration, open_container
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import Attachment, MediumPart, Part, TextPart, format_duration, format_time
from g3n_cli.media.source import Source

Samples = npt.NDArray[np.float32]

SEARCH_SHARE = 1 / 3
"""Share at the end of a piece in which a quiet place is looked for."""

QUIET_S = 0.3
"""Length of a place that should be quiet."""

SPARE_S = 1.0
"""Least length of what is left after a cut."""

_STEP_S = 0.02


@dataclass(frozen=True)
class Clip:
    """A piece of sound.

    Attributes:
        start_s: Where it begins in the file.
        end_s: Where it ends.
        samples: [n] float32 in [-1, 1], mono.
    """

    start_s: float
    end_s: float
    samples: Samples

    def to_part(self, name: str) -> MediumPart:
        """The clip as a part of a message."""
        return MediumPart("audio", self.samples, f"{name} {self.span}")

    @property
    def span(self) -> str:
        """``0:00 - 0:28``."""
        return f"{format_time(self.start_s)} - {format_time(self.end_s)}"


def read_audio(source: Source, options: MediaOptions) -> Attachment:
    """Sound as pieces of at most ``options.most_samples``, each of several with its time before.

    Raises:
        InputError: there is none, or it cannot be decoded.
    """
    with open_container(source) as container:
        clips = list(read_clips(source, container, options))
    parts: list[Part] = []
    for clip in clips:
        if len(clips) > 1:
            parts.append(TextPart(f"[{clip.span}]"))
        parts.append(clip.to_part(source.name))
    what = f"sound, {format_duration(clips[-1].end_s - clips[0].start_s)}"
    if len(clips) > 1:
        what += f" in {len(clips)} parts"
    return Attachment(source.name, what, tuple(parts))


def stream_clips(source: Source, options: MediaOptions) -> Iterator[Clip]:
    """The pieces of a file, one after the other, however long it is.

    Raises:
        InputError: there is no sound, or it cannot be decoded.
    """
    with open_container(source) as container:
        yield from read_clips(source, container, options)


def check_sound(source: Source) -> None:
    """Refuse a file without a sound track.

    Raises:
        InputError: it has none, or cannot be opened.
    """
    with open_container(source) as container:
        if not container.streams.audio:
            raise InputError(f"{source.name} has no sound")


def find_duration_s(source: Source) -> float | None:
    """Seconds that a file says it lasts.

    Raises:
        InputError: it cannot be opened.
    """
    with open_container(source) as container:
        return None if container.duration is None else container.duration / av.time_base


def read_clips(source: Source, container: Any, options: MediaOptions) -> Iterator[Clip]:  # noqa: ANN401
    """The pieces of an open container's first sound track.

    Raises:
        InputError: it has none, or one without a sample.
    """
    if not container.streams.audio:
        raise InputError(f"{source.name} has no sound")
    blocks = _decode(source, container, options)
    is_empty = True
    for clip in split_at_quiet(blocks, options.sample_rate, options.most_samples):
        is_empty = False
        start_s = options.start_s
        yield Clip(clip.start_s + start_s, clip.end_s + start_s, clip.samples)
    if is_empty:
        if options.start_s:
            raise InputError(f"{source.name} has no sound after {format_time(options.start_s)}")
        raise InputError(f"{source.name} has no sound")


def split_at_quiet(blocks: Iterator[Samples], rate: int, most: int) -> Iterator[Clip]:
    """Pieces of at most ``most`` samples, cut where it is quietest near their end.

    Args:
        blocks: The sound, in parts of any length.
        rate: Samples per second.
        most: Most samples of a piece.
    """
    spare = min(int(SPARE_S * rate), most // 4)
    held = np.empty(0, np.float32)
    start = 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= most + spare:
            cut = _find_quiet(held[:most], rate)
            yield _make_clip(held[:cut], start, rate)
            held, start = held[cut:], start + cut
    if len(held) > most:
        cut = _find_quiet(held[: len(held) - spare], rate)
        yield _make_clip(held[:cut], start, rate)
        held, start = held[cut:], start + cut
    if len(held):
        yield _make_clip(held, start, rate)


def _make_clip(samples: Samples, start: int, rate: int) -> Clip:
    return Clip(start / rate, (start + len(samples)) / rate, samples.copy())


def _find_quiet(samples: Samples, rate: int) -> int:
    """Middle of the quietest place in the last third; the last of several."""
    step = max(1, int(_STEP_S * rate))
    first = int(len(samples) * (1 - SEARCH_SHARE)) // step
    n_steps = len(samples) // step
    power = np.square(samples[: n_steps * step].reshape(n_steps, step), dtype=np.float64)
    width = max(1, round(QUIET_S / _STEP_S))
    sums = np.concatenate([[0.0], np.cumsum(power.mean(axis=1))])
    levels = sums[first + width :] - sums[first:-width]
    if len(levels) == 0:
        return len(samples)
    last_of_least = len(levels) - 1 - int(np.argmin(levels[::-1]))
    return (first + last_of_least + width // 2) * step


def _decode(source: Source, container: Any, options: MediaOptions) -> Iterator[Samples]:  # noqa: ANN401
    """Mono samples between the wanted times.

    Channels are averaged. Source: librosa's ``to_mono``, by which transformers loads sound.
    """
    rate = options.sample_rate
    n_skip = round(options.start_s * rate)
    n_end = None if options.end_s is None else round(options.end_s * rate)
    resampler = av.AudioResampler(format="fltp", rate=rate)
    faults = FaultCounter(source.name)
    n_read = 0
    for packet in chain(container.demux(container.streams.audio[0]), [None]):
        frames = [None] if packet is None else faults.decode(packet)
        for frame in frames:  # at last None, for what the resampler holds back
            for block in _resample(resampler, frame, source.name):
                wanted = block[max(0, n_skip - n_read) : None if n_end is None else n_end - n_read]
                n_read += len(block)
                if len(wanted):
                    yield wanted
                if n_end is not None and n_read >= n_end:
                    return
    faults.check()
    check_duration(source, container, n_read / rate)


def _resample(resampler: Any, frame: Any, name: str) -> Iterator[Samples]:  # noqa: ANN401
    for out in resampler.resample(frame):
        values = out.to_ndarray()
        if not np.isfinite(values).all():
            raise InputError(f"{name} has samples that are not numbers")
        yield np.clip(values.mean(axis=0, dtype=np.float32), -1, 1)
