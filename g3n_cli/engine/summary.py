"""What a file holds and what running it will take, from its header alone."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from g3n_cli.config import EngineSettings
from g3n_cli.engine.gguf import GgufArray, GgufFile
from g3n_cli.engine.hparams import ARCHITECTURE, HParams
from g3n_cli.engine.kv_cache import count_ring_rows
from g3n_cli.engine.tensors import PLE_TENSOR, find_unused

_EMBEDDINGS = ("token_embd.weight", "output.weight")
_BYTES_PER_KV_VALUE = 2  # float16
_USUAL_CONTEXT = EngineSettings.n_ctx


@dataclass(frozen=True)
class TypeUse:
    """Tensors of one type.

    Attributes:
        type: Name of the ggml type.
        n_tensors: How many there are.
        n_bytes: What they take in the file.
    """

    type: str
    n_tensors: int
    n_bytes: int


@dataclass(frozen=True)
class KvUse:
    """The K/V cache at one size of the context, in float16."""

    n_ctx: int
    n_bytes: int


@dataclass(frozen=True)
class Gemma3nUse:
    """Where the tensors of a Gemma 3n file go when it is run with the default settings.

    Attributes:
        ram_bytes: Weights the computation reads.
        disk_bytes: What stays in the file: the per-layer embedding table and unused tensors.
        unused_bytes: K/V tensors of layers that share K/V, which nothing ever reads.
        kv: The K/V cache at the usual context and at the full one.
    """

    ram_bytes: int
    disk_bytes: int
    unused_bytes: int
    kv: tuple[KvUse, ...]


@dataclass(frozen=True)
class Summary:
    """A GGUF file at a glance. Counts that a file does not tell are None or empty.

    Attributes:
        name: ``general.name``, else the file's stem.
        architecture: ``general.architecture``.
        file_bytes: Size of the file.
        n_layer: Layers.
        n_embd: Width of the hidden state.
        n_head: Query heads: one number, or one by layer.
        n_head_kv: Key and value heads, likewise.
        n_ff: Widths of the FFN, likewise.
        n_vocab: Tokens.
        n_ctx_train: Context the model was trained for.
        n_swa: Positions a sliding layer sees.
        n_shared_kv: Layers that read the K/V of earlier ones.
        types: Tensors by type, the largest share first.
        ple_bytes: Per-layer embedding table.
        layer_bytes: Tensors that belong to a layer.
        embedding_bytes: Token embedding and head.
        other_bytes: All other tensors.
        gemma3n: What running it takes; None for other architectures.
    """

    name: str
    architecture: str
    file_bytes: int
    n_layer: int | None
    n_embd: int | None
    n_head: tuple[int, ...]
    n_head_kv: tuple[int, ...]
    n_ff: tuple[int, ...]
    n_vocab: int | None
    n_ctx_train: int | None
    n_swa: int | None
    n_shared_kv: int | None
    types: tuple[TypeUse, ...]
    ple_bytes: int
    layer_bytes: int
    embedding_bytes: int
    other_bytes: int
    gemma3n: Gemma3nUse | None


def summarize(gguf: GgufFile) -> Summary:
    """Work a summary out.

    Raises:
        ModelError: a Gemma 3n file whose hyperparameters make no sense.
    """
    parts = {"ple": 0, "layer": 0, "embedding": 0, "other": 0}
    for info in gguf.tensors.values():
        parts[_part_of(info.name)] += info.n_bytes
    is_gemma3n = gguf.architecture == ARCHITECTURE
    name, tokens = gguf.metadata.get("general.name"), gguf.metadata.get("tokenizer.ggml.tokens")
    return Summary(
        name=name if isinstance(name, str) and name else gguf.path.stem,
        architecture=gguf.architecture,
        file_bytes=gguf.size,
        n_layer=_count(gguf, "block_count"),
        n_embd=_count(gguf, "embedding_length"),
        n_head=_counts(gguf, "attention.head_count"),
        n_head_kv=_counts(gguf, "attention.head_count_kv"),
        n_ff=_counts(gguf, "feed_forward_length"),
        n_vocab=tokens.length if isinstance(tokens, GgufArray) else None,
        n_ctx_train=_count(gguf, "context_length"),
        n_swa=_count(gguf, "attention.sliding_window"),
        n_shared_kv=_count(gguf, "attention.shared_kv_layers"),
        types=_sum_types(gguf),
        ple_bytes=parts["ple"],
        layer_bytes=parts["layer"],
        embedding_bytes=parts["embedding"],
        other_bytes=parts["other"],
        gemma3n=_sum_gemma3n(gguf, HParams.from_gguf(gguf)) if is_gemma3n else None,
    )


def compute_kv_bytes(hparams: HParams, n_ctx: int, n_batch: int = EngineSettings.n_batch) -> int:
    """Bytes of a float16 K/V cache, whose sliding layers hold the window and one batch."""
    n_ring = count_ring_rows(hparams, n_ctx, n_batch)
    n_rows = sum(n_ring if slides else n_ctx for slides in hparams.is_swa[: hparams.n_layer_kv])
    width = hparams.n_head_kv * (hparams.n_embd_head_k + hparams.n_embd_head_v)
    return n_rows * width * _BYTES_PER_KV_VALUE


def _sum_gemma3n(gguf: GgufFile, hparams: HParams) -> Gemma3nUse:
    unused = find_unused(gguf, hparams)
    unused_bytes = sum(gguf.tensors[name].n_bytes for name in unused)
    disk_bytes = unused_bytes + sum(
        info.n_bytes for info in gguf.tensors.values() if info.name == PLE_TENSOR
    )
    total = sum(info.n_bytes for info in gguf.tensors.values())
    full = hparams.n_ctx_train
    contexts = sorted({min(_USUAL_CONTEXT, full), full})
    return Gemma3nUse(
        ram_bytes=total - disk_bytes,
        disk_bytes=disk_bytes,
        unused_bytes=unused_bytes,
        kv=tuple(KvUse(n_ctx, compute_kv_bytes(hparams, n_ctx)) for n_ctx in contexts),
    )


def _part_of(name: str) -> str:
    if name == PLE_TENSOR:
        return "ple"
    if name in _EMBEDDINGS:
        return "embedding"
    return "layer" if name.startswith("blk.") else "other"


def _sum_types(gguf: GgufFile) -> tuple[TypeUse, ...]:
    sizes: dict[str, list[int]] = defaultdict(list)
    for info in gguf.tensors.values():
        sizes[info.type.name].append(info.n_bytes)
    uses = (TypeUse(kind, len(found), sum(found)) for kind, found in sizes.items())
    return tuple(sorted(uses, key=lambda use: (-use.n_bytes, use.type)))


def _count(gguf: GgufFile, key: str) -> int | None:
    counts = _counts(gguf, key)
    return counts[0] if len(counts) == 1 else None


def _counts(gguf: GgufFile, key: str) -> tuple[int, ...]:
    """A number, or the list of one by layer if they differ."""
    value = gguf.metadata.get(f"{gguf.architecture}.{key}")
    if isinstance(value, GgufArray) and not value.is_string:
        items = value.to_numpy()
        if not np.issubdtype(items.dtype, np.integer):
            return ()
        return tuple(items[:1].tolist() if (items == items[:1]).all() else items.tolist())
    return (value,) if type(value) is int else ()
