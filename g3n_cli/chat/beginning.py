"""What all conversations with one system text begin with: kept on disk, and not computed again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from g3n_cli.chat.conversation import LEAST_KEPT, Recorder
from g3n_cli.engine.api import Engine, Logits, Progress
from g3n_cli.engine.prompt import Prompt


class BeginningReader:
    """Reads one prompt, in place of ``Engine.prefill``, with its beginning from disk if it can.

    A beginning that is not there is computed by itself and kept: so the rings of sliding layers
    hold just the window that goes on from its end.

    Args:
        engine: Whose context becomes the prompt.
        recorder: Keeps beginnings.
        ids: The beginning.

    Attributes:
        n_from_disk: Positions that were taken from disk for this prompt.
    """

    def __init__(self, engine: Engine, recorder: Recorder, ids: Sequence[int]) -> None:
        self._engine, self._recorder, self._ids = engine, recorder, ids
        self.n_from_disk = 0

    def prefill(self, prompt: Prompt, on_progress: Progress | None = None) -> Logits:
        """Make ``prompt`` the content of the context; see ``Engine.prefill``."""
        engine, ids = self._engine, self._ids
        self.n_from_disk = self._recorder.take_restored()
        if not self._is_worth_keeping(prompt) or engine.count_computed(prompt) >= len(ids):
            return engine.prefill(prompt, on_progress)
        if self._recorder.restore_beginning(ids):
            self.n_from_disk = self._recorder.take_restored()
            return engine.prefill(prompt, on_progress)
        return prefill_in_parts(
            engine, prompt, len(ids), lambda: self._recorder.keep_beginning(ids), on_progress
        )

    def _is_worth_keeping(self, prompt: Prompt) -> bool:
        n = len(self._ids)
        is_kept = self._engine.state_identity is not None
        return is_kept and LEAST_KEPT <= n < len(prompt) and prompt.keys[:n] == (*self._ids,)


def prefill_in_parts(
    engine: Engine,
    prompt: Prompt,
    n_beginning: int,
    keep: Callable[[], None],
    on_progress: Progress | None,
) -> Logits:
    """Beginning and rest one after the other, with the progress of both as one.

    Args:
        engine: Whose context becomes the prompt.
        prompt: More than ``n_beginning`` positions.
        n_beginning: Positions that are computed by themselves.
        keep: Called while they are the content of the context.
        on_progress: See ``Engine.prefill``.
    """
    n_rest, n_done = len(prompt) - n_beginning, 0

    def note_beginning(done: int, total: int) -> None:
        nonlocal n_done
        n_done = done
        if on_progress:
            on_progress(done, total + n_rest)

    def note_rest(done: int, total: int) -> None:
        if on_progress:
            on_progress(n_done + done, n_done + total)

    engine.prefill(prompt.slice(0, n_beginning), note_beginning)
    keep()
    return engine.prefill(prompt, note_rest)
