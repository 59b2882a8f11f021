"""What a converted file will hold, and writing it.

A plan is complete before the first byte is written: names, types, shapes and where every value
comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from g3n_cli.config import count_physical_cores
from g3n_cli.convert.safetensors import Weight
from g3n_cli.engine.gguf import GgufFile, TensorInfo, Value
from g3n_cli.engine.gguf_types import BLOCKS, GgmlType
from g3n_cli.engine.gguf_writer import GgufWriter, TensorSpec
from g3n_cli.engine.worker import Worker
from g3n_cli.errors import ModelError
from g3n_cli.ggml.abort import AbortFlag
from g3n_cli.ggml.backend import Aborted
from g3n_cli.ggml.quantize import F32, Bytes, convert_rows

_WINDOW = 1 << 20
"""Values converted at once by a thread: about 12 MB with all copies."""

_MOST_THREADS = 8
_LARGEST = {GgmlType.F16: 65504.0}
_SMALLER_BLOCK = {GgmlType.Q6_K: GgmlType.Q8_0}


@dataclass(frozen=True)
class Part:
    """One tensor to write.

    Attributes:
        spec: Name, type and extents in the file.
        sources: Whose rows it takes, one after the other.
        n_zero_rows: Rows of zeros behind them.
    """

    spec: TensorSpec
    sources: tuple[Weight, ...]
    n_zero_rows: int = 0


@dataclass(frozen=True)
class Plan:
    """A whole file.

    Attributes:
        metadata: Keys and values.
        parts: Tensors in the order of the file.
    """

    metadata: dict[str, Value]
    parts: tuple[Part, ...]

    def describe(self, path: Path) -> GgufFile:
        """The header as it will be read back, for checks that take one."""
        infos = [
            TensorInfo(part.spec.name, part.spec.type, part.spec.ne, 0, part.spec.n_bytes)
            for part in self.parts
        ]
        return GgufFile(path, 0, self.metadata, {info.name: info for info in infos})


def fit_type(kind: GgmlType, ne: Sequence[int]) -> GgmlType:
    """``kind``, or what stands in for it where rows are no whole blocks.

    Source: llama.cpp ``src/llama-quant.cpp``, ``tensor_type_fallback``; its converter goes to F16
    likewise.
    """
    while ne[0] % BLOCKS[kind][0]:
        kind = _SMALLER_BLOCK.get(kind, GgmlType.F16)
    return kind


def to_ne(weight: Weight) -> tuple[int, ...]:
    """The extents of a checkpoint's tensor in ggml's order.

    Raises:
        ModelError: it is of an unknown type, or has no values.
    """
    weight.check_dtype()
    if not 1 <= len(weight.shape) <= 4 or 0 in weight.shape:
        raise ModelError(f"{weight.path}: tensor {weight.name!r} has the shape {weight.shape}")
    return tuple(reversed(weight.shape))


def write_plan(
    plan: Plan,
    out: Path,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the file; takes some 12 MB for every core, up to 8 of them.

    KeyboardInterrupt or Terminated, raised by a signal, ends it after the values under way.

    Args:
        plan: What to write.
        out: The file to make; it appears once it is complete.
        on_progress: Called with bytes written and bytes in all, on a thread of its own.

    Raises:
        G3nError: the file cannot be written.
        ModelError: weights cannot be read, or have values that the type cannot hold.
    """
    abort = AbortFlag()

    def go_on(done: int, total: int) -> None:
        if abort.is_set():
            raise Aborted
        if on_progress:
            on_progress(done, total)

    # On a thread that no signal reaches: one inside ``submit`` would leave the pool locked.
    with closing(Worker(abort.set)) as worker:
        worker.run(lambda: _write(plan, out, go_on))


def _write(plan: Plan, out: Path, on_progress: Callable[[int, int], None]) -> None:
    n_threads = min(count_physical_cores(), _MOST_THREADS)
    specs = [part.spec for part in plan.parts]
    with (
        ThreadPoolExecutor(n_threads) as pool,
        GgufWriter(out, plan.metadata, specs, on_progress) as writer,
    ):
        for part in plan.parts:
            writer.write_tensor(part.spec.name, _convert(part, pool, n_threads))


def _convert(part: Part, pool: ThreadPoolExecutor, n_threads: int) -> Iterator[bytes]:
    """The part's bytes in order; no more windows are under way than there are threads."""
    windows = list(_split(part))
    for first in range(0, len(windows), n_threads):
        group = windows[first : first + n_threads]
        yield from pool.map(lambda window: _convert_window(part.spec, *window), group)
    zeros = np.zeros((1, part.spec.ne[0] * 4), np.uint8)
    row = _retype(zeros, part.spec)
    for _ in range(part.n_zero_rows):
        yield row.tobytes()


def _split(part: Part) -> Iterator[tuple[Weight, int, int]]:
    """(source, first value, values) of windows of whole rows."""
    k = part.spec.ne[0]
    step = max(1, _WINDOW // k) * k
    n_values = (part.spec.n_rows - part.n_zero_rows) * k // len(part.sources)
    for source in part.sources:
        for start in range(0, n_values, step):
            yield source, start, min(step, n_values - start)


def _convert_window(spec: TensorSpec, source: Weight, start: int, count: int) -> bytes:
    values = source.read(start, count)
    limit = _LARGEST.get(spec.type, np.finfo(np.float32).max)
    if not max(values.max(), -values.min()) <= limit:  # true of NaN as well
        raise ModelError(
            f"{source.path}: tensor {source.name!r} has values that {spec.type.name} cannot hold",
            "take --type bf16 if they are finite" if spec.type == GgmlType.F16 else None,
        )
    return _retype(values.view(np.uint8).reshape(-1, spec.ne[0] * 4), spec).tobytes()


def _retype(rows: Bytes, spec: TensorSpec) -> Bytes:
    return rows if spec.type == F32 else convert_rows(rows, F32, spec.type, spec.ne[0])


def require(found: Mapping[str, Weight], name: str, folder: Path) -> Weight:
    """A tensor that a model cannot do without.

    Raises:
        ModelError: it is not there.
    """
    if name not in found:
        raise ModelError(f"{folder}: tensor {name!r} is missing")
    return found[name]
