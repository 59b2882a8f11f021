"""How fast a Gemma 3n would decode on this machine, without loading it.

A token takes the time to read all weights it is multiplied with, and the time in which threads
wait for each other between the nodes of the graph: the one counts in large models, the other in
small ones.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from g3n_cli.ggml.backend import CpuBackend
from g3n_cli.ggml.graph import F32, Graph
from g3n_cli.ggml.handles import write_tensor
from g3n_cli.ggml.library import load

NODES_PER_LAYER = 60
"""Nodes that compute something, of the 80 that a layer has."""

_STREAM_BYTES, _N_NODES, _N_TIMES = 256 << 20, 256, 4


@dataclass(frozen=True)
class Machine:
    """What limits decoding.

    Attributes:
        read_bytes_per_s: Memory that all threads together read.
        node_s: Seconds that a node takes however little it computes.
    """

    read_bytes_per_s: float
    node_s: float

    def estimate_decode_tps(self, n_bytes: int, n_layer: int) -> float:
        """Tokens per second of ``n_layer`` layers that read ``n_bytes`` of weights for each."""
        return 1 / (n_bytes / self.read_bytes_per_s + n_layer * NODES_PER_LAYER * self.node_s)


def measure_machine(n_threads: int) -> Machine:
    """Measure this machine as it is now; takes some tenths of a second."""
    values = np.ones(_STREAM_BYTES // 4, np.float32)
    parts = np.array_split(values, n_threads)
    with ThreadPoolExecutor(n_threads) as pool:
        stream_s = _find_least_s(lambda: list(pool.map(np.sum, parts)))
    return Machine(values.nbytes / stream_s, _measure_graph(n_threads) / _N_NODES)


def _measure_graph(n_threads: int) -> float:
    """Seconds of a graph that does next to nothing."""
    lib, graph = load(), Graph(_N_NODES + 2)
    given = x = graph.input("x", F32, 64, 1)
    for _ in range(_N_NODES):
        x = graph.add(x, given)
    graph.output(x)
    with CpuBackend(n_threads) as backend:
        allocator = lib.gallocr_new(backend.buffer_type)
        lib.gallocr_alloc_graph(allocator, graph.ptr)
        write_tensor(given, np.zeros(64, np.float32))
        seconds = _find_least_s(lambda: backend.compute(graph.ptr))
        lib.gallocr_free(allocator)
    graph.close()
    return seconds


def _find_least_s(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(_N_TIMES):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)
