"""Lines on stderr that come while a person waits, and go."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from g3n_cli.media.parts import format_time
from g3n_cli.ui.terminal import Terminal
from g3n_cli.ui.text import make_visible

ERASE_LINE = "\r\x1b[2K"
PATIENCE_S = 1.0
BAR_WIDTH = 24


class TransientLine:
    """A line on stderr in place of the one before; nothing where lines cannot be taken back.

    Args:
        terminal: Drawn on its stderr.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._stream = terminal.stderr if terminal.can_animate else None
        self._is_shown = False

    def show(self, text: str) -> None:
        """Show a text, as much of it as fits."""
        if self._stream is not None:
            self._stream.write(ERASE_LINE + fit_line(text))
            self._stream.flush()
            self._is_shown = True

    def clear(self) -> None:
        """Take the line back, if one is there."""
        if self._stream is not None and self._is_shown:
            self._stream.write(ERASE_LINE)
            self._stream.flush()
            self._is_shown = False


@contextmanager
def show_waiting(terminal: Terminal, text: str) -> Iterator[None]:
    """Show a line as long as the body runs; nothing where lines cannot be taken back."""
    if not terminal.can_animate:
        yield
        return
    terminal.stderr.write(fit_line(text))
    terminal.stderr.flush()
    try:
        yield
    finally:
        terminal.stderr.write(ERASE_LINE)
        terminal.stderr.flush()


def fit_line(text: str) -> str:
    """As much of a text as has room in one line: a wrapped one could not be erased."""
    return make_visible(text)[: shutil.get_terminal_size().columns - 1]


class ProgressBar:
    """Shows how far the prompt is read, or something else is done that takes more than a second.

    Args:
        terminal: Drawn on its stderr; nothing is drawn where a line cannot be taken back.
        label: What is going on.
        show: Makes text of an amount.
        clock: Seconds, from anywhere.
    """

    def __init__(
        self,
        terminal: Terminal,
        label: str = "reading",
        show: Callable[[int], str] = "{:,} tokens".format,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._show = label, show
        self._line = TransientLine(terminal)
        self._clock = clock
        self._started = clock()
        self._first = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def __call__(self, done: int, total: int) -> None:
        """Told by the engine that ``done`` of ``total`` is there."""
        if self._first < 0:
            self._first = done  # computed in earlier turns
        elapsed = self._clock() - self._started
        if elapsed < PATIENCE_S or done >= total:
            return
        filled = BAR_WIDTH * done // total
        bar = "━" * filled + "─" * (BAR_WIDTH - filled)
        line = f"{self._label} {bar} {self._show(done).split()[0]} of {self._show(total)}"
        if done > self._first:
            left = elapsed * (total - done) / (done - self._first)
            line += f", {left:.0f} s left"
        self._line.show(line)

    def wait(self, text: str) -> None:
        """Show a line while nothing is known of how far it is."""
        self._line.show(text)

    def clear(self) -> None:
        """Take the line back."""
        self._line.clear()


class ClipProgress:
    """Tells which piece of a long sound is worked on; nothing where lines cannot be taken back.

    Args:
        terminal: Where it is drawn.
        name: The file.
        length_s: Where the work ends, in seconds, if that is known.
    """

    def __init__(self, terminal: Terminal, name: str, length_s: float | None) -> None:
        self._line = TransientLine(terminal)
        self._name, self._length_s = name, length_s

    def __enter__(self) -> ClipProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def __call__(self, start_s: float, end_s: float) -> None:
        """Work on a piece begins."""
        line = f"{self._name} {format_time(start_s)} - {format_time(end_s)}"
        if self._length_s:
            line += f" of {format_time(self._length_s)}"
        self._line.show(line)

    def clear(self) -> None:
        """Take the line back."""
        self._line.clear()


class EncodingBars:
    """One bar after the other, for the media of a message.

    Args:
        terminal: Where they are drawn.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._bar: ProgressBar | None = None

    def __call__(self, label: str) -> ProgressBar:
        """The bar of the next medium."""
        self.clear()
        self._bar = ProgressBar(self._terminal, f"encoding {label}", "{:,} parts".format)
        return self._bar

    def clear(self) -> None:
        """Take the line back."""
        if self._bar is not None:
            self._bar.clear()
