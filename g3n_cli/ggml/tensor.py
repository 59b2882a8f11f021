"""A tensor as ggml sees it: a pointer, with the shape read back from C."""

from __future__ import annotations

import ctypes
import struct

from g3n_cli.ggml.bindings import TensorStruct

_HEAD = struct.Struct("=i4xQ4q4Q")


class Tensor:
    """A borrowed ``ggml_tensor``; its context owns it.

    Attributes:
        ptr: Address of the struct.
        type: ggml type number.
        ne: Four extents, ``ne[0]`` first.
        nb: Four strides in bytes.
    """

    __slots__ = ("nb", "ne", "ptr", "type")

    def __init__(self, ptr: int) -> None:
        head = _HEAD.unpack(ctypes.string_at(ptr, _HEAD.size))
        self.ptr = ptr
        self.type: int = head[0]
        self.ne: tuple[int, int, int, int] = head[2:6]
        self.nb: tuple[int, int, int, int] = head[6:10]

    @property
    def struct(self) -> TensorStruct:
        """The C struct itself."""
        return TensorStruct.from_address(self.ptr)

    @property
    def name(self) -> str:
        """Name as set in C."""
        return str(self.struct.name, "utf-8", "replace")

    @property
    def is_allocated(self) -> bool:
        """Whether the tensor has memory; an input no node uses never gets any."""
        return bool(self.struct.data)

    def __repr__(self) -> str:
        return f"Tensor({self.name!r}, type {self.type}, ne {self.ne})"
