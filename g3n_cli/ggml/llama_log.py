"""llama.cpp's log: kept quiet, its error lines kept for messages of ours."""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from g3n_cli.ggml.library import load

load()  # its settings for OpenMP count only before llama_cpp loads the same libraries

from llama_cpp import llama_cpp as C  # noqa: E402, N812

__all__ = ["C", "captured_stderr", "take_error"]

_LEVEL_ERROR = 4
_errors: deque[str] = deque(maxlen=16)


def _keep_error(level: int, text: bytes, _user_data: int | None) -> None:
    if level == _LEVEL_ERROR:
        _errors.append(text.decode(errors="replace").strip())


_hook = C.llama_log_callback(_keep_error)  # C holds its address: it must live as long
C.llama_log_set(_hook, ctypes.c_void_p(0))


def take_error() -> str | None:
    """The cause llama.cpp logged for its last failure, or None; forgets what was logged.

    The outermost function logs last and only says that it failed, so the line before the last is
    the one that tells.
    """
    lines = [line.split(": ", 1)[-1] for line in _errors]
    _errors.clear()
    return None if not lines else lines[max(0, len(lines) - 2)]


@contextmanager
def captured_stderr() -> Iterator[list[str]]:
    """Collects what C code writes to standard error meanwhile: llama.cpp's grammar parser does.

    Process-wide, hence for calls of milliseconds only. The list is filled at the end.
    """
    lines: list[str] = []
    with tempfile.TemporaryFile() as file:
        saved = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield lines
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            file.seek(0)
            lines += file.read().decode(errors="replace").splitlines()
