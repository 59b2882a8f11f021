"""Media of cases: a sound and a picture made in code, or files of one's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from g3n_cli.bench.sweep_text import parse_words
from g3n_cli.engine.encoders.api import IMAGE_TOKENS, SAMPLE_RATE
from g3n_cli.engine.encoders.open import AUDIO_POSITIONS, EncoderKind
from g3n_cli.errors import InputError, UsageError
from g3n_cli.media.attach import read_attachment
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import MediumPart
from g3n_cli.media.source import Source as FileSource

NO_MEDIUM = "none"
SOUND_S = 30
"""Length of the sound that is made: the longest that is encoded at once."""

IMAGE_SIZES = (768, 512, 256)
_MADE: tuple[EncoderKind, ...] = ("audio", "image")
_END_MARK = 1
_POSITIONS: dict[EncoderKind, int] = {
    "audio": AUDIO_POSITIONS + _END_MARK,
    "image": IMAGE_TOKENS + _END_MARK,
}
_PATCHES = 24
_SYLLABLE_S, _HARMONICS = 0.2, 8


@dataclass(frozen=True)
class Medium:
    """What a prompt begins with.

    Attributes:
        name: As results show it: ``audio``, ``image``, or a file's name.
        path: The file; None for what is made in code.
        kinds: The encoders that it needs.
        n_positions: Most that it takes of the context, padding and end marks included.
        image_size: Pixels of a picture's side.
    """

    name: str
    path: str | None
    kinds: tuple[EncoderKind, ...]
    n_positions: int
    image_size: int = IMAGE_SIZES[0]

    @property
    def recorded_settings(self) -> dict[str, Any]:
        """Settings that mean something to it."""
        return {"image_size": self.image_size} if "image" in self.kinds else {}

    def to_json(self) -> dict[str, Any]:
        """Plain values that ``from_json`` reads."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Medium:
        """The medium that ``to_json`` wrote."""
        return cls(**{**values, "kinds": tuple(values["kinds"])})


@dataclass(frozen=True)
class LoadedMedium:
    """A medium in memory.

    Attributes:
        parts: Its pictures and sounds, in order.
        read_s: Reading, decoding and resampling its file; None for what is made in code.
    """

    parts: tuple[MediumPart, ...]
    read_s: float | None

    @property
    def sound_s(self) -> float | None:
        """How long it can be heard; None for pictures, also beside sound."""
        if any(part.kind != "audio" for part in self.parts):
            return None
        return sum(len(part.values) for part in self.parts) / SAMPLE_RATE


def parse_media(text: str, image_sizes: Sequence[int]) -> list[Medium | None]:
    """The media that ``--media`` lists; None for ``none``. Pictures come in each size.

    Raises:
        UsageError: an empty name.
        InputError: a file that cannot be used, or holds neither pictures nor sound.
    """
    words = parse_words(text, "--media")
    names = [Path(word).name for word in words]
    found: dict[Medium | None, None] = {}
    for word, name in zip(words, names, strict=True):
        if word == NO_MEDIUM:
            found[None] = None
            continue
        for size in image_sizes:
            medium = _find_medium(word, name if names.count(name) == 1 else word, size)
            found[medium] = None
            if "image" not in medium.kinds:
                break
    return list(found)


def check_image_sizes(sizes: Sequence[int]) -> None:
    """Refuse sizes that pictures are not brought to.

    Raises:
        UsageError: there is one.
    """
    for size in sizes:
        if size not in IMAGE_SIZES:
            known = ", ".join(map(str, IMAGE_SIZES))
            raise UsageError(f"--image-size {size} is none of {known}")


def load_medium(medium: Medium, seed: int) -> LoadedMedium:
    """What to encode; of what is made in code another one for each seed.

    Raises:
        InputError: the file cannot be used.
    """
    if medium.path is None:
        return LoadedMedium((_make_part(medium.kinds[0], medium.image_size, seed),), None)
    options = MediaOptions(image_size=medium.image_size)
    attachment = read_attachment(FileSource.of_path(Path(medium.path)), options)
    return LoadedMedium(tuple(attachment.media), attachment.read_s)


def _find_medium(word: str, name: str, image_size: int) -> Medium:
    for kind in _MADE:
        if word == kind:
            return Medium(name, None, (kind,), _POSITIONS[kind], image_size)
    path = str(Path(word).expanduser())
    whole = Medium(name, path, (), 0, image_size)
    parts = load_medium(whole, 0).parts
    if not parts:
        raise InputError(f"{word} holds neither pictures nor sound", "--file takes texts")
    kinds = tuple(sorted({part.kind for part in parts}))
    return Medium(name, path, kinds, sum(_POSITIONS[part.kind] for part in parts), image_size)


def _make_part(kind: EncoderKind, image_size: int, seed: int) -> MediumPart:
    values = make_sound(SOUND_S, seed) if kind == "audio" else make_picture(image_size, seed)
    return MediumPart(kind, values, kind)


def make_sound(seconds: float, seed: int) -> npt.NDArray[np.float32]:
    """[n] float32 mono samples, ``SAMPLE_RATE``: voiced syllables with pauses, and a little noise.

    Args:
        seconds: How long.
        seed: Equal ones make equal sounds.
    """
    rng = np.random.default_rng(seed)
    n, width = round(seconds * SAMPLE_RATE), round(_SYLLABLE_S * SAMPLE_RATE)
    samples = np.zeros(-(-n // width) * width, np.float32)
    envelope = np.sin(np.linspace(0, np.pi, width))
    for start in range(0, len(samples), width):
        if rng.random() < 0.2:  # a pause
            continue
        pitch, orders = rng.uniform(90, 250), np.arange(1, _HARMONICS + 1)
        phases = 2 * np.pi * pitch * np.outer(orders, np.arange(width) / SAMPLE_RATE)
        levels = rng.uniform(0, 1, _HARMONICS) / orders
        samples[start : start + width] = 0.2 * envelope * (levels @ np.sin(phases))
    heard = samples[:n] + 0.003 * rng.standard_normal(n, np.float32)
    return heard.clip(-1, 1).astype(np.float32)


def make_picture(size: int, seed: int) -> npt.NDArray[np.uint8]:
    """[size, size, 3] uint8 RGB: patches of colour with a gradient across, and a little noise.

    Args:
        size: Pixels of a side.
        seed: Equal ones make equal pictures.
    """
    rng = np.random.default_rng(seed)
    picture = np.linspace(0, 120, size)[:, None, None] + np.linspace(0, 120, size)[None, :, None]
    picture = np.repeat(picture, 3, axis=2)
    for _ in range(_PATCHES):
        (top, left), (height, width) = rng.integers(0, size, 2), rng.integers(1, size // 2, 2)
        picture[top : top + height, left : left + width] = rng.integers(0, 256, 3)
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)
