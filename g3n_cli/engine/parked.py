"""A conversation's K/V set aside in memory, while the engine holds another one."""

from __future__ import annotations

from dataclasses import dataclass

from g3n_cli.engine.kv_cache import RingSnapshot
from g3n_cli.engine.snapshot import State


@dataclass(frozen=True)
class Parked:
    """A copy of what an engine has computed.

    Attributes:
        state: The positions and their K/V.
        snapshot: Where the rings can also go back to, or None.
        is_whole: Whether the rings have lost nothing yet: then any position can be gone back to.
    """

    state: State
    snapshot: RingSnapshot | None
    is_whole: bool

    @property
    def n_bytes(self) -> int:
        """Memory of the K/V."""
        n_bytes = sum(array.nbytes for array in self.state.rows.values())
        return n_bytes + (self.snapshot.n_bytes if self.snapshot else 0)

    def count_left(self, n_past: int) -> int:
        """Positions that can be gone on from, of the first ``n_past``."""
        n = len(self.state.keys)
        if n_past >= n or self.is_whole:
            return min(n, n_past)
        if self.snapshot and self.snapshot.n_past <= n_past:
            return self.snapshot.n_past
        return 0
