"""Parts of tensors on their way from a file into memory."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import numpy as np

from g3n_cli.engine.extents import extents_of
from g3n_cli.engine.file_read import read_exactly
from g3n_cli.engine.gguf import TensorInfo
from g3n_cli.ggml.handles import memory_of, write_tensor
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.kernels.library import PANEL, Kernels

_MADV_POPULATE_READ = 22
_CHUNK, _PART = 1 << 21, 32 << 20

Job = tuple[int, Callable[[], None]]
"""Bytes of a part, and what loads it."""


class TensorReader:
    """An open model file, also mapped, whose tensors are read in the ways that memory wants.

    Args:
        path: The validated file.

    Attributes:
        path: As given.
        mapping: The whole file; freed when nothing points into it any more.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: BinaryIO = path.open("rb")
        # Private: nothing is ever written.
        self.mapping = mmap.mmap(self._file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)

    @property
    def fd(self) -> int:
        """The file's descriptor."""
        return self._file.fileno()

    def touch(self, info: TensorInfo, first: int, last: int) -> None:
        """Map the pages of rows now, not one by one while the first token is computed."""
        row = info.n_bytes // extents_of(info)[0]
        start, end = info.offset + first * row, info.offset + last * row
        page = start // mmap.PAGESIZE * mmap.PAGESIZE
        with contextlib.suppress(OSError):  # Linux before 5.14 cannot
            self.mapping.madvise(_MADV_POPULATE_READ, page, end - page)

    def fill(self, info: TensorInfo, tensor: Tensor) -> None:
        """Read a tensor into ggml's own memory, which repacks it, and only whole.

        Raises:
            ModelError: the file has changed since it was validated.
        """
        values = np.empty(info.n_bytes, np.uint8)
        read_exactly(self.fd, values.data, info.offset, self.path)
        write_tensor(tensor, values)

    def read(self, info: TensorInfo, tensor: Tensor) -> None:
        """Read a tensor that stays as it is.

        Raises:
            ModelError: the file has changed since it was validated.
        """
        read_exactly(self.fd, memory_of(tensor), info.offset, self.path)

    def pack(
        self,
        info: TensorInfo,
        tensor: Tensor,
        kernels: Kernels,
        rows: tuple[int, int],
        columns: tuple[int, int],
    ) -> None:
        """Read and pack rows and columns, so few rows at a time that they stay cached.

        Args:
            info: The matrix in the file.
            tensor: In memory, in panels.
            kernels: Whose panels.
            rows: The first, and the first that is not wanted any more; whole panels.
            columns: Likewise.

        Raises:
            ModelError: the file has changed since it was validated.
        """
        row, to = tensor.nb[1], tensor.struct.data or 0
        step = max(PANEL, _CHUNK // row // PANEL * PANEL)
        values = np.empty(step * row, np.uint8)
        for start in range(*rows, step):
            count = min(step, rows[1] - start)
            chunk = values[: count * row].data
            read_exactly(self.fd, chunk, info.offset + start * row, self.path)
            kernels.pack(info.type, to + start * row, chunk, count, info.ne[0], columns)

    def close(self) -> None:
        """Close the file; the mapping stays as long as tensors lie in it."""
        self._file.close()


def split_rows(first: int, last: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Runs of whole panels of rows, for threads to pack."""
    step = max(PANEL, _PART // row_bytes // PANEL * PANEL)
    return ((at, min(at + step, last)) for at in range(first, last, step))


def run_jobs(
    jobs: Sequence[Job], n_threads: int, on_progress: Callable[[int, int], None] | None = None
) -> None:
    """Run all jobs; what ``on_progress`` raises ends that, after those under way.

    For a worker's thread: an interrupt inside ``submit`` would leave the executor locked.

    Args:
        jobs: In the order in which they begin.
        n_threads: So many at the same time.
        on_progress: Called with bytes loaded and bytes to load.
    """
    total, done = sum(size for size, _ in jobs), 0
    with ThreadPoolExecutor(n_threads) as pool:
        try:
            for size in pool.map(_run, jobs):
                done += size
                if on_progress:
                    on_progress(done, total)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _run(job: Job) -> int:
    n_bytes, load = job
    load()
    return n_bytes
