"""Write GGUF files: metadata and tensor table first, then each tensor's bytes as they are made."""

from __future__ import annotations

import math
import os
import shutil
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from g3n_cli.engine.gguf import GgufArray, Value, row_bytes
from g3n_cli.engine.gguf_types import BLOCKS, GgmlType
from g3n_cli.errors import G3nError
from g3n_cli.units import format_bytes

ALIGNMENT = 32
"""Bytes every tensor's offset is a multiple of (GGUF's default, so no key says it)."""

VERSION = 3


class ValueType(IntEnum):
    """Types of metadata that are written, numbered as in the GGUF specification."""

    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10


_FORMATS = {
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "?",
    ValueType.UINT64: "Q",
}


def make_array(
    kind: ValueType, values: Sequence[int] | Sequence[float] | Sequence[bool] | Sequence[str]
) -> GgufArray:
    """An array for the metadata, of elements of one type."""
    return GgufArray(kind, len(values), _pack_items(kind, values))


@dataclass(frozen=True)
class TensorSpec:
    """A tensor to be written.

    Attributes:
        name: Full name.
        type: ggml type.
        ne: 1 to 4 extents, ``ne[0]`` first.
    """

    name: str
    type: GgmlType
    ne: tuple[int, ...]

    def __post_init__(self) -> None:
        """A row that is not a whole number of blocks cannot be stored."""
        assert self.ne[0] % BLOCKS[self.type][0] == 0, f"{self.name}: row of {self.ne[0]}"

    @property
    def n_rows(self) -> int:
        """Rows of all dimensions above the first."""
        return math.prod(self.ne[1:])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return row_bytes(self.type, self.ne[0])

    @property
    def n_bytes(self) -> int:
        """Bytes of the tensor."""
        return self.n_rows * self.row_bytes


class GgufWriter:
    """Writes one GGUF file; a context manager.

    The file appears under its name only once it is complete: until then the bytes go to
    ``<name>.part`` beside it, which is removed on any failure. Tensors are written in the order
    of the table, in chunks, so that a file of any size needs only a chunk of memory.

    Args:
        path: The file to make; an existing one is replaced.
        metadata: Keys and values in the order they are written, of the types ``GgufFile`` reads
            them as. An int becomes a uint32 if it fits, a float a float32.
        tensors: The tensor table.
        on_progress: Called with (bytes written, bytes in all) after every chunk.

    Raises:
        G3nError: The disk has no room for the file, or it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        metadata: Mapping[str, Value],
        tensors: Sequence[TensorSpec],
        on_progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self.path = path
        self._part = path.with_name(path.name + ".part")
        self._tensors = iter(tensors)
        self._header = _pack_header(metadata, tensors)
        self._on_progress = on_progress
        self._n_written = 0
        self.n_bytes = len(self._header) + sum(_aligned(t.n_bytes) for t in tensors)

    def __enter__(self) -> Self:
        if self.path.is_dir():
            raise G3nError(f"cannot write {self.path}: it is a directory")
        try:
            free = shutil.disk_usage(self.path.parent).free
            if free < self.n_bytes:
                takes, left = format_bytes(self.n_bytes), format_bytes(free)
                hint = "make room or choose another disk"
                raise G3nError(f"{self.path} takes {takes}, {left} are free", hint)
            self._file = FileIO(self._part, "w")
            try:
                self._put(self._header)
                return self  # here, as Ctrl+C may still come before the caller has it
            except BaseException:
                self._file.close()
                raise
        except OSError as error:  # it could not be opened
            raise _unwritable(self.path, error) from error
        except BaseException:
            self._part.unlink(missing_ok=True)
            raise

    def write_tensor(self, name: str, chunks: Iterable[bytes | memoryview]) -> None:
        """Write the next tensor of the table.

        Args:
            name: Its name, to hold the caller to the table's order.
            chunks: Its bytes in pieces of any size.
        """
        tensor = next(self._tensors)
        assert tensor.name == name, f"{name} written where {tensor.name} is due"
        start = self._n_written
        for chunk in chunks:
            self._put(chunk)
        n_bytes = self._n_written - start
        assert n_bytes == tensor.n_bytes, f"{name}: {n_bytes} bytes instead of {tensor.n_bytes}"
        self._put(bytes(_aligned(n_bytes) - n_bytes))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
            if kind is None:
                assert self._n_written == self.n_bytes, "tensors of the table were not written"
                os.replace(self._part, self.path)
        except OSError as failure:
            raise _unwritable(self.path, failure) from failure
        finally:
            self._file.close()
            self._part.unlink(missing_ok=True)

    def _put(self, chunk: bytes | memoryview) -> None:
        view = memoryview(chunk).cast("B")
        while view:
            try:
                n = self._file.write(view)
            except OSError as error:
                raise _unwritable(self.path, error) from error
            view = view[n:]
            self._n_written += n
        if self._on_progress:
            self._on_progress(self._n_written, self.n_bytes)


def _pack_header(metadata: Mapping[str, Value], tensors: Sequence[TensorSpec]) -> bytes:
    """Everything before the first tensor's bytes, padding included."""
    parts = [b"GGUF", struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        parts += [_pack_string(key), _pack_value(value)]
    offset = 0
    for tensor in tensors:
        n_dims = len(tensor.ne)
        parts.append(_pack_string(tensor.name))
        parts.append(struct.pack(f"<I{n_dims}QIQ", n_dims, *tensor.ne, tensor.type, offset))
        offset += _aligned(tensor.n_bytes)
    header = b"".join(parts)
    return header.ljust(_aligned(len(header)), b"\0")


def _pack_value(value: Value) -> bytes:
    kind = struct.pack("<I", _choose_type(value))
    if isinstance(value, GgufArray):
        return kind + struct.pack("<IQ", value.type, value.length) + value.raw
    return kind + _pack_items(_choose_type(value), [value])


def _choose_type(value: Value) -> ValueType:
    match value:
        case GgufArray():
            return ValueType.ARRAY
        case bool():
            return ValueType.BOOL
        case str():
            return ValueType.STRING
        case float():
            return ValueType.FLOAT32
        case _ if value < 0:
            return ValueType.INT32
        case _:
            return ValueType.UINT32 if value < 1 << 32 else ValueType.UINT64


def _pack_items(kind: ValueType, items: Sequence[int | float | bool | str]) -> bytes:
    if kind is ValueType.STRING:
        return b"".join(_pack_string(str(item)) for item in items)
    return struct.pack(f"<{len(items)}{_FORMATS[kind]}", *items)


def _pack_string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // ALIGNMENT) * ALIGNMENT


def _unwritable(path: Path, error: OSError) -> G3nError:
    return G3nError(f"cannot write {path}: {error.strerror}")
