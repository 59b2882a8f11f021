"""Files that people name on the command line."""

from __future__ import annotations

from pathlib import Path

from g3n_cli.errors import InputError


def read_text(path: Path) -> str:
    """Text of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_text("utf-8")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text") from error
