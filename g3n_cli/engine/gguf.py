"""Reading a GGUF file's header, and refusing it before C code would trust it."""

from __future__ import annotations

import errno
import math
import mmap
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.gguf_types import BLOCKS, GgmlType
from g3n_cli.errors import MEMORY_HINT, DoesNotFitError, ModelError

MAX_DIMS = 4
MAX_NAME = 63
_MAGIC, _VERSIONS = b"GGUF", (2, 3)
_STRING, _ARRAY = 8, 9
_SCALARS: dict[int, str] = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "<?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")
# The least bytes an entry can take: what a count beyond the file's size is recognized by.
_MIN_KEY_BYTES, _MIN_TENSOR_BYTES = 13, 32


@dataclass(frozen=True)
class GgufArray:
    """An array of the header, decoded when asked for.

    Attributes:
        type: GGUF value type of the elements.
        length: Number of elements.
        raw: The elements as stored.
    """

    type: int
    length: int
    raw: bytes

    @property
    def is_string(self) -> bool:
        """Whether the elements are strings."""
        return self.type == _STRING

    def to_numpy(self) -> npt.NDArray[Any]:
        """Elements of a numeric or boolean array.

        Raises:
            TypeError: it holds strings.
        """
        if self.is_string:
            raise TypeError("an array of strings has no numeric form")
        return np.frombuffer(self.raw, _SCALARS[self.type])

    def to_bytes(self) -> Iterator[bytes]:
        """Elements of an array of strings, as stored.

        Raises:
            TypeError: it holds numbers.
        """
        if not self.is_string:
            raise TypeError("a numeric array has no strings")
        raw, unpack, at = self.raw, _U64.unpack_from, 0
        for _ in range(self.length):
            start = at + 8
            at = start + unpack(raw, at)[0]
            yield raw[start:at]


