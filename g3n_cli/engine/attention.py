"""Attention with K/V that only some layers own.

Source: transformers ``Gemma3nTextAttention``: norms on queries, keys and values per head, rotary
positions after the norm, scale 1, and layers from ``n_layer_kv`` on reading an earlier one's K/V.
"""

from __future__ import annotations

from dataclasses import dataclass

from g3n_cli.engine.hparams import HParams
from g3n_cli.engine.kv_cache import KvCache
from g3n_cli.engine.products import Products
from g3n_cli.engine.weights import Weights
from g3n_cli.ggml.graph import F16, F32, Graph
from g3n_cli.ggml.tensor import Tensor

_OWN_FROM = 4


@dataclass(frozen=True)
class Queries:
    """Where the positions that ask stand, and what they may see.

    Attributes:
        positions: ``[n]`` I32.
        full_mask: ``[n_kv, n]`` F16, for full layers.
        ring_mask: ``[n_ring, n]`` F16, for sliding layers.
    """

    positions: Tensor
    full_mask: Tensor
    ring_mask: Tensor


@dataclass(frozen=True)
class Writes:
    """Rows that the K/V of a step go to.

    Attributes:
        full_rows: ``[n]`` I64, for full layers.
        ring_rows: ``[n]`` I64, for sliding layers.
    """

    full_rows: Tensor
    ring_rows: Tensor


@dataclass(frozen=True)
class Attention:
    """The attention parts of a graph."""

    graph: Graph
    hparams: HParams
    weights: Weights
    products: Products
    cache: KvCache

    def build_store(self, layer: int, x: Tensor, positions: Tensor, writes: Writes) -> None:
        """Write the keys and values of ``x [n_embd, n]`` into the cache of an owner layer."""
        g, hp, w, multiply = self.graph, self.hparams, self.weights, self.products.build
        n = x.ne[1]
        k = g.reshape(multiply(w.of(layer, "attn_k"), x), hp.n_embd_head_k, hp.n_head_kv, n)
        k = g.rms_norm(k, hp.rms_eps, w.of(layer, "attn_k_norm"))
        k = g.rope(k, positions, self._rope_base(layer))
        v = g.reshape(multiply(w.of(layer, "attn_v"), x), hp.n_embd_head_v, hp.n_head_kv, n)
        v = g.rms_norm(v, hp.rms_eps)
        rows = writes.ring_rows if hp.is_swa[layer] else writes.full_rows
        for tensor, new in ((self.cache.keys[layer], k), (self.cache.values[layer], v)):
            g.expand(g.set_rows(tensor, g.reshape(new, tensor.ne[0], n), rows))

    def build(self, layer: int, x: Tensor, queries: Queries) -> Tensor:
        """What the positions of ``x [n_embd, n]`` read from the cache: ``[n_embd, n]``."""
        g, hp, w, multiply = self.graph, self.hparams, self.weights, self.products.build
        n = x.ne[1]
        q = g.reshape(multiply(w.of(layer, "attn_q"), x), hp.n_embd_head_k, hp.n_head, n)
        q = g.rms_norm(q, hp.rms_eps, w.of(layer, "attn_q_norm"))
        q = g.rope(q, queries.positions, self._rope_base(layer))
        mask = queries.ring_mask if hp.is_swa[layer] else queries.full_mask
        owner = hp.kv_source[layer]
        k = g.split_rows(self.cache.keys[owner], hp.n_embd_head_k, mask.ne[0])
        v = g.split_rows(self.cache.values[owner], hp.n_embd_head_v, mask.ne[0])
        read = g.name(self._attend(owner, q, k, v, mask), f"kqv_out-{layer}")
        return multiply(w.of(layer, "attn_output"), read)

    def _attend(self, owner: int, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """``q [d, n_head, n]`` and ``k``, ``v [d, n_head_kv, n_kv]`` to ``[d_v * n_head, n]``.

        Computed where the ``owner`` layer's K/V lie: they are more than questions and answers.
        """
        g, kernels = self.graph, self.weights.kernels_at(owner)
        ne = (v.ne[0] * q.ne[1], q.ne[2])
        # ggml is as good at reading K/V once, for the only position of a step.
        if (
            kernels
            and q.ne[2] >= _OWN_FROM
            and k.type in (F16, F32)
            and kernels.can_attend(q.ne[1] // k.ne[1], k.ne[0], v.ne[0])
        ):
            return g.custom(F32, ne, (q, k, v, mask), kernels.attention)
        q, k, v = (g.permute(t, 0, 2, 1, 3) for t in (q, k, v))
        read = g.flash_attn(q, k, v, mask)
        return g.reshape(g.place(read, on_device=self.weights.is_offloaded(owner)), *ne)

    def _rope_base(self, layer: int) -> float:
        return self.hparams.rope_base_swa if self.hparams.is_swa[layer] else self.hparams.rope_base
