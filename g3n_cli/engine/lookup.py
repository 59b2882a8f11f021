"""Guesses at the next tokens from what was said before, for an engine to check several at once.

Source: prompt lookup decoding, as in transformers' ``prompt_lookup_num_tokens``.
"""

from __future__ import annotations

from collections.abc import Iterable

N_ALIKE = 3
"""Last tokens that must have been there before, in a row."""

_MOST_REST = 32


class Lookup:
    """Guesses that a text goes on as it did after the same last tokens the time before.

    Args:
        ids: The text so far.
        n: Tokens of a guess.
    """

    def __init__(self, ids: Iterable[int], n: int) -> None:
        self._n = n
        self._ids: list[int] = []
        self._follows: dict[tuple[int, ...], int] = {}  # where what followed some tokens is
        self._rest = 0  # tokens to come without a guess
        self._n_wrong = 0  # guesses in a row of which nothing was right
        for token in ids:
            self.add(token)

    def add(self, token: int) -> None:
        """Take note of the next token of the text."""
        if len(self._ids) >= N_ALIKE:
            self._follows[tuple(self._ids[-N_ALIKE:])] = len(self._ids)
        self._ids.append(token)
        self._rest = max(0, self._rest - 1)

    def guess(self) -> list[int]:
        """The next ``n`` tokens; none where nothing is known, or guesses have been wrong."""
        start = self._follows.get(tuple(self._ids[-N_ALIKE:]))
        if start is None or self._rest:
            return []
        period = len(self._ids) - start  # what repeats itself goes on doing so
        return [self._ids[start + i % period] for i in range(self._n)]

    def judge(self, n_right: int) -> None:
        """Take note of how many tokens of a guess were right: wrong ones cost time."""
        self._n_wrong = 0 if n_right else self._n_wrong + 1
        self._rest = min(_MOST_REST, 2**self._n_wrong) if self._n_wrong > 1 else 0
