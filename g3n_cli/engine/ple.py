"""Rows of the per-layer embedding table: read from the file as tokens need them, or held in RAM.

The table is 40 % of Gemma 3n's parameters, and a token needs one row of it: 6 KB of 1.6 GB. Rows go
to the graph in the table's own type; dequantizing them is the graph's work.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from g3n_cli.config import PleMode
from g3n_cli.engine.file_read import read_exactly
from g3n_cli.engine.gguf import TensorInfo
from g3n_cli.ggml.handles import MemoryRange

N_WARM_ROWS = 512


@dataclass
class PleCounters:
    """What reading rows has cost so far.

    Attributes:
        hits: Rows found in RAM.
        misses: Rows read from the file.
    """

    hits: int = 0
    misses: int = 0


class PleTable:
    """The table of one file.

    Args:
        path: The GGUF file.
        info: The table's entry in it.
        mode: "disk" keeps the last ``N_WARM_ROWS`` distinct rows in RAM; "ram" reads all of it now.
    """

    def __init__(self, path: Path, info: TensorInfo, mode: PleMode) -> None:
        self.type = info.type
        self.row_bytes = info.row_bytes
        self.n_rows = info.ne[1]
        self.counters = PleCounters()
        self._path, self._offset = path, info.offset
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        n_held = self.n_rows if mode == "ram" else N_WARM_ROWS
        self._rows = np.empty((n_held, self.row_bytes), np.uint8)
        self._slots: OrderedDict[int, int] | None = None
        if mode == "ram":
            self._read_into(self._rows.data.cast("B"), info.offset)
        else:
            # Single rows: reading ahead of them would only fill the page cache with neighbours.
            os.posix_fadvise(self._fd, info.offset, info.n_bytes, os.POSIX_FADV_RANDOM)
            self._slots = OrderedDict()

    @property
    def memory_ranges(self) -> list[MemoryRange]:
        """Where the rows in RAM lie."""
        return [(self._rows.ctypes.data, self._rows.nbytes)]

    def prefetch(self, ids: npt.NDArray[np.int32]) -> None:
        """Ask the system to read the rows of ``ids`` [n] in the background."""
        if self._slots is None:
            return
        for row in np.unique(ids):
            offset = self._offset + int(row) * self.row_bytes
            os.posix_fadvise(self._fd, offset, self.row_bytes, os.POSIX_FADV_WILLNEED)

    def read(self, ids: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
        """Rows ``[n, row_bytes]`` of ``ids`` [n].

        Raises:
            ModelError: the file has become unreadable.
        """
        if self._slots is None:
            self.counters.hits += len(ids)
            return self._rows[ids]
        out = np.empty((len(ids), self.row_bytes), np.uint8)
        for row, target in zip(ids.tolist(), out, strict=True):
            slot = self._slots.get(row)
            if slot is None:
                self.counters.misses += 1
                self._read_into(target.data, self._offset + row * self.row_bytes)
                self._keep(row, target)
            else:
                self.counters.hits += 1
                self._slots.move_to_end(row)
                target[:] = self._rows[slot]
        return out

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _keep(self, row: int, values: npt.NDArray[np.uint8]) -> None:
        assert self._slots is not None
        full = len(self._slots) == N_WARM_ROWS
        slot = self._slots.popitem(last=False)[1] if full else len(self._slots)
        self._rows[slot] = values
        self._slots[row] = slot

    def _read_into(self, target: memoryview, offset: int) -> None:
        read_exactly(self._fd, target, offset, self._path)