Value: TypeAlias = int | float | bool | str | GgufArray


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a file.

    Attributes:
        name: Full name.
        type: ggml type.
        ne: 1 to 4 extents, ``ne[0]`` first.
        offset: First byte, counted from the start of the file.
        n_bytes: Size.
    """

    name: str
    type: GgmlType
    ne: tuple[int, ...]
    offset: int
    n_bytes: int

    @property
    def n_values(self) -> int:
        """Number of values."""
        return math.prod(self.ne)

    @property
    def row_bytes(self) -> int:
        """Bytes of one row of ``ne[0]`` values."""
        return row_bytes(self.type, self.ne[0])


def row_bytes(kind: GgmlType, n_values: int) -> int:
    """Bytes of ``n_values`` (a multiple of the block) of a type."""
    block, size = BLOCKS[kind]
    return n_values // block * size


@dataclass(frozen=True)
class GgufFile:
    """The header of a file; the file itself is not kept open.

    Attributes:
        path: Where it is.
        size: Bytes of the file.
        metadata: Values by key.
        tensors: Tensors by full name, in the order of the file.
    """

    path: Path
    size: int
    metadata: dict[str, Value]
    tensors: dict[str, TensorInfo]

    @property
    def architecture(self) -> str:
        """``general.architecture``; empty if the file names none."""
        value = self.metadata.get("general.architecture", "")
        return value if isinstance(value, str) else ""

    @classmethod
    def open(cls, path: Path) -> GgufFile:
        """Read and check the header of ``path``.

        Raises:
            ModelError: it cannot be read, or is no GGUF whose tensors all lie inside the file.
            DoesNotFitError: the process may not map so much.
        """
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its writer
                raise ModelError(f"{path} is not a file")
            with path.open("rb") as file:
                size = file.seek(0, 2)
                if size == 0:
                    raise ModelError(f"{path} is empty")
                with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                    return _Reader(path, data).read()
        except OSError as error:
            if error.errno == errno.ENOMEM:
                raise DoesNotFitError(f"not enough memory to map {path}", MEMORY_HINT) from error
            raise ModelError(f"cannot read {path}: {error.strerror}") from error


class _Reader:
    """Walks a header from its first byte."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.size = path, data, len(data)
        self.at = 0

    def fail(self, fault: str) -> ModelError:
        return ModelError(f"{self.path} is not a usable GGUF file: {fault}")

    def read(self) -> GgufFile:
        if self.take(4) != _MAGIC:
            raise self.fail("it does not begin with 'GGUF'")
        if (version := self.u32()) not in _VERSIONS:
            raise self.fail(f"version {version}, known are 2 and 3")
        n_tensors, n_keys = self.u64(), self.u64()
        for what, count, least in (
            ("tensors", n_tensors, _MIN_TENSOR_BYTES),
            ("keys", n_keys, _MIN_KEY_BYTES),
        ):
            if count > self.size // least:
                raise self.fail(f"it claims {count} {what}")
        metadata: dict[str, Value] = {}
        for _ in range(n_keys):
            key = self.name("a key")
            if key in metadata:
                raise self.fail(f"key {key!r} occurs twice")
            metadata[key] = self.value(key, self.u32())
        tensors = self.tensors(n_tensors, self.alignment(metadata))
        return GgufFile(self.path, self.size, metadata, tensors)

    # ------------------------------------------------------------------------------------- values

    def take(self, n: int) -> bytes:
        if n > self.size - self.at:
            raise self.fail("it ends within its header")
        self.at += n
        return self.data[self.at - n : self.at]

    def u32(self) -> int:
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack(self.take(8))[0])

    def string(self, what: str) -> str:
        raw = self.take(self.u64())
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise self.fail(f"{what} is not UTF-8") from error

    def name(self, what: str) -> str:
        """A string that C code cannot read as another one: it takes a NUL for the end."""
        name = self.string(what)
        if not name or "\0" in name:
            raise self.fail(f"{what} is empty or holds a NUL")
        return name

    def value(self, key: str, kind: int) -> Value:
        if kind == _STRING:
            return self.string(f"the value of {key!r}")
        if kind == _ARRAY:
            return self.array(key)
        return self.scalar(key, kind)

    def scalar(self, key: str, kind: int) -> int | float | bool:
        if kind not in _SCALARS:
            raise self.fail(f"{key!r} has a value of unknown type {kind}")
        dtype = np.dtype(_SCALARS[kind])
        raw = self.take(dtype.itemsize)
        if kind == 7 and raw not in (b"\0", b"\1"):
            raise self.fail(f"{key!r} is neither true nor false")
        value: int | float | bool = np.frombuffer(raw, dtype)[0].item()
        return value

    def array(self, key: str) -> GgufArray:
        kind, length = self.u32(), self.u64()
        if kind == _STRING:
            return GgufArray(kind, length, self.strings(length))
        if kind not in _SCALARS:
            raise self.fail(f"{key!r} is an array of unknown type {kind}")
        return GgufArray(kind, length, self.take(length * np.dtype(_SCALARS[kind]).itemsize))

    def strings(self, length: int) -> bytes:
        """The bytes of ``length`` strings, walked over without making any of them."""
        if length > (self.size - self.at) // 8:
            raise self.fail("it ends within its header")
        start = at = self.at
        data, unpack, last = self.data, _U64.unpack_from, self.size - 8
        for _ in range(length):
            if at > last:
                raise self.fail("it ends within its header")
            at += 8 + unpack(data, at)[0]
        self.at = start
        return self.take(at - start)

    # ------------------------------------------------------------------------------------ tensors

    def alignment(self, metadata: dict[str, Value]) -> int:
        value = metadata.get("general.alignment", 32)
        is_power = type(value) is int and value > 0 and value & (value - 1) == 0
        # Less than 32 is sound GGUF, but ggml aborts on tensors mapped at such addresses.
        if not is_power or not isinstance(value, int) or value % 32 or value > 1 << 16:
            raise self.fail(f"its alignment is {value}")
        return value

    def tensors(self, count: int, alignment: int) -> dict[str, TensorInfo]:
        infos = [self.tensor_info() for _ in range(count)]
        start = -(-self.at // alignment) * alignment
        tensors: dict[str, TensorInfo] = {}
        for info in infos:
            if info.name in tensors:
                raise self.fail(f"tensor {info.name!r} occurs twice")
            if info.offset % alignment:
                raise self.fail(f"tensor {info.name!r} is not aligned")
            if info.n_bytes > self.size - start - info.offset:
                raise self.fail(f"tensor {info.name!r} ends behind the end of the file")
            tensors[info.name] = TensorInfo(
                info.name, info.type, info.ne, start + info.offset, info.n_bytes
            )
        end = 0
        for info in sorted(tensors.values(), key=lambda info: info.offset):
            if info.offset < end:
                raise self.fail(f"tensor {info.name!r} overlaps another")
            end = info.offset + info.n_bytes
        return tensors

    def tensor_info(self) -> TensorInfo:
        name = self.name("a tensor's name")
        if len(name.encode()) > MAX_NAME:
            raise self.fail(f"a tensor's name has {len(name)} characters")
        n_dims = self.u32()
        if not 1 <= n_dims <= MAX_DIMS:
            raise self.fail(f"tensor {name!r} has {n_dims} dimensions")
        ne = tuple(self.u64() for _ in range(n_dims))
        if not all(0 < n < 1 << 40 for n in ne):
            raise self.fail(f"tensor {name!r} has the shape {ne}")
        try:
            kind = GgmlType(self.u32())
        except ValueError as error:
            raise self.fail(f"tensor {name!r} has an unknown type") from error
        if ne[0] % BLOCKS[kind][0]:
            raise self.fail(f"tensor {name!r}: rows of {ne[0]} are no whole {kind.name} blocks")
        n_bytes = row_bytes(kind, ne[0]) * math.prod(ne[1:])
        return TensorInfo(name, kind, ne, self.u64(), n_bytes)
