"""Gemma 3n's vision encoder: pixels in, rows of a prompt out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from g3n_cli.config import KernelsName
from g3n_cli.engine.api import Progress
from g3n_cli.engine.encoders.api import IMAGE_TOKENS, Rows
from g3n_cli.engine.encoders.blocks import Blocks, BlockSource
from g3n_cli.engine.encoders.mmproj import check_text_width, open_mmproj
from g3n_cli.engine.encoders.mobilenet import (
    N_NODES,
    MobileNetBlock,
    build_fusion,
    build_stem,
    join_stages,
    make_constants,
    make_input,
    make_stem,
    resample,
)
from g3n_cli.engine.encoders.pictures import Pictures
from g3n_cli.engine.encoders.vision_file import N_COLOURS, VisionBlock, VisionFile
from g3n_cli.engine.products import Products
from g3n_cli.engine.worker import Worker
from g3n_cli.errors import InputError, ModelError
from g3n_cli.ggml.allocator import GraphAllocator
from g3n_cli.ggml.backend import CpuBackend
from g3n_cli.ggml.graph import F32, Graph
from g3n_cli.ggml.handles import Buffer, as_aligned, empty_aligned, read_tensor
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.kernels.library import Kernels, load_kernels

_GRID = math.isqrt(IMAGE_TOKENS)
"""Soft tokens of a side."""

_MOST_SIDE = 2048
_END_ROW, _PAD_ROW = 0, 127
"""Rows of the table of hard embeddings: of ids 262144 (end of image) and 262271."""

_RMS_EPS = np.float32(1e-6)

Build = Callable[[Pictures, Tensor], Tensor]


def open_image_encoder(
    path: Path,
    n_threads: int,
    *,
    n_embd: int | None = None,
    kernels: KernelsName = "own",
) -> ImageEncoder:
    """Open the vision encoder of a projector file.

    Args:
        path: The file.
        n_threads: Threads that encode.
        n_embd: Width of the text model that the rows are for, to be checked.
        kernels: Whose operations: g3n's own where they apply, or ggml's.

    Raises:
        ModelError: it has no vision encoder, is broken, or belongs to another model.
        UsageError: the kernels do not run here.
        DoesNotFitError: there is not enough memory.
    """
    file = VisionFile.from_mmproj(open_mmproj(path))
    if n_embd is not None:
        check_text_width(path, file.n_text, n_embd)
    return ImageEncoder(file, n_threads, kernels=kernels)


class ImageEncoder:
    """An open vision encoder. Implements ``g3n_cli.engine.encoders.api.MediaEncoder``.

    One block at a time is in memory, read from the file for each picture anew.

    Args:
        file: The checked file.
        n_threads: Threads that encode.
        kernels: Whose operations.

    Attributes:
        n_embd: Width of the rows.
        end_row: ``[n_embd]``, embedding of ``<end_of_image>``.
        pad_row: ``[n_embd]``, embedding of the last id that stands for no picture.
    """

    def __init__(self, file: VisionFile, n_threads: int, *, kernels: KernelsName) -> None:
        self.n_embd = file.n_text
        self._file = file
        self._read_ends()
        with ExitStack() as stack:
            try:
                opened = stack.enter_context(file.mmproj.path.open("rb"))
            except OSError as error:
                raise ModelError(f"cannot read {file.mmproj.path}: {error.strerror}") from error
            own = load_kernels(kernels)
            self._blocks = Blocks(
                opened,
                _describe_all(file, own),
                n_slots=1,
                n_threads=n_threads,
                kernels=own,
                widens=True,
            )
            stack.callback(self._blocks.close)
            self._backend = stack.enter_context(CpuBackend(n_threads))
            self._allocator = stack.enter_context(GraphAllocator(self._backend))
            self._worker = Worker(self._backend.abort.set)
            stack.callback(self._worker.close)
            self._owned = stack.pop_all()

    def encode(self, values: npt.NDArray[Any], on_progress: Progress | None = None) -> Rows:
        """Soft tokens of a picture, row by row of a 16 x 16 grid; see ``MediaEncoder.encode``.

        KeyboardInterrupt or Terminated, raised by a signal, stops the computation within a fraction
        of a second; the encoder can be used again.

        Raises:
            InputError: the picture is no square of RGB values.
            ModelError: the file has changed since it was opened, or computes no finite numbers.
        """
        features = self.run_network(_check_pixels(values), on_progress)
        # The factor, which the norm behind it cancels but for its epsilon, is transformers'.
        scaled = features * np.float32(math.sqrt(self._file.n_embd))
        return self._embed(scaled, self._soft_norm)

    def run_network(
        self, pixels: npt.NDArray[np.uint8], on_progress: Progress | None = None
    ) -> Rows:
        """What ``encode`` projects: ``[256, channels of the network]``."""
        n_parts = len(self._file.blocks) + 2
        if on_progress:
            on_progress(0, n_parts)
        for done, out in enumerate(self.run_parts(pixels), 1):
            x = out
            if on_progress:
                on_progress(done, n_parts)
        if not np.isfinite(x).all():
            path = self._file.mmproj.path
            raise ModelError(f"{path}: the vision encoder's weights make no sense")
        features: Rows = _rms_norm(resample(x, _GRID)) * self._last_norm
        return features

    def run_parts(self, pixels: npt.NDArray[np.uint8]) -> Iterator[Rows]:
        """Outputs ``[pixels, channels]`` of the stem, the blocks, what joins the last stages.

        The next part may write over one.
        """
        self._backend.abort.clear()
        x = self._run(0, build_stem, make_input(pixels))
        yield x
        stages = []
        for i, block in enumerate(self._file.blocks):
            x = self._run(i + 1, partial(_build_block, block), x)
            if i in self._file.fused:
                stages.append(x.copy())
            yield x
        yield self._run(i + 2, build_fusion, join_stages(*stages))

    def embed_hard(self, row: int) -> Rows:
        """Embedding ``[n_embd]`` of a row of the table of those that are no pictures."""
        mmproj = self._file.mmproj
        values = mmproj.read_rows(self._file.ends["mm.embedding"], row, 1)
        embedded: Rows = self._embed(values, self._hard_norm)[0]
        return embedded

    def close(self) -> None:
        """Free the encoder; closing twice is harmless."""
        self._owned.close()

    def _read_ends(self) -> None:
        """What lies behind the network; 0.3 % of the multiplications, in numpy."""
        read, ends = self._file.mmproj.read, self._file.ends
        self._projection = read(ends["mm.input_projection"])
        self._last_norm = read(ends["v.msfa.norm"])
        self._soft_norm, self._hard_norm = (
            read(ends[f"mm.{n}_emb_norm"]) for n in ("soft", "hard")
        )
        self.end_row, self.pad_row = map(self.embed_hard, (_END_ROW, _PAD_ROW))

    def _embed(self, x: Rows, weight: Rows) -> Rows:
        """Source: transformers ``Gemma3nMultimodalEmbedder``."""
        projected = np.matmul(_rms_norm(x) * weight, self._projection.T, dtype=np.float32)
        return _rms_norm(projected)

    def _run(self, part: int, build: Build, x: Rows) -> Rows:
        # Reading a block is the worker's too: it may not go on once this has been interrupted.
        return self._worker.run(partial(self._compute, part, build, x))

    def _compute(self, part: int, build: Build, x: Rows) -> Rows:
        """A part of the network: ``[n_pixels, channels]`` to the same, where it lies if it can."""
        x = as_aligned(x)
        graph = Graph(N_NODES)
        try:
            tensors = self._blocks.get(part)
            products = Products(graph, self._blocks, "f32")
            pictures = Pictures(graph, products, tensors, self._blocks.kernels)
            with Buffer.over(x) as buffer:
                x_in = graph.input("x", F32, *x.shape[::-1])
                buffer.place(x_in, 0)
                built = build(pictures, x_in)
                graph.output(built)
                self._allocator.allocate(graph)
                self._backend.compute(graph.ptr)
                if built.struct.data != x_in.struct.data:
                    x = empty_aligned(built.ne[1::-1])
                    read_tensor(built, x)
            return x
        finally:
            graph.close()


def _check_pixels(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    if values.dtype != np.uint8 or values.ndim != 3 or values.shape[2] != N_COLOURS:
        raise InputError("a picture must be rows of RGB values of 8 bits")
    height, width, _ = values.shape
    if height != width or not 0 < height <= _MOST_SIDE:
        raise InputError(f"pictures are squares of at most {_MOST_SIDE}, not {width} x {height}")
    return values


def _build_block(block: VisionBlock, pictures: Pictures, x: Tensor) -> Tensor:
    return MobileNetBlock(pictures, block).build(x, math.isqrt(x.ne[1]))


def _describe_all(file: VisionFile, kernels: Kernels | None) -> list[BlockSource]:
    """The stem, the blocks, what joins the last stages."""
    read = file.mmproj.read
    stem = make_stem({name: read(info) for name, info in file.stem.items()}, kernels)
    described = [BlockSource({}, stem)]
    parts = [(block.tensors, block.stride) for block in file.blocks]
    for tensors, stride in (*parts, (file.fusion, 1)):
        matrices = {name: info for name, info in tensors.items() if len(info.ne) == 2}
        rest = {name: read(info) for name, info in tensors.items() if name not in matrices}
        described.append(BlockSource(matrices, make_constants(rest, stride, kernels)))
    return described


def _rms_norm(x: Rows) -> Rows:
    normed: Rows = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + _RMS_EPS)
    return normed
