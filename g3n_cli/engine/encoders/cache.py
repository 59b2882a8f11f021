"""Rows of encoded media on disk, so that the second question about a picture starts at once."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.encoders.api import Rows
from g3n_cli.errors import ModelError

_LIMIT_BYTES = 256 << 20
_MAGIC = b"g3nrows1"
_HEADER = struct.Struct("<8sII32s")
_SUFFIX = ".rows"
_N_SAMPLES, _SAMPLE_BYTES = 64, 4096


class RowsCache:
    """Encoded media by content; what was not used for longest goes first.

    Rows are kept as float32: rounded to halves, a second answer could differ from the first. A
    cache that cannot be read or written is an empty one, never an error.

    Args:
        folder: Where entries lie; made when the first one is stored.
        limit_bytes: Most that all entries take together.
    """

    def __init__(self, folder: Path, limit_bytes: int = _LIMIT_BYTES) -> None:
        self._folder, self._limit = folder, limit_bytes

    def find(self, key: str) -> Rows | None:
        """The rows stored under ``key``; None if there are none, or they are damaged."""
        path = self._path_of(key)
        try:
            content = path.read_bytes()
        except OSError:
            return None
        rows = _unpack(content)
        with contextlib.suppress(OSError):
            if rows is None:
                path.unlink()
            else:
                os.utime(path)
        return rows

    def store(self, key: str, rows: Rows) -> None:
        """Keep ``rows [n, n_embd]`` under ``key``, readable by their owner alone."""
        content = _pack(rows)
        if len(content) > self._limit:
            return
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(self._path_of(key), content)
            self._shrink()

    def _path_of(self, key: str) -> Path:
        return self._folder / (key + _SUFFIX)

    def _write(self, path: Path, content: bytes) -> None:
        """Whole or not at all, also beside another process that writes the same."""
        fd, name = tempfile.mkstemp(dir=self._folder, prefix=".", suffix=".part")
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _shrink(self) -> None:
        found = sorted(self._list(), reverse=True)
        total = 0
        for _, n_bytes, path in found:
            total += n_bytes
            if total > self._limit:
                path.unlink(missing_ok=True)

    def _list(self) -> Iterator[tuple[int, int, Path]]:
        """When each entry was used last, its bytes, where it is."""
        for path in self._folder.glob("*" + _SUFFIX):
            with contextlib.suppress(FileNotFoundError):  # another process removed it
                status = path.stat()
                yield status.st_mtime_ns, status.st_size, path


def make_key(values: npt.NDArray[Any], encoder: str) -> str:
    """The name of a medium's rows: what was encoded, in which shape, by which encoder.

    Args:
        values: As given to ``MediaEncoder.encode``.
        encoder: Whatever else the rows depend on, such as ``identify_file`` of the weights.
    """
    head = f"{encoder}\0{values.dtype.str}\0{values.shape}\0"
    return hashlib.sha256(head.encode() + np.ascontiguousarray(values).tobytes()).hexdigest()


def identify_file(path: Path) -> str:
    """What tells a file of weights from any other, found out in milliseconds.

    Its size and samples from all over it count, not its name or age: a copy is the same file.

    Raises:
        ModelError: it cannot be read.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            digest.update(str(size).encode())
            for i in range(_N_SAMPLES):
                file.seek(max(0, size - _SAMPLE_BYTES) * i // (_N_SAMPLES - 1))
                digest.update(file.read(_SAMPLE_BYTES))
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    return digest.hexdigest()


def _pack(rows: Rows) -> bytes:
    n, width = rows.shape
    values = np.ascontiguousarray(rows, "<f4").tobytes()
    return _HEADER.pack(_MAGIC, n, width, hashlib.sha256(values).digest()) + values


def _unpack(content: bytes) -> Rows | None:
    """Rows ``[n, n_embd]``; None if a byte is missing or changed."""
    if len(content) < _HEADER.size:
        return None
    magic, n, width, digest = _HEADER.unpack_from(content)
    values = content[_HEADER.size :]
    is_whole = magic == _MAGIC and len(values) == 4 * n * width
    if not is_whole or hashlib.sha256(values).digest() != digest:
        return None
    return np.frombuffer(values, "<f4").astype(np.float32).reshape(n, width)
