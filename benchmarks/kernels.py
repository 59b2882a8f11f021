"""Measure products of quantized matrices: g3n's kernels in every variant beside ggml's.

Run from the root of the repository:

    python -m benchmarks.kernels --out benchmarks/results/kernels.json
    python -m benchmarks.kernels --types Q4_0 --tokens 1,512

Matrices hold random bytes; sides take turns. The limits are measured too: the instructions that
products are made of, in registers, and reading memory from end to end.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.measure import describe_machine, result_file, write_result
from benchmarks.report import render_kernels
from g3n_cli.config import count_physical_cores
from g3n_cli.engine.gguf_types import BLOCKS, GgmlType
from g3n_cli.engine.products import Products
from g3n_cli.ggml.backend import CpuBackend, find_repack_type, is_repackable
from g3n_cli.ggml.graph import F32, Graph
from g3n_cli.ggml.handles import Buffer, Context, write_tensor
from g3n_cli.ggml.library import load
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.kernels.library import Kernels, find_variants, load_kernels

SHAPES = ((2048, 8192), (8192, 2048), (2048, 2048), (2048, 262_144))
"""(k, rows): FFN, attention, and the head, which is too large for any cache."""

TYPES = ("Q4_0", "Q8_0", "Q4_K", "Q6_K")
TOKENS = (1, 4, 32, 512)
MOST_MULTIPLY_ADDS = 100e9
"""Larger cases are left out: the head with many tokens, which no engine computes."""

PEAK_STEPS = 100_000_000
MULTIPLY_ADDS_PER_STEP = 768
STREAM_BYTES = 1 << 30


class _Side:
    """One side's product, ready to be computed again and again; also stands for ``Weights``."""

    def __init__(self, name: str, kind: GgmlType, rows: npt.NDArray[np.uint8], k: int) -> None:
        self.kernels: Kernels | None = None if name.startswith("ggml") else load_kernels(name)
        self._stack = ExitStack()
        context = self._stack.enter_context(Context(1))
        self._matrix = context.new_tensor(kind, k, len(rows))
        repack = find_repack_type() if name == "ggml" else None
        buffer = Buffer.allocate(repack, rows.nbytes + 64) if repack else Buffer.zeros(rows.nbytes)
        self._stack.callback(buffer.close)
        buffer.place(self._matrix, -buffer.base % 64 if repack else 0)
        if self.kernels:
            address = self._matrix.struct.data or 0
            self.kernels.pack(kind, address, rows.reshape(-1).data, len(rows), k)
        else:
            write_tensor(self._matrix, rows)

    def kernels_of(self, _: Tensor) -> Kernels | None:
        """Whose panels the matrix lies in."""
        return self.kernels

    def prepare(self, x: npt.NDArray[np.float32], backend: CpuBackend) -> Callable[[], None]:
        """What computes the product with ``x [n, k]``."""
        lib = load()
        graph = Graph(8)
        self._stack.callback(graph.close)
        given = graph.input("x", F32, x.shape[1], len(x))
        graph.output(Products(graph, self).build(self._matrix, given))  # type: ignore[arg-type]
        allocator = lib.gallocr_new(backend.buffer_type)
        self._stack.callback(lib.gallocr_free, allocator)
        if not lib.gallocr_alloc_graph(allocator, graph.ptr):
            raise SystemExit("error: not enough memory")

        def compute() -> None:
            write_tensor(given, x)
            backend.compute(graph.ptr)

        return compute

    def close(self) -> None:
        self._stack.close()


def measure_case(
    kind: GgmlType, k: int, n_rows: int, tokens: Sequence[int], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Seconds of each side for each number of tokens, in turns."""
    rng = np.random.default_rng(0)
    n_values, n_bytes = BLOCKS[kind]
    tile = rng.integers(0, 120, (64, k // n_values * n_bytes), dtype=np.uint8)
    rows = np.tile(tile, (n_rows // len(tile), 1))
    names = ["ggml plain", *reversed(find_variants())]
    repack = find_repack_type()
    if repack and is_repackable(repack, kind, (k, n_rows)):
        names.insert(0, "ggml")
    cases = []
    with ExitStack() as stack:
        backend = stack.enter_context(CpuBackend(options.threads))
        sides = {name: _Side(name, kind, rows, k) for name in names}
        for side in sides.values():
            stack.callback(side.close)
        for n in tokens:
            x = rng.standard_normal((n, k), dtype=np.float32)
            run = {name: side.prepare(x, backend) for name, side in sides.items()}
            samples: dict[str, list[float]] = {name: [] for name in names}
            for repetition in range(options.repetitions + 1):
                for name, compute in run.items():
                    start = time.perf_counter()
                    compute()
                    if repetition:  # the first one is a warm-up
                        samples[name].append(time.perf_counter() - start)
            case = {"type": kind.name, "k": k, "rows": n_rows, "tokens": n, "bytes": rows.nbytes}
            cases.append({**case, "samples_s": samples})
    return cases


def measure_limits(n_threads: int) -> dict[str, Any]:
    """Multiply-adds per second in registers by variant, and bytes read per second."""
    values = np.ones(STREAM_BYTES // 4, np.float32)
    parts = np.array_split(values, n_threads)
    peaks = {}
    with ThreadPoolExecutor(n_threads) as pool:

        def seconds(work: Callable[[Any], Any], items: Sequence[Any]) -> float:
            start = time.perf_counter()
            list(pool.map(work, items))
            return time.perf_counter() - start

        for variant in find_variants():
            kernels = load_kernels(variant)
            assert kernels
            steps = PEAK_STEPS // (50 if variant == "portable" else 1)
            work = [steps] * n_threads
            took = min(
                seconds(lambda n, k=kernels: k.library.g3n_peak(n, 1), work) for _ in range(3)
            )
            peaks[variant] = steps * MULTIPLY_ADDS_PER_STEP * n_threads / took
        stream = max(values.nbytes / seconds(np.sum, parts) for _ in range(5))
    return {"multiply_adds_per_s": peaks, "stream_bytes_per_s": stream}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all cases; the result file is complete after each matrix."""
    options = _parse(arguments)
    result: dict[str, Any] = {
        "kind": "kernels",
        "machine": describe_machine(),
        "settings": {"n_threads": options.threads, "repetitions": options.repetitions},
        "limits": measure_limits(options.threads),
        "cases": [],
    }
    for name, (k, n_rows) in product(options.types, SHAPES):
        tokens = [n for n in options.tokens if n * k * n_rows <= MOST_MULTIPLY_ADDS]
        result["cases"] += measure_case(GgmlType[name], k, n_rows, tokens, options)
        write_result(result, options.out)
        sys.stderr.write(f"{name} {k} -> {n_rows} done\n")
    sys.stdout.write(render_kernels(result))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--types", type=lambda s: s.split(","), default=TYPES)
    parser.add_argument(
        "--tokens", type=lambda s: [int(n) for n in s.split(",")], default=list(TOKENS)
    )
    parser.add_argument("--threads", type=int, default=count_physical_cores())
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--out", type=result_file, default="kernels.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
