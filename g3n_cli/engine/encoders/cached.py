"""An encoder that encodes only what it never has before, in this process or an earlier one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from g3n_cli.engine.api import Progress
from g3n_cli.engine.encoders.api import MediaEncoder, Rows
from g3n_cli.engine.encoders.cache import RowsCache, identify_file, make_key

_ENDS = np.zeros(0, np.uint8)
"""What the rows of ``end_row`` and ``pad_row`` are stored under: no medium at all."""


class CachedEncoder:
    """An encoder before which rows are looked up. Implements ``MediaEncoder``.

    Args:
        path: The encoder's file; another file's rows are not taken.
        name: What else rows depend on.
        open_encoder: Opens the encoder, when something is to be encoded.
        cache: Where rows are kept.

    Attributes:
        end_row: As of the encoder.
        pad_row: As of the encoder.

    Raises:
        ModelError: the file cannot be read, or is broken.
    """

    def __init__(
        self, path: Path, name: str, open_encoder: Callable[[], MediaEncoder], cache: RowsCache
    ) -> None:
        self._open_encoder, self._cache = open_encoder, cache
        self._identity = f"{name} {identify_file(path)}"
        self._encoder: MediaEncoder | None = None
        ends = cache.find(self._key(_ENDS))
        if ends is None:
            encoder = self._open()
            ends = np.stack([encoder.end_row, encoder.pad_row])
            cache.store(self._key(_ENDS), ends)
        self.end_row, self.pad_row = ends

    def encode(self, values: npt.NDArray[Any], on_progress: Progress | None = None) -> Rows:
        """See ``MediaEncoder.encode``; of what is known, no progress is told."""
        key = self._key(values)
        rows = self._cache.find(key)
        if rows is None:
            rows = self._open().encode(values, on_progress)
            self._cache.store(key, rows)
        return rows

    def close(self) -> None:
        """Free the encoder, if it was opened; closing twice is harmless."""
        if self._encoder is not None:
            self._encoder.close()

    def _key(self, values: npt.NDArray[Any]) -> str:
        return make_key(values, self._identity)

    def _open(self) -> MediaEncoder:
        if self._encoder is None:
            self._encoder = self._open_encoder()
        return self._encoder
