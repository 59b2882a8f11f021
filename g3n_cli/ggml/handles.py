"""Owners of ggml objects: each frees its own, once."""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from g3n_cli.errors import MEMORY_HINT, DoesNotFitError, G3nError
from g3n_cli.ggml.bindings import BUFFER_USAGE_WEIGHTS, InitParams
from g3n_cli.ggml.library import load
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.units import format_bytes

_ALIGNMENT = 64
"""Bytes, of which ggml wants addresses of CPU buffers to be multiples (it asks for 32)."""

MemoryRange = tuple[int, int]
"""Address and bytes of a part of this process's memory, touched yet or not."""


class Managed:
    """A C object with one owner.

    Subclasses set ``_ptr`` and implement ``_free``.
    """

    _ptr: int | None = None

    @property
    def ptr(self) -> int:
        """Address of the object.

        Raises:
            ValueError: already closed.
        """
        if self._ptr is None:
            raise ValueError(f"{type(self).__name__} is already closed")
        return self._ptr

    def close(self) -> None:
        """Free the object; closing twice is harmless."""
        if self._ptr is not None:
            ptr, self._ptr = self._ptr, None
            self._free(ptr)

    def _free(self, ptr: int) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Context(Managed):
    """Memory for up to ``n_tensors`` tensor structs and a graph; no tensor data."""

    def __init__(self, n_tensors: int, n_nodes: int = 0) -> None:
        lib = load()
        size = n_tensors * lib.tensor_overhead()
        if n_nodes:
            size += lib.graph_overhead_custom(n_nodes, False)
        self._ptr = lib.init(InitParams(size, None, True))
        if not self._ptr:
            raise DoesNotFitError(f"no memory for {n_tensors} tensor headers")

    def new_tensor(self, kind: int, *ne: int) -> Tensor:
        """A tensor of ggml type ``kind`` with 1 to 4 extents, without memory."""
        return Tensor(getattr(load(), f"new_tensor_{len(ne)}d")(self.ptr, kind, *ne))

    def _free(self, ptr: int) -> None:
        load().free(ptr)


