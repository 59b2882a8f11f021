"""What a model is asked to read: positions, each with an identity and an embedding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from g3n_cli.errors import InputError

Key: TypeAlias = int | tuple[str, int]
"""Identity of a position: its token id, or (content hash, index) for a soft token of a medium."""

NO_TOKEN = -1
"""Token id of a position whose embedding is given as a row."""


@dataclass(frozen=True)
class Prompt:
    """A sequence of n positions.

    Positions with equal keys have equal embeddings; prefix reuse compares keys alone.

    Attributes:
        keys: [n] identity of each position.
        ids: [n] int32, the token id, or ``NO_TOKEN`` where ``rows`` holds the embedding.
        ple_ids: [n] int32, row of the per-layer embedding table.
        rows: [number of NO_TOKEN, n_embd] float32 in order of position; unscaled embeddings.
    """

    keys: tuple[Key, ...]
    ids: npt.NDArray[np.int32]
    ple_ids: npt.NDArray[np.int32]
    rows: npt.NDArray[np.float32] | None = None

    @classmethod
    def of_ids(cls, ids: Sequence[int]) -> Prompt:
        """A prompt of text alone."""
        array = np.asarray(ids, dtype=np.int32)
        return cls(tuple(int(i) for i in ids), array, array)

    def __len__(self) -> int:
        return len(self.keys)

    def slice(self, start: int, stop: int) -> Prompt:
        """Positions ``start`` to ``stop - 1`` as a prompt of their own."""
        rows = self.rows
        if rows is not None:
            before = int(np.count_nonzero(self.ids[:start] == NO_TOKEN))
            inside = int(np.count_nonzero(self.ids[start:stop] == NO_TOKEN))
            rows = rows[before : before + inside] if inside else None
        return Prompt(self.keys[start:stop], self.ids[start:stop], self.ple_ids[start:stop], rows)


def check_length(prompt: Prompt, n_ctx: int) -> None:
    """Refuse a prompt that no context of ``n_ctx`` positions can hold.

    Raises:
        InputError: it is empty or too long.
    """
    if len(prompt) == 0:
        raise InputError("the prompt is empty")
    if len(prompt) > n_ctx:
        raise InputError(
            f"the prompt has {len(prompt)} tokens, the context holds {n_ctx}",
            "raise --ctx or shorten the prompt",
        )


def count_common(a: Sequence[Key], b: Sequence[Key]) -> int:
    """Length of the longest common prefix of two sequences of keys."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return min(len(a), len(b))
