"""What every encoder offers: a medium in, rows of a prompt out."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.api import Progress

Rows = npt.NDArray[np.float32]
"""[n, n_embd] float32, embeddings as ``Prompt.rows`` takes them."""

IMAGE_TOKENS = 256
"""Positions of an image."""

SAMPLE_RATE = 16_000
"""Samples per second that a model hears."""

MOST_SAMPLES = 30 * SAMPLE_RATE
"""Longest sound that is encoded at once."""


class MediaEncoder(Protocol):
    """An open encoder. Owns its memory; close it.

    Attributes:
        end_row: [n_embd] float32, embedding of the token that ends a medium of this kind.
        pad_row: [n_embd] float32, embedding of positions without content.
    """

    end_row: Rows
    pad_row: Rows

    def encode(self, values: npt.NDArray[Any], on_progress: Progress | None = None) -> Rows:
        """Rows of a medium, without padding.

        Args:
            values: [size, size, 3] uint8 RGB of an image, or [n] float32 samples in [-1, 1],
                mono, ``SAMPLE_RATE``, at most ``MOST_SAMPLES``.
            on_progress: Called with (parts done, parts to do).

        Raises:
            InputError: the values are not of that form, or not finite.
        """
        ...

    def close(self) -> None:
        """Free the encoder; closing twice is harmless."""
        ...
