"""The weights of a Gemma 3n file: each where its products run best, no more than a size uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import numpy as np

from g3n_cli.config import EngineSettings, Widths
from g3n_cli.engine.extents import (
    DOWN,
    NOTHING,
    Extents,
    extents_of,
    find_sparse,
    find_used,
    part_of,
)
from g3n_cli.engine.gguf import GgufFile, TensorInfo
from g3n_cli.engine.gguf_types import BLOCKS, GgmlType
from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.offload import Offload
from g3n_cli.engine.pages import count_page_bytes
from g3n_cli.engine.pieces import N_PIECES, Columns, Pieces
from g3n_cli.engine.tensor_reader import Job, TensorReader, run_jobs, split_rows
from g3n_cli.ggml.backend import find_repack_type, is_repackable
from g3n_cli.ggml.handles import (
    Buffer,
    Context,
    MemoryRange,
    release_memory,
)
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.kernels.library import PANEL, Kernels

_ALIGNMENT = 64
_MAP_FROM = 8 << 20
_NOT_REPACKED = ("token_embd", "per_layer", "altup")
"""Read by row, or used as views of some of their rows: what ggml has repacked allows neither."""


def find_own(
    infos: Iterable[TensorInfo], hparams: HParams, kernels: Kernels | None
) -> list[TensorInfo]:
    """Matrices that g3n's own kernels multiply with."""
    return [
        info
        for info in infos
        if kernels
        and kernels.has_panels(info.type, info.ne)
        and (info.name != "per_layer_model_proj.weight" or hparams.n_ple % PANEL == 0)
    ]


