"""A file of results that grows by whole lines, and can be gone on with."""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from g3n_cli.errors import G3nError, UsageError

GO_ON = "--resume goes on with it, once there is room"


class ResultFile:
    """An open file of lines, locked by this process.

    Args:
        fd: Open for reading and writing; the caller closes it.
        path: What to call it.
    """

    def __init__(self, fd: int, path: Path) -> None:
        self._fd, self._path = fd, path
        self._is_regular = stat.S_ISREG(os.fstat(fd).st_mode)
        self._end = 0

    @property
    def is_empty(self) -> bool:
        """Whether nothing is lost by writing from its start."""
        return not self._is_regular or os.fstat(self._fd).st_size == 0

    def resume(self, expected: Iterable[tuple[int, str]]) -> tuple[int, int]:
        """Keep the complete lines, drop a half-written last one.

        Args:
            expected: Index and key of each input, in order.

        Returns:
            How many results there are, and how many of them are errors.

        Raises:
            UsageError: it holds something else than results of these inputs.
        """
        n_lines = n_errors = 0
        wanted = iter(expected)
        with open(self._fd, "rb", closefd=False) as file:
            for line in file:
                if not line.endswith(b"\n"):
                    break
                record = _parse(line)
                if not isinstance(record, dict) or "key" not in record:
                    raise UsageError(f"line {n_lines + 1} of {self._path} is no result of g3n map")
                if (record.get("index"), record["key"]) != next(wanted, None):
                    raise UsageError(
                        f"{self._path} has results of another prompt, other inputs or settings",
                        "give the same as before, or another file",
                    )
                n_lines += 1
                n_errors += "error" in record
                self._end += len(line)
        self._cut()
        return n_lines, n_errors

    def write(self, line: str) -> None:
        """Append a line, all of it or nothing.

        Raises:
            G3nError: it cannot be written.
        """
        content = line.encode(errors="replace")
        left = memoryview(content)
        try:
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError as error:
            self._cut()
            raise G3nError(f"cannot write {self._path}: {error.strerror}", GO_ON) from error
        except BaseException:
            self._cut()
            raise
        self._end += len(content)

    def _cut(self) -> None:
        """Drop what follows the last complete line."""
        if self._is_regular:
            os.ftruncate(self._fd, self._end)
            os.lseek(self._fd, self._end, os.SEEK_SET)


@contextmanager
def open_result_file(path: Path) -> Iterator[ResultFile]:
    """A file for results, made if it is not there; nobody else writes to it meanwhile.

    Raises:
        OSError: it cannot be opened.
        UsageError: another process writes to it.
    """
    is_device = path.exists() and not path.is_file()
    how = os.O_WRONLY if is_device else os.O_RDWR | os.O_CREAT
    fd = os.open(path, how | os.O_CLOEXEC, 0o666)
    try:
        if stat.S_ISREG(os.fstat(fd).st_mode):
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UsageError(f"another g3n map writes to {path}") from None
        yield ResultFile(fd, path)
    finally:
        os.close(fd)


def _parse(line: bytes) -> object:
    try:
        parsed: object = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return parsed
