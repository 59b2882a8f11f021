"""Prototypes and structs of the ggml C API, as declared by the ggml 0.25.3 headers.

Names lose their ``ggml_`` prefix. Only what g3n calls is declared.
"""

from __future__ import annotations

import ctypes
from ctypes import (
    POINTER,
    Structure,
    c_bool,
    c_char,
    c_char_p,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_void_p,
)
from typing import Any

GGML_VERSION = "0.25.3"
MAX_DIMS = 4
MAX_SRC = 10
ROPE_TYPE_NEOX = 2
PREC_F32 = 10
STATUS_SUCCESS = 0
STATUS_ABORTED = 1
BUFFER_USAGE_WEIGHTS = 1
DEVICE_TYPES = ("cpu", "gpu", "igpu", "accel", "meta")


class TensorStruct(Structure):
    """``struct ggml_tensor``."""

    _fields_ = (
        ("type", c_int32),
        ("buffer", c_void_p),
        ("ne", c_int64 * MAX_DIMS),
        ("nb", c_size_t * MAX_DIMS),
        ("op", c_int32),
        ("op_params", c_int32 * 16),
        ("flags", c_int32),
        ("src", c_void_p * MAX_SRC),
        ("view_src", c_void_p),
        ("view_offs", c_size_t),
        ("data", c_void_p),
        ("name", c_char * 64),
        ("extra", c_void_p),
        ("padding", c_char * 8),
    )


OBJECT_STRUCT_SIZE = 32
"""Bytes of ``struct ggml_object``, which precedes each tensor in a context."""


class InitParams(Structure):
    """``struct ggml_init_params``."""

    _fields_ = (("mem_size", c_size_t), ("mem_buffer", c_void_p), ("no_alloc", c_bool))


class Feature(Structure):
    """``struct ggml_backend_feature``; a list of them ends with one without a name."""

    _fields_ = (("name", c_char_p), ("value", c_char_p))


ABORT_CALLBACK = ctypes.CFUNCTYPE(c_bool, c_void_p)
FATAL_CALLBACK = ctypes.CFUNCTYPE(None, c_char_p)
LOG_CALLBACK = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)
GET_EXTRA_BUFTS = ctypes.CFUNCTYPE(POINTER(c_void_p), c_void_p)
GET_FEATURES = ctypes.CFUNCTYPE(POINTER(Feature), c_void_p)
RPC_ADD_SERVER = ctypes.CFUNCTYPE(c_void_p, c_char_p)
RPC_START_SERVER = ctypes.CFUNCTYPE(None, c_char_p, c_char_p, c_size_t, c_size_t, POINTER(c_void_p))

_P, _I, _L, _Z, _F, _S = c_void_p, c_int, c_int64, c_size_t, c_float, c_char_p

