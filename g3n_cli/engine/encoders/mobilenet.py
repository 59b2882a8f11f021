"""The blocks of MobileNetV5, Gemma 3n's vision encoder, as graphs.

Source: timm ``mobilenetv5_300m_enc``; its ``EdgeResidual``, ``UniversalInvertedResidual``,
``MobileAttention`` with ``MultiQueryAttention2d``, ``MobileNetV5MultiScaleFusionAdapter``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.encoders.pictures import (
    Pictures,
    arrange_taps,
    can_spread,
    count_pixels,
    spread_taps,
)
from g3n_cli.engine.encoders.vision_file import N_COLOURS, VisionBlock
from g3n_cli.ggml.tensor import Tensor
from g3n_cli.kernels.library import Kernels

N_NODES = 1024

_STEM_STRIDE = 2
_KV_STRIDE = 2

Values = npt.NDArray[np.float32]


def make_input(pixels: npt.NDArray[np.uint8]) -> Values:
    """What the stem sees of ``[side, side, 3]`` RGB: ``[side * side, 4]``, the last of them 1."""
    seen = np.ones((pixels.shape[0] * pixels.shape[1], N_COLOURS + 1), np.float32)
    np.divide(pixels.reshape(-1, N_COLOURS), np.float32(255), out=seen[:, :N_COLOURS])
    return seen


def make_stem(tensors: Mapping[str, Values], kernels: Kernels | None) -> dict[str, Values]:
    """Weights of the stem's graph from those of the file; see ``make_constants``.

    The bias is what the middle of the kernel makes of the channel of ones: it never lies beyond
    the picture.
    """
    conv = tensors["conv"]
    n_out, _, height, width = conv.shape
    bias = np.zeros((n_out, 1, height, width), np.float32)
    bias[:, 0, height // 2, width // 2] = tensors["bias"]
    taps = {"conv": np.concatenate([conv, bias], 1), "bn": tensors["bn"]}
    return make_constants(taps, _STEM_STRIDE, kernels)


def make_constants(
    tensors: Mapping[str, Values], stride: int, kernels: Kernels | None
) -> dict[str, Values]:
    """Weights of a block's graph from those of the file that are no matrices.

    Args:
        tensors: In numpy's order of extents.
        stride: Of the block's convolution.
        kernels: Those that compute with them, or None.

    Returns:
        Convolutions as ``Pictures`` takes them; all else as it is. The scale of a universal
        inverted residual is part of the norm before it.
    """
    made: dict[str, Values] = {}
    for name, values in tensors.items():
        made |= _arrange(name, values, stride, kernels)
    if "pw_proj.bn" in made and "layer_scale.gamma" in made:
        made["pw_proj.bn"] = made["pw_proj.bn"] * made.pop("layer_scale.gamma")
    return made


def _arrange(name: str, values: Values, stride: int, kernels: Kernels | None) -> dict[str, Values]:
    """Weights ``[n_out, n_in, kernel, kernel]`` of a convolution place by place."""
    if values.ndim == 1:
        return {name: values}
    n_out, n_in, height, width = values.shape
    taps = np.moveaxis(values.reshape(n_out, n_in, height * width), 2, 0)
    if n_in == 1:
        return {name: taps.reshape(-1, n_out)}
    if can_spread(taps, stride, kernels):
        return {f"{name}.spread": arrange_taps(spread_taps(taps), kernels)}
    return {name: arrange_taps(taps, kernels)}


class MobileNetBlock:
    """Adds a block to a graph.

    Args:
        pictures: The operations, with the block's weights.
        block: What it consists of.
    """

    def __init__(self, pictures: Pictures, block: VisionBlock) -> None:
        self._p, self._block = pictures, block

    def build(self, x: Tensor, side: int) -> Tensor:
        """``[n_in, side * side]`` to ``[n_out, n * n]``, n as ``count_pixels`` says.

        What a block with a skip adds is added to ``x`` where it lies.
        """
        build = {
            "edge": self._build_edge,
            "inverted": self._build_inverted,
            "attention": self._build_attention,
        }[self._block.kind]
        return build(x, side)

    def _build_edge(self, x: Tensor, side: int) -> Tensor:
        p = self._p
        hidden = p.convolve(x, "conv_exp", "bn1", side, self._block.stride)
        return p.norm(p.multiply("conv_pwl", hidden), "bn2", residual=self._skip(x))

    def _build_inverted(self, x: Tensor, side: int) -> Tensor:
        p, stride, tensors = self._p, self._block.stride, self._block.tensors
        has_mid, hidden = "dw_mid.conv" in tensors, x
        if "dw_start.conv" in tensors:
            step = 1 if has_mid else stride
            hidden = p.convolve_channels(x, "dw_start.conv", "dw_start.bn", side, step)
            side = count_pixels(side, step)
        hidden = p.norm(p.multiply("pw_exp.conv", hidden), "pw_exp.bn", has_gelu=True)
        if has_mid:
            names = ("dw_mid.conv", "dw_mid.bn")
            hidden = p.convolve_channels(hidden, *names, side, stride, has_gelu=True)
        return p.norm(p.multiply("pw_proj.conv", hidden), "pw_proj.bn", residual=self._skip(x))

    def _build_attention(self, x: Tensor, side: int) -> Tensor:
        p, tensors = self._p, self._block.tensors
        normed = p.norm(x, "norm", is_last=False)
        kv = {}
        for name in ("key", "value"):
            seen = normed
            if f"attn.{name}.down_conv" in tensors:
                names = (f"attn.{name}.down_conv", f"attn.{name}.norm")
                seen = p.convolve_channels(normed, *names, side, _KV_STRIDE)
            kv[name] = p.multiply(f"attn.{name}.proj", seen)
        read = p.attend(p.multiply("attn.query.proj", normed), kv["key"], kv["value"])
        out = p.multiply("attn.output.proj", read)
        return p.add(out, x, scale="layer_scale.gamma" if "layer_scale.gamma" in tensors else None)

    def _skip(self, x: Tensor) -> Tensor | None:
        return x if self._block.has_skip else None


def build_stem(pictures: Pictures, x: Tensor) -> Tensor:
    """``[4, side * side]`` of ``make_input`` to ``[n_out, n * n]``."""
    return pictures.convolve(x, "conv", "bn", math.isqrt(x.ne[1]), _STEM_STRIDE)


def build_fusion(pictures: Pictures, x: Tensor) -> Tensor:
    """Channels of the last two stages together, ``[n_in, n * n]``, to ``[n_embd, n * n]``."""
    hidden = pictures.norm(pictures.multiply("pw_exp.conv", x), "pw_exp.bn", has_gelu=True)
    return pictures.norm(pictures.multiply("pw_proj.conv", hidden), "pw_proj.bn")


def join_stages(finer: Values, coarser: Values) -> Values:
    """Outputs ``[n * n, channels]`` of two stages side by side, the second enlarged.

    Each pixel takes the nearest one's values, as torch's "nearest" has it.
    """
    n, m = (math.isqrt(len(x)) for x in (finer, coarser))
    index = np.arange(n) * m // n
    enlarged = coarser[(index[:, None] * m + index).reshape(-1)]
    return np.concatenate([finer, enlarged], axis=1)


def resample(x: Values, n: int) -> Values:
    """A picture ``[side * side, channels]`` brought to ``[n * n, channels]``.

    By means of whole pixels if they divide evenly, else by interpolation between two of each
    direction. Source: torch's ``avg_pool2d``, and ``interpolate`` in its mode "bilinear".
    """
    side = math.isqrt(len(x))
    weights = _make_resampling(side, n)
    rows = weights @ x.reshape(side, -1)
    by_column = rows.reshape(n, side, -1)
    resampled: Values = np.matmul(weights, by_column).reshape(n * n, -1)
    return resampled


def _make_resampling(side: int, n: int) -> Values:
    """Weights ``[n, side]`` of a direction's pixels."""
    weights = np.zeros((n, side), np.float32)
    if side % n == 0:
        weights[np.arange(side) * n // side, np.arange(side)] = n / side
        return weights
    place = np.maximum((np.arange(n) + 0.5) * side / n - 0.5, 0)
    lower = place.astype(np.int64)
    np.add.at(weights, (np.arange(n), lower), 1 - (place - lower))
    np.add.at(weights, (np.arange(n), np.minimum(lower + 1, side - 1)), place - lower)
    return weights
