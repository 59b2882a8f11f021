"""What a convolutional network does with pictures, as nodes of a graph.

A picture of ``side`` x ``side`` pixels is a matrix ``[channels, side * side]``, row by row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.products import Products
from g3n_cli.ggml.graph import F32, Graph
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.kernels.library import GROUP, LANES, Kernels

_EPS = 1e-6
_TILE, _SPREAD = 4, 36
"""Pixels of a side of a tile; places that ``Kernels.spread`` makes of what a tile sees."""

_POINTS = (0.625, 1.5)
"""Where ``Kernels.spread`` looks at polynomials, beside their negatives, 0 and infinity."""

Values = npt.NDArray[np.float32]


def count_pixels(side: int, stride: int) -> int:
    """Pixels of a side after a convolution."""
    return -(-side // stride)


def count_padding(side: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels of zeros before and after a side, so that ``count_pixels`` come out.

    Source: timm ``get_same_padding``, as TensorFlow pads.
    """
    total = max(0, (count_pixels(side, stride) - 1) * stride + kernel - side)
    return total // 2, total - total // 2


def arrange_taps(taps: Values, kernels: Kernels | None) -> Values:
    """Weights of a convolution as ``Pictures.convolve`` takes them.

    Args:
        taps: ``[kernel * kernel, n_out, n_in]``, in numpy's order of extents.
        kernels: Those that convolve, or None.

    Returns:
        ``[n_out / GROUP, kernel * kernel * n_in, GROUP]`` for own kernels, if they take so many
        channels, else ``taps``.
    """
    n_taps, n_out, n_in = taps.shape
    if kernels is None or n_out % GROUP:
        return taps
    return taps.transpose(1, 0, 2).reshape(-1, GROUP, n_taps * n_in).transpose(0, 2, 1)


def can_spread(taps: Values, stride: int, kernels: Kernels | None) -> bool:
    """Whether a convolution can be a quarter of the multiplications with ``spread_taps``."""
    n_taps, n_out, n_in = taps.shape
    is_whole = n_out % GROUP == 0 and n_in % LANES == 0
    return kernels is not None and is_whole and (n_taps, stride) == (9, 1)


def spread_taps(taps: Values) -> Values:
    """Weights ``[9, n_out, n_in]`` to meet a picture that is spread: ``[36, n_out, n_in]``.

    Source: G g G^T of Winograd's F(4 x 4, 3 x 3); see ``convolve.c``.
    """
    rows = [[1 / math.prod(_POINTS) ** 2, 0, 0]]
    for point, other in itertools.permutations(_POINTS):
        scale = 2 * point**2 * (point**2 - other**2)
        rows += [[1 / scale, x / scale, x**2 / scale] for x in (point, -point)]
    rows.append([0, 0, 1])
    made = np.kron(rows, rows) @ taps.reshape(len(taps), -1)
    return made.astype(np.float32).reshape(_SPREAD, *taps.shape[1:])


