"""What a person typed in earlier chats."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import platformdirs
from prompt_toolkit.history import FileHistory


def find_history_path() -> Path:
    """Where the history lies: in the person's folder for state."""
    return Path(platformdirs.user_state_dir("g3n")) / "history"


class ChatHistory(FileHistory):
    """History in a file that only its owner reads; without one where that is not possible.

    Args:
        path: The file; made with its folder where missing.

    Attributes:
        problem: Why history is not kept, once that is known; else None.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.problem: str | None = None
        self._path = path
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            self._give_up(error)

    def load_history_strings(self) -> Iterable[str]:
        """Newest first."""
        return [] if self.problem else super().load_history_strings()

    def store_string(self, string: str) -> None:
        """Add one entry."""
        if self.problem:
            return
        try:
            super().store_string(string)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.problem = f"history is not kept: {error.strerror}: {self._path}"
