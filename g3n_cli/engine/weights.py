"""The weights of a Gemma 3n file, each where its products run best."""

from __future__ import annotations

import contextlib
import itertools
import math
import mmap
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from g3n_cli.engine.file_read import read_exactly
from g3n_cli.engine.gguf import GgufFile, TensorInfo
from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.engine.hparams import HParams
from g3n_cli.ggml.backend import find_repack_type, is_repackable
from g3n_cli.ggml.handles import Buffer, Context, memory_of, write_tensor
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.kernels.library import PANEL, Kernels

_ALIGNMENT = 64
_MADV_POPULATE_READ = 22
_MAP_FROM = 8 << 20
_SPARSE_FROM = 1.0  # standard deviations: a sixth of the gates are left
_CHUNK, _PART = 1 << 21, 32 << 20
_NOT_REPACKED = ("token_embd", "per_layer", "altup")
"""Read by row, or used as views of some of their rows: what ggml has repacked allows neither."""


class Weights:
    """Tensors in memory, by their names in the file without ``.weight``.

    Matrices are stored in panels for g3n's own kernels or, where those have none for their type, in
    ggml's repacked form. They are read one after the other, so that loading peaks no higher than
    running. A matrix of which a token uses few rows, as most gates are cut off, stays as it is.
    Large tensors that stay so remain in the mapped file. Small ones beside
    rearranged ones are copied: mapping a page of the file may map two megabytes around it, and they
    lie between tensors that are not needed any more.

    Args:
        gguf: A validated file.
        names: The tensors to load, full names.
        hparams: Of the model.
        repack: Rearrange matrices at all.
        kernels: Whose panels to make; None for ggml's forms alone.
        n_threads: Tensors read and rearranged at the same time.

    Attributes:
        kernels: As given.

    Raises:
        ModelError: the file has changed since it was validated.
    """

    def __init__(
        self,
        gguf: GgufFile,
        names: Iterable[str],
        hparams: HParams,
        *,
        repack: bool,
        kernels: Kernels | None,
        n_threads: int,
    ) -> None:
        self._path, self.kernels = gguf.path, kernels
        infos = sorted((gguf.tensors[name] for name in names), key=lambda info: info.offset)
        self._context = Context(len(infos))
        self._tensors = {
            info.name.removesuffix(".weight"): self._context.new_tensor(info.type, *info.ne)
            for info in infos
        }
        matrices = [info for info in infos if repack and len(info.ne) > 1]
        known = [
            info
            for info in matrices
            if kernels
            and kernels.has_panels(info.type, info.ne)
            and (info.name != "per_layer_model_proj.weight" or hparams.n_ple % PANEL == 0)
        ]
        sparse = _find_sparse(hparams)
        rows = [info for info in known if info.name in sparse and info.type != GgmlType.F16]
        in_panels = [info for info in known if info not in set(rows)]
        repacked = _choose_repackable(info for info in matrices if info not in set(known))
        plain = [info for info in infos if info not in {*in_panels, *repacked}]
        is_rearranged = len(plain) < len(infos)
        copied = [info for info in plain if is_rearranged and info.n_bytes < _MAP_FROM]
        self._panels = frozenset(self._tensor_of(info).ptr for info in in_panels)
        self._rows = frozenset(self._tensor_of(info).ptr for info in rows)
        self._buffers: list[Buffer] = []
        self._reserve(copied, None)
        self._reserve(in_panels, None)
        self._reserve(repacked, find_repack_type())
        with gguf.path.open("rb") as file:
            # Private: nothing is ever written.
            self._file = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
            mapped = Buffer.map(self._file)
            mapped.mark_as_weights()
            self._buffers.append(mapped)
            for info in plain:
                if info not in set(copied):
                    mapped.place(self._tensor_of(info), info.offset)
                    self._touch(info)
            with ThreadPoolExecutor(n_threads) as pool:
                parts = [part for info in in_panels for part in _split(info)]
                packed = pool.map(lambda part: self._pack(file.fileno(), *part), parts)
                filled = pool.map(lambda info: self._fill(file.fileno(), info), repacked)
                read = pool.map(lambda info: self._read(file.fileno(), info), copied)
                for _ in itertools.chain(packed, filled, read):
                    pass

    def __getitem__(self, name: str) -> Tensor:
        """A tensor that belongs to no layer, such as ``output_norm``."""
        return self._tensors[name]

    def __contains__(self, name: str) -> bool:
        """Whether the tensor was loaded."""
        return name in self._tensors

    def of(self, layer: int, name: str) -> Tensor:
        """Tensor ``name`` of a layer, such as ``attn_q``."""
        return self._tensors[f"blk.{layer}.{name}"]

    def kernels_of(self, tensor: Tensor) -> Kernels | None:
        """The kernels whose panels ``tensor`` is stored in; None if ggml multiplies with it.

        A view of whole panels can be used like a tensor.
        """
        return self.kernels if (tensor.struct.view_src or tensor.ptr) in self._panels else None

    def is_by_rows(self, tensor: Tensor) -> bool:
        """Whether the kernels can take single rows of ``tensor``, which is as in the file."""
        return (tensor.struct.view_src or tensor.ptr) in self._rows

    def close(self) -> None:
        """Free everything; tensors must not be used afterwards."""
        for buffer in self._buffers:
            buffer.close()
        self._context.close()

    def _tensor_of(self, info: TensorInfo) -> Tensor:
        return self._tensors[info.name.removesuffix(".weight")]

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
            buffer.place(self._tensor_of(info), start + int(offset))

    def _touch(self, info: TensorInfo) -> None:
        """Map the tensor's pages now, not one by one while the first token is computed."""
        first = info.offset // mmap.PAGESIZE * mmap.PAGESIZE
        with contextlib.suppress(OSError):  # Linux before 5.14 cannot
            self._file.madvise(_MADV_POPULATE_READ, first, info.offset + info.n_bytes - first)

    def _fill(self, fd: int, info: TensorInfo) -> None:
        """Read a tensor; ggml repacks what lies in such memory."""
        values = np.empty(info.n_bytes, np.uint8)
        read_exactly(fd, values.data, info.offset, self._path)
        write_tensor(self._tensor_of(info), values)

    def _read(self, fd: int, info: TensorInfo) -> None:
        """Read a tensor that stays as it is."""
        read_exactly(fd, memory_of(self._tensor_of(info)), info.offset, self._path)

    def _pack(self, fd: int, info: TensorInfo, first: int, last: int) -> None:
        """Read and pack rows ``first`` to ``last - 1``, so few at a time that they stay cached."""
        tensor, kernels = self._tensor_of(info), self.kernels
        assert kernels
        row, to = tensor.nb[1], tensor.struct.data or 0
        step = max(PANEL, _CHUNK // row // PANEL * PANEL)
        values = np.empty(step * row, np.uint8)
        for start in range(first, last, step):
            count = min(step, last - start)
            rows = values[: count * row].data
            read_exactly(fd, rows, info.offset + start * row, self._path)
            kernels.pack(info.type, to + start * row, rows, count, info.ne[0])


def _find_sparse(hparams: HParams) -> frozenset[str]:
    """Matrices of which a token uses few rows, as most of its gates are cut off."""
    layers = (i for i, z in enumerate(hparams.sparsity) if z is not None and z >= _SPARSE_FROM)
    return frozenset(f"blk.{layer}.ffn_up.weight" for layer in layers)


def _split(info: TensorInfo) -> Iterator[tuple[TensorInfo, int, int]]:
    """Parts of a matrix for threads to pack: the matrix, a first row and the one after the last."""
    n_rows = math.prod(info.ne[1:])
    step = max(PANEL, _PART * n_rows // info.n_bytes // PANEL * PANEL)
    return ((info, first, min(first + step, n_rows)) for first in range(0, n_rows, step))


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
