"""What conversations have computed, kept beside them so that going on starts at once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from g3n_cli.errors import G3nError

if TYPE_CHECKING:  # a conversation with a server does without
    from g3n_cli.engine.api import Engine

_LEAST_POSITIONS = 256
"""Fewer are read again sooner than they are kept."""

_MOST_BYTES = 2_000_000_000


class StateFolder:
    """Files of K/V, one for each conversation; those not used for longest make room.

    Args:
        path: The folder; made when it is needed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def keep(self, engine: Engine, session: int) -> None:
        """Write what an engine has computed of a conversation.

        Raises:
            OSError: it cannot be written.
        """
        if engine.n_past < _LEAST_POSITIONS:
            return
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = self._file(session)
        engine.save_state(kept)
        self._make_room(kept)

    def restore(self, engine: Engine, session: int) -> str:
        """Take what is kept of a conversation as computed; one line on what came of it, or ""."""
        file = self._file(session)
        if not file.exists():
            return ""
        try:
            n_bytes = file.stat().st_size
            count = engine.load_state(file)
        except (G3nError, OSError) as error:
            return f"it is read again: {error}"
        return f"{count:,} tokens from disk, {n_bytes / 1e6:.0f} MB" if count else ""

    def remove(self, session: int) -> None:
        """Forget what is kept of a conversation."""
        self._file(session).unlink(missing_ok=True)

    def _file(self, session: int) -> Path:
        return self._path / f"{session}.npz"

    def _make_room(self, kept: Path) -> None:
        """Delete the oldest others, and what processes that were killed have left."""
        for part in self._path.glob("*.part"):
            pid = part.name.removesuffix(".part").rpartition(".")[2]
            if not (pid.isdecimal() and psutil.pid_exists(int(pid))):
                part.unlink(missing_ok=True)
        files = sorted(self._path.glob("*.npz"), key=lambda file: file.stat().st_mtime_ns)
        total = sum(file.stat().st_size for file in files)
        for file in files:
            if total <= _MOST_BYTES:
                return
            if file != kept:  # whatever the clock says
                total -= file.stat().st_size
                file.unlink(missing_ok=True)
