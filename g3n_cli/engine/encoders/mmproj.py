"""Projector files: the encoders of a model's other senses, checked before C code sees them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.file_read import read_exactly
from g3n_cli.engine.gguf import GgufFile, TensorInfo
from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.errors import ModelError
from g3n_cli.ggml.quantize import convert_rows

TYPES = frozenset({GgmlType.F32, GgmlType.F16, GgmlType.BF16, GgmlType.Q8_0})
"""Types that encoders' tensors may have."""

AUDIO_PROJECTOR, VISION_PROJECTOR = "gemma3na", "gemma3nv"
_ARCHITECTURE = "clip"
_MOST = 1 << 20

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Mmproj:
    """A projector file whose header has been read; the file itself is not kept open.

    Attributes:
        gguf: The header.
    """

    gguf: GgufFile

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self.gguf.path

    @property
    def has_audio(self) -> bool:
        """Whether it holds Gemma 3n's audio encoder."""
        return self._has("audio", AUDIO_PROJECTOR)

    @property
    def has_vision(self) -> bool:
        """Whether it holds Gemma 3n's vision encoder."""
        return self._has("vision", VISION_PROJECTOR)

    def _has(self, sense: str, projector: str) -> bool:
        keys = self.gguf.metadata
        # Files with one encoder may name its projector without saying whose it is.
        kinds = (keys.get(f"clip.{sense}.projector_type"), keys.get("clip.projector_type"))
        return keys.get(f"clip.has_{sense}_encoder") is True and projector in kinds

    def count(self, key: str) -> int:
        """A number from 1 on.

        Raises:
            ModelError: it is missing or no such number.
        """
        value = self.gguf.metadata.get(key)
        if type(value) is not int or not 0 < value <= _MOST:
            raise ModelError(f"{self.path}: {key}: {value!r} is not a number of this model")
        return value

    def find(self, *names: str) -> TensorInfo:
        """The first of these tensors that there is; files of several converters differ in names.

        Raises:
            ModelError: there is none, or its type is not one of ``TYPES``.
        """
        info = next((self.gguf.tensors[n] for n in names if n in self.gguf.tensors), None)
        if info is None:
            raise ModelError(f"{self.path}: tensor {names[0]} is missing")
        if info.type not in TYPES:
            raise ModelError(f"{self.path}: tensor {info.name} has type {info.type.name}")
        return info

    def find_shaped(self, names: Iterable[str], *ne: int) -> TensorInfo:
        """``find``, of these extents; how many extents of 1 a file has does not matter.

        Raises:
            ModelError: as ``find``, or it has another shape.
        """
        info = self.find(*names)
        if _without_ones(info.ne) != _without_ones(ne):
            raise ModelError(f"{self.path}: tensor {info.name} has the shape {info.ne}, not {ne}")
        return replace(info, ne=ne)

    def read(self, info: TensorInfo) -> Floats:
        """A whole tensor as float32, extents in numpy's order (``ne[0]`` last).

        Raises:
            ModelError: the file has changed since it was validated.
        """
        return self.read_rows(info, 0, info.n_values // info.ne[0]).reshape(info.ne[::-1])

    def read_rows(self, info: TensorInfo, first: int, count: int) -> Floats:
        """Rows ``first`` to ``first + count - 1`` of a tensor as float32 ``[count, ne[0]]``.

        Raises:
            ModelError: the file has changed since it was validated.
        """
        rows = np.empty((count, info.row_bytes), np.uint8)
        try:
            with self.path.open("rb") as file:
                at = info.offset + first * info.row_bytes
                read_exactly(file.fileno(), rows.reshape(-1).data, at, self.path)
        except OSError as error:
            raise ModelError(f"cannot read {self.path}: {error.strerror}") from error
        if info.type != GgmlType.F32:
            rows = convert_rows(rows, info.type, GgmlType.F32, info.ne[0])
        return rows.view(np.float32)


def open_mmproj(path: Path) -> Mmproj:
    """Open a projector file.

    Raises:
        ModelError: it cannot be read, or holds something else.
    """
    gguf = GgufFile.open(path)
    if gguf.architecture != _ARCHITECTURE:
        kind = gguf.architecture or "no named architecture"
        raise ModelError(f"{path} holds {kind}, not an encoder of images or sound")
    return Mmproj(gguf)


def check_text_width(path: Path, width: int, n_embd: int) -> None:
    """Refuse the encoder of another model.

    Args:
        path: The projector file.
        width: Of the embeddings that it makes.
        n_embd: Of the text model's.

    Raises:
        ModelError: they differ.
    """
    if width != n_embd:
        raise ModelError(
            f"{path} belongs to another model: its embeddings have {width} values, this model's"
            f" {n_embd}"
        )


def _without_ones(ne: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in ne if n != 1)