BASE_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    # name: (result, arguments...)
    "version": (_S,),
    "commit": (_S,),
    "log_set": (None, LOG_CALLBACK, _P),
    "set_abort_callback": (_P, FATAL_CALLBACK),
    "init": (_P, InitParams),
    "free": (None, _P),
    "tensor_overhead": (_Z,),
    "graph_overhead_custom": (_Z, _Z, c_bool),
    "row_size": (_Z, _I, _L),
    "blck_size": (_L, _I),
    "type_size": (_Z, _I),
    "type_name": (_S, _I),
    "get_type_traits": (_P, _I),
    "quantize_chunk": (_Z, _I, _P, _P, _L, _L, _L, _P),
    "nbytes": (_Z, _P),
    "set_name": (_P, _P, _S),
    "set_input": (None, _P),
    "set_output": (None, _P),
    "new_tensor_1d": (_P, _P, _I, _L),
    "new_tensor_2d": (_P, _P, _I, _L, _L),
    "new_tensor_3d": (_P, _P, _I, _L, _L, _L),
    "new_tensor_4d": (_P, _P, _I, _L, _L, _L, _L),
    "add": (_P, _P, _P, _P),
    "add_inplace": (_P, _P, _P, _P),
    "sub": (_P, _P, _P, _P),
    "mul": (_P, _P, _P, _P),
    "div": (_P, _P, _P, _P),
    "sqr": (_P, _P, _P),
    "sqrt": (_P, _P, _P),
    "mean": (_P, _P, _P),
    "clamp": (_P, _P, _P, _F, _F),
    "scale": (_P, _P, _P, _F),
    "scale_bias": (_P, _P, _P, _F, _F),
    "relu": (_P, _P, _P),
    "geglu_split": (_P, _P, _P, _P),
    "tanh": (_P, _P, _P),
    "sigmoid": (_P, _P, _P),
    "silu": (_P, _P, _P),
    "rms_norm": (_P, _P, _P, _F),
    "mul_mat": (_P, _P, _P, _P),
    "prec_set_acc": (c_bool, _P, _I),
    "out_prod": (_P, _P, _P, _P),
    "concat": (_P, _P, _P, _P, _I),
    "cont": (_P, _P, _P),
    "permute": (_P, _P, _P, _I, _I, _I, _I),
    "reshape_2d": (_P, _P, _P, _L, _L),
    "reshape_3d": (_P, _P, _P, _L, _L, _L),
    "view_2d": (_P, _P, _P, _L, _L, _Z, _Z),
    "view_3d": (_P, _P, _P, _L, _L, _L, _Z, _Z, _Z),
    "view_4d": (_P, _P, _P, _L, _L, _L, _L, _Z, _Z, _Z, _Z),
    "pad_ext": (_P, _P, _P, _I, _I, _I, _I, _I, _I, _I, _I),
    "soft_max_ext": (_P, _P, _P, _P, _F, _F),
    "get_rows": (_P, _P, _P, _P),
    "set_rows": (_P, _P, _P, _P, _P),
    "rope_ext": (_P, _P, _P, _P, _P, _I, _I, _I, _F, _F, _F, _F, _F, _F),
    "flash_attn_ext": (_P, _P, _P, _P, _P, _P, _F, _F, _F),
    "custom_4d": (_P, _P, _I, _L, _L, _L, _L, POINTER(_P), _I, _P, _I, _P),
    "custom_inplace": (_P, _P, _P, POINTER(_P), _I, _P, _I, _P),
    "new_graph_custom": (_P, _P, _Z, c_bool),
    "build_forward_expand": (None, _P, _P),
    "graph_n_nodes": (_I, _P),
    "gallocr_new": (_P, _P),
    "gallocr_free": (None, _P),
    "gallocr_alloc_graph": (c_bool, _P, _P),
    "gallocr_get_buffer_size": (_Z, _P, _I),
    "backend_alloc_ctx_tensors_from_buft": (_P, _P, _P),
    "backend_free": (None, _P),
    "backend_graph_compute": (_I, _P, _P),
    "backend_get_default_buffer_type": (_P, _P),
    "backend_buft_alloc_buffer": (_P, _P, _Z),
    "backend_buft_get_alloc_size": (_Z, _P, _P),
    "backend_buft_get_alignment": (_Z, _P),
    "backend_buft_name": (_S, _P),
    "backend_buffer_free": (None, _P),
    "backend_buffer_get_base": (_P, _P),
    "backend_buffer_get_size": (_Z, _P),
    "backend_buffer_set_usage": (None, _P, _I),
    "backend_buffer_clear": (None, _P, c_uint8),
    "backend_cpu_buffer_from_ptr": (_P, _P, _Z),
    "backend_tensor_alloc": (_I, _P, _P, _P),
    "backend_tensor_set": (None, _P, _P, _Z, _Z),
    "backend_tensor_get": (None, _P, _P, _Z, _Z),
    "backend_dev_name": (_S, _P),
    "backend_dev_description": (_S, _P),
    "backend_dev_type": (_I, _P),
    "backend_dev_memory": (None, _P, POINTER(_Z), POINTER(_Z)),
    "backend_dev_supports_op": (c_bool, _P, _P),
    "backend_dev_init": (_P, _P, _S),
    "backend_dev_backend_reg": (_P, _P),
    "backend_reg_name": (_S, _P),
    "backend_reg_dev_get": (_P, _P, _Z),
    "backend_reg_dev_count": (_Z, _P),
    "backend_reg_get_proc_address": (_P, _P, _S),
    "backend_sched_new": (_P, POINTER(_P), POINTER(_P), _I, _Z, c_bool, c_bool),
    "backend_sched_free": (None, _P),
    "backend_sched_reset": (None, _P),
    "backend_sched_set_tensor_backend": (None, _P, _P, _P),
    "backend_sched_alloc_graph": (c_bool, _P, _P),
    "backend_sched_graph_compute": (_I, _P, _P),
    "backend_sched_get_buffer_size": (_Z, _P, _P),
}
CPU_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "cpu_init": (None,),
    "backend_cpu_init": (_P,),
    "backend_cpu_reg": (_P,),
    "backend_cpu_set_n_threads": (None, _P, _I),
    "backend_cpu_set_abort_callback": (None, _P, ABORT_CALLBACK, _P),
}
REGISTRY_PROTOTYPES: dict[str, tuple[Any, ...]] = {
    "backend_dev_count": (_Z,),
    "backend_dev_get": (_P, _Z),
    "backend_reg_count": (_Z,),
    "backend_reg_get": (_P, _Z),
    "backend_reg_by_name": (_P, _S),
}

ABORT_FLAG_TYPE = c_uint8 * 2