class Weights:
    """Tensors in memory, by their names in the file without ``.weight``.

    Matrices are stored in panels for g3n's own kernels or, where those have none for their type, in
    ggml's repacked form. They are read one after the other, so that loading peaks no higher than
    running. A matrix of which a token uses few rows, as most gates are cut off, stays as it is.
    Large tensors that stay so remain in the mapped file. Small ones beside rearranged ones are
    copied: mapping a page of the file may map two megabytes around it, and they lie between tensors
    that are not needed any more.

    Of a nested model only what it uses is in memory: the first rows of gate and up, the first
    columns of down, nothing of the layers it leaves out; unless all is to stay there. Down in
    ggml's repacked form is stored in pieces, as no columns of that form can be used.

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
        self.kernels, self._settings = kernels, settings
        self._n_offloaded = offload.n_layer if offload else 0
        names = set(names) - (offload.names if offload else set())
        infos = sorted((gguf.tensors[name] for name in names), key=lambda info: info.offset)
        self._context = Context((2 + N_PIECES) * len(infos))
        self._tensors = {info.name: self._context.new_tensor(info.type, *info.ne) for info in infos}
        matrices = [info for info in infos if settings.repack and len(info.ne) > 1]
        known = find_own(infos, hparams, kernels)
        # Only quantized activations can meet single rows.
        sparse = find_sparse(hparams) if settings.act != "f32" else frozenset()
        rows = {info for info in known if info.name in sparse and info.type != GgmlType.F16}
        in_panels = [info for info in known if info not in rows]
        repacked = _choose_repackable(info for info in matrices if info not in set(known))
        plain = [info for info in infos if info not in {*in_panels, *repacked}]
        is_rearranged = len(plain) < len(infos)
        copied = [info for info in plain if is_rearranged and info.n_bytes < _MAP_FROM]
        self._in_panels, self._repacked = frozenset(in_panels), frozenset(repacked)
        self._copied = frozenset(copied)
        self._panels = frozenset(self._tensors[info.name].ptr for info in in_panels)
        self._rows = frozenset(self._tensors[info.name].ptr for info in rows)
        self._buffers: list[Buffer] = []
        down = {info: self._new_pieces(info) for info in repacked if part_of(info) == DOWN}
        self._reserve(map(self._with_size, copied), None)
        self._reserve(map(self._with_size, in_panels), None)
        whole = (self._with_size(info) for info in repacked if info not in down)
        pieces = ((t, i.n_bytes // len(tensors)) for i, tensors in down.items() for t in tensors)
        self._reserve([*whole, *pieces], find_repack_type())
        self._reader = TensorReader(gguf.path)
        mapped = Buffer.map(self._reader.mapping)
        mapped.mark_as_weights()
        self._copies = tuple(self._buffers)
        self._buffers.append(mapped)
        for info in plain:
            if info not in self._copied:
                mapped.place(self._tensors[info.name], info.offset)
        for info in down:
            mapped.place(self._tensors[info.name], info.offset)
        self._pieces = {
            info.name: Pieces(info, tensors, self._tensors[info.name])
            for info, tensors in down.items()
        }
        if offload:
            self._tensors |= offload.tensors
        self._loaded = dict.fromkeys(infos, NOTHING)
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

    def down(self, layer: int, width: int) -> list[Columns]:
        """The first ``width`` columns of ``ffn_down`` of a layer, side by side."""
        name = f"blk.{layer}.{DOWN}.weight"
        pieces = self._pieces.get(name)
        return pieces.columns(width) if pieces else [(self._tensors[name], 0, width)]

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

    def count_bytes(self, widths: Widths) -> tuple[int, int]:
        """Bytes that a nested model has in memory: of copies, and of the mapped file."""
        copied = mapped = 0
        panels: list[tuple[int, int]] = []
        for info in self._loaded:
            held = self._find_held(info, widths)
            if info in self._in_panels:
                panels += self._find_ranges(info, held)
            elif info.name in self._pieces:
                copied += info.n_bytes * held[1] // info.ne[0]
                mapped += info.n_bytes * (find_used(info, widths)[1] > held[1])
            elif held != NOTHING and info in self._copied | self._repacked:
                copied += info.n_bytes
            elif info not in self._copied:
                # What lies in the file between columns that are used comes with them.
                mapped += info.n_bytes * held[0] // extents_of(info)[0]
        return copied + count_page_bytes(panels), mapped

    def resize(self, widths: Widths, on_progress: Callable[[int, int], None] | None = None) -> None:
        """Have in memory what the nested model of these widths uses, and nothing else.

        For a worker's thread, see ``run_jobs``. What ``on_progress`` raises ends the loading, after
        the parts under way.

        Args:
            widths: Of each layer's FFN, 0 for a layer that is left out.
            on_progress: Called with bytes read and bytes to read.

        Raises:
            ModelError: the file has changed since it was validated.
        """
        if widths == self._held:
            return
        self._held = None
        jobs: list[Job] = []
        aims: dict[TensorInfo, Extents] = {}
        for info, before in self._loaded.items():
            after = self._find_held(info, widths)
            if after != before:
                self._release(info, before, after)
                jobs += self._plan_loading(info, before, after)
                # What is to be read counts once all of it is there: this may be interrupted.
                self._loaded[info] = min(before[0], after[0]), min(before[1], after[1])
                aims[info] = after
        run_jobs(jobs, self._settings.n_threads, on_progress)
        self._loaded |= aims
        self._held = widths

    def close(self) -> None:
        """Free everything; tensors must not be used afterwards."""
        for buffer in self._buffers:
            buffer.close()
        self._context.close()
        self._reader.close()

    # ------------------------------------------------------------------------------------- memory

    def _find_held(self, info: TensorInfo, widths: Widths) -> Extents:
        """What of a tensor is to be in memory, the mapped file apart."""
        held = extents_of(info) if self._settings.keep_resident else find_used(info, widths)
        if pieces := self._pieces.get(info.name):
            return held[0], pieces.count_whole(held[1])
        return held

    def _find_ranges(self, info: TensorInfo, held: Extents) -> Iterator[tuple[int, int]]:
        """Addresses of a matrix in panels that hold these rows and columns."""
        tensor = self._tensors[info.name]
        start, row = tensor.struct.data or 0, tensor.nb[1]
        if held[1] == extents_of(info)[1]:
            yield start, start + held[0] * row
            return
        assert self.kernels
        for first, last in self.kernels.find_columns(info.type, info.ne[0], 0, held[1]):
            for at in range(start, start + held[0] * row, PANEL * row):
                yield at + first, at + last

    def _with_size(self, info: TensorInfo) -> tuple[Tensor, int]:
        return self._tensors[info.name], info.n_bytes

    def _new_pieces(self, info: TensorInfo) -> tuple[Tensor, ...]:
        """Tensors for the columns of a matrix, as few as one where they do not divide."""
        count = N_PIECES if info.ne[0] % (N_PIECES * BLOCKS[info.type][0]) == 0 else 1
        ne = info.ne[0] // count, info.ne[1]
        return tuple(self._context.new_tensor(info.type, *ne) for _ in range(count))

    def _reserve(self, wanted: Iterable[tuple[Tensor, int]], buffer_type: int | None) -> None:
        """Memory for tensors of so many bytes, which are placed in it and not filled yet."""
        tensors = list(wanted)
        if not tensors:
            return
        sizes = np.array([-(-n_bytes // _ALIGNMENT) * _ALIGNMENT for _, n_bytes in tensors])
        offsets, size = np.cumsum(sizes) - sizes, int(sizes.sum()) + _ALIGNMENT
        buffer = Buffer.allocate(buffer_type, size) if buffer_type else Buffer.zeros(size)
        self._buffers.append(buffer)
        buffer.mark_as_weights()
        start = -buffer.base % _ALIGNMENT
        for (tensor, _), offset in zip(tensors, offsets, strict=True):
            buffer.place(tensor, start + int(offset))

    def _release(self, info: TensorInfo, before: Extents, after: Extents) -> None:
        """Give back the memory of rows, and of columns in panels, that are not used any more."""
        tensor = self._tensors[info.name]
        start, row = tensor.struct.data or 0, tensor.nb[1]
        if pieces := self._pieces.get(info.name):
            pieces.release(before[1], after[1])
        elif after[0] < before[0] and info not in self._copied:
            release_memory(start + after[0] * row, (before[0] - after[0]) * row)
        elif after[1] < before[1] and info in self._in_panels:
            assert self.kernels
            ranges = self.kernels.find_columns(info.type, info.ne[0], after[1], before[1])
            for panel in range(0, after[0], PANEL):
                for first, last in ranges:
                    release_memory(start + panel * row + first, last - first)

    # ------------------------------------------------------------------------------------ loading

    def _plan_loading(self, info: TensorInfo, before: Extents, after: Extents) -> Iterator[Job]:
        """Bytes and jobs that bring into memory what is in ``after`` and not in ``before``."""
        if after[0] <= before[0] and after[1] <= before[1]:
            return
        row, tensor = info.n_bytes // extents_of(info)[0], self._tensors[info.name]
        reader = self._reader
        if pieces := self._pieces.get(info.name):
            columns = before[1], after[1]
            yield info.n_bytes, partial(pieces.fill, reader.fd, reader.path, *columns)
        elif info in self._repacked:
            yield info.n_bytes, partial(self._fill, info, after)
        elif info in self._copied:
            if before == NOTHING:
                yield info.n_bytes, partial(reader.read, info, tensor)
        elif info in self._in_panels:
            # Either rows are added, or columns to rows that are there.
            first_row, first_column = (before[0], 0) if after[0] > before[0] else (0, before[1])
            columns = first_column, after[1]
            assert self.kernels
            for rows in split_rows(first_row, after[0], row):
                job = partial(reader.pack, info, tensor, self.kernels, rows, columns)
                yield (rows[1] - rows[0]) * row, job
        elif after[0] > before[0]:
            yield (after[0] - before[0]) * row, partial(reader.touch, info, before[0], after[0])

    def _fill(self, info: TensorInfo, used: Extents) -> None:
        """Read a tensor whole, as ggml repacks it, and give back what is not used."""
        self._reader.fill(info, self._tensors[info.name])
        self._release(info, extents_of(info), used)


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
