"""Decoding several tokens in a step: the chosen one, and guesses at those that will be chosen."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Iterable

from g3n_cli.engine.api import Engine, Logits
from g3n_cli.engine.lookup import Lookup


class Speculation:
    """Decodes the tokens of an answer as ``Engine.decode`` does, right guesses before their turn.

    Weights are read once for all tokens of a step, so checking a few costs little more than one.
    Whoever chooses gets the logits of the tokens that were chosen, whatever was guessed.

    Args:
        engine: Whose context is what was said so far.
        said: Tokens that guesses are made from.

    Attributes:
        n_guessed: Tokens guessed and checked.
        n_right: Those of them that were chosen.
    """

    def __init__(self, engine: Engine, said: Iterable[int]) -> None:
        self.n_guessed = self.n_right = 0
        self._engine, self._said = engine, said
        self._guess: deque[int] = deque()  # the engine's last tokens, not chosen yet
        self._logits: deque[Logits] = deque()  # of those
        self._n_held = 0  # of the last guess, tokens that were chosen

    @functools.cached_property
    def _lookup(self) -> Lookup:
        """Made once the first token is out, which a long prompt would keep waiting for it."""
        return Lookup(self._said, self._engine.n_speculate)

    @property
    def is_full(self) -> bool:
        """Whether the context has no room for another token."""
        return self._engine.n_past - len(self._guess) >= self._engine.n_ctx

    def decode(self, token: int) -> Logits:
        """Append the token that was chosen and return its logits."""
        if not self._engine.n_speculate:
            return self._engine.decode(token)
        self._lookup.add(token)
        if self._guess and self._guess[0] == token:
            self._guess.popleft()
            self._n_held += 1
            self.n_right += 1
            return self._logits.popleft()
        return self._step(token)

    def _step(self, token: int) -> Logits:
        """Compute a token and guesses at the next ones, in place of guesses that were wrong."""
        engine = self._engine
        if self._guess:
            engine.trim(engine.n_past - len(self._guess))
        if self._guess or self._n_held:
            self._lookup.judge(self._n_held)
        guess = self._lookup.guess()[: engine.n_ctx - engine.n_past - 1]
        self._guess, self._n_held = deque(guess), 0
        if not guess:
            return engine.decode(token)
        self._logits = deque(engine.extend([token, *guess]))
        self.n_guessed += len(guess)
        return self._logits.popleft()