class Buffer(Managed):
    """Memory that tensors can be placed in.

    Args:
        ptr: A ggml buffer; ownership passes to this object.
        memory: Python object owning the bytes, kept alive as long as the buffer.
    """

    def __init__(self, ptr: int, memory: mmap.mmap | None = None) -> None:
        self._ptr = ptr
        self._memory = memory
        self._lib: Any = load()

    @classmethod
    def allocate(cls, buffer_type: int, size: int) -> Buffer:
        """``size`` bytes of ``buffer_type``.

        Raises:
            DoesNotFitError: there is no such memory.
        """
        ptr = load().backend_buft_alloc_buffer(buffer_type, size)
        if not ptr:
            raise _make_refusal(size)
        return cls(ptr)

    @classmethod
    def map(cls, memory: mmap.mmap) -> Buffer:
        """A mapping, of a file or anonymous, as a CPU buffer, which owns it from now on."""
        return cls(load().backend_cpu_buffer_from_ptr(address_of(memory), len(memory)), memory)

    @classmethod
    def over(cls, values: npt.NDArray[Any]) -> Buffer:
        """The memory of an array that ``as_aligned`` made, which must outlive the buffer."""
        return cls(load().backend_cpu_buffer_from_ptr(values.ctypes.data, values.nbytes))

    @classmethod
    def zeros(cls, size: int) -> Buffer:
        """``size`` bytes of anonymous CPU memory: zero, and taking RAM only as they are touched.

        Raises:
            DoesNotFitError: there is no such memory.
        """
        try:
            return cls.map(mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        except OSError as error:
            raise _make_refusal(size) from error

    @classmethod
    def of_context(cls, context: Context, buffer_type: int) -> Buffer:
        """Memory of ``buffer_type`` for all tensors of a context, each with its place in it.

        Where such memory comes in pieces of limited size, it is several pieces.

        Raises:
            DoesNotFitError: there is no such memory.
        """
        ptr = load().backend_alloc_ctx_tensors_from_buft(context.ptr, buffer_type)
        if not ptr:
            raise DoesNotFitError("the device has not enough memory", "lower --gpu-layers or --ctx")
        return cls(ptr)

    @property
    def base(self) -> int:
        """Address of the first byte."""
        return int(self._lib.backend_buffer_get_base(self.ptr))

    @property
    def size(self) -> int:
        """Bytes."""
        return int(self._lib.backend_buffer_get_size(self.ptr))

    def mark_as_weights(self) -> None:
        """Tell ggml that what lies here is not written by graphs."""
        self._lib.backend_buffer_set_usage(self.ptr, BUFFER_USAGE_WEIGHTS)

    def clear(self) -> None:
        """Fill it with zeros."""
        self._lib.backend_buffer_clear(self.ptr, 0)

    def place(self, tensor: Tensor, offset: int) -> None:
        """Give ``tensor`` the memory at ``offset``.

        Raises:
            ValueError: it would not fit.
        """
        if offset < 0 or offset + self._lib.nbytes(tensor.ptr) > self.size:
            raise ValueError(f"{tensor!r} at {offset} leaves a buffer of {self.size} bytes")
        if self._lib.backend_tensor_alloc(self.ptr, tensor.ptr, self.base + offset):
            raise G3nError(f"ggml refuses to place {tensor!r}")

    def _free(self, ptr: int) -> None:
        self._lib.backend_buffer_free(ptr)
        if self._memory is not None:
            self._memory.close()


def _make_refusal(size: int) -> DoesNotFitError:
    return DoesNotFitError(f"there is no memory for {format_bytes(size)} more", MEMORY_HINT)


def address_of(memory: mmap.mmap) -> int:
    """Address of a mapping's first byte; valid until the mapping is closed."""
    return int(np.frombuffer(memory, np.uint8, 1).ctypes.data)


def trim_heap() -> None:
    """Give memory that C code has freed back to the system, where the C library can."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def release_memory(address: int, n_bytes: int) -> None:
    """Give back the whole pages of a range; anonymous ones read as zeros afterwards."""
    first = -(-address // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (address + n_bytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        madvise = ctypes.CDLL(None).madvise
        madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), mmap.MADV_DONTNEED)


def empty_aligned(shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """An array of float32 that a buffer can lie over, its values undefined."""
    n_bytes = 4 * math.prod(shape)
    memory = np.empty(n_bytes + _ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % _ALIGNMENT
    return memory[first : first + n_bytes].view(np.float32).reshape(shape)


def as_aligned(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """``values`` if a buffer can lie over them, else a copy that one can lie over."""
    if values.flags.c_contiguous and values.ctypes.data % _ALIGNMENT == 0:
        return values
    copy = empty_aligned(values.shape)
    copy[:] = values
    return copy


def write_tensor(tensor: Tensor, values: npt.NDArray[Any], offset: int = 0) -> None:
    """Copy ``values`` (contiguous) into ``tensor`` from byte ``offset`` on.

    Raises:
        ValueError: more bytes than the tensor has left.
    """
    lib = load()
    if not values.flags.c_contiguous or offset + values.nbytes > lib.nbytes(tensor.ptr):
        raise ValueError(f"{values.nbytes} bytes do not fit {tensor!r} at {offset}")
    lib.backend_tensor_set(tensor.ptr, values.ctypes.data, offset, values.nbytes)


def memory_of(tensor: Tensor) -> memoryview:
    """The bytes of a tensor in CPU memory, which must outlive the view."""
    n_bytes = load().nbytes(tensor.ptr)
    return memoryview((ctypes.c_uint8 * n_bytes).from_address(tensor.struct.data or 0))


def read_tensor(tensor: Tensor, out: npt.NDArray[Any], offset: int = 0) -> None:
    """Copy bytes of ``tensor`` from ``offset`` on into ``out`` (contiguous).

    Raises:
        ValueError: more bytes than the tensor has left.
    """
    lib = load()
    if not out.flags.c_contiguous or offset + out.nbytes > lib.nbytes(tensor.ptr):
        raise ValueError(f"{tensor!r} does not have {out.nbytes} bytes at {offset}")
    lib.backend_tensor_get(tensor.ptr, out.ctypes.data, offset, out.nbytes)
