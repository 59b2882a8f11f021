"""``ffn_down`` in repacked pieces: of what ggml has repacked no columns can be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from g3n_cli.engine.file_read import read_exactly
from g3n_cli.engine.gguf import TensorInfo
from g3n_cli.ggml.handles import memory_of, release_memory, write_tensor
from g3n_cli.ggml.tensor import Tensor

N_PIECES = 16
_CHUNK = 1 << 21

Columns = tuple[Tensor, int, int]
"""Columns of a matrix: a tensor, the first of its columns, how many."""


class Pieces:
    """The columns of a matrix in ``N_PIECES`` tensors of equal width, and all of them in the file.

    A width inside a piece takes the rest from the file as it lies there: slower, but no column
    is in memory that is not used.

    Args:
        info: The matrix in the file.
        tensors: Its pieces, in order, each with memory that ggml repacks into.
        plain: The matrix itself, in the mapped file.
    """

    def __init__(self, info: TensorInfo, tensors: tuple[Tensor, ...], plain: Tensor) -> None:
        self._info, self._tensors, self._plain = info, tensors, plain
        self.width = info.ne[0] // len(tensors)

    def columns(self, count: int) -> list[Columns]:
        """The first ``count`` columns, side by side."""
        n_whole, rest = divmod(count, self.width)
        columns = [(tensor, 0, self.width) for tensor in self._tensors[:n_whole]]
        return [*columns, (self._plain, count - rest, rest)] if rest else columns

    def count_whole(self, count: int) -> int:
        """How many of the first ``count`` columns lie in whole pieces."""
        return count // self.width * self.width

    def release(self, before: int, after: int) -> None:
        """Give back the memory of columns ``after`` to ``before - 1``, whole pieces."""
        for tensor in self._tensors[after // self.width : before // self.width]:
            memory = memory_of(tensor)
            release_memory(tensor.struct.data or 0, memory.nbytes)

    def fill(self, fd: int, path: Path, before: int, after: int) -> None:
        """Read and repack columns ``before`` to ``after - 1``, whole pieces.

        Raises:
            ModelError: the file has become shorter; ``path`` is for the message.
        """
        n_rows = self._info.ne[1]
        row = self._info.n_bytes // n_rows
        part = row // len(self._tensors)
        first, last = before // self.width, after // self.width
        pieces = np.empty((last - first, n_rows, part), np.uint8)
        step = max(1, _CHUNK // row)
        rows = np.empty((step, row), np.uint8)
        for start in range(0, n_rows, step):
            chunk = rows[: min(step, n_rows - start)]
            read_exactly(fd, chunk.data.cast("B"), self._info.offset + start * row, path)
            used = chunk.reshape(len(chunk), len(self._tensors), part)[:, first:last]
            pieces[:, start : start + len(chunk)] = used.swapaxes(0, 1)
        for tensor, values in zip(self._tensors[first:last], pieces, strict=True):
            write_tensor(tensor, values)
