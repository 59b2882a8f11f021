"""Memory of this process."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import psutil


def read_rss_bytes() -> int:
    """Resident memory now, pages of mapped files included."""
    return int(psutil.Process().memory_info().rss)


def read_peak_rss_bytes() -> int:
    """Most resident memory since the program started.

    Linux: ``VmHWM``, as ``ru_maxrss`` starts from the process that started this one.
    """
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        if found := re.search(r"VmHWM:\s+(\d+) kB", status):
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
