"""The streams of the process and what is at their other end."""

from __future__ import annotations

import errno
import io
import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from g3n_cli.errors import G3nError, InputError
from g3n_cli.ui.text import make_visible


@dataclass(frozen=True)
class Terminal:
    """Where input comes from and output goes to; tests make their own.

    Attributes:
        stdin: Input.
        stdout: Answers, and nothing else where it is not a terminal.
        stderr: All the rest.
        is_dumb: The terminal cannot move its cursor.
        wants_colour: Nobody has set NO_COLOR.
    """

    stdin: TextIO
    stdout: TextIO
    stderr: TextIO
    is_dumb: bool = False
    wants_colour: bool = True

    @classmethod
    def of_process(cls) -> Terminal:
        """The streams of this process; one that was closed reads as empty, or as a closed pipe."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")
        return cls(
            sys.stdin or open(os.devnull, encoding="utf-8"),
            sys.stdout or _ClosedStream(),
            sys.stderr or open(os.devnull, "w", encoding="utf-8"),
            is_dumb=os.environ.get("TERM", "dumb") in ("dumb", "unknown", ""),
            wants_colour=not os.environ.get("NO_COLOR"),
        )

    @property
    def can_draw(self) -> bool:
        """Whether answers go to a terminal that can move its cursor."""
        return self.stdout.isatty() and not self.is_dumb

    @property
    def has_colour(self) -> bool:
        """Whether answers may have colours."""
        return self.can_draw and self.wants_colour

    @property
    def can_animate(self) -> bool:
        """Whether lines on stderr can be overwritten."""
        return self.stderr.isatty() and not self.is_dumb

    def write(self, text: str) -> None:
        """Write a part of an answer at once."""
        self.stdout.write(text)
        self.stdout.flush()

    def note(self, line: str) -> None:
        """Tell the person something that is not an answer."""
        self.stderr.write(make_visible(line) + "\n")
        self.stderr.flush()

    def aside(self, line: str) -> None:
        """A note that stands back behind the answer."""
        if self.can_animate:
            self.stderr.write(f"\x1b[2m{make_visible(line)}\x1b[0m\n")
            self.stderr.flush()
        else:
            self.note(line)

    def report(self, error: G3nError) -> None:
        """Show a failure."""
        self.note(f"error: {error.message}")
        if error.hint is not None:
            self.note(f"hint: {error.hint}")

    def read_bytes(self) -> bytes:
        """All of standard input."""
        source = getattr(self.stdin, "buffer", None)
        content: bytes = self.stdin.read().encode() if source is None else source.read()
        return content

    def read_input(self) -> str:
        """All of standard input, without one newline at its end.

        Raises:
            InputError: it is not UTF-8 text.
        """
        content = self.read_bytes()
        if b"\0" in content:
            raise InputError("standard input is binary, not text")
        try:
            text: str = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InputError(
                f"standard input is not UTF-8 text (byte {error.start:,})",
                hint="convert it first, for example with iconv -f latin1 -t utf-8",
            ) from None
        return text.removesuffix("\n").removesuffix("\r")


@contextmanager
def hide_typing(terminal: Terminal) -> Iterator[None]:
    """Keep what is typed meanwhile for the next line, unseen; Ctrl+C still interrupts."""
    if not terminal.stdin.isatty():
        yield
        return
    fd = terminal.stdin.fileno()
    before = termios.tcgetattr(fd)
    hidden = termios.tcgetattr(fd)
    hidden[0] &= ~termios.ICRNL  # Enter stays Enter
    hidden[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(fd, termios.TCSANOW, hidden)
    try:
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSANOW, before)


class _ClosedStream(io.StringIO):
    """Standard output of a process started without one."""

    def write(self, _text: str) -> int:
        raise BrokenPipeError(errno.EPIPE, "standard output is closed")
