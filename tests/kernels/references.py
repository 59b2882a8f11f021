"""Numpy's answers to what the kernels compute, and a graph to compute it in."""

from __future__ import annotations

import math
from contextlib import contextmanager

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf.quants import dequantize as gguf_dequantize

from g3n_cli.engine.products import Products
from g3n_cli.ggml.backend import CpuBackend
from g3n_cli.ggml.graph import F32, Graph
from g3n_cli.ggml.handles import Buffer, Context, read_tensor, write_tensor
from g3n_cli.ggml.library import load

EPS = 1e-6
F16, Q4_0, Q8_0, Q4_K, Q5_K, Q6_K = 1, 2, 8, 12, 13, 14
TYPES = {Q4_0: "Q4_0", Q8_0: "Q8_0", Q4_K: "Q4_K", Q5_K: "Q5_K", Q6_K: "Q6_K"}
SCALES = {  # offsets of the halves in a block, and how large a value they scale
    Q4_0: {0: 8},
    Q8_0: {0: 128},
    Q4_K: {0: 63 * 15, 2: 63},
    Q5_K: {0: 63 * 31, 2: 63},
    Q6_K: {208: 128 * 32},
}


def make_rows(kind: int, n_rows: int, k: int, seed: int = 0) -> np.ndarray:
    """Rows as a file holds them, every bit random except that values stay below about 0.1."""
    n_values, n_bytes = GGML_QUANT_SIZES[kind]
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (n_rows, k // n_values, n_bytes), dtype=np.uint8)
    for offset, largest in SCALES[kind].items():
        scales = rng.normal(0, 0.1 / largest, blocks.shape[:2]).astype(np.float16)
        blocks[:, :, offset : offset + 2] = scales[:, :, None].view(np.uint8)
    return blocks.reshape(n_rows, -1)


def make_halves(n_rows: int, k: int, seed: int = 0) -> np.ndarray:
    """Rows of float16 as a file holds them."""
    values = np.random.default_rng(seed).normal(0, 0.1, (n_rows, k))
    return values.astype(np.float16).view(np.uint8)


def dequantize(kind: int, rows: np.ndarray) -> np.ndarray:
    """Rows of a file as float64, by the gguf package."""
    return gguf_dequantize(rows, kind).astype(np.float64)


def quantize(x: np.ndarray, largest: int = 127) -> np.ndarray:
    """Activations ``[n, k]`` as 8 bits keep them. Source: ggml's ``quantize_row_q8_0``."""
    blocks = x.reshape(len(x), -1, 32).astype(np.float32)
    most = np.abs(blocks).max(axis=2, keepdims=True)
    with np.errstate(divide="ignore"):
        inverse = np.where(most > 0, np.float32(largest) / most, np.float32(0))
    scales = (most / np.float32(largest)).astype(np.float16).astype(np.float64)
    return (np.rint(blocks * inverse) * scales).reshape(x.shape)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def rms_norm(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS)


class PanelWeights:
    """Stands for ``Weights``: matrices in panels of one variant of the kernels."""

    def __init__(self, kernels) -> None:
        self.kernels = kernels
        self._context = Context(8)
        self._buffers = []
        self._rows = set()

    def kernels_of(self, tensor):
        return None if self.is_by_rows(tensor) else self.kernels

    def is_by_rows(self, tensor):
        return tensor.ptr in self._rows

    def add(self, kind: int, rows: np.ndarray, k: int, *, by_rows: bool = False):
        tensor = self._context.new_tensor(kind, k, len(rows))
        buffer = Buffer.zeros(rows.nbytes)
        buffer.place(tensor, 0)
        self._buffers.append(buffer)
        if by_rows:
            self._rows.add(tensor.ptr)
            write_tensor(tensor, rows)
        else:
            self.kernels.pack(kind, tensor.struct.data, rows.reshape(-1).data, len(rows), k)
        return tensor

    def close(self) -> None:
        for buffer in self._buffers:
            buffer.close()
        self._context.close()


@contextmanager
def products_of(kernels, act="q8"):
    """``(Products, PanelWeights, Graph)`` of one computation."""
    graph, weights = Graph(64), PanelWeights(kernels)
    yield Products(graph, weights, act), weights, graph
    graph.close()
    weights.close()


def compute(
    graph: Graph, out, inputs: dict, n_threads: int = 2, times: int = 1
) -> list[np.ndarray]:
    """What a graph computes, each time anew."""
    graph.output(out)
    lib = load()
    found = []
    with CpuBackend(n_threads) as backend:
        allocator = lib.gallocr_new(backend.buffer_type)
        assert lib.gallocr_alloc_graph(allocator, graph.ptr)
        for _ in range(times):
            for tensor, values in inputs.items():
                write_tensor(tensor, values)
            backend.compute(graph.ptr)
            found.append(np.empty(out.ne[1::-1], np.float32))
            read_tensor(out, found[-1])
        lib.gallocr_free(allocator)
    return found


def compute_node(node: int, ne: tuple[int, ...], operands: list[np.ndarray]) -> np.ndarray:
    """What a node with the parameter ``EPS`` makes of its operands."""
    graph = Graph(16)
    kinds = {np.dtype(np.float16): F16, np.dtype(np.float32): F32}
    given = [graph.input(str(i), kinds[a.dtype], *a.shape[::-1]) for i, a in enumerate(operands)]
    out = graph.custom(F32, ne, tuple(given), node, (EPS,))
    flat = graph.reshape(out, math.prod(ne[:-1]), ne[-1])
    (found,) = compute(graph, flat, dict(zip(given, operands, strict=True)))
    graph.close()
    return found.reshape(ne[::-1])
