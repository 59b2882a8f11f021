"""What else the machine does while a case runs: competing load, heat, energy."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_RAPL = "class/powercap/intel-rapl:[0-9]*"
_MOST_WATTS = 500.0
"""Of a package; a counter that could have started again twice since tells nothing."""

_THROTTLE = "devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count"
_FREQUENCY = "devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq"
_IDLE, _IOWAIT, _STEAL = 3, 4, 7
"""Fields of a line of ``/proc/stat``; the first eight add up to all time."""


@dataclass(frozen=True)
class Surroundings:
    """What was going on between two moments; see ``Sample`` of ``sample.py``."""

    other_cpus: float
    stolen: float
    throttled: int | None
    mhz: float | None
    energy_j: float | None


class Watch:
    """Watches from now on.

    Args:
        proc: Where the kernel shows processes.
        sysfs: Where it shows devices.
        cpu_s: Seconds of processors that this process has used so far.
        clock: Seconds, from anywhere.
    """

    def __init__(
        self,
        proc: Path = Path("/proc"),
        sysfs: Path = Path("/sys"),
        cpu_s: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._proc, self._sysfs = proc, sysfs
        self._cpu_s, self._clock = cpu_s, clock
        self._times, self._started = self._read_times(), clock()
        self._own, self._throttled = cpu_s(), self._count_throttled()
        self._energy = self._read_energy()

    def stop(self) -> Surroundings:
        """What has been going on since the start."""
        elapsed = max(self._clock() - self._started, 1e-9)
        ticks = [
            after - before for before, after in zip(self._times, self._read_times(), strict=True)
        ]
        busy = sum(ticks) - ticks[_IDLE] - ticks[_IOWAIT] - ticks[_STEAL]
        busy_s = busy / os.sysconf("SC_CLK_TCK")
        own_s = self._cpu_s() - self._own
        before, after = self._throttled, self._count_throttled()
        return Surroundings(
            other_cpus=max(0.0, busy_s - own_s) / elapsed,
            stolen=ticks[_STEAL] / max(1, sum(ticks)),
            throttled=None if before is None or after is None else after - before,
            mhz=self._read_mhz(),
            energy_j=self._count_energy(elapsed),
        )

    def _read_times(self) -> list[int]:
        line = (self._proc / "stat").read_text().split("\n", 1)[0]
        return [int(word) for word in line.split()[1:9]]

    def _count_throttled(self) -> int | None:
        counts = [int(path.read_text()) for path in self._sysfs.glob(_THROTTLE)]
        return sum(counts) if counts else None

    def _read_mhz(self) -> float | None:
        khz = [int(path.read_text()) for path in self._sysfs.glob(_FREQUENCY)]
        if khz:
            return sum(khz) / len(khz) / 1000
        found = re.findall(r"cpu MHz\s*:\s*([\d.]+)", (self._proc / "cpuinfo").read_text())
        return sum(map(float, found)) / len(found) if found else None

    def _read_energy(self) -> dict[Path, tuple[int, int]]:
        """Microjoules counted by each package, and the most its counter holds.

        Source: the kernel's admin-guide/pm and power/powercap documents. Other zones are parts of
        packages (core, uncore, dram) or, as psys, hold them. Nothing if one of them is hidden: a
        sum without it would be too small.
        """
        energy = {}
        try:
            for zone in self._sysfs.glob(_RAPL):
                if (zone / "name").read_text().startswith("package"):
                    most = int((zone / "max_energy_range_uj").read_text())
                    energy[zone] = (int((zone / "energy_uj").read_text()), most)
        except OSError:  # counters are root's alone on most systems
            return {}
        return energy

    def _count_energy(self, elapsed: float) -> float | None:
        before, after = self._energy, self._read_energy()
        if not after or after.keys() != before.keys():
            return None
        if any(elapsed * _MOST_WATTS * 1e6 > most for _, most in after.values()):
            return None
        used = [(after[zone][0] - begun) % (most + 1) for zone, (begun, most) in before.items()]
        return sum(used) / 1e6
