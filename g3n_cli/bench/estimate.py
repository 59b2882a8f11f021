"""How fast a Gemma 3n would decode on this machine, without loading it.

A token takes the time to read all weights it is multiplied with, the time in which threads wait
for each other between the nodes of the graph, and what is the same for all models: preparing a
step and choosing a token. The first counts in large models, the others in small ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from g3n_cli.config import EngineSettings
from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.engine.open import open_engine
from g3n_cli.engine.prompt import Prompt
from g3n_cli.engine.sampler import make_sampler
from g3n_cli.engine.sampling import Stochastic
from g3n_cli.ggml.backend import CpuBackend
from g3n_cli.ggml.graph import F32, I8, Graph
from g3n_cli.ggml.handles import Buffer, Context, memory_of, write_tensor
from g3n_cli.ggml.library import load
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.kernels.library import Kernels, load_kernels

NODES_PER_LAYER = 60
"""Nodes that compute something, of the 80 that a layer has."""

_MATRIX, _ALIGNMENT = (4096, 65536), 64
_N_NODES, _N_TIMES, _N_TOKENS = 256, 4, 16


@dataclass(frozen=True)
class Machine:
    """What limits decoding.

    Attributes:
        read_bytes_per_s: Weights that all threads together read and multiply.
        node_s: Seconds that a node takes however little it computes.
        token_s: Seconds that a token takes besides.
    """

    read_bytes_per_s: float
    node_s: float
    token_s: float = 0.0

    def estimate_decode_tps(self, n_bytes: int, n_layer: int) -> float:
        """Tokens per second of ``n_layer`` layers that read ``n_bytes`` of weights for each."""
        nodes_s = n_layer * NODES_PER_LAYER * self.node_s
        return 1 / (n_bytes / self.read_bytes_per_s + nodes_s + self.token_s)


def measure_machine(n_threads: int, sample: Path) -> Machine:
    """Measure this machine as it is now; takes about half a second.

    Args:
        n_threads: That compute.
        sample: A small Gemma 3n, to learn what a token costs besides reading weights.
    """
    with CpuBackend(n_threads) as backend:
        machine = Machine(_measure_products(backend), _measure_nodes(backend) / _N_NODES)
    token_s, n_bytes, n_layer = _measure_token(sample, n_threads)
    known_s = 1 / machine.estimate_decode_tps(n_bytes, n_layer)
    return replace(machine, token_s=max(0.0, token_s - known_s))


def _measure_products(backend: CpuBackend) -> float:
    """Bytes per second of a Q4_0 matrix, too large for any cache, multiplied with one token."""
    kernels = load_kernels("own")
    with ExitStack() as stack:
        graph = stack.enter_context(closing(Graph(8)))
        weight = stack.enter_context(Context(1)).new_tensor(GgmlType.Q4_0, *_MATRIX)
        n_bytes = load().nbytes(weight.ptr)
        buffer = stack.enter_context(Buffer.zeros(n_bytes + _ALIGNMENT))
        buffer.place(weight, -buffer.base % _ALIGNMENT)
        np.frombuffer(memory_of(weight), np.uint8)[:] = 0x11  # else all pages are one of zeros
        x = graph.input("x", F32, _MATRIX[0], 1)
        graph.output(_multiply(graph, kernels, weight, x))
        return float(n_bytes / _time_graph(backend, graph, x))


def _multiply(graph: Graph, kernels: Kernels | None, weight: Tensor, x: Tensor) -> Tensor:
    if kernels is None:
        return graph.mul_mat(weight, x)
    n_bytes = kernels.count_activation_bytes(1, x.ne[0])
    quantized = graph.custom(I8, (n_bytes,), (x,), kernels.quantize, (1.0, 127.0))
    return graph.custom(F32, (weight.ne[1], 1), (quantized, weight), kernels.product)


def _measure_nodes(backend: CpuBackend) -> float:
    """Seconds of a graph of nodes that do next to nothing."""
    with closing(Graph(_N_NODES + 2)) as graph:
        given = x = graph.input("x", F32, 64, 1)
        for _ in range(_N_NODES):
            x = graph.add(x, given)
        graph.output(x)
        return _time_graph(backend, graph, given)


def _measure_token(sample: Path, n_threads: int) -> tuple[float, int, int]:
    """Seconds of a token of a model, the bytes that it reads, and the layers."""
    settings = EngineSettings(n_ctx=64, n_threads=n_threads)
    with (
        closing(open_engine(sample, sample.stem, settings)) as engine,
        closing(make_sampler(engine, Stochastic(seed=0))) as sampler,
    ):
        logits = engine.prefill(Prompt.of_ids([0, 1, 2]))

        def add_token() -> None:
            nonlocal logits
            logits = engine.decode(sampler.sample(logits))

        seconds = _find_least_s(add_token, _N_TOKENS)
        size = engine.sizes[0]
        return seconds, size.read_bytes, size.n_layer


def _time_graph(backend: CpuBackend, graph: Graph, given: Tensor) -> float:
    """Seconds of computing a graph whose one input is ``given``."""
    lib = load()
    allocator = lib.gallocr_new(backend.buffer_type)
    lib.gallocr_alloc_graph(allocator, graph.ptr)
    write_tensor(given, np.ones(given.ne[0], np.float32))
    seconds = _find_least_s(lambda: backend.compute(graph.ptr), _N_TIMES)
    lib.gallocr_free(allocator)
    return seconds


def _find_least_s(work: Callable[[], object], n_times: int) -> float:
    seconds = []
    for _ in range(n_times):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
