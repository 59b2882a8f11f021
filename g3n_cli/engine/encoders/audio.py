"""Gemma 3n's audio encoder: samples in, rows of a prompt out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from g3n_cli.config import KernelsName
from g3n_cli.engine.api import Progress
from g3n_cli.engine.encoders.api import MOST_SAMPLES, SAMPLE_RATE, Rows
from g3n_cli.engine.encoders.audio_file import MATRICES, AudioFile
from g3n_cli.engine.encoders.blocks import Blocks, BlockSource
from g3n_cli.engine.encoders.conformer import (
    N_NODES,
    ConformerBlock,
    make_constants,
    make_mask,
    mask_shape,
)
from g3n_cli.engine.encoders.features import LEAST_SAMPLES, compute_log_mel
from g3n_cli.engine.encoders.mmproj import check_text_width, open_mmproj
from g3n_cli.engine.encoders.subsample import Subsampling
from g3n_cli.engine.products import Products
from g3n_cli.engine.worker import Worker
from g3n_cli.errors import InputError, ModelError
from g3n_cli.ggml.allocator import GraphAllocator
from g3n_cli.ggml.backend import CpuBackend
from g3n_cli.ggml.graph import F32, Graph
from g3n_cli.ggml.handles import read_tensor, write_tensor
from g3n_cli.kernels.library import load_kernels

_END_ROW, _PAD_ROW = 0, 127
"""Rows of the table of hard embeddings: of ids 262272 (end of audio) and 262399."""

_RMS_EPS = np.float32(1e-6)


def open_audio_encoder(
    path: Path,
    n_threads: int,
    *,
    n_embd: int | None = None,
    kernels: KernelsName = "own",
    is_resident: bool = False,
) -> AudioEncoder:
    """Open the audio encoder of a projector file.

    Args:
        path: The file.
        n_threads: Threads that encode.
        n_embd: Width of the text model that the rows are for, to be checked.
        kernels: Whose matrix products: g3n's own, or ggml's.
        is_resident: Keep all blocks in memory from the first clip on, for many clips; else one
            block at a time is read from the file, for each clip anew.

    Raises:
        InputError: it has no audio encoder.
        ModelError: it is broken, or belongs to another model.
        UsageError: the kernels do not run here.
        DoesNotFitError: there is not enough memory.
    """
    file = AudioFile.from_mmproj(open_mmproj(path))
    if n_embd is not None:
        check_text_width(path, file.n_text, n_embd)
    return AudioEncoder(file, n_threads, kernels=kernels, is_resident=is_resident)


class AudioEncoder:
    """An open audio encoder. Implements ``g3n_cli.engine.encoders.api.MediaEncoder``.

    Args:
        file: The checked file.
        n_threads: Threads that encode.
        kernels: Whose matrix products.
        is_resident: Whether all blocks stay in memory once they were needed, or one.

    Attributes:
        n_embd: Width of the rows.
        end_row: ``[n_embd]``, embedding of ``<end_of_audio>``.
        pad_row: ``[n_embd]``, embedding of positions without sound.
    """

    def __init__(
        self, file: AudioFile, n_threads: int, *, kernels: KernelsName, is_resident: bool
    ) -> None:
        self.n_embd = file.n_text
        self._file = file
        self._read_ends()
        with ExitStack() as stack:
            try:
                opened = stack.enter_context(file.mmproj.path.open("rb"))
            except OSError as error:
                raise ModelError(f"cannot read {file.mmproj.path}: {error.strerror}") from error
            self._blocks = Blocks(
                opened,
                [_describe_block(file, layer) for layer in range(file.n_layer)],
                n_slots=file.n_layer if is_resident else 1,
                n_threads=n_threads,
                kernels=load_kernels(kernels),
            )
            stack.callback(self._blocks.close)
            self._backend = stack.enter_context(CpuBackend(n_threads))
            self._allocator = stack.enter_context(GraphAllocator(self._backend))
            self._worker = Worker(self._backend.abort.set)
            stack.callback(self._worker.close)
            self._owned = stack.pop_all()

    def encode(self, values: npt.NDArray[Any], on_progress: Progress | None = None) -> Rows:
        """Soft tokens of a clip, one for each 160 ms begun; see ``MediaEncoder.encode``.

        Raises:
            InputError: the samples make no frame, are more than ``MOST_SAMPLES``, or not finite.
            ModelError: the file has changed since it was opened, or computes no finite numbers.
        """
        return self.encode_features(compute_log_mel(_check_samples(values)), on_progress)

    def encode_features(self, mel: Rows, on_progress: Progress | None = None) -> Rows:
        """Soft tokens ``[ceil(n_frames / 16), n_embd]`` of log-mel features ``[n_frames, 128]``.

        KeyboardInterrupt or Terminated, raised by a signal, stops the computation within a fraction
        of a second; the encoder can be used again.
        """
        return self._embed(self.run_conformer(mel, on_progress), self._soft_norm)

    def run_conformer(self, mel: Rows, on_progress: Progress | None = None) -> Rows:
        """What ``encode_features`` projects: ``[ceil(n_frames / 16), width of the conformer]``."""
        x, n_layer = self._subsampling.apply(mel), self._file.n_layer
        mask = make_mask(len(x))
        self._backend.abort.clear()
        for layer in range(n_layer):
            if on_progress:
                on_progress(layer, n_layer)
            # Reading a block is the worker's too: it may not go on once this has been interrupted.
            x = self._worker.run(partial(self._run_block, layer, x, mask))
        if on_progress:
            on_progress(n_layer, n_layer)
        if not np.isfinite(x).all():
            raise ModelError(f"{self._file.mmproj.path}: the audio encoder's weights make no sense")
        return x

    def embed_hard(self, rows: Sequence[int]) -> Rows:
        """Embeddings ``[len(rows), n_embd]`` of rows of the table of those that are no sound."""
        mmproj, info = self._file.mmproj, self._file.ends["mm.a.embedding"]
        table = np.concatenate([mmproj.read_rows(info, row, 1) for row in rows])
        return self._embed(table, self._hard_norm)

    def close(self) -> None:
        """Free the encoder; closing twice is harmless."""
        self._owned.close()

    def _read_ends(self) -> None:
        """What lies before and behind the blocks; 0.4 % of the multiplications, in numpy."""
        file, read = self._file, self._file.mmproj.read
        ends = {name: read(info) for name, info in file.ends.items() if name != "mm.a.embedding"}
        (conv_0, conv_1), (norm_0, norm_1) = map(read, file.convs), map(read, file.conv_norms)
        self._subsampling = Subsampling(
            (conv_0, conv_1), (norm_0, norm_1), ends["a.pre_encode.out"]
        )
        self._projection = ends["mm.a.input_projection"]
        self._soft_norm, self._hard_norm = ends["mm.a.soft_emb_norm"], ends["mm.a.hard_emb_norm"]
        self.end_row, self.pad_row = self.embed_hard([_END_ROW, _PAD_ROW])

    def _embed(self, x: Rows, weight: Rows) -> Rows:
        """Source: transformers ``Gemma3nMultimodalEmbedder``."""
        projected = np.matmul(_rms_norm(x) * weight, self._projection.T, dtype=np.float32)
        return _rms_norm(projected)

    def _run_block(self, layer: int, x: Rows, mask: Rows) -> Rows:
        """``[n, n_embd]`` to the same; of the last block only the steps that are kept."""
        graph = Graph(N_NODES)
        try:
            tensors = self._blocks.get(layer)
            x_in = graph.input("x", F32, *x.shape[::-1])
            mask_in = graph.input("mask", F32, *mask_shape(len(x)))
            block = ConformerBlock(graph, Products(graph, self._blocks), tensors)
            built = block.build(x_in, mask_in, is_last=layer == self._file.n_layer - 1)
            graph.output(built)
            self._allocator.allocate(graph)
            write_tensor(x_in, x)
            write_tensor(mask_in, mask)
            self._backend.compute(graph.ptr)
            out = np.empty(built.ne[1::-1], np.float32)
            read_tensor(built, out)
            return out
        finally:
            graph.close()


def _describe_block(file: AudioFile, layer: int) -> BlockSource:
    infos = file.blocks[layer]
    matrices = {name: infos[name] for name in MATRICES}
    rest = {name: file.mmproj.read(info) for name, info in infos.items() if name not in matrices}
    return BlockSource(matrices, make_constants(rest, file.n_head))


def _rms_norm(x: Rows) -> Rows:
    normed: Rows = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + _RMS_EPS)
    return normed


def _check_samples(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if values.ndim != 1 or values.dtype != np.float32:
        raise InputError("sound must be one row of float32 samples")
    if values.size < LEAST_SAMPLES:
        length_ms, least_ms = (1000 * n / SAMPLE_RATE for n in (values.size, LEAST_SAMPLES))
        raise InputError(
            f"the clip is too short to hear anything in: {length_ms:.0f} ms, at least"
            f" {least_ms:.0f} ms are needed"
        )
    if values.size > MOST_SAMPLES:
        raise InputError(
            f"the clip has {values.size / SAMPLE_RATE:.1f} s, at most"
            f" {MOST_SAMPLES // SAMPLE_RATE} s are encoded at once"
        )
    if not np.isfinite(values).all():
        raise InputError("the clip holds samples that are no numbers (NaN or infinite)")
    return values
