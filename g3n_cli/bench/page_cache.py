"""A model's file in the page cache, or out of it."""

from __future__ import annotations

import os
from pathlib import Path

from g3n_cli.errors import G3nError
from g3n_cli.ggml.libc import count_cached_bytes

_MOST_LEFT = 0.02
_CHUNK = 16 << 20


def warm(path: Path) -> None:
    """Read a file once, so that no repetition pays for the disk."""
    with path.open("rb", buffering=0) as file:
        while file.read(_CHUNK):
            pass


def chill(path: Path) -> None:
    """Have a file dropped from the page cache.

    Raises:
        G3nError: the system keeps it, for example as another process has it mapped.
    """
    with path.open("rb") as file:
        os.fsync(file.fileno())  # pages that are not on the disk yet would stay
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    left = count_cached_bytes(path) / max(1, path.stat().st_size)
    if left > _MOST_LEFT:
        raise G3nError(
            f"{left:.0%} of {path.name} stays in the page cache, so --cold would measure nothing",
            "close what else has it open; the file must be yours, and on a disk",
        )
