"""Reading parts of a model file."""

from __future__ import annotations

import os
from pathlib import Path

from g3n_cli.errors import ModelError


def read_exactly(fd: int, target: memoryview, offset: int, path: Path) -> None:
    """Fill ``target`` with the bytes of an open file from ``offset`` on.

    Raises:
        ModelError: the file has become shorter or unreadable; ``path`` is for the message.
    """
    while target:
        try:
            n_read = os.preadv(fd, [target], offset)
        except OSError as error:
            raise ModelError(f"cannot read {path}: {error.strerror}") from error
        if n_read == 0:
            raise ModelError(f"{path} has become shorter while it was in use")
        target, offset = target[n_read:], offset + n_read
