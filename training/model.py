"""Gemma 3n in PyTorch, small, at any of its nested sizes. Names of tensors are those of the GGUF.

Source: transformers ``Gemma3nTextModel``; MatFormer (arXiv 2310.07707) for the nesting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name

N_ALTUP = 4
_FLOOR = 1e-5


@dataclass(frozen=True)
class Shape:
    """The numbers of a model; defaults are those of g3n-mini."""

    n_vocab: int
    n_layer: int = 10
    n_layer_kv: int = 5
    n_embd: int = 256
    n_head: int = 4
    n_head_kv: int = 2
    n_head_dim: int = 64
    n_ff: int = 512
    n_ple: int = 128
    rank: int = 16
    window: int = 64
    n_ctx: int = 1024
    n_block: int = 5
    n_sparse: int = 2
    sparsity: float = 1.0
    eps: float = 1e-6
    softcap: float = 30.0
    rope_base: float = 1e6
    rope_base_swa: float = 1e4

    def is_sliding(self, layer: int) -> bool:
        """All but the last layer of a block."""
        return (layer + 1) % self.n_block != 0

    def kv_source(self, layer: int) -> int:
        """The layer whose K/V a layer reads."""
        if layer < self.n_layer_kv:
            return layer
        owners = range(self.n_layer_kv)
        return max(i for i in owners if self.is_sliding(i) == self.is_sliding(layer))


Widths = Sequence[int]
"""Of each layer's FFN; 0 leaves the layer out."""

KeysValues = tuple[Tensor, Tensor]


