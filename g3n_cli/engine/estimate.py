"""What running a model will take, part by part, before any of it is loaded.

For a Gemma 3n the engine's own parts are made without filling them: nothing of a file is read but
its header, and memory that nobody touches takes none. So the figures are those of the engine, not
of a formula beside it. Other architectures run on llama.cpp, whose sizes are worked out from the
header.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from g3n_cli.config import EngineSettings, Widths
from g3n_cli.engine.gemma3n import Gemma3n, StepShape
from g3n_cli.engine.gguf import GgufArray, GgufFile
from g3n_cli.engine.gguf_types import BLOCKS, GgmlType
from g3n_cli.engine.hparams import ARCHITECTURE, HParams
from g3n_cli.engine.kv_cache import KV_TYPES, N_SNAPSHOTS, STEP_MULTIPLE, KvCache
from g3n_cli.engine.matformer import FULL, SizeResolver, find_width_multiple
from g3n_cli.engine.plan import CpuExecutor, Plans
from g3n_cli.engine.ple import N_WARM_ROWS
from g3n_cli.engine.tensors import PLE_TENSOR, find_unused
from g3n_cli.engine.weights import Weights
from g3n_cli.ggml.backend import CpuBackend
from g3n_cli.kernels.library import load_kernels

VOCABULARY_BYTES_PER_TOKEN = 176
"""What llama.cpp keeps of a token: its text twice, an entry in a hash table, score and attributes;
44 MiB for Gemma's 262,144."""


@dataclass(frozen=True)
class Estimate:
    """Bytes of memory, by what they are for, once the context is full.

    Attributes:
        weights: Copied out of the file, in panels or repacked.
        mapped_weights: Used where they lie in the mapped file.
        kv: Keys and values.
        snapshots: Copies of sliding layers' windows, of which a long conversation keeps a few.
        compute: Buffer of the graphs' intermediate results.
        ple: Rows of the per-layer embedding table.
        vocabulary: The tokenizer's; an estimate even for Gemma 3n.
        file_bytes: The file on disk.
        left_on_disk: What of it is never in memory: the per-layer table but for single rows,
            tensors that nothing uses, and what a smaller size leaves out.
    """

    weights: int
    mapped_weights: int
    kv: int
    snapshots: int
    compute: int
    ple: int
    vocabulary: int
    file_bytes: int
    left_on_disk: int

    @property
    def parts(self) -> dict[str, int]:
        """Bytes in memory by part."""
        names = ("weights", "mapped_weights", "kv", "snapshots", "compute", "ple", "vocabulary")
        return {name: getattr(self, name) for name in names}

    @property
    def total(self) -> int:
        """Bytes in memory, beside Python and its libraries."""
        return sum(self.parts.values())


def estimate(gguf: GgufFile, settings: EngineSettings) -> Estimate:
    """What a model will take.

    Args:
        gguf: A validated file.
        settings: How it would be run; its size is not ``auto``.

    Raises:
        UsageError: a setting the model does not allow.
        DoesNotFitError: not even the address space is there.
    """
    if gguf.architecture == ARCHITECTURE:
        return _estimate_gemma3n(gguf, HParams.from_gguf(gguf), settings)
    return _estimate_other(gguf, settings)


def _estimate_gemma3n(gguf: GgufFile, hparams: HParams, settings: EngineSettings) -> Estimate:
    settings = settings.limit_context(hparams.n_ctx_train)
    multiple = find_width_multiple(gguf, repack=settings.repack)
    resolver = SizeResolver(gguf, hparams, settings.named_sizes, multiple)
    size = resolver.resolve(settings.size).widths
    prefill_size = resolver.resolve(settings.prefill_size or settings.size).widths
    widths = tuple(map(max, zip(size, prefill_size, strict=True)))
    names = gguf.tensors.keys() - find_unused(gguf, hparams) - {PLE_TENSOR}
    table = gguf.tensors[PLE_TENSOR]
    with ExitStack() as stack:
        kernels = load_kernels(settings.kernels) if settings.repack else None
        weights = Weights(gguf, names, hparams, settings, kernels)
        stack.callback(weights.close)
        cache = KvCache(hparams, settings.n_ctx, settings.n_batch, settings.kv)
        stack.callback(cache.close)
        copied, mapped = weights.count_bytes(widths)
        model = Gemma3n(
            hparams, weights, cache, table.type, settings.prefill == "skip", settings.act
        )
        compute = _count_compute(model, settings, prefill_size)
        kv = _count_kv(hparams, settings, cache.n_ring, widths)
    on_disk = settings.ple == "disk"
    return Estimate(
        weights=copied,
        mapped_weights=mapped,
        kv=kv,
        snapshots=_count_snapshots(hparams, settings),
        compute=compute,
        ple=min(N_WARM_ROWS, table.ne[1]) * table.row_bytes if on_disk else table.n_bytes,
        vocabulary=hparams.n_vocab * VOCABULARY_BYTES_PER_TOKEN,
        file_bytes=gguf.size,
        left_on_disk=sum(info.n_bytes for info in gguf.tensors.values())
        - copied
        - mapped
        - (0 if on_disk else table.n_bytes),
    )


