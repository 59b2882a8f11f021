"""From frames to steps: two convolutions, each halving time and frequencies.

In numpy: 0.2 % of an encoder's multiplications.

Source: transformers ``Gemma3nAudioSubSampleConvProjection`` and
``Gemma3nAudioCumulativeGroupNorm``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_GROUP_NORM_EPS = np.float32(1e-3)
_AT_ONCE = 256
"""Steps convolved at a time: 9 shifted copies of them are made."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Subsampling:
    """Weights of the convolutions and of the matrix behind them.

    Attributes:
        convs: Two of ``[out, in, 3 of time, 3 of frequency]``.
        norms: A weight for each channel, two of ``[out]``.
        projection: ``[n_embd, n_frequency * out]``, channels of a frequency side by side.
    """

    convs: tuple[Floats, Floats]
    norms: tuple[Floats, Floats]
    projection: Floats

    def apply(self, mel: Floats) -> Floats:
        """``[n_frames, n_mel]`` to ``[ceil(n_frames / 4), n_embd]``."""
        x = mel[:, :, None]
        for weight, norm in zip(self.convs, self.norms, strict=True):
            x = np.maximum(_normalize(_convolve(x, weight)) * norm, 0)
        steps: Floats = x.reshape(len(x), -1) @ self.projection.T
        return steps


def _convolve(x: Floats, weight: Floats) -> Floats:
    """``[time, frequency, in]`` to ``[time / 2, frequency / 2, out]``, rounded up.

    Zeros around it: none before and two behind in time, one on either side in frequency.
    """
    n_out, n_in = weight.shape[:2]
    n_time, n_freq = -(-x.shape[0] // 2), -(-x.shape[1] // 2)
    x = np.pad(x, ((0, 2), (1, 1), (0, 0)))
    kernel = weight.transpose(2, 3, 1, 0).reshape(9 * n_in, n_out)
    out = np.empty((n_time, n_freq, n_out), np.float32)
    for first in range(0, n_time, _AT_ONCE):
        count = min(_AT_ONCE, n_time - first)
        columns = np.concatenate(
            [
                x[2 * first + dt :, df:][: 2 * count : 2, : 2 * n_freq : 2]
                for dt in range(3)
                for df in range(3)
            ],
            axis=2,
        )
        out[first : first + count] = columns @ kernel
    return out


def _normalize(x: Floats) -> Floats:
    """Group norm of each step with mean and spread of all steps so far, over both other axes.

    Not a running variance: a step's deviations are from the mean known then, and never revised.
    """
    counts = x[0].size * np.arange(1, len(x) + 1, dtype=np.float32)[:, None, None]
    centred = x - np.cumsum(x.sum(axis=(1, 2), keepdims=True), axis=0) / counts
    squares = np.einsum("tfc,tfc->t", centred, centred)[:, None, None]
    normed: Floats = centred / np.sqrt(np.cumsum(squares, axis=0) / counts + _GROUP_NORM_EPS)
    return normed
