"""Memory comes in pages: what ranges of addresses take once they are touched."""

from __future__ import annotations

import mmap
from collections.abc import Sequence

import numpy as np


def count_page_bytes(ranges: Sequence[tuple[int, int]]) -> int:
    """Bytes of the pages that ranges of addresses, first and end, lie in; each page once."""
    found = [(first, end) for first, end in ranges if end > first]
    if not found:
        return 0
    bounds = np.array(sorted(found), np.int64)
    first, last = bounds[:, 0] // mmap.PAGESIZE, (bounds[:, 1] - 1) // mmap.PAGESIZE
    reached = np.concatenate([[-1], np.maximum.accumulate(last)[:-1]])
    new = last - np.maximum(first, reached + 1) + 1
    return int(np.maximum(new, 0).sum()) * mmap.PAGESIZE
