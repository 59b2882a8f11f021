"""Tensors of a Gemma 3n file that are not simply loaded."""

from __future__ import annotations

from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.hparams import HParams

PLE_TENSOR = "per_layer_token_embd.weight"
"""The per-layer embeddings, read by row."""


def find_unused(gguf: GgufFile, hparams: HParams) -> frozenset[str]:
    """Tensors of a Gemma 3n file that no computation reads: K/V of layers that share it."""
    return frozenset(
        name
        for layer in range(hparams.n_layer_kv, hparams.n_layer)
        for part in ("attn_k", "attn_v", "attn_k_norm")
        if (name := f"blk.{layer}.{part}.weight") in gguf.tensors
    )
