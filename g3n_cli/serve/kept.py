"""What conversations have computed, kept in memory while others are answered."""

from __future__ import annotations

from dataclasses import dataclass

from g3n_cli.chat.beginning import prefill_in_parts
from g3n_cli.chat.conversation import LEAST_KEPT
from g3n_cli.engine.api import Engine, Logits, Progress
from g3n_cli.engine.parked import Parked
from g3n_cli.engine.prompt import Prompt, count_common

_LEAST_LOST = 32
"""Positions that are worth a copy: the end of an answer that is asked for again is not."""


@dataclass(frozen=True)
class CacheUse:
    """What is kept of conversations beside the one that the engine holds.

    Attributes:
        limit_bytes: Memory that their K/V may take.
        n_bytes: What it takes.
        n_conversations: How many there are, beginnings that several share included.
    """

    limit_bytes: int
    n_bytes: int = 0
    n_conversations: int = 0


@dataclass(frozen=True)
class _Kept:
    parked: Parked
    is_beginning: bool  # of several conversations: stays when one of them goes on from it


class KeptConversations:
    """Reads prompts in place of ``Engine.prefill``, each from where it goes on best.

    The engine holds one conversation. What it would lose to another one is parked, the least
    recently used makes room. A beginning that two prompts share, but that the rings of sliding
    layers cannot go back to, is computed by itself and kept too.

    Args:
        engine: Whose context becomes the prompt.
        most_bytes: Memory that parked K/V may take; with 0 nothing is kept.
    """

    def __init__(self, engine: Engine, most_bytes: int) -> None:
        self._engine, self._most_bytes = engine, most_bytes
        self._kept: list[_Kept] = []  # the least recently used first

    @property
    def use(self) -> CacheUse:
        """What is kept now; may be read on any thread."""
        kept = tuple(self._kept)  # which the thread that computes may change meanwhile
        return CacheUse(self._most_bytes, sum(each.parked.n_bytes for each in kept), len(kept))

    def prefill(self, prompt: Prompt, on_progress: Progress | None = None) -> Logits:
        """Make ``prompt`` the content of the context; see ``Engine.prefill``."""
        if not self._most_bytes:
            return self._engine.prefill(prompt, on_progress)
        most = len(prompt) - 1  # the last position is always computed
        n_common = min(self._engine.count_computed(prompt), most)
        n_left = self._engine.count_left(n_common)
        found: _Kept | None = None
        for kept in self._kept:
            common = min(count_common(kept.parked.state.keys, prompt.keys), most)
            n_common = max(n_common, common)
            if (left := kept.parked.count_left(common)) > n_left:
                found, n_left = kept, left
        if found is not None:
            self._swap(found, n_left)
        elif self._engine.n_past - n_left >= _LEAST_LOST:
            self._park(is_beginning=False)
        if n_common - n_left < LEAST_KEPT:
            return self._engine.prefill(prompt, on_progress)
        return prefill_in_parts(
            self._engine, prompt, n_common, lambda: self._park(is_beginning=True), on_progress
        )

    def set_aside(self) -> None:
        """Keep what the engine holds, before something is computed that is not worth keeping."""
        if self._engine.n_past >= _LEAST_LOST:
            self._park(is_beginning=False)

    def _swap(self, found: _Kept, n_left: int) -> None:
        """Put ``found`` into the engine, of which a prompt goes on from ``n_left`` positions."""
        self._kept.remove(found)
        if self._engine.n_past >= _LEAST_LOST:
            self._park(is_beginning=False)
        if found.is_beginning or n_left < len(found.parked.state.keys):
            self._make_room(found.parked.n_bytes)
            self._kept.append(found)
        self._engine.unpark(found.parked)

    def _park(self, *, is_beginning: bool) -> None:
        """Keep what the engine holds, unless that alone takes more than all may."""
        n_bytes = self._engine.count_parked_bytes()
        if n_bytes > self._most_bytes:
            return
        self._make_room(n_bytes)  # before the copy is made: both at once are more than may be
        if parked := self._engine.park():
            self._kept.append(_Kept(parked, is_beginning))

    def _make_room(self, n_bytes: int) -> None:
        while self._kept and self.use.n_bytes + n_bytes > self._most_bytes:
            del self._kept[0]
