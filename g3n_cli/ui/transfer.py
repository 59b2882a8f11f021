"""How far a file is that comes over the network: speed and time left, of the last seconds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from g3n_cli.ui.progress import BAR_WIDTH, TransientLine
from g3n_cli.ui.terminal import Terminal
from g3n_cli.units import format_bytes

_REDRAW_S, _WINDOW_S = 0.1, 10.0


class TransferBar:
    """Draws a line on stderr, where lines can be taken back; else nothing.

    Args:
        terminal: Where.
        label: What comes.
        clock: Seconds, from anywhere.
    """

    def __init__(
        self, terminal: Terminal, label: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._label, self._clock = label, clock
        self._line = TransientLine(terminal)
        self._marks: deque[tuple[float, int]] = deque()
        self._drawn_at = float("-inf")

    def __call__(self, done: int, total: int) -> None:
        """Told that ``done`` bytes of ``total`` are there; ``total`` is 0 if nobody knows it."""
        now = self._clock()
        if now - self._drawn_at < _REDRAW_S and done != total:
            return
        if self._marks and done < self._marks[-1][1]:
            self._marks.clear()  # it began anew
        self._marks.append((now, done))
        while now - self._marks[0][0] > _WINDOW_S:
            self._marks.popleft()
        self._drawn_at = now
        self._line.show(self._describe(done, total))

    def _describe(self, done: int, total: int) -> str:
        line = f"{self._label} "
        if total:
            filled = BAR_WIDTH * min(done, total) // total
            line += f"{'━' * filled}{'─' * (BAR_WIDTH - filled)} {done * 100 // total} % of "
        line += format_bytes(total or done)
        (since, before), (now, _) = self._marks[0], self._marks[-1]
        if now - since < _REDRAW_S or done == before:
            return line
        speed = (done - before) / (now - since)
        line += f", {speed / 1e6:.1f} MB/s"
        return line + (f", {format_left((total - done) / speed)} left" if total else "")

    def clear(self) -> None:
        """Take the line back."""
        self._line.clear()


def format_left(seconds: float) -> str:
    """A time to wait: ``42 s``, ``3:07 min``, ``1:02 h``."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02} h"
