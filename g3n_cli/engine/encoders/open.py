"""The encoders of a projector file: which there are, and opening one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from g3n_cli.engine.encoders.api import IMAGE_TOKENS, MediaEncoder
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.errors import InputError, ModelError

EncoderKind = Literal["image", "audio"]
OpenEncoder: TypeAlias = Callable[[EncoderKind], MediaEncoder]

AUDIO_POSITIONS = 188
"""Positions of a piece of sound in transformers' prompts, and the most it can need."""

_FLAGS: dict[EncoderKind, str] = {
    "image": "clip.has_vision_encoder",
    "audio": "clip.has_audio_encoder",
}
_HINT = "g3n convert makes a projector of the original weights; --mmproj FILE names one"
_VISION = "vision 1"
"""Changes when the same picture gets other rows."""


@dataclass(frozen=True)
class Projector:
    """A file with encoders.

    Attributes:
        path: Where it is; None if the model has none.
        n_threads: Threads an encoder computes with.
        rows_folder: Where rows of encoded pictures are kept for later; None keeps none.
    """

    path: Path | None
    n_threads: int
    rows_folder: Path | None = None

    def check(self, *kinds: EncoderKind) -> None:
        """Refuse what there is no encoder for, before any work is done for it.

        Raises:
            InputError: there is none for one of the kinds.
            ModelError: the file is broken, or no projector.
        """
        if not kinds:
            return
        if self.path is None:
            raise InputError(f"this model has no {kinds[0]} encoder", _HINT)
        metadata = GgufFile.open(self.path).metadata
        if not any(flag in metadata for flag in _FLAGS.values()):
            raise ModelError(f"{self.path} is no projector file", _HINT)
        for kind in kinds:
            if metadata.get(_FLAGS[kind]) is not True:
                raise InputError(f"{self.path.name} has no {kind} encoder", _HINT)

    def open(self, kind: EncoderKind) -> MediaEncoder:
        """An open encoder; the caller closes it.

        Raises:
            InputError: there is none of this kind.
            ModelError: the file is broken.
        """
        self.check(kind)
        assert self.path is not None
        # They bring much that chats about text do not need.
        if kind == "audio":
            from g3n_cli.engine.encoders.audio import open_audio_encoder

            return open_audio_encoder(self.path, self.n_threads)
        from g3n_cli.engine.encoders.vision import open_image_encoder

        if self.rows_folder is None:
            return open_image_encoder(self.path, self.n_threads)
        from g3n_cli.engine.encoders.cache import RowsCache
        from g3n_cli.engine.encoders.cached import CachedEncoder

        open_encoder = partial(open_image_encoder, self.path, self.n_threads)
        return CachedEncoder(self.path, _VISION, open_encoder, RowsCache(self.rows_folder))


def count_positions(kind: EncoderKind, n_samples: int = 0) -> int:
    """Most soft tokens of a medium, known before it is encoded.

    Source: sub-sampling of transformers' ``Gemma3nAudioEncoder``: frames of 513 samples each 160,
    then twice every second and once every fourth step.
    """
    if kind == "image":
        return IMAGE_TOKENS
    padded = -(-n_samples // 128) * 128
    n_steps = max(1, (padded - 513) // 160 + 1)
    for factor in (2, 2, 4):
        n_steps = -(-n_steps // factor)
    return n_steps
