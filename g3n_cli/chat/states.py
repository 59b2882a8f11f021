"""What conversations have computed, kept beside them so that going on starts at once.

What all conversations with one system text begin with is kept too, once for all of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from g3n_cli.chat.conversation import LEAST_KEPT
from g3n_cli.errors import G3nError

if TYPE_CHECKING:  # a conversation with a server does without
    from g3n_cli.engine.api import Engine

_MOST_BYTES = 2_000_000_000
_BEGINNING = "system-"


class StateFolder:
    """Files of K/V, for conversations and for system texts; those not used for longest make room.

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
        if engine.n_past >= LEAST_KEPT:
            self._write(engine, self._file(session))

    def restore(self, engine: Engine, session: int) -> tuple[int, str]:
        """Take what is kept of a conversation as computed.

        Returns:
            How many positions that is, and one line on what came of it, or "".
        """
        file = self._file(session)
        if not file.exists():
            return 0, ""
        try:
            n_bytes = file.stat().st_size
            count = engine.load_state(file)
        except (G3nError, OSError) as error:
            return 0, f"it is read again: {error}"
        return count, f"{count:,} tokens from disk, {n_bytes / 1e6:.0f} MB" if count else ""

    def keep_beginning(self, engine: Engine, ids: Sequence[int]) -> None:
        """Write what an engine has computed, which is a beginning of these tokens.

        Raises:
            OSError: it cannot be written.
        """
        self._write(engine, self._beginning_file(engine, ids))

    def restore_beginning(self, engine: Engine, ids: Sequence[int]) -> bool:
        """Take what is kept of a beginning as computed; whether there was something.

        Raises:
            G3nError: what is kept cannot be used.
            OSError: it cannot be read.
        """
        from g3n_cli.engine.prompt import Prompt
        from g3n_cli.engine.snapshot import StateError

        file = self._beginning_file(engine, ids)
        if not file.exists():
            return False
        engine.load_state(file)
        if engine.n_past != len(ids) or engine.count_computed(Prompt.of_ids(ids)) != len(ids):
            engine.trim(0)
            raise StateError(f"{file} holds something else")
        with suppress(OSError):  # it can be read but not written
            os.utime(file)  # it was used: others make room first
        return True

    def remove_beginnings(self) -> None:
        """Forget what is kept of all system texts: a conversation's own may be among them."""
        for file in self._path.glob(f"{_BEGINNING}*"):
            file.unlink(missing_ok=True)

    def remove(self, session: int) -> None:
        """Forget what is kept of a conversation."""
        self._file(session).unlink(missing_ok=True)

    def _file(self, session: int) -> Path:
        return self._path / f"{session}.npz"

    def _beginning_file(self, engine: Engine, ids: Sequence[int]) -> Path:
        """Named by the tokens and by what else their K/V depends on."""
        seen = hashlib.sha256(repr((engine.state_identity, tuple(ids))).encode())
        return self._path / f"{_BEGINNING}{seen.hexdigest()}.npz"

    def _write(self, engine: Engine, file: Path) -> None:
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        engine.save_state(file)
        self._make_room(file)

    def _make_room(self, kept: Path) -> None:
        """Delete the oldest others, and what processes that were killed have left."""
        for part in self._path.glob("*.part"):
            pid = part.name.removesuffix(".part").rpartition(".")[2]
            if not (pid.isdecimal() and psutil.pid_exists(int(pid))):
                part.unlink(missing_ok=True)
        found = []
        for file in self._path.glob("*.npz"):
            with suppress(FileNotFoundError):  # another process has made room
                found.append((file.stat().st_mtime_ns, file.stat().st_size, file))
        total = sum(n_bytes for _, n_bytes, _ in found)
        for _, n_bytes, file in sorted(found):
            if total <= _MOST_BYTES:
                return
            if file != kept:  # whatever the clock says
                total -= n_bytes
                file.unlink(missing_ok=True)
