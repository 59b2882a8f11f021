"""What conversations have computed, kept beside them so that going on starts at once.

What all conversations with one system text begin with is kept too, once for all of them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from g3n_cli.chat.conversation import LEAST_KEPT
from g3n_cli.config import KV_DISK_MB
from g3n_cli.errors import G3nError

if TYPE_CHECKING:  # a conversation with a server does without
    from g3n_cli.engine.api import Engine

_BEGINNING = "system-"


class StateFolder:
    """Files of K/V, for conversations and for system texts; those not used for longest make room.

    The file of a conversation holds what follows its system text where that has a file.

    Args:
        path: The folder; made when it is needed.
        most_bytes: What all files may take together; what alone takes more is not kept.
    """

    def __init__(self, path: Path, most_bytes: int = KV_DISK_MB * 1_000_000) -> None:
        self._path, self._most_bytes = path, most_bytes

    def keep(self, engine: Engine, session: int, beginning: Sequence[int] = ()) -> None:
        """Write what an engine has computed of a conversation.

        Args:
            engine: What computed it.
            session: Number of the conversation.
            beginning: Ids of its system text.

        Raises:
            OSError: it cannot be written.
        """
        if engine.n_past >= LEAST_KEPT:
            self._write(engine, self._file(session), self._beginning_file(engine, beginning))

    def restore(self, engine: Engine, session: int) -> tuple[int, str]:
        """Take what is kept of a conversation as computed.

        Returns:
            How many positions that is, and one line on what came of it, or "".
        """
        file = self._file(session)
        if not file.exists():
            return 0, ""
        try:
            count = engine.load_state(file)
        except (G3nError, OSError) as error:
            return 0, f"it is read again: {error}"
        return count, f"{count:,} tokens from disk" if count else ""

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
        _note_use(file)
        return True

    def remove(self, sessions: Iterable[int]) -> None:
        """Forget what is kept of conversations, and of system texts that no other one has."""
        for session in sessions:
            self._file(session).unlink(missing_ok=True)
        self._remove_partial()
        beginnings = set(self._path.glob(f"{_BEGINNING}*"))
        if not beginnings:
            return
        from g3n_cli.engine.snapshot import StateError, read_beginning_name

        used = set()
        for file in set(self._path.glob("*.npz")) - beginnings:
            with suppress(StateError):
                used.add(read_beginning_name(file))
        for file in beginnings:
            if file.name not in used:
                file.unlink(missing_ok=True)

    def _file(self, session: int) -> Path:
        return self._path / f"{session}.npz"

    def _beginning_file(self, engine: Engine, ids: Sequence[int]) -> Path:
        """Named by the tokens and by what else their K/V depends on."""
        seen = hashlib.sha256(repr((engine.state_identity, tuple(ids))).encode())
        return self._path / f"{_BEGINNING}{seen.hexdigest()}.npz"

    def _write(self, engine: Engine, *files: Path) -> None:
        """Write the first of the files, without what the second holds."""
        if self._most_bytes:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            engine.save_state(*files)
            for file in files[1:]:
                _note_use(file)
        self._make_room(files)

    def _make_room(self, kept: Sequence[Path]) -> None:
        """Delete the oldest files until the rest may stay, whatever the clock says those of now."""
        self._remove_partial()
        found = []
        for file in self._path.glob("*.npz"):
            with suppress(FileNotFoundError):  # another process has made room
                seen = file.stat()
                rank = kept.index(file) + 1 if file in kept else 0
                found.append((rank, seen.st_mtime_ns, seen.st_size, file))
        total = sum(n_bytes for _, _, n_bytes, _ in found)
        for _, _, n_bytes, file in sorted(found):
            if total <= self._most_bytes:
                return
            total -= n_bytes
            file.unlink(missing_ok=True)

    def _remove_partial(self) -> None:
        """Delete what processes that were killed have left."""
        for part in self._path.glob("*.part"):
            pid = part.name.removesuffix(".part").rpartition(".")[2]
            if not (pid.isdecimal() and psutil.pid_exists(int(pid))):
                part.unlink(missing_ok=True)


def _note_use(file: Path) -> None:
    """Let others make room first."""
    with suppress(OSError):  # it is gone, or can be read but not written
        os.utime(file)
