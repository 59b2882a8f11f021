"""The weights of equal blocks, in memory as they are needed, each where its products run best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.file_read import read_exactly
from g3n_cli.engine.gguf import TensorInfo, row_bytes
from g3n_cli.engine.gguf_types import GgmlType
from g3n_cli.errors import ModelError
from g3n_cli.ggml.handles import Buffer, Context, memory_of, write_tensor
from g3n_cli.ggml.quantize import convert_rows
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.kernels.library import BLOCK, PANEL, Kernels

_ALIGNMENT = 64
_CHUNK = 1 << 18
"""Bytes of a matrix read at a time: they stay cached, and their memory is used again."""

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class BlockSource:
    """What a block consists of.

    Attributes:
        matrices: Of the file, ``[k, m]``, to multiply with; by name.
        values: All else, in numpy's order of extents; by name.
    """

    matrices: Mapping[str, TensorInfo]
    values: Mapping[str, Values]


@dataclass
class _Slot:
    """Memory for one block at a time."""

    buffer: Buffer
    block: int | None = None
    context: Context | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    panels: frozenset[int] = frozenset()


class Blocks:
    """Blocks of an encoder, of which a few are in memory at a time.

    Matrices of halves and of Q8_0 are stored in panels where own kernels take them, those of BF16
    as halves; others as in the file, or as float32. All else is float32.

    Args:
        file: The open file, which stays the caller's.
        sources: Of the blocks in order.
        n_slots: Most blocks in memory; those of a pass over all of them follow one another.
        n_threads: Matrices read and rearranged at the same time.
        kernels: Whose panels to make; None for ggml alone.
        widens: Store what is not in panels as float32: ggml rounds what meets other types.
    """

    def __init__(
        self,
        file: BinaryIO,
        sources: Sequence[BlockSource],
        *,
        n_slots: int,
        n_threads: int,
        kernels: Kernels | None,
        widens: bool = False,
    ) -> None:
        self.kernels = kernels
        self._file, self._sources, self._widens = file, sources, widens
        largest = max(map(self._count_bytes, sources))
        self._slots = [_Slot(Buffer.zeros(largest)) for _ in range(min(n_slots, len(sources)))]
        self._pool = ThreadPoolExecutor(n_threads)

    def get(self, block: int) -> Mapping[str, Tensor]:
        """The tensors of a block, which are there until ``n_slots`` others have been asked for.

        For a worker's thread: an interrupt inside ``submit`` would leave the executor locked.

        Raises:
            ModelError: the file has changed since it was validated.
        """
        slot = self._slots[block % len(self._slots)]
        if slot.block != block:
            self._load(slot, block)
        return slot.tensors

    def kernels_of(self, tensor: Tensor) -> Kernels | None:
        """The kernels whose panels ``tensor`` is stored in; None if ggml multiplies with it."""
        address = tensor.struct.view_src or tensor.ptr
        return self.kernels if any(address in slot.panels for slot in self._slots) else None

    def is_by_rows(self, _: Tensor) -> bool:
        """Encoders have no matrices that are used row by row."""
        return False

    def close(self) -> None:
        """Free everything; closing twice is harmless."""
        self._pool.shutdown()
        for slot in self._slots:
            if slot.context:
                slot.context.close()
            slot.buffer.close()

    # ------------------------------------------------------------------------------------- loading

    def _load(self, slot: _Slot, block: int) -> None:
        matrices, values = self._sources[block].matrices, self._sources[block].values
        slot.block = None
        if slot.context:
            slot.context.close()
        slot.context = context = Context(len(matrices) + len(values))
        slot.tensors = {
            name: context.new_tensor(self._kind_of(info), *info.ne)
            for name, info in matrices.items()
        }
        for name, array in values.items():
            slot.tensors[name] = context.new_tensor(GgmlType.F32, *array.shape[::-1])
        offset = 0
        for tensor in slot.tensors.values():
            slot.buffer.place(tensor, offset)
            offset += _aligned(len(memory_of(tensor)))
        in_panels = {name for name, info in matrices.items() if self._has_panels(info)}
        slot.panels = frozenset(slot.tensors[name].ptr for name in in_panels)
        jobs = [
            partial(self._read, info, slot.tensors[name], is_packed=name in in_panels)
            for name, info in matrices.items()
        ]
        for _ in self._pool.map(lambda job: job(), jobs):
            pass
        for name, array in values.items():
            write_tensor(slot.tensors[name], np.ascontiguousarray(array))
        slot.block = block

    def _has_panels(self, info: TensorInfo) -> bool:
        return (
            self.kernels is not None
            and info.ne[0] % BLOCK == 0
            and self.kernels.has_panels(_narrow_type(info), info.ne)
        )

    def _kind_of(self, info: TensorInfo) -> GgmlType:
        """The type that a matrix has in memory."""
        is_widened = self._widens and not self._has_panels(info)
        return GgmlType.F32 if is_widened else _narrow_type(info)

    def _count_bytes(self, source: BlockSource) -> int:
        sizes = [
            row_bytes(self._kind_of(info), info.ne[0]) * info.ne[1]
            for info in source.matrices.values()
        ]
        sizes += [array.nbytes for array in source.values.values()]
        return sum(map(_aligned, sizes))

    def _read(self, info: TensorInfo, tensor: Tensor, *, is_packed: bool) -> None:
        kind, k, path = self._kind_of(info), info.ne[0], Path(self._file.name)
        if kind == info.type and not is_packed:
            read_exactly(self._file.fileno(), memory_of(tensor), info.offset, path)
            return
        target = np.frombuffer(memory_of(tensor), np.uint8)
        step = max(PANEL, _CHUNK // info.row_bytes // PANEL * PANEL)
        read = np.empty((step, info.row_bytes), np.uint8)
        for first in range(0, info.ne[1], step):
            count = min(step, info.ne[1] - first)
            rows = read[:count]
            at = info.offset + first * info.row_bytes
            read_exactly(self._file.fileno(), rows.reshape(-1).data, at, path)
            if kind != info.type:
                rows = convert_rows(rows, info.type, kind, k)
            if kind == GgmlType.F16 != info.type:
                _check_halves(rows, info)
            to, flat = first * tensor.nb[1], rows.reshape(-1)
            if is_packed and self.kernels:
                self.kernels.pack(kind, (tensor.struct.data or 0) + to, flat.data, count, k)
            else:
                target[to : to + flat.size] = flat


def _narrow_type(info: TensorInfo) -> GgmlType:
    return GgmlType.F16 if info.type == GgmlType.BF16 else info.type


def _check_halves(rows: npt.NDArray[np.uint8], info: TensorInfo) -> None:
    """Refuse halves made of BF16, which has a wider range, if they do not hold the values."""
    if not np.isfinite(rows.view(np.float16)).all():
        raise ModelError(f"tensor {info.name} has values that no encoder has")


def _aligned(n_bytes: int) -> int:
    return -(-n_bytes // _ALIGNMENT) * _ALIGNMENT