def _count_compute(model: Gemma3n, settings: EngineSettings, widths: Widths) -> int:
    """Bytes of the compute buffer after a full batch at the end of the context.

    That is its largest graph: of a single token's all parts are smaller.
    """
    n_ctx = settings.n_ctx
    n_tokens = min(n_ctx, -(-settings.n_batch // STEP_MULTIPLE) * STEP_MULTIPLE)
    shape = StepShape(n_tokens, n_ctx, min(n_ctx, model.cache.n_ring), 1, widths)
    with ExitStack() as stack:
        backend = CpuBackend(settings.n_threads)
        stack.callback(backend.close)
        plans = Plans(CpuExecutor(backend), model.build)
        stack.callback(plans.close)
        plans.get(shape)
        return plans.compute_bytes


def _count_kv(hparams: HParams, settings: EngineSettings, n_ring: int, widths: Widths) -> int:
    """Bytes of the rows of all layers that own K/V and are not left out."""
    owners = [layer for layer in range(hparams.n_layer_kv) if widths[layer]]
    n_rows = sum(n_ring if hparams.is_swa[layer] else settings.n_ctx for layer in owners)
    width = hparams.n_head_kv * (hparams.n_embd_head_k + hparams.n_embd_head_v)
    return n_rows * _count_kv_bytes(width, settings)


def _count_snapshots(hparams: HParams, settings: EngineSettings) -> int:
    n_rows = min(settings.n_ctx, hparams.n_swa - 1)
    n_sliding = sum(hparams.is_swa[: hparams.n_layer_kv])
    width = hparams.n_head_kv * (hparams.n_embd_head_k + hparams.n_embd_head_v)
    return N_SNAPSHOTS * n_rows * n_sliding * _count_kv_bytes(width, settings)


def _count_kv_bytes(n_values: int, settings: EngineSettings) -> int:
    block, n_bytes = BLOCKS[GgmlType(KV_TYPES[settings.kv])]
    return n_values * n_bytes // block


# -------------------------------------------------------------------------------------- llama.cpp


def _estimate_other(gguf: GgufFile, settings: EngineSettings) -> Estimate:
    """All weights, K/V of all layers at the whole context, and the largest intermediate results."""
    n_ctx_train = _number(gguf, "context_length") or settings.n_ctx
    settings = settings.limit_context(n_ctx_train)
    tensors = sum(info.n_bytes for info in gguf.tensors.values())
    n_layer, n_embd = (_number(gguf, key) or 0 for key in ("block_count", "embedding_length"))
    n_head = _numbers(gguf, "attention.head_count", n_layer)
    n_head_kv = _numbers(gguf, "attention.head_count_kv", n_layer) or n_head
    usual = n_embd // max((*n_head, 1))
    head = (_number(gguf, "attention.key_length") or usual) + (
        _number(gguf, "attention.value_length") or usual
    )
    tokens = gguf.metadata.get("tokenizer.ggml.tokens")
    n_vocab = tokens.length if isinstance(tokens, GgufArray) else 0
    n_batch = min(settings.n_batch, settings.n_ctx)
    scores = max((*n_head, 0)) * settings.n_ctx * n_batch * 4
    hidden = (4 * n_embd + 2 * max((*_numbers(gguf, "feed_forward_length", n_layer), 0))) * 4
    return Estimate(
        weights=0,
        mapped_weights=tensors,
        kv=settings.n_ctx * _count_kv_bytes(head * sum(n_head_kv), settings),
        snapshots=0,
        compute=scores + hidden * n_batch + 4 * n_vocab,
        ple=0,
        vocabulary=n_vocab * VOCABULARY_BYTES_PER_TOKEN,
        file_bytes=gguf.size,
        left_on_disk=0,
    )


def _number(gguf: GgufFile, key: str) -> int | None:
    value = gguf.metadata.get(f"{gguf.architecture}.{key}")
    return value if type(value) is int else None


def _numbers(gguf: GgufFile, key: str, n_layer: int) -> tuple[int, ...]:
    """One number a layer, from one for all or one for each; none if the file does not tell."""
    value = gguf.metadata.get(f"{gguf.architecture}.{key}")
    if type(value) is int:
        return (value,) * n_layer
    if isinstance(value, GgufArray) and not value.is_string:
        items = value.to_numpy()
        if np.issubdtype(items.dtype, np.integer):
            return tuple(int(item) for item in items)
    return ()


def name_sizes(gguf: GgufFile, settings: EngineSettings) -> tuple[str, ...]:
    """Sizes of a Gemma 3n on offer, the largest first; ``full`` alone for other models."""
    if gguf.architecture != ARCHITECTURE:
        return (FULL,)
    multiple = find_width_multiple(gguf, repack=settings.repack)
    resolver = SizeResolver(gguf, HParams.from_gguf(gguf), settings.named_sizes, multiple)
    return tuple(size.name for size in resolver.offered)
