"""The weights of a Gemma 3n file: each where its products run best, no more than a size uses."""

from __future__ import annotations

import contextlib
import math
import mmap
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import BinaryIO

import numpy as np

from g3n_cli.config import EngineSettings, Widths
from g3n_cli.engine.file_read import read_exactly
from g3n_cli.engine.gguf import GgufFile, TensorInfo
from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.matformer import SPARSE_FROM
from g3n_cli.engine.offload import Offload
from g3n_cli.ggml.backend import find_repack_type, is_repackable
from g3n_cli.ggml.handles import (
    Buffer,
    Context,
    MemoryRange,
    memory_of,
    release_memory,
    write_tensor,
)
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.kernels.library import PANEL, Kernels

_ALIGNMENT = 64
_MADV_POPULATE_READ = 22
_MAP_FROM = 8 << 20
_CHUNK, _PART = 1 << 21, 32 << 20
_NOT_REPACKED = ("token_embd", "per_layer", "altup")
"""Read by row, or used as views of some of their rows: what ggml has repacked allows neither."""

_DOWN = "ffn_down"
_NOTHING = (0, 0)

Job = Callable[[], None]
"""Loads a part of a tensor."""


class Weights:
    """Tensors in memory, by their names in the file without ``.weight``.

    Matrices are stored in panels for g3n's own kernels or, where those have none for their type, in
    ggml's repacked form. They are read one after the other, so that loading peaks no higher than
    running. A matrix of which a token uses few rows, as most gates are cut off, stays as it is.
    Large tensors that stay so remain in the mapped file. Small ones beside rearranged ones are
    copied: mapping a page of the file may map two megabytes around it, and they lie between tensors
    that are not needed any more.

    Of a nested model only what it uses is in memory: the first rows of gate and up, the first
    columns of down, nothing of the layers it leaves out; unless all is to stay there.

    Args:
        gguf: A validated file.
        names: The tensors to load, full names.
        hparams: Of the model.
        settings: Whether to rearrange matrices at all, for which activations, what stays in memory,
            and how many tensors are read and rearranged at the same time.
        kernels: Whose panels to make; None for ggml's forms alone.
        offload: What lies on a device; its tensors are among ``names`` and are found here too.

    Attributes:
        kernels: As given.
        left_to_ggml: Matrices that only ggml can multiply with.
    """

    def __init__(
        self,
        gguf: GgufFile,
        names: Iterable[str],
        hparams: HParams,
        settings: EngineSettings,
        kernels: Kernels | None,
        offload: Offload | None = None,
    ) -> None:
        self._path, self.kernels, self._settings = gguf.path, kernels, settings
        self._n_offloaded = offload.n_layer if offload else 0
        names = set(names) - (offload.names if offload else set())
        infos = sorted((gguf.tensors[name] for name in names), key=lambda info: info.offset)
        self._context = Context(2 * len(infos))
        self._tensors = {info.name: self._context.new_tensor(info.type, *info.ne) for info in infos}
        matrices = [info for info in infos if settings.repack and len(info.ne) > 1]
        known = [
            info
            for info in matrices
            if kernels
            and kernels.has_panels(info.type, info.ne)
            and (info.name != "per_layer_model_proj.weight" or hparams.n_ple % PANEL == 0)
        ]
        # Only quantized activations can meet single rows.
        sparse = _find_sparse(hparams) if settings.act != "f32" else frozenset()
        rows = {info for info in known if info.name in sparse and info.type != GgmlType.F16}
        in_panels = [info for info in known if info not in rows]
        repacked = _choose_repackable(info for info in matrices if info not in set(known))
        plain = [info for info in infos if info not in {*in_panels, *repacked}]
        self.left_to_ggml = tuple(i for i in infos if len(i.ne) > 1 and i not in set(known))
        is_rearranged = len(plain) < len(infos)
        copied = [info for info in plain if is_rearranged and info.n_bytes < _MAP_FROM]
        self._in_panels, self._repacked = frozenset(in_panels), frozenset(repacked)
        self._copied = frozenset(copied)
        self._panels = frozenset(self._tensors[info.name].ptr for info in in_panels)
        self._rows = frozenset(self._tensors[info.name].ptr for info in rows)
        self._buffers: list[Buffer] = []
        self._reserve(copied, None)
        self._reserve(in_panels, None)
        self._reserve(repacked, find_repack_type())
        self._file: BinaryIO = gguf.path.open("rb")
        # Private: nothing is ever written.
        self._mapping = mmap.mmap(self._file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
        mapped = Buffer.map(self._mapping)
        mapped.mark_as_weights()
        self._copies = tuple(self._buffers)
        self._buffers.append(mapped)
        for info in plain:
            if info not in self._copied:
                mapped.place(self._tensors[info.name], info.offset)
        # Of what ggml has repacked no columns can be used: for them there is the file.
        self._plain_down = {}
        for info in repacked:
            if _part_of(info) == _DOWN:
                tensor = self._context.new_tensor(info.type, *info.ne)
                mapped.place(tensor, info.offset)
                self._plain_down[info.name] = tensor
        if offload:
            self._tensors |= offload.tensors
        self._loaded = dict.fromkeys(infos, _NOTHING)
        self._held: Widths | None = None  # whose weights are there; None amid a change

    def __getitem__(self, name: str) -> Tensor:
        """A tensor that belongs to no layer, such as ``output_norm``."""
        return self._tensors[f"{name}.weight"]

    def __contains__(self, name: str) -> bool:
        """Whether there is such a tensor."""
        return f"{name}.weight" in self._tensors

    def of(self, layer: int, name: str) -> Tensor:
        """Tensor ``name`` of a layer, such as ``attn_q``."""
        return self[f"blk.{layer}.{name}"]

    def down(self, layer: int, width: int) -> Tensor:
        """``ffn_down`` of a layer, in a form whose first ``width`` columns can be used."""
        name = f"blk.{layer}.{_DOWN}.weight"
        tensor = self._tensors[name]
        return tensor if width == tensor.ne[0] else self._plain_down.get(name, tensor)

    def is_offloaded(self, layer: int) -> bool:
        """Whether a layer lies on a device."""
        return layer < self._n_offloaded

    def kernels_at(self, layer: int) -> Kernels | None:
        """The kernels that may compute a layer; None on a device, or where there are none."""
        return None if self.is_offloaded(layer) else self.kernels

    def kernels_of(self, tensor: Tensor) -> Kernels | None:
        """The kernels whose panels ``tensor`` is stored in; None if ggml multiplies with it.

        A view of whole panels, or of first columns, can be used like a tensor.
        """
        return self.kernels if (tensor.struct.view_src or tensor.ptr) in self._panels else None

    def is_by_rows(self, tensor: Tensor) -> bool:
        """Whether the kernels can take single rows of ``tensor``, which is as in the file."""
        return (tensor.struct.view_src or tensor.ptr) in self._rows

    @property
    def memory_ranges(self) -> list[MemoryRange]:
        """Where what has been copied out of the file lies."""
        return [(buffer.base, buffer.size) for buffer in self._copies]

    def resize(self, widths: Widths, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Have in memory what the nested model of these widths uses, and nothing else.

        Args:
            widths: Of each layer's FFN, 0 for a layer that is left out.
            on_progress: Called with bytes read and bytes to read.

        Raises:
            ModelError: the file has changed since it was validated.
        """
        if widths == self._held:
            return
        self._held = None
        jobs: list[tuple[int, Job]] = []
        aims: dict[TensorInfo, Extents] = {}
        for info, before in self._loaded.items():
            after = _extents(info) if self._settings.keep_resident else _find_used(info, widths)
            if info in self._repacked and _part_of(info) == _DOWN and after != _extents(info):
                after = _NOTHING  # the file's mapping serves it
            if after != before:
                self._release(info, before, after)
                jobs += self._plan_loading(info, before, after)
                # What is to be read counts once all of it is there: this may be interrupted.
                self._loaded[info] = min(before[0], after[0]), min(before[1], after[1])
                aims[info] = after
        total, done = sum(size for size, _ in jobs), 0
        with ThreadPoolExecutor(self._settings.n_threads) as pool:
            try:
                for size in pool.map(_run, jobs):
                    done += size
                    if on_progress:
                        on_progress(done, total)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self._loaded |= aims
        self._held = widths

    def close(self) -> None:
        """Free everything; tensors must not be used afterwards."""
        for buffer in self._buffers:
            buffer.close()
        self._context.close()
        self._file.close()

    # ------------------------------------------------------------------------------------- memory

    def _reserve(self, infos: list[TensorInfo], buffer_type: int | None) -> None:
        """Memory for tensors, which are placed in it and not filled yet."""
        if not infos:
            return
        sizes = np.array([-(-info.n_bytes // _ALIGNMENT) * _ALIGNMENT for info in infos])
        offsets, size = np.cumsum(sizes) - sizes, int(sizes.sum()) + _ALIGNMENT
        buffer = Buffer.allocate(buffer_type, size) if buffer_type else Buffer.zeros(size)
        self._buffers.append(buffer)
        buffer.mark_as_weights()
        start = -buffer.base % _ALIGNMENT
        for info, offset in zip(infos, offsets, strict=True):
            buffer.place(self._tensors[info.name], start + int(offset))

    def _release(self, info: TensorInfo, before: Extents, after: Extents) -> None:
        """Give back the memory of rows, and of columns in panels, that are not used any more."""
        tensor = self._tensors[info.name]
        start, row = tensor.struct.data or 0, tensor.nb[1]
        if after[0] < before[0] and info not in self._copied:
            release_memory(start + after[0] * row, (before[0] - after[0]) * row)
        elif after[1] < before[1] and info in self._in_panels:
            assert self.kernels
            ranges = self.kernels.find_columns(info.type, info.ne[0], after[1], before[1])
            for panel in range(0, after[0], PANEL):
                for first, last in ranges:
                    release_memory(start + panel * row + first, last - first)

    # ------------------------------------------------------------------------------------ loading

    def _plan_loading(
        self, info: TensorInfo, before: Extents, after: Extents
    ) -> Iterator[tuple[int, Job]]:
        """Bytes and jobs that bring into memory what is in ``after`` and not in ``before``."""
        if after[0] <= before[0] and after[1] <= before[1]:
            return
        row = info.n_bytes // _extents(info)[0]
        if info in self._repacked:
            yield info.n_bytes, partial(self._fill, info, after)
        elif info in self._copied:
            if before == _NOTHING:
                yield info.n_bytes, partial(self._read, info)
        elif info in self._in_panels:
            # Either rows are added, or columns to rows that are there.
            first_row, first_column = (before[0], 0) if after[0] > before[0] else (0, before[1])
            for first, last in _split(first_row, after[0], row):
                columns = first_column, after[1]
                yield (last - first) * row, partial(self._pack, info, first, last, columns)
        elif after[0] > before[0]:
            yield (after[0] - before[0]) * row, partial(self._touch, info, before[0], after[0])

    def _touch(self, info: TensorInfo, first: int, last: int) -> None:
        """Map the pages of rows now, not one by one while the first token is computed."""
        row = info.n_bytes // _extents(info)[0]
        start, end = info.offset + first * row, info.offset + last * row
        page = start // mmap.PAGESIZE * mmap.PAGESIZE
        with contextlib.suppress(OSError):  # Linux before 5.14 cannot
            self._mapping.madvise(_MADV_POPULATE_READ, page, end - page)

    def _fill(self, info: TensorInfo, used: Extents) -> None:
        """Read a tensor; ggml repacks what lies in such memory, and only whole."""
        values = np.empty(info.n_bytes, np.uint8)
        read_exactly(self._file.fileno(), values.data, info.offset, self._path)
        write_tensor(self._tensors[info.name], values)
        self._release(info, _extents(info), used)

    def _read(self, info: TensorInfo) -> None:
        """Read a tensor that stays as it is."""
        target = memory_of(self._tensors[info.name])
        read_exactly(self._file.fileno(), target, info.offset, self._path)

    def _pack(self, info: TensorInfo, first: int, last: int, columns: tuple[int, int]) -> None:
        """Read and pack rows ``first`` to ``last - 1``, so few at a time that they stay cached."""
        tensor, kernels = self._tensors[info.name], self.kernels
        assert kernels
        row, to = tensor.nb[1], tensor.struct.data or 0
        step = max(PANEL, _CHUNK // row // PANEL * PANEL)
        values = np.empty(step * row, np.uint8)
        for start in range(first, last, step):
            count = min(step, last - start)
            rows = values[: count * row].data
            read_exactly(self._file.fileno(), rows, info.offset + start * row, self._path)
            kernels.pack(info.type, to + start * row, rows, count, info.ne[0], columns)


Extents = tuple[int, int]
"""Rows and columns of a tensor that are in memory, from the first on."""


def _extents(info: TensorInfo) -> Extents:
    return math.prod(info.ne[1:]), info.ne[0]


def _find_used(info: TensorInfo, widths: Widths) -> Extents:
    """Rows and columns that a nested model uses."""
    if not info.name.startswith("blk."):
        return _extents(info)
    width = widths[int(info.name.split(".")[1])]
    n_rows, n_columns = _extents(info)
    match _part_of(info):
        case _ if width == 0:
            return _NOTHING
        case "ffn_gate" | "ffn_up":
            return min(width, n_rows), n_columns
        case "ffn_down":
            return n_rows, min(width, n_columns)
        case _:
            return n_rows, n_columns


def _part_of(info: TensorInfo) -> str:
    """``ffn_down`` of ``blk.3.ffn_down.weight``."""
    return info.name.removesuffix(".weight").rpartition(".")[2]


def _find_sparse(hparams: HParams) -> frozenset[str]:
    """Matrices of which a token uses few rows, as most of its gates are cut off."""
    layers = (i for i, z in enumerate(hparams.sparsity) if z is not None and z >= SPARSE_FROM)
    return frozenset(f"blk.{layer}.ffn_up.weight" for layer in layers)


def _split(first: int, last: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Runs of whole panels of rows, for threads to pack."""
    step = max(PANEL, _PART // row_bytes // PANEL * PANEL)
    return ((at, min(at + step, last)) for at in range(first, last, step))


def _run(job: tuple[int, Job]) -> int:
    n_bytes, load = job
    load()
    return n_bytes


def _choose_repackable(infos: Iterable[TensorInfo]) -> list[TensorInfo]:
    """Those that have a form in ggml's repacked memory."""
    buffer_type = find_repack_type()
    answers: dict[tuple[int, ...], bool] = {}
    chosen = []
    for info in infos if buffer_type else ():
        if len(info.ne) != 2 or info.name.startswith(_NOT_REPACKED):
            continue
        ne = (info.ne[0], info.ne[1])
        if (key := (info.type, *ne)) not in answers:
            answers[key] = buffer_type is not None and is_repackable(buffer_type, info.type, ne)
        if answers[key]:
            chosen.append(info)
    return chosen
