"""Saving a chat, and going on with a saved one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from g3n_cli.commands.complete import complete_session
from g3n_cli.errors import G3nError, UsageError

if TYPE_CHECKING:
    from g3n_cli.chat.conversation import Conversation
    from g3n_cli.ui.terminal import Terminal

GoOnOption = Annotated[
    bool, typer.Option("--continue", "-c", help="Go on with the last saved conversation.")
]
SessionOption = Annotated[
    str | None,
    typer.Option(
        "--session",
        metavar="NAME",
        envvar="G3N_SESSION",
        show_default=False,
        autocompletion=complete_session,
        help="Go on with the saved conversation of this name or number; a name begins a new one.",
    ),
]
KvDiskOption = Annotated[
    int,
    typer.Option(
        metavar="MB",
        min=0,
        envvar="G3N_KV_DISK",
        help="Most that K/V of all conversations takes on disk; 0 keeps none.",
    ),
]
NoSaveOption = Annotated[
    bool, typer.Option("--no-save", envvar="G3N_NO_SAVE", help="Do not save the conversation.")
]


@dataclass(frozen=True)
class Saving:
    """What flags say about saving.

    Attributes:
        go_on: Go on with the last conversation.
        session: Go on with this one.
        no_save: Keep nothing.
        kv_disk: Most megabytes of K/V on disk.
    """

    go_on: bool
    session: str | None
    no_save: bool
    kv_disk: int

    def __post_init__(self) -> None:
        """Refuse what contradicts itself."""
        if self.go_on and self.session is not None:
            raise UsageError("--continue and --session exclude each other", "give one of them")
        if self.no_save and self.go_on:
            raise UsageError("--continue goes on saving", "leave out --no-save")
        if self.no_save and self.session is not None:
            raise UsageError("--session goes on saving", "leave out --no-save")

    @contextmanager
    def record(self, conversation: Conversation, terminal: Terminal) -> Iterator[None]:
        """Save a conversation while the context lasts.

        Raises:
            UsageError: there is no conversation to go on with.
            G3nError: it cannot be read.
        """
        if self.no_save:
            yield
            return
        from g3n_cli.chat.saved import SavedChat, find_data_folder
        from g3n_cli.chat.states import StateFolder
        from g3n_cli.chat.store import SessionStore

        folder = find_data_folder()
        is_resumed = self.go_on or self.session is not None
        try:
            store = SessionStore(folder / "chats.db")
        except (G3nError, OSError) as error:
            if is_resumed:
                raise
            terminal.note(f"warning: the conversation is not saved: {error}")
            yield
            return
        with closing(store):
            saved = SavedChat(
                store, StateFolder(folder / "kv", self.kv_disk * 1_000_000), conversation
            )
            conversation.recorder = saved
            if is_resumed:
                saved.resume(self.session, or_begin=not self.go_on)
            if conversation.turns:
                terminal.aside(saved.describe())
            try:
                yield
            finally:
                saved.keep_state()
                for note in saved.take_notes():
                    terminal.note(f"warning: {note}")
