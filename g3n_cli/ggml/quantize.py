"""Rows of one ggml type as rows of another."""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, c_bool, c_char_p, c_int64, c_size_t, c_void_p

import numpy as np
import numpy.typing as npt

from g3n_cli.ggml.library import load

F32 = 0
_TO_FLOAT = CFUNCTYPE(None, c_void_p, c_void_p, c_int64)

Bytes = npt.NDArray[np.uint8]


class _TypeTraits(Structure):
    """The beginning of ``struct ggml_type_traits``."""

    _fields_ = (
        ("type_name", c_char_p),
        ("blck_size", c_int64),
        ("blck_size_interleave", c_int64),
        ("type_size", c_size_t),
        ("is_quantized", c_bool),
        ("to_float", _TO_FLOAT),
    )


def convert_rows(rows: Bytes, kind: int, wanted: int, k: int) -> Bytes:
    """Rows ``[n, bytes]`` of ``k`` values in the form of another type.

    Args:
        rows: As a file has them.
        kind: Their ggml type, one that products can be made with.
        wanted: Another one that needs no importance matrix to quantize to.
        k: Values of a row, whole blocks of both types.
    """
    lib, n = load(), len(rows)
    assert k % lib.blck_size(kind) == k % lib.blck_size(wanted) == 0
    assert rows.shape[1] == lib.row_size(kind, k)
    source = np.ascontiguousarray(rows)
    values = source.view(np.float32) if kind == F32 else np.empty((n, k), np.float32)
    if kind != F32:
        traits = ctypes.cast(lib.get_type_traits(kind), POINTER(_TypeTraits)).contents
        traits.to_float(source.ctypes.data, values.ctypes.data, n * k)
    out = np.empty((n, lib.row_size(wanted, k)), np.uint8)
    lib.quantize_chunk(wanted, values.ctypes.data, out.ctypes.data, 0, n, k, None)
    return out
