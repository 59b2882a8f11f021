"""Files by reference: where they were, and whether they are still the same."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from g3n_cli.errors import InputError
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import Attachment, FileReference
from g3n_cli.media.source import Source


def refer(path: Path, kind: str, options: MediaOptions) -> FileReference:
    """What is kept of a file to know it again.

    Raises:
        InputError: it cannot be read.
    """
    n_bytes, sha256 = _measure(path)
    return FileReference(os.path.abspath(path), kind, sha256, n_bytes, options)


def read_again(reference: FileReference, options: MediaOptions) -> Attachment:
    """The file as it was; nothing of it is decoded unless it is the same to the last byte.

    Args:
        reference: The file.
        options: What of it is wanted now.

    Raises:
        InputError: it is gone, has changed, or cannot be read.
    """
    from g3n_cli.media.attach import read_attachment

    path = Path(reference.path)
    try:
        if not path.is_file():
            raise InputError(f"{path} is not there any more")
        is_same = path.stat().st_size == reference.n_bytes
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise InputError(f"cannot read {path}: {error}") from error
    if not is_same or _measure(path)[1] != reference.sha256:
        raise InputError(f"{path} has changed")
    return read_attachment(Source.of_path(path), options)


def _measure(path: Path) -> tuple[int, str]:
    """Bytes of a file, and their digest."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size, hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