class Gemma3n(nn.Module):
    """The text model."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        s = self.shape = shape
        self.token_embd = _matrix(s.n_vocab, s.n_embd)
        self.per_layer_token_embd = _matrix(s.n_vocab, s.n_ple * s.n_layer, scale=s.n_ple**-0.5)
        self.per_layer_model_proj = _matrix(s.n_ple * s.n_layer, s.n_embd)
        self.per_layer_proj_norm = _norm(s.n_ple)
        self.altup_proj = _matrix(N_ALTUP - 1, s.n_embd, s.n_embd)
        self.altup_unembd_proj = _matrix(N_ALTUP - 1, s.n_embd, s.n_embd)
        self.output_norm = _norm(s.n_embd)
        self.blk = nn.ModuleList(Layer(s, i) for i in range(s.n_layer))

    def forward(self, ids: Tensor, documents: Tensor, wanted: Tensor, widths: Widths) -> Tensor:
        """Logits ``[k, n_vocab]``.

        Args:
            ids: ``[b, t]``.
            documents: ``[b, t]``; a position sees only those of its own document.
            wanted: ``[k]``, indices of positions in ``b * t``.
            widths: Which of the nested models.
        """
        s = self.shape
        x = F.embedding(ids, self.token_embd) * math.sqrt(s.n_embd)
        rows = F.embedding(ids, self.per_layer_token_embd) * math.sqrt(s.n_ple)
        projected = F.linear(x, self.per_layer_model_proj) / math.sqrt(s.n_embd)
        parts = (*ids.shape, s.n_layer, s.n_ple)
        projected = rms(projected.view(parts), self.per_layer_proj_norm, s.eps)
        ple = ((projected + rows.view(parts)) * math.sqrt(0.5)).unbind(2)
        places = {
            is_sliding: _place(s, documents, is_sliding=is_sliding) for is_sliding in (False, True)
        }
        streams = [x, *(_with_magnitude(F.linear(x, w), x) for w in self.altup_proj)]
        cache: dict[int, KeysValues] = {}
        for i, layer in enumerate(self.blk):
            if widths[i]:
                place = places[s.is_sliding(i)]
                streams, kv = layer(streams, ple[i], widths[i], *place, cache.get(s.kv_source(i)))
                cache[s.kv_source(i)] = kv
        streams = [stream.flatten(0, 1)[wanted] for stream in streams]
        sides = zip(streams[1:], self.altup_unembd_proj, strict=True)
        total = streams[0] + sum(_with_magnitude(F.linear(a, w), streams[0]) for a, w in sides)
        out = rms(total / N_ALTUP, self.output_norm, s.eps)
        return s.softcap * torch.tanh(F.linear(out, self.token_embd) / s.softcap)


class Layer(nn.Module):
    """One layer, of which the FFN may be used in part."""

    def __init__(self, s: Shape, index: int) -> None:
        super().__init__()
        self.shape, self.is_sparse = s, index < s.n_sparse
        width, width_kv = s.n_head * s.n_head_dim, s.n_head_kv * s.n_head_dim
        self.altup_router = _matrix(N_ALTUP, s.n_embd, scale=0.25 * s.n_embd**0.5)
        self.altup_router_norm = _norm(s.n_embd)
        self.altup_predict_coef = nn.Parameter(torch.zeros(N_ALTUP**2, N_ALTUP))
        self.altup_correct_coef = nn.Parameter(torch.zeros(N_ALTUP, N_ALTUP))
        self.altup_correct_scale = _norm(s.n_embd)
        self.attn_norm, self.post_attention_norm = _norm(s.n_embd), _norm(s.n_embd)
        self.ffn_norm, self.post_ffw_norm = _norm(s.n_embd), _norm(s.n_embd)
        # Scores are not divided by the root of the head's width: the norms begin so small instead.
        self.attn_q_norm = _norm(s.n_head_dim, s.n_head_dim**-0.25)
        self.attn_q, self.attn_output = _matrix(width, s.n_embd), _matrix(s.n_embd, width)
        if index < s.n_layer_kv:
            self.attn_k_norm = _norm(s.n_head_dim, s.n_head_dim**-0.25)
            self.attn_k, self.attn_v = _matrix(width_kv, s.n_embd), _matrix(width_kv, s.n_embd)
        self.laurel_l, self.laurel_r = _matrix(s.rank, s.n_embd), _matrix(s.n_embd, s.rank)
        self.laurel_post_norm = _norm(s.n_embd)
        self.ffn_gate, self.ffn_up = _matrix(s.n_ff, s.n_embd), _matrix(s.n_ff, s.n_embd)
        self.ffn_down = _matrix(s.n_embd, s.n_ff)
        self.inp_gate, self.proj = _matrix(s.n_ple, s.n_embd), _matrix(s.n_embd, s.n_ple)
        self.post_norm = _norm(s.n_embd)

    def forward(  # noqa: PLR0913
        self,
        streams: list[Tensor],
        ple: Tensor,
        width: int,
        mask: Tensor,
        cos: Tensor,
        sin: Tensor,
        kv: KeysValues | None,
    ) -> tuple[list[Tensor], KeysValues]:
        """The streams ``[b, t, n_embd]`` after this layer, and its K/V: ``kv``, or its own."""
        s = self.shape
        p = F.linear(self._route(streams[0]), self.altup_predict_coef).unsqueeze(-1).unbind(-2)
        predicted = [
            stream + sum(p[N_ALTUP * i + k] * streams[k] for k in range(N_ALTUP))
            for i, stream in enumerate(streams)
        ]
        active = predicted[0]
        x = rms(active, self.attn_norm, s.eps)
        low = F.linear(F.linear(x, self.laurel_l), self.laurel_r)
        laurel = x + rms(low, self.laurel_post_norm, s.eps)
        kv = kv or self._keys_values(x, cos, sin)
        attended = rms(self._attend(x, mask, cos, sin, kv), self.post_attention_norm, s.eps)
        mixed = (active + attended + laurel) * math.sqrt(0.5)
        answer = self._ffn(rms(mixed, self.ffn_norm, s.eps), width)
        y = mixed + rms(answer, self.post_ffw_norm, s.eps)
        c = F.linear(self._route(y), self.altup_correct_coef).unsqueeze(-1).unbind(-2)
        streams = [a + (c[i] + 1) * (y - active) for i, a in enumerate(predicted)]
        gated = _gelu(F.linear(streams[0] * self.altup_correct_scale, self.inp_gate)) * ple
        addition = rms(F.linear(gated, self.proj), self.post_norm, s.eps)
        return [streams[0], *(stream + addition for stream in streams[1:])], kv

    def _route(self, x: Tensor) -> Tensor:
        normed = rms(x, self.altup_router_norm, self.shape.eps) / self.shape.n_embd
        return torch.tanh(F.linear(normed, self.altup_router))

    def _keys_values(self, x: Tensor, cos: Tensor, sin: Tensor) -> KeysValues:
        s, (b, t, _) = self.shape, x.shape
        heads = (b, t, s.n_head_kv, s.n_head_dim)
        k, v = (F.linear(x, w).view(heads) for w in (self.attn_k, self.attn_v))
        k = _rotate(rms(k, self.attn_k_norm, s.eps), cos, sin)
        return k.transpose(1, 2), rms(v, None, s.eps).transpose(1, 2)

    def _attend(self, x: Tensor, mask: Tensor, cos: Tensor, sin: Tensor, kv: KeysValues) -> Tensor:
        s, (b, t, _) = self.shape, x.shape
        q = F.linear(x, self.attn_q).view(b, t, s.n_head, s.n_head_dim)
        q = _rotate(rms(q, self.attn_q_norm, s.eps), cos, sin).transpose(1, 2)
        k, v = (a.repeat_interleave(s.n_head // s.n_head_kv, 1) for a in kv)
        read = F.scaled_dot_product_attention(q, k, v, mask, scale=1.0)
        return F.linear(read.transpose(1, 2).reshape(b, t, -1), self.attn_output)

    def _ffn(self, x: Tensor, width: int) -> Tensor:
        gate = F.linear(x, self.ffn_gate[:width])
        if self.is_sparse:
            spread = gate.std(-1, keepdim=True, correction=0)
            gate = F.relu(gate - gate.mean(-1, keepdim=True) - self.shape.sparsity * spread)
        return F.linear(_gelu(gate) * F.linear(x, self.ffn_up[:width]), self.ffn_down[:, :width])


def _place(s: Shape, documents: Tensor, *, is_sliding: bool) -> tuple[Tensor, Tensor, Tensor]:
    """What positions of a kind of layer see, ``[b, 1, t, t]``, and how they are rotated."""
    at = torch.arange(documents.shape[1], device=documents.device)
    distance = at[:, None] - at[None, :]
    is_seen = (distance >= 0) & (documents[:, None, :, None] == documents[:, None, None, :])
    if is_sliding:
        is_seen &= distance < s.window
    steps = torch.arange(0, s.n_head_dim, 2, device=documents.device) / s.n_head_dim
    angles = at[:, None] * (s.rope_base_swa if is_sliding else s.rope_base) ** -steps
    return is_seen, angles.cos()[:, None, :], angles.sin()[:, None, :]


def rms(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """``x`` over its root mean square, times ``weight`` if there is one."""
    normed = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return normed if weight is None else normed * weight


def _gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def _with_magnitude(x: Tensor, like: Tensor) -> Tensor:
    wanted = like.square().mean(-1, keepdim=True).sqrt()
    return x * wanted * torch.rsqrt(x.square().mean(-1, keepdim=True).clamp_min(_FLOOR))


def _matrix(*extents: int, scale: float | None = None) -> nn.Parameter:
    """Random values that keep the magnitude of what they multiply, unless ``scale`` is given."""
    return nn.Parameter(torch.randn(extents) * (scale or extents[-1] ** -0.5))


def _norm(n: int, value: float = 1.0) -> nn.Parameter:
    return nn.Parameter(torch.full((n,), value))
