"""What a convolutional network does with pictures, as nodes of a graph.

A picture of ``side`` x ``side`` pixels is a matrix ``[channels, side * side]``, row by row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from g3n_cli.engine.products import Products
from g3n_cli.ggml.graph import Graph
from g3n_cli.ggml.tensor import Tensor

_EPS = 1e-6


def count_pixels(side: int, stride: int) -> int:
    """Pixels of a side after a convolution."""
    return -(-side // stride)


def count_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels of zeros before and after a side, so that ``count_pixels`` come out.

    Source: timm ``get_same_padding``, as TensorFlow pads.
    """
    total = max(0, (count_pixels(side, stride) - 1) * stride + kernel - side)
    return total // 2, total - total // 2


class Pictures:
    """Adds operations on pictures to a graph.

    Args:
        graph: The graph.
        products: Multiplies with matrices.
        tensors: Weights by name.
    """

    def __init__(self, graph: Graph, products: Products, tensors: Mapping[str, Tensor]) -> None:
        self._g, self._products, self._w = graph, products, tensors

    def multiply(self, name: str, x: Tensor) -> Tensor:
        """Each pixel by a matrix: ``[k, n]`` to ``[m, n]``."""
        return self._products.build(self._w[name], x)

    def norm(
        self, x: Tensor, name: str, *, has_gelu: bool = False, residual: Tensor | None = None
    ) -> Tensor:
        """RMS norm of each pixel, times a weight; then GELU, or plus ``residual``.

        Source: timm ``RmsNorm2d``.
        """
        normed = self._g.rms_norm(x, _EPS, self._w[name])
        if has_gelu:
            normed = self._gelu(normed)
        return normed if residual is None else self._g.add(normed, residual)

    def add(self, x: Tensor, residual: Tensor, *, scale: str | None) -> Tensor:
        """``x``, times a weight for each channel if there is one, plus ``residual``."""
        return self._g.add(self._g.mul(x, self._w[scale]) if scale else x, residual)

    def convolve(self, x: Tensor, name: str, side: int, stride: int) -> Tensor:
        """A convolution with weights ``[n_in, n_out, kernel * kernel]``."""
        g, taps = self._g, self._w[name]
        views = self._shift(x, math.isqrt(taps.ne[2]), side, stride)
        out = g.mul_mat(g.slab(taps, 0), views[0])
        for i, view in enumerate(views[1:], 1):
            out = g.add_inplace(out, g.mul_mat(g.slab(taps, i), view))
        return g.reshape(out, out.ne[0], out.ne[1] * out.ne[2])

    def convolve_channels(self, x: Tensor, name: str, side: int, stride: int) -> Tensor:
        """A convolution of each channel by itself with weights ``[n, kernel * kernel]``."""
        g, taps = self._g, self._w[name]
        views = self._shift(x, math.isqrt(taps.ne[1]), side, stride)
        out = g.mul(views[0], g.rows(taps, 0, 1))
        for i, view in enumerate(views[1:], 1):
            out = g.add_inplace(out, g.mul(view, g.rows(taps, i, 1)))
        return g.reshape(out, out.ne[0], out.ne[1] * out.ne[2])

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of heads that share keys and values: all pixels see all.

        ``q [width * n_head, n]``, ``k [width, n_kv]``, ``v [width_v, n_kv]`` give
        ``[width_v * n_head, n]``.
        """
        g = self._g
        width, n = k.ne[0], q.ne[1]
        n_head = q.ne[0] // width
        logits = g.mul_mat(k, g.reshape(q, width, n_head * n))
        weights = g.soft_max(logits, None, width**-0.5)
        by_channel = g.cont(g.permute(v, 1, 0, 2, 3))
        return g.reshape(g.mul_mat(by_channel, weights), v.ne[0] * n_head, n)

    def _gelu(self, x: Tensor) -> Tensor:
        """GELU in its tanh form, ``x * sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))``.

        ggml's own reads a table of halves.
        """
        g, factor = self._g, 2 * math.sqrt(2 / math.pi)
        inner = g.mul(g.scale(g.sqr(x), 0.044715 * factor, factor), x)
        return g.mul(g.sigmoid(inner), x)

    def _shift(self, x: Tensor, kernel: int, side: int, stride: int) -> list[Tensor]:
        """What each place of a kernel sees, zeros beyond it: views ``[channels, n, n]``."""
        g = self._g
        n_channels, n = x.ne[0], count_pixels(side, stride)
        before, after = count_padding(side, kernel, stride)
        wide = before + side + after
        rows = g.pad(g.reshape(x, n_channels, side, side), above=before, below=after)
        whole = g.pad(g.reshape(rows, n_channels * wide, side), above=before, below=after)
        steps = (stride * n_channels, stride * n_channels * wide, n_channels * wide * wide)
        return [
            g.view(whole, (n_channels, n, n, 1), steps, (row * wide + column) * n_channels)
            for row in range(kernel)
            for column in range(kernel)
        ]
