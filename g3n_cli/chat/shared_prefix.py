"""What many prompts begin with, computed once."""

from __future__ import annotations

from collections.abc import Sequence

from g3n_cli.engine.api import Engine
from g3n_cli.engine.prompt import Prompt, count_common

UNLIKE_TEXTS = ("a", "Z", "7", ".", "(", "é", "日")
"""Texts that have nothing in common; tokens may span the place where one begins."""


class SharedPrefix:
    """Positions that an engine comes back to between answers.

    They are computed by themselves, from an empty context: so the engine can come back to
    exactly there, also where sliding layers have overwritten their window since, and an answer
    does not depend on what was asked before.

    Args:
        engine: Whose context they are in.
        prompts: Ids of some prompts; all that they have in common is the prefix.

    Attributes:
        n_tokens: Its length.
        n_computed: Positions computed for it so far.
    """

    def __init__(self, engine: Engine, prompts: Sequence[Sequence[int]]) -> None:
        self._engine = engine
        self._ids = find_common(prompts)
        self._is_there = False
        self.n_tokens = len(self._ids)
        self.n_computed = 0

    def restore(self) -> None:
        """Make it the content of the context.

        Raises:
            InputError: it is longer than the context.
        """
        if self._is_there:
            self._engine.trim(self.n_tokens)
        if not self._is_there or self._engine.n_past != self.n_tokens:
            self._engine.trim(0)
            if self._ids:
                self._engine.prefill(Prompt.of_ids(self._ids))
            self.n_computed += self.n_tokens
            self._is_there = True

    def note_reuse(self, n_reused: int) -> None:
        """Told how many positions an answer's prompt has found computed."""
        self._is_there = n_reused >= self.n_tokens


def find_common(prompts: Sequence[Sequence[int]]) -> list[int]:
    """What all of some prompts, at least one, begin with."""
    n_common = min(count_common(prompts[0], ids) for ids in prompts)
    return list(prompts[0][:n_common])
