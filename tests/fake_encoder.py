"""Encoders without weights: rows that depend on the content alone."""

import hashlib

import numpy as np

from g3n_cli.engine.encoders.open import count_positions
from g3n_cli.errors import InputError


class FakeEncoder:
    """A row for each position, drawn from a hash of the values.

    Args:
        kind: "image" or "audio".
        n_embd: Values of a row.
        log: Gets what happens.
    """

    def __init__(self, kind, n_embd, log):
        self.kind, self.log = kind, log
        self.n_embd = n_embd
        self.end_row = np.full(n_embd, 0.5, np.float32)
        self.pad_row = np.full(n_embd, -0.5, np.float32)
        log.append(f"open {kind}")

    def encode(self, values, on_progress=None):
        if not np.isfinite(values).all():
            raise InputError("values that are not numbers")
        seed = int.from_bytes(hashlib.sha256(values.tobytes()).digest()[:8], "little")
        n = 4 if self.kind == "image" else count_positions("audio", len(values))
        if on_progress is not None:
            on_progress(0, 2)
            on_progress(2, 2)
        self.log.append(f"encode {self.kind}")
        rows = np.random.default_rng(seed).normal(size=(n, self.n_embd))
        return rows.astype(np.float32)

    def close(self):
        self.log.append(f"close {self.kind}")


class FakeProjector:
    """Opens fake encoders and remembers what happened."""

    def __init__(self, n_embd=8):
        self.n_embd, self.log = n_embd, []

    def open(self, kind):
        return FakeEncoder(kind, self.n_embd, self.log)
