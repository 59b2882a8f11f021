"""What an audio encoder hears: logarithms of mel magnitudes, 100 frames a second.

Source: transformers ``Gemma3nAudioFeatureExtractor`` with its defaults.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.encoders.api import SAMPLE_RATE

N_MEL = 128
HOP = 160
"""Samples from one frame to the next."""

LEAST_SAMPLES = 513
"""Samples without which there is no frame: one more than a window, the last one unused."""

_WINDOW, _N_FFT = 512, 1024
_PADDED_TO = 128
_LOWEST_HZ, _HIGHEST_HZ = 125.0, 7600.0
_FLOOR = 1e-5
_PREEMPHASIS = np.float32(0.97)

Floats = npt.NDArray[np.float32]


def compute_log_mel(samples: Floats) -> Floats:
    """Natural logarithms of mel magnitudes ``[n_frames, N_MEL]``.

    Args:
        samples: ``[n]`` in [-1, 1], ``SAMPLE_RATE``. Fewer than ``LEAST_SAMPLES`` make no frame.
    """
    padded = np.pad(samples, (0, -samples.size % _PADDED_TO))
    n_frames = max(0, (padded.size - LEAST_SAMPLES) // HOP + 1)
    frames = padded[np.arange(n_frames)[:, None] * HOP + np.arange(_WINDOW)]
    # Pre-emphasis begins anew in each frame. Its first sample meets a window of 0.
    emphasized = frames.copy()
    emphasized[:, 1:] -= _PREEMPHASIS * frames[:, :-1]
    magnitudes = np.abs(np.fft.rfft(emphasized * _make_window(), n=_N_FFT))
    return np.log(np.maximum(magnitudes @ make_mel_filters(), _FLOOR)).astype(np.float32)


@functools.cache
def make_mel_filters() -> npt.NDArray[np.float64]:
    """Triangles of height 1, evenly spaced on the mel scale: ``[_N_FFT / 2 + 1, N_MEL]``."""
    lowest, highest = (2595.0 * np.log10(1.0 + hz / 700.0) for hz in (_LOWEST_HZ, _HIGHEST_HZ))
    mels = np.linspace(lowest, highest, N_MEL + 2)
    corners = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    left, top, right = corners[:-2], corners[1:-1], corners[2:]
    hz = np.arange(_N_FFT // 2 + 1)[:, None] * (SAMPLE_RATE / _N_FFT)
    filters: npt.NDArray[np.float64] = np.minimum(
        (hz - left) / (top - left), (right - hz) / (right - top)
    )
    return np.maximum(filters, 0.0)


def _make_window() -> Floats:
    """The periodic Hann window."""
    angles = 2 * np.pi * np.arange(_WINDOW, dtype=np.float32) / _WINDOW
    return (0.5 * (1 - np.cos(angles))).astype(np.float32)
