"""Plain WAV files as samples."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from g3n_cli.errors import InputError

Samples = npt.NDArray[np.float32]


def is_wav(path: Path) -> bool:
    """Whether a file begins as a WAV does.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if not path.is_file():
            raise InputError(f"{path} is not a file")
        with path.open("rb") as file:
            head = file.read(12)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    return head[:4] == b"RIFF" and head[8:] == b"WAVE"


def read_wav(path: Path, rate: int, most: int) -> Samples:
    """Samples ``[n]`` in [-1, 1) of a PCM file, its channels averaged.

    Args:
        path: The file.
        rate: Samples per second that it must have.
        most: Samples after which to stop: one more than are wanted tells that there are more.

    Raises:
        InputError: it is broken, or of another rate or coding.
    """
    try:
        with path.open("rb") as file:
            return _read(path, file, rate, most)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (wave.Error, EOFError) as error:
        raise InputError(
            f"{path} is no WAV file that can be read: {str(error) or 'cut off'}"
        ) from error


def _read(path: Path, file: BinaryIO, rate: int, most: int) -> Samples:
    with wave.open(file) as sound:
        if sound.getframerate() != rate:
            raise InputError(
                f"{path} has {sound.getframerate()} samples per second, not {rate}",
                f"ffmpeg -i {path.name} -ac 1 -ar {rate} converted.wav",
            )
        width, n_channels = sound.getsampwidth(), sound.getnchannels()
        # The header may claim more than there is, so no more is asked for than is wanted.
        raw = sound.readframes(min(most, sound.getnframes()))
    if width not in (1, 2, 3, 4) or len(raw) % (width * n_channels):
        raise InputError(f"{path} is cut off, or its samples have {8 * width} bits")
    samples: Samples = _to_float(raw, width).reshape(-1, n_channels).mean(axis=1, dtype=np.float32)
    return samples


def _to_float(raw: bytes, width: int) -> Samples:
    """Samples of ``width`` bytes; those of one byte are unsigned."""
    if width == 1:
        bytes_ = np.frombuffer(raw, np.uint8).astype(np.float32)
        return (bytes_ - np.float32(128)) / np.float32(128)
    values = np.zeros((len(raw) // width, 4), np.uint8)
    values[:, 4 - width :] = np.frombuffer(raw, np.uint8).reshape(-1, width)
    return (values.view("<i4")[:, 0] / float(1 << 31)).astype(np.float32)
