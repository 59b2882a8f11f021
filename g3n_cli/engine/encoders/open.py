"""The encoders of a projector file: which there are, and opening one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
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
_HINTS: dict[EncoderKind, str] = {
    "image": "g3n cannot encode pictures yet; a server can: --device http://host:port/v1",
    "audio": _HINT,
}


@dataclass(frozen=True)
class Projector:
    """A file with encoders.

    Attributes:
        path: Where it is; None if the model has none.
        n_threads: Threads an encoder computes with.
        image_size: Pixels of a picture's side.
    """

    path: Path | None
    n_threads: int
    image_size: int = 768

    def check(self, *kinds: EncoderKind) -> None:
        """Refuse what there is no encoder for, before any work is done for it.

        Raises:
            InputError: there is none for one of the kinds.
            ModelError: the file is broken, or no projector.
        """
        if not kinds:
            return
        if self.path is None:
            raise InputError(f"this model has no {kinds[0]} encoder", _HINTS[kinds[0]])
        metadata = GgufFile.open(self.path).metadata
        if not any(flag in metadata for flag in _FLAGS.values()):
            raise ModelError(f"{self.path} is no projector file", _HINT)
        for kind in kinds:
            if metadata.get(_FLAGS[kind]) is not True:
                raise InputError(f"{self.path.name} has no {kind} encoder", _HINTS[kind])
        if "image" in kinds:
            raise InputError("g3n has no encoder for pictures yet", _HINTS["image"])

    def open(self, kind: EncoderKind) -> MediaEncoder:
        """An open encoder; the caller closes it.

        Raises:
            InputError: there is none of this kind.
            ModelError: the file is broken.
        """
        self.check(kind)
        assert self.path is not None
        # It brings much that chats without sound do not need.
        from g3n_cli.engine.encoders.audio import open_audio_encoder

        return open_audio_encoder(self.path, self.n_threads)


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
