"""The memory ledger: what of a process is resident, and what it is there for.

All figures are what the kernel reports; of the memory that the engine names, the pages that are
really there are counted.
"""

from __future__ import annotations

import mmap
import os
import resource
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from g3n_cli.errors import UsageError

PARTS = {
    "weights": "weights copied out of the file, in panels or repacked",
    "mapped_weights": "weights used where they lie in the mapped file",
    "kv": "keys and values, and the snapshots of sliding layers",
    "compute": "buffer of the graphs' intermediate results",
    "ple": "rows of the per-layer embedding table",
    "other": "vocabulary, graphs; with llama.cpp all that it has allocated",
    "python": "what the process had allocated before the model was opened",
    "libraries": "code, in files that other processes may share",
}
"""Parts of the resident memory by name; they add up to it."""

_PRESENT = np.uint64(1 << 63)
_PROC = Path("/proc/self")


@dataclass(frozen=True)
class Ledger:
    """Memory of a process at one moment, in bytes.

    Attributes:
        rss_bytes: Resident: ``parts`` add up to it.
        pss_bytes: Resident, of what is shared with other processes only its share.
        uss_bytes: Resident and not shared.
        reclaimable_bytes: Clean pages, mostly of files, that the system can take back any time.
        parts: What is resident by what it is for; see ``PARTS``.
    """

    rss_bytes: int
    pss_bytes: int
    uss_bytes: int
    reclaimable_bytes: int
    parts: dict[str, int]


@dataclass(frozen=True)
class Counters:
    """What a process has asked of the system so far.

    Attributes:
        minor_faults: Pages made or mapped without reading.
        major_faults: Pages that had to be read.
        read_bytes: Bytes that came from a disk; None where the kernel does not count them.
        switches: Times the system took the processor away.
        cpu_s: Seconds of processors.
    """

    minor_faults: int
    major_faults: int
    read_bytes: int | None
    switches: int
    cpu_s: float

    def since(self, before: Counters) -> Counters:
        """The difference."""
        return Counters(
            self.minor_faults - before.minor_faults,
            self.major_faults - before.major_faults,
            None
            if self.read_bytes is None or before.read_bytes is None
            else self.read_bytes - before.read_bytes,
            self.switches - before.switches,
            self.cpu_s - before.cpu_s,
        )


def check_kernel() -> None:
    """Refuse a system that does not tell what a ledger needs.

    Raises:
        UsageError: it is one.
    """
    if not (_PROC / "smaps_rollup").exists():
        raise UsageError("g3n bench needs Linux 4.14 or newer", "memory is read from /proc there")


def read_counters() -> Counters:
    """Those of this process."""
    usage, io = resource.getrusage(resource.RUSAGE_SELF), _PROC / "io"
    return Counters(
        usage.ru_minflt,
        usage.ru_majflt,
        _parse_fields(io.read_text())["read_bytes"] if io.exists() else None,
        usage.ru_nivcsw,
        usage.ru_utime + usage.ru_stime,
    )


def read_ledger(
    ranges: Mapping[str, Iterable[tuple[int, int]]], model: Path, python_bytes: int
) -> Ledger:
    """The ledger of this process.

    Args:
        ranges: Address and bytes of the memory of each part that the engine names.
        model: The file whose mapped pages are weights.
        python_bytes: Anonymous memory before the model was opened.
    """
    rollup = (_PROC / "smaps_rollup").read_text()  # first, as the rest takes memory of its own
    named = {part: sum(map(_count_resident, found)) for part, found in ranges.items()}
    mapped = _count_mapped((_PROC / "smaps").read_text(), model.resolve())
    return build_ledger(rollup, named, mapped, python_bytes)


def build_ledger(rollup: str, named: Mapping[str, int], mapped: int, python_bytes: int) -> Ledger:
    """A ledger from the text of ``smaps_rollup`` and what is known of the parts."""
    fields = {name: kib * 1024 for name, kib in _parse_fields(rollup).items()}
    rss, anonymous = fields["Rss"], fields["Anonymous"]
    parts = {**dict.fromkeys(PARTS, 0), **named}
    parts["mapped_weights"] = mapped
    parts["python"] = python_bytes
    parts["libraries"] = rss - anonymous - mapped
    parts["other"] = anonymous - sum(named.values()) - python_bytes
    return Ledger(
        rss_bytes=rss,
        pss_bytes=fields["Pss"],
        uss_bytes=fields["Private_Clean"] + fields["Private_Dirty"],
        reclaimable_bytes=fields["Private_Clean"] + fields["Shared_Clean"],
        parts=parts,
    )


def read_anonymous_bytes() -> int:
    """Resident memory of this process that belongs to no file."""
    return _parse_fields((_PROC / "smaps_rollup").read_text())["Anonymous"] * 1024


def read_rss_bytes(pid: int | str = "self") -> int:
    """Resident memory of a process; 0 once it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * mmap.PAGESIZE
    except (OSError, IndexError):
        return 0


def read_peak_rss_bytes() -> int:
    """Most that has been resident in this process since its start or ``forget_peak``."""
    return _parse_fields((_PROC / "status").read_text())["VmHWM"] * 1024


def forget_peak() -> None:
    """Let the peak be counted from now on."""
    (_PROC / "clear_refs").write_text("5")


def _count_resident(memory: tuple[int, int]) -> int:
    """Bytes of the pages of an address range that are there; all where the kernel hides it."""
    address, n_bytes = memory
    if not (_PROC / "pagemap").exists():
        return n_bytes
    first, last = address // mmap.PAGESIZE, -(-(address + n_bytes) // mmap.PAGESIZE)
    fd = os.open(_PROC / "pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        entries = np.frombuffer(os.pread(fd, 8 * (last - first), 8 * first), np.uint64)
    finally:
        os.close(fd)
    return min(n_bytes, int(np.count_nonzero(entries & _PRESENT)) * mmap.PAGESIZE)


def _count_mapped(smaps: str, path: Path) -> int:
    """Resident bytes of all mappings of one file."""
    total, is_wanted = 0, False
    for line in smaps.splitlines():
        if not line.partition(" ")[0].endswith(":"):  # the first line of a mapping
            is_wanted = line.endswith(f" {path}")
        elif is_wanted and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def _parse_fields(text: str) -> dict[str, int]:
    """Numbers of lines such as ``Rss:   12 kB``."""
    words = (line.split() for line in text.splitlines())
    return {
        w[0][:-1]: int(w[1]) for w in words if len(w) > 1 and w[0][-1] == ":" and w[1].isdigit()
    }
