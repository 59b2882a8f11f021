"""The weights of a Gemma 3n file, each where its products run best."""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from g3n_cli.engine.file_read import read_exactly
from g3n_cli.engine.gguf import GgufFile, TensorInfo
from g3n_cli.ggml.backend import find_repack_type, is_repackable
from g3n_cli.ggml.handles import Buffer, Context, advise_huge_pages, write_tensor
from g3n_cli.ggml.tensor import Tensor

_ALIGNMENT = 64
_MADV_POPULATE_READ = 22
_MAP_FROM = 32 << 20
# Read by row as well as multiplied, or used as a view of some of their rows.
_PLAIN_PREFIXES = ("token_embd", "per_layer", "altup")


class Weights:
    """Tensors in memory, by their names in the file without ``.weight``.

    Matrices whose type has a repacked form are read into it, one after the other, so that loading
    peaks no higher than running. Large tensors that stay as they are remain in the mapped file.
    Small ones among repacked ones are copied: mapping a page of the file may map two megabytes
    around it, and they lie between tensors that are not needed any more.

    Args:
        gguf: A validated file.
        names: The tensors to load, full names.
        repack: Use repacked forms at all.
        n_threads: Tensors read and repacked at the same time.

    Raises:
        ModelError: the file has changed since it was validated.
    """

    def __init__(
        self, gguf: GgufFile, names: Iterable[str], *, repack: bool, n_threads: int
    ) -> None:
        self._path = gguf.path
        infos = sorted((gguf.tensors[name] for name in names), key=lambda info: info.offset)
        self._context = Context(len(infos))
        self._tensors = {
            info.name.removesuffix(".weight"): self._context.new_tensor(info.type, *info.ne)
            for info in infos
        }
        packed = self._choose_repacked(infos) if repack else []
        plain = [info for info in infos if info not in set(packed)]
        copied = [info for info in plain if info.n_bytes < _MAP_FROM] if packed else []
        self._repacked = self._reserve(packed, repack=True) if packed else None
        self._copied = self._reserve(copied, repack=False) if copied else None
        with gguf.path.open("rb") as file:
            # Private: nothing is ever written.
            self._file = mmap.mmap(file.fileno(), 0, mmap.MAP_PRIVATE, mmap.PROT_READ)
            self._mapped = Buffer.map(self._file)
            self._mapped.mark_as_weights()
            for info in plain:
                if info not in set(copied):
                    self._mapped.place(self._tensor_of(info), info.offset)
                    self._touch(info)
            parts = [(packed + copied)[i::n_threads] for i in range(n_threads)]
            with ThreadPoolExecutor(n_threads) as pool:
                for _ in pool.map(lambda part: self._fill(file.fileno(), part), parts):
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

    @property
    def repacked_bytes(self) -> int:
        """Bytes held in repacked form."""
        return self._repacked.size if self._repacked else 0

    def close(self) -> None:
        """Free everything; tensors must not be used afterwards."""
        for buffer in (self._repacked, self._copied, self._mapped):
            if buffer:
                buffer.close()
        self._context.close()

    def _tensor_of(self, info: TensorInfo) -> Tensor:
        return self._tensors[info.name.removesuffix(".weight")]

    def _choose_repacked(self, infos: list[TensorInfo]) -> list[TensorInfo]:
        buffer_type = find_repack_type()
        if buffer_type is None:
            return []
        answers: dict[tuple[int, ...], bool] = {}
        chosen = []
        for info in infos:
            if len(info.ne) != 2 or info.name.startswith(_PLAIN_PREFIXES):
                continue
            key = (info.type, *info.ne)
            if key not in answers:
                answers[key] = is_repackable(buffer_type, info.type, info.ne)
            if answers[key]:
                chosen.append(info)
        return chosen

    def _reserve(self, infos: list[TensorInfo], *, repack: bool) -> Buffer:
        """Memory for tensors, which are placed in it and not filled yet."""
        sizes = np.array([-(-info.n_bytes // _ALIGNMENT) * _ALIGNMENT for info in infos])
        offsets = np.cumsum(sizes) - sizes
        buffer_type, size = find_repack_type(), int(sizes.sum()) + _ALIGNMENT
        if repack and buffer_type is not None:
            buffer = Buffer.allocate(buffer_type, size)
            advise_huge_pages(buffer)
        else:
            buffer = Buffer.zeros(size)
        buffer.mark_as_weights()
        start = -buffer.base % _ALIGNMENT
        for info, offset in zip(infos, offsets, strict=True):
            buffer.place(self._tensor_of(info), start + int(offset))
        return buffer

    def _touch(self, info: TensorInfo) -> None:
        """Map the tensor's pages now, not one by one while the first token is computed."""
        first = info.offset // mmap.PAGESIZE * mmap.PAGESIZE
        with contextlib.suppress(OSError):  # Linux before 5.14 cannot
            self._file.madvise(_MADV_POPULATE_READ, first, info.offset + info.n_bytes - first)

    def _fill(self, fd: int, infos: list[TensorInfo]) -> None:
        """Read tensors through one scratch buffer; ggml repacks what lies in such memory."""
        scratch = np.empty(max((info.n_bytes for info in infos), default=0), np.uint8)
        for info in infos:
            values = scratch[: info.n_bytes]
            read_exactly(fd, values.data, info.offset, self._path)
            write_tensor(self._tensor_of(info), values)
