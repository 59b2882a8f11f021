"""``/commands`` for saved conversations."""

from __future__ import annotations

import shlex

from g3n_cli.chat.saved import SavedChat
from g3n_cli.chat.store import SessionInfo
from g3n_cli.errors import UsageError
from g3n_cli.ui.sessions import format_sessions
from g3n_cli.ui.slash_types import Command, Draft
from g3n_cli.ui.terminal import Terminal

_N_LISTED = 10


class SessionCommands:
    """The commands of a chat that is saved.

    Args:
        saved: What keeps it.
        terminal: Where they answer.
    """

    def __init__(self, saved: SavedChat, terminal: Terminal) -> None:
        self._saved, self._terminal = saved, terminal
        self.commands = {
            "sessions": Command("", "list the last saved conversations", self._list),
            "load": Command("NAME", "go on with a saved one, by name or number", self._load),
            "save": Command(
                "[NAME]", "tell where this one is kept, and name it (also /rename)", self._save
            ),
            "fork": Command("", "go on in a copy of this one", self._fork),
        }

    def _list(self, _: str) -> None:
        listed = self._saved.store.list_sessions(_N_LISTED)
        self._terminal.note(format_sessions(listed, self._saved.session) or "Nothing is saved yet.")

    def _load(self, wanted: str) -> Draft | None:
        if not wanted:
            raise UsageError("which conversation?", "/sessions lists them")
        self._saved.resume(wanted)
        self._terminal.note(self._saved.describe())
        draft = self._saved.draft
        return Draft(draft.text, draft.attachments) if draft.text else None

    def _save(self, name: str) -> None:
        place = self._saved.store.path
        if name:
            info = self._saved.rename(name)
            self._note(info)
        elif self._saved.session is None:
            self._terminal.note(f"It is kept from its first message on, in {place}")
            return
        else:
            info = self._saved.info()
        wanted = shlex.quote(info.name or str(info.id))
        self._terminal.note(f"Kept as it goes in {place}; g3n chat --session {wanted} goes on.")

    def _fork(self, _: str) -> None:
        self._note(self._saved.fork())

    def _note(self, info: SessionInfo) -> None:
        called = f", {info.name}" if info.name else ""
        self._terminal.note(f"This is conversation {info.id}{called}.")
