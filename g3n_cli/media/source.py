"""Getting at bytes without waiting for ever, and without taking more than makes sense."""

from __future__ import annotations

import io
import os
import select
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from g3n_cli.errors import InputError

PATIENCE_S = 10.0
"""How long a pipe may stay silent."""

MOST_PIPE_BYTES = 1 << 30
_BLOCK = 1 << 16
_HEAD = 4096


@dataclass(frozen=True)
class Source:
    """A file, or bytes that came through a pipe.

    Attributes:
        name: What to call it.
        path: Where the file is; None if ``content`` holds it.
        content: All bytes, or None.
    """

    name: str
    path: Path | None = None
    content: bytes | None = None

    @classmethod
    def of_path(cls, path: Path, patience_s: float = PATIENCE_S) -> Source:
        """The file at a path; a pipe is read to its end.

        Raises:
            InputError: it is not there, not readable, empty, or neither a file nor a pipe.
        """
        name = str(path)
        try:
            mode = os.stat(path).st_mode
            if stat.S_ISFIFO(mode):
                return cls(name, content=_read_pipe(path, patience_s))
            if not stat.S_ISREG(mode):
                raise InputError(f"{name} is not a file")
            with open(path, "rb") as file:
                if not file.read(1):
                    raise InputError(f"{name} is empty")
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            reason = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"cannot read {name}: {reason}") from None
        return cls(name, path)

    @classmethod
    def of_bytes(cls, content: bytes, name: str = "standard input") -> Source:
        """Bytes that were read already.

        Raises:
            InputError: there are none.
        """
        if not content:
            raise InputError(f"{name} is empty")
        return cls(name, content=content)

    @property
    def suffix(self) -> str:
        """End of the name, lower case, without the dot."""
        return "" if self.path is None else self.path.suffix.lower().removeprefix(".")

    @property
    def n_bytes(self) -> int:
        """Size."""
        return os.stat(self.path).st_size if self.path is not None else len(self.content or b"")

    def open(self) -> BinaryIO:
        """A stream of the bytes; the caller closes it."""
        return io.BytesIO(self.content or b"") if self.path is None else open(self.path, "rb")

    def head(self) -> bytes:
        """The first bytes."""
        with self.open() as stream:
            return stream.read(_HEAD)

    def read(self, most: int) -> bytes:
        """All bytes.

        Raises:
            InputError: there are more than ``most``, or they cannot be read.
        """
        if self.n_bytes > most:
            raise InputError(f"{self.name} has {self.n_bytes:,} bytes, at most {most:,} are read")
        try:
            with self.open() as stream:
                return stream.read()
        except OSError as error:
            raise InputError(f"cannot read {self.name}: {error.strerror}") from error


def _read_pipe(path: Path, patience_s: float) -> bytes:
    """All that somebody writes into a pipe."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        waiting = select.poll()
        waiting.register(fd, select.POLLIN)
        parts: list[bytes] = []
        n_bytes = 0
        deadline = time.monotonic() + patience_s
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0 or not waiting.poll(left_s * 1000):
                raise InputError(f"nobody writes to {path} ({patience_s:g} s)")
            block = os.read(fd, _BLOCK)
            if not block:
                break
            parts.append(block)
            n_bytes += len(block)
            if n_bytes > MOST_PIPE_BYTES:
                raise InputError(f"{path} gives more than {MOST_PIPE_BYTES:,} bytes")
            deadline = time.monotonic() + patience_s
        if not parts:
            raise InputError(f"{path} is empty")
        return b"".join(parts)
    finally:
        os.close(fd)
