"""What Python's standard library leaves out of the C library."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
from pathlib import Path

import numpy as np

from g3n_cli.ggml.handles import address_of

_PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Have this process killed as soon as its parent ends, however that ends.

    Args:
        parent: Whose child this process was started as: it may have ended by now.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl failed")
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def count_cached_bytes(path: Path) -> int:
    """Bytes of a file that are in the page cache.

    Linux tells it only of files that the person owns or may write; of others all seem to be there.
    """
    size = path.stat().st_size
    if size == 0:
        return 0
    pages = np.zeros(-(-size // mmap.PAGESIZE), np.uint8)
    libc = ctypes.CDLL(None, use_errno=True)
    # A private mapping may be writable whatever the file is, and only then has ctypes its address.
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapping:
        status = libc.mincore(
            ctypes.c_void_p(address_of(mapping)),
            ctypes.c_size_t(size),
            pages.ctypes.data_as(ctypes.c_void_p),
        )
        if status != 0:
            raise OSError(ctypes.get_errno(), "mincore failed", str(path))
    return min(size, int(np.count_nonzero(pages & 1)) * mmap.PAGESIZE)
