"""Pictures of any format Pillow reads, as RGB values."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from g3n_cli.errors import InputError
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import Attachment, MediumPart, Part
from g3n_cli.media.source import Source

MOST_PIXELS = 100_000_000
"""Of a picture that is decoded; that takes 400 MB."""

MOST_SIDE = 1536
"""Longest side of a picture that keeps its shape."""

FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF", "HEIF")
# What Pillow's decoders raise on broken files.
FAILURES = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError),
    *(AttributeError, RuntimeError, MemoryError, struct.error, Image.DecompressionBombError),
)

Pixels = npt.NDArray[np.uint8]


def read_image(source: Source, options: MediaOptions) -> Attachment:
    """A picture, or several frames of an animation if ``options.frames`` asks for them.

    Raises:
        InputError: it is broken, too large, or of a format this Pillow does not know.
    """
    parts: list[Part] = []
    with _open(source) as image:
        width, height = image.size
        check_pixels(source.name, width, height)
        n_frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        n_wanted = min(n_frames, options.frames or 1, options.most_frames)
        for frame in [n_frames * i // n_wanted for i in range(n_wanted)]:
            if n_frames > 1:
                image.seek(frame)
            upright = ImageOps.exif_transpose(image)
            pixels = squash(flatten(upright), options.image_size)
            parts.append(MediumPart("image", pixels, source.name))
    what = f"picture, {width:,} x {height:,}"
    if n_frames > 1:
        what += f", {n_wanted} of {n_frames} frames"
    return Attachment(source.name, what, tuple(parts))


def check_pixels(name: str, width: int, height: int) -> None:
    """Refuse pictures that would fill the memory.

    Raises:
        InputError: it has too many pixels.
    """
    if width * height > MOST_PIXELS:
        raise InputError(
            f"{name} has {width:,} x {height:,} pixels; at most {MOST_PIXELS // 10**6:,} million"
            " are decoded"
        )


def flatten(image: Image.Image) -> Image.Image:
    """The picture in RGB: transparent over white, more than 8 bits brought down to 8."""
    if image.mode.startswith("I;16"):
        image = _scale(image, 65535)
    elif image.mode in ("I", "F"):
        image = _scale(image, None)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def squash(image: Image.Image, size: int | None) -> Pixels:
    """RGB values of a picture brought to ``size`` x ``size``, whatever its shape.

    Bilinear with antialiasing on 8-bit values. Source: settings of transformers'
    ``SiglipImageProcessor`` for Gemma 3n.

    Args:
        image: In RGB.
        size: Pixels of a side; None keeps the shape of what is not larger than ``MOST_SIDE``.
    """
    if size is not None:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    elif max(image.size) > MOST_SIDE:
        image = image.copy()
        image.thumbnail((MOST_SIDE, MOST_SIDE), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _scale(image: Image.Image, top: int | None) -> Image.Image:
    """Values up to ``top`` as 8 bits; without it, what the values themselves suggest."""
    values = np.asarray(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("pixels that are not numbers")
    if top is None:
        highest = float(values.max())
        top = 1 if highest <= 1 else 255 if highest <= 255 else max(65535, int(highest))
    return Image.fromarray(np.clip(values * (255 / top), 0, 255).round().astype(np.uint8))


@contextmanager
def _open(source: Source) -> Iterator[Any]:
    """The picture, opened; whatever its decoder raises becomes an InputError."""
    _register_heif()
    try:
        with source.open() as stream, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes are checked here, faults raise
            known = [name for name in FORMATS if name in _list_formats()]
            with Image.open(stream, formats=known) as image:
                yield image
    except UnidentifiedImageError:
        hint = None
        if source.head()[4:8] == b"ftyp" and "HEIF" not in _list_formats():
            hint = "for HEIC: pip install pillow-heif"
        raise InputError(f"{source.name} is no picture that can be read", hint) from None
    except Image.DecompressionBombError:
        raise InputError(f"{source.name} has far too many pixels") from None
    except FAILURES as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{source.name} is a broken picture: {reason}") from error


def _list_formats() -> set[str]:
    Image.init()
    return set(Image.OPEN)


def _register_heif() -> None:
    """Teach Pillow HEIC where the plug-in is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return
    register_heif_opener()
