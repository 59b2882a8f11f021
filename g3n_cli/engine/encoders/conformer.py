"""A block of Gemma 3n's audio encoder as a graph.

Source: transformers ``Gemma3nAudioConformerBlock``. What it computes in chunks of 12 with a context
of 24 is attention in a band: a step sees itself and the 12 before it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.encoders.audio_file import N_TAPS
from g3n_cli.engine.products import Products
from g3n_cli.ggml.graph import Graph
from g3n_cli.ggml.tensor import Tensor

SPAN = 13
"""Keys in sight of a query: of its own step and those before it."""

REDUCTION = 4
"""Of so many steps one is kept at the end."""

N_NODES = 160

_PAST = SPAN - 1
_CHUNK = 24
_WINDOW = _CHUNK + _PAST
_RMS_EPS = 1e-6
_LOGIT_CAP = 50.0
_RESIDUAL = 0.5

Values = npt.NDArray[np.float32]


def mask_shape(n: int) -> tuple[int, int, int]:
    """Extents of the mask of ``n`` steps: keys of a window, queries of a chunk, chunks."""
    return _WINDOW, _CHUNK, -(-n // _CHUNK)


def make_mask(n: int) -> Values:
    """0 where a query of a chunk sees a key of its window, else -inf; in numpy's order of extents.

    A window begins ``SPAN - 1`` steps before its chunk. Queries behind the last step see keys too:
    what they find is dropped.
    """
    key, query = np.arange(_WINDOW), np.arange(_CHUNK)[:, None]
    distance = query + _PAST - key
    start = np.arange(-(-n // _CHUNK))[:, None, None] * _CHUNK - _PAST
    is_seen = (distance >= 0) & (distance < SPAN) & (start + key >= 0)
    return np.where(is_seen, np.float32(0), np.float32(-np.inf))


def make_constants(tensors: Mapping[str, Values], n_head: int) -> dict[str, Values]:
    """What the graph of a block needs beside its matrices, made of the other tensors of the file.

    Args:
        tensors: In numpy's order of extents.
        n_head: Heads of the attention.

    Returns:
        Norms under their names, those in front of a residual times its weight; ``conv_dw [5,
        n_embd]``; ``q_scale [width_head]``; ``positions [n_head, SPAN, width_head]``, the keys
        of distances from ``SPAN - 1`` to 0.
    """
    norms = ("ffn_norm", "ln1", "ln2", "conv_norm", "norm_conv", "ffn_norm_1", "layer_pre_norm")
    residuals = ("ffn_post_norm", "ffn_post_norm_1")
    scale = tensors["per_dim_scale"].reshape(-1)
    n_embd = scale.size * n_head
    positions = _make_distances(n_embd) @ tensors["linear_pos"].T
    return {
        **{name: tensors[name].reshape(-1) for name in norms},
        **{name: np.float32(_RESIDUAL) * tensors[name].reshape(-1) for name in residuals},
        "conv_dw": tensors["conv_dw"].reshape(n_embd, N_TAPS).T,
        "q_scale": np.logaddexp(scale, np.float32(0)) / np.float32(scale.size**0.5 * np.log(2)),
        "positions": positions.reshape(SPAN, n_head, scale.size).transpose(1, 0, 2),
    }


def _make_distances(n_embd: int) -> Values:
    """Sines, then cosines of the distances from ``SPAN - 1`` to 0: ``[SPAN, n_embd]``."""
    half = n_embd // 2
    frequencies = np.exp(-np.log(1e4) / (half - 1) * np.arange(half))
    angles = np.arange(SPAN)[::-1, None] * frequencies
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


class ConformerBlock:
    """Adds a block to a graph.

    Args:
        graph: The graph.
        products: Multiplies with the block's matrices.
        tensors: Of the block.
    """

    def __init__(self, graph: Graph, products: Products, tensors: Mapping[str, Tensor]) -> None:
        self._g, self._products, self._w = graph, products, tensors

    def build(self, x: Tensor, mask: Tensor, *, is_last: bool) -> Tensor:
        """``[n_embd, n]`` to the same; of the last block every ``REDUCTION``-th step."""
        x = self._build_ffn(x, "")
        x = self._build_attention(x, mask)
        x = self._build_conv(x, REDUCTION if is_last else 1)
        x = self._build_ffn(x, "_1")
        return self._norm(x, "layer_pre_norm")

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return self._g.rms_norm(x, _RMS_EPS, self._w[name])

    def _multiply(self, name: str, x: Tensor) -> Tensor:
        return self._products.build(self._w[name], x)

    def _build_ffn(self, x: Tensor, suffix: str) -> Tensor:
        g = self._g
        hidden = g.silu(self._multiply(f"ffn_up{suffix}", self._norm(x, f"ffn_norm{suffix}")))
        out = self._multiply(f"ffn_down{suffix}", hidden)
        return g.add(self._norm(out, f"ffn_post_norm{suffix}"), x)

    # ----------------------------------------------------------------------------------- attention

    def _build_attention(self, x: Tensor, mask: Tensor) -> Tensor:
        n = x.ne[1]
        normed = self._norm(x, "ln1")
        q, k, v = (self._multiply(f"attn_{name}", normed) for name in "qkv")
        read = self._g.rows(self._attend(q, k, v, mask), 0, n)
        return self._g.add(self._norm(self._multiply("attn_out", read), "ln2"), x)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
        """``[n_embd, n]`` each to ``[n_embd, n_chunk * _CHUNK]``.

        Queries in chunks, each with a window of keys. Windows overlap; ggml wants no fewer rows
        behind them than they have together, so there are unused ones.
        """
        g, w = self._g, self._w
        n_embd, n = q.ne[:2]
        width, _, n_head, _ = w["positions"].ne
        n_chunk = mask.ne[2]
        n_padded = n_chunk * _CHUNK
        n_keys = n_chunk * _WINDOW

        q = g.mul(g.reshape(q, width, n_head, n), w["q_scale"])
        q = g.pad(g.reshape(q, n_embd, n), below=n_padded - n)
        k, v = (g.pad(t, above=_PAST, below=n_keys - _PAST - n) for t in (k, v))
        heads = (n_embd, _CHUNK * n_embd, width)
        windows = g.view(k, (width, _WINDOW, n_chunk, n_head), heads)
        logits = g.mul_mat(windows, g.view(q, (width, _CHUNK, n_chunk, n_head), heads))
        logits = g.add(logits, self._build_distances(q, n_chunk))
        logits = g.tanh(g.scale(logits, 1 / _LOGIT_CAP))
        weights = g.soft_max(logits, mask, _LOGIT_CAP)

        by_channel = g.cont(g.permute(v, 1, 0, 2, 3))
        windows = g.view(
            by_channel, (_WINDOW, width, n_chunk, n_head), (n_keys, _CHUNK, width * n_keys)
        )
        read = g.permute(g.mul_mat(windows, weights), 0, 2, 3, 1)
        return g.reshape(g.cont(read), n_embd, n_padded)

    def _build_distances(self, q: Tensor, n_chunk: int) -> Tensor:
        """What queries ``[n_embd, n]`` make of distances: ``[_WINDOW, _CHUNK, n_chunk, n_head]``.

        Query i of a chunk meets the key at distance d in column i + SPAN - 1 - d of its window. Its
        SPAN products, with zeros up to one more than a window behind them, lie in that column
        when all are read as rows of a window. (Source: the relative shift of Transformer-XL.)
        """
        g, positions = self._g, self._w["positions"]
        n_embd, n = q.ne[:2]
        width, _, n_head, _ = positions.ne
        by_head = g.view(q, (width, n, n_head, 1), (n_embd, width, n_embd * n))
        rows = g.pad(g.mul_mat(positions, by_head), columns=_WINDOW + 1 - SPAN)
        ne = (_WINDOW, _CHUNK, n_chunk, n_head)
        return g.view(rows, ne, (_WINDOW, _CHUNK * (_WINDOW + 1), n * (_WINDOW + 1)))

    # --------------------------------------------------------------------------------- convolution

    def _build_conv(self, x: Tensor, keep_every: int) -> Tensor:
        g = self._g
        n_embd, n = x.ne[:2]
        normed, both = self._norm(x, "conv_norm"), self._w["conv_pw1"]
        value, gate = (
            self._products.build(g.rows(both, start, n_embd), normed) for start in (0, n_embd)
        )
        gated = g.pad(g.mul(value, g.sigmoid(gate)), above=N_TAPS - 1)
        taps = self._w["conv_dw"]
        mixed = g.mul(g.rows(gated, 0, n), g.rows(taps, 0, 1))
        for i in range(1, N_TAPS):
            mixed = g.add(mixed, g.mul(g.rows(gated, i, n), g.rows(taps, i, 1)))
        if keep_every > 1:
            mixed, x = (self._every(t, keep_every) for t in (mixed, x))
        hidden = g.silu(self._norm(mixed, "norm_conv"))
        return g.add(self._multiply("conv_pw2", hidden), x)

    def _every(self, a: Tensor, step: int) -> Tensor:
        """Rows 0, ``step``, 2 ``step``, ... of ``[m, n]``, copied."""
        m, n = a.ne[:2]
        kept = -(-n // step)
        return self._g.cont(self._g.view(a, (m, kept, 1, 1), (step * m, m * n, m * n)))
