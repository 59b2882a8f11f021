"""An answer whose beginning is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from g3n_cli.engine.generate import Generation
from g3n_cli.engine.stats import GenerationStats


class PrefixedAnswer:
    """The given beginning, then what the model says after it.

    The beginning is handed out with the first token that the model chooses, so that an answer which
    is interrupted before has no text. Its tokens count as part of the prompt in ``stats``.

    Args:
        prefix: The beginning.
        prefix_ids: Its tokens, the last ones of the prompt.
        generation: What comes after it.
    """

    def __init__(self, prefix: str, prefix_ids: Sequence[int], generation: Generation) -> None:
        self._prefix, self._prefix_ids = prefix, list(prefix_ids)
        self._generation = generation
        self._is_begun = False

    @property
    def ids(self) -> list[int]:
        """Tokens of the answer so far, those of its beginning included."""
        return self._prefix_ids + self._generation.ids if self._is_begun else []

    @property
    def text(self) -> str:
        """What has been handed out so far."""
        return self._prefix + self._generation.text if self._is_begun else ""

    @property
    def stats(self) -> GenerationStats:
        """Figures so far."""
        return self._generation.stats

    def __iter__(self) -> Iterator[str]:
        """Pieces of the answer."""
        for piece in self._generation:
            begin, self._is_begun = "" if self._is_begun else self._prefix, True
            yield begin + piece
        if not self._is_begun:
            self._is_begun = True
            yield self._prefix