class Pictures:
    """Adds operations on pictures to a graph.

    Own kernels compute what they can: channels in whole vectors; ggml everything else.

    Args:
        graph: The graph.
        products: Multiplies with matrices.
        tensors: Weights by name.
        kernels: Those that the weights are arranged for, or None.
    """

    def __init__(
        self,
        graph: Graph,
        products: Products,
        tensors: Mapping[str, Tensor],
        kernels: Kernels | None,
    ) -> None:
        self._g, self._products, self._w, self._kernels = graph, products, tensors, kernels

    def multiply(self, name: str, x: Tensor) -> Tensor:
        """Each pixel by a matrix: ``[k, n]`` to ``[m, n]``."""
        return self._products.build(self._w[name], x)

    def norm(
        self,
        x: Tensor,
        name: str,
        *,
        has_gelu: bool = False,
        residual: Tensor | None = None,
        is_last: bool = True,
    ) -> Tensor:
        """RMS norm of each pixel, times a weight; then GELU, or added to ``residual``.

        If it is the last to use ``x``, the result may lie where ``x`` does; with ``residual`` it
        lies there.

        Source: timm ``RmsNorm2d``.
        """
        weight = self._w[name]
        if kernels := self._kernels_of(x):
            sources = (x, weight) if residual is None else (residual, weight, x)
            params = (_EPS, float(has_gelu))
            is_in_place = is_last or residual is not None
            return self._g.custom(F32, x.ne, sources, kernels.norm, params, is_in_place=is_in_place)
        normed = self._g.rms_norm(x, _EPS, weight)
        if has_gelu:
            normed = self._gelu(normed)
        return normed if residual is None else self._g.add_inplace(residual, normed)

    def add(self, x: Tensor, residual: Tensor, *, scale: str | None) -> Tensor:
        """Add ``x``, times a weight for each channel if there is one, to ``residual``."""
        return self._g.add_inplace(residual, self._g.mul(x, self._w[scale]) if scale else x)

    def convolve(self, x: Tensor, conv: str, norm: str, side: int, stride: int) -> Tensor:
        """A convolution with weights as ``arrange_taps`` leaves them, then ``norm`` and GELU.

        Weights of ``spread_taps`` go by ``conv`` with ``.spread`` behind it.
        """
        g, n_out = self._g, self._w[norm].ne[0]
        if self._kernels is not None and (taps := self._w.get(f"{conv}.spread")):
            n_tiles = count_pixels(side, _TILE) ** 2
            ne, size = (x.ne[0], _SPREAD * n_tiles), (float(side),)
            spread = g.custom(F32, ne, (x,), self._kernels.spread, size)
            node = self._kernels.convolve_spread
            out = g.custom(F32, (n_out, x.ne[1]), (spread, taps), node, size)
            return self.norm(out, norm, has_gelu=True)
        taps = self._w[conv]
        if self._kernels is not None and n_out % GROUP == 0:
            n = count_pixels(side, stride)
            params = (float(side), float(stride))
            out = g.custom(F32, (n_out, n * n), (x, taps), self._kernels.convolve, params)
            return self.norm(out, norm, has_gelu=True)
        views = self._shift(x, math.isqrt(taps.ne[2]), side, stride)
        out = g.mul_mat(g.slab(taps, 0), views[0])
        for i, view in enumerate(views[1:], 1):
            out = g.add_inplace(out, g.mul_mat(g.slab(taps, i), view))
        return self.norm(g.reshape(out, n_out, out.ne[1] * out.ne[2]), norm, has_gelu=True)

    def convolve_channels(
        self, x: Tensor, conv: str, norm: str, side: int, stride: int, *, has_gelu: bool = False
    ) -> Tensor:
        """A convolution of each channel by itself, then ``norm``.

        Its weights are ``[n, kernel * kernel]``.
        """
        g, taps = self._g, self._w[conv]
        if kernels := self._kernels_of(x):
            n = count_pixels(side, stride)
            params = (_EPS, float(has_gelu), float(side), float(stride))
            sources = (x, taps, self._w[norm])
            return g.custom(F32, (x.ne[0], n * n), sources, kernels.depthwise, params)
        views = self._shift(x, math.isqrt(taps.ne[1]), side, stride)
        out = g.mul(views[0], g.rows(taps, 0, 1))
        for i, view in enumerate(views[1:], 1):
            out = g.add_inplace(out, g.mul(view, g.rows(taps, i, 1)))
        return self.norm(g.reshape(out, out.ne[0], out.ne[1] * out.ne[2]), norm, has_gelu=has_gelu)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of heads that share keys and values: all pixels see all.

        ``q [width * n_head, n]``, ``k [width, n_kv]``, ``v [width_v, n_kv]`` give
        ``[width_v * n_head, n]``.
        """
        g = self._g
        (width, n_kv), width_v, n = k.ne[:2], v.ne[0], q.ne[1]
        n_all = q.ne[0] // width * n
        if self._kernels is not None and self._kernels.can_attend(1, width, width_v):
            # To the kernel, heads of a pixel are pixels: a tile is full of them.
            scaled = g.reshape(g.scale(q, width**-0.5), width, 1, n_all)
            k, v = g.reshape(k, width, 1, n_kv), g.reshape(v, width_v, 1, n_kv)
            read = g.custom(F32, (width_v, n_all), (scaled, k, v), self._kernels.attention)
        else:
            logits = g.mul_mat(k, g.reshape(q, width, n_all))
            weights = g.soft_max(logits, None, width**-0.5)
            read = g.mul_mat(g.cont(g.permute(v, 1, 0, 2, 3)), weights)
        return g.reshape(read, width_v * n_all // n, n)

    def _kernels_of(self, x: Tensor) -> Kernels | None:
        """Own kernels, if they take pixels of so many channels."""
        return self._kernels if x.ne[0] % LANES == 0 else None

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
