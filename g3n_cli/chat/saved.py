"""A conversation that is saved as it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from g3n_cli.chat.conversation import Conversation, Question, Recorder, Turn
from g3n_cli.chat.saved_files import FileReader
from g3n_cli.chat.states import StateFolder
from g3n_cli.chat.store import SavedSession, SessionInfo, SessionStore
from g3n_cli.errors import G3nError, UsageError


def find_data_folder() -> Path:
    """Where conversations are saved, as ``chats.db`` and in ``kv``: the person's for data."""
    import platformdirs

    return Path(platformdirs.user_data_dir("g3n"))


class SavedChat(Recorder):
    """Keeps a conversation in a store, from its first message on.

    A store that fails, on a full disk for example, ends the saving, not the conversation; one that
    can only be read lets a conversation be gone on with that is not saved.

    Args:
        store: Where it is kept; the caller closes it.
        states: Where what it has computed is kept.
        conversation: What is kept.

    Attributes:
        session: Number of the saved conversation; None before the first message.
    """

    keeps_computed = True

    def __init__(
        self, store: SessionStore, states: StateFolder, conversation: Conversation
    ) -> None:
        self.store, self._states = store, states
        self.session: int | None = None
        self._is_failed = store.is_read_only
        self._notes = [store.notice] if store.notice else []
        if store.is_read_only:
            self._notes = [f"the conversation is not saved: {store.notice}"]
        self._conversation = conversation
        self._n_turns = 0  # of the saved conversation; the model may see fewer
        self._turn: int | None = None
        self._said = ""  # of the open turn's answer
        self._question = Question("")
        self._draft_turn: int | None = None
        self._restored = ""
        self._n_restored = 0
        self._replaces = False

    # ----------------------------------------------------------------------------------- recording

    def begin(self, question: Question, *, replaces: bool) -> None:
        """A message is going to be answered, or the last one again."""
        self._turn, self._said, self._question = None, "", question
        self._replaces = replaces  # the old answer stays until there is a new one
        if not replaces:
            self._save(self._open_turn)

    def add(self, piece: str) -> None:
        """A piece of the answer came."""
        self._save(lambda: self._add(piece))

    def end(self, turn: Turn | None) -> None:
        """The answer ended; None if it has no text."""
        self._save(lambda: self._end(turn))
        self._turn, self._replaces = None, False

    def drop_last(self) -> None:
        """The last turn is forgotten."""
        self._save(self._drop_last)

    def take_restored(self) -> int:
        """Positions that were taken from disk as computed since this was last asked."""
        n, self._n_restored = self._n_restored, 0
        return n

    def restore_beginning(self, ids: Sequence[int]) -> bool:
        """Make what is kept of a beginning the content of the context; whether it is there now."""
        engine = self._conversation.engine
        assert engine is not None
        try:
            is_there = self._states.restore_beginning(engine, ids)
        except (G3nError, OSError) as error:
            self._notes.append(f"the system text is read again: {error}")
            return False
        self._n_restored = len(ids) if is_there else 0
        return is_there

    def keep_beginning(self, ids: Sequence[int]) -> None:
        """Keep the content of the context, which is a beginning of these tokens."""
        engine = self._conversation.engine
        assert engine is not None
        try:
            self._states.keep_beginning(engine, ids)
        except OSError as error:
            self._note_unkept(error)

    def leave(self) -> None:
        """The conversation is over; what is said next begins another one."""
        self.keep_state()
        self.session, self._n_turns, self._draft_turn = None, 0, None

    def take_notes(self) -> list[str]:
        """What a person should know and was not told yet."""
        notes, self._notes = self._notes, []
        return notes

    def keep_state(self) -> None:
        """Keep what is computed, so that going on later does not compute it again."""
        engine = self._conversation.engine
        if engine is None or self.session is None or self.store.is_read_only:
            return
        if not self._conversation.turns:
            return
        try:
            self._states.keep(engine, self.session, self._conversation.find_beginning())
        except OSError as error:
            self._note_unkept(error)

    def _note_unkept(self, error: OSError) -> None:
        self._notes.append(f"what was computed is not kept: {error.strerror or error}")

    # -------------------------------------------------------------------------- what a person asks

    def resume(self, wanted: str | None = None, *, or_begin: bool = False) -> None:
        """Go on with a saved conversation, or with the last one.

        Args:
            wanted: Its name or number; None for the last.
            or_begin: Begin one of that name where there is none.

        Raises:
            UsageError: there is none.
        """
        if wanted is None:
            latest = self.store.list_sessions(1)
            if not latest:
                raise UsageError("no conversation is saved yet")
            wanted = str(latest[0].id)
        if or_begin and self.store.find(wanted) is None:
            self.leave()
            self._conversation.turns = []
            self.session = self.store.begin(self._conversation.name, "", wanted)
            return
        saved = self.store.load(wanted)
        self.leave()
        reader = FileReader(self._conversation)
        self._conversation.turns = self._adapt(saved, reader)
        self._conversation.system = saved.system or self._conversation.system
        self.session, self._n_turns = saved.info.id, len(saved.turns)
        # It may be another chat's that waits for its first token: it stays until this one speaks.
        self._draft_turn = saved.draft_turn
        self.draft = Question(saved.draft, reader.read_all(saved.draft_files))
        self._notes += reader.notes
        engine = self._conversation.engine
        if engine:
            self._n_restored, self._restored = self._states.restore(engine, saved.info.id)

    def describe(self) -> str:
        """One line on what is gone on with."""
        info = self.info()
        turns = "1 turn" if self._n_turns == 1 else f"{self._n_turns} turns"
        restored = f" ({self._restored})" if self._restored else ""
        return f"Conversation {info.id}, {turns}: {info.name or info.title}{restored}"

    def rename(self, name: str) -> SessionInfo:
        """Give the conversation a name; what was said so far is saved where it was not yet.

        Raises:
            UsageError: the name is taken, or cannot be one.
        """
        self.store.rename(self._session(), name)
        return self.info()

    def fork(self) -> SessionInfo:
        """Go on in a copy; the conversation so far stays as it is."""
        self.session = self.store.fork(self._session(), self._n_turns)
        return self.info()

    def info(self) -> SessionInfo:
        """What the list shows of the conversation, which has begun."""
        info = self.store.find(str(self.session))
        assert info is not None
        return info

    # --------------------------------------------------------------------------------------- steps

    def _session(self) -> int:
        if self.session is None:
            conversation = self._conversation
            self.session = self.store.begin(conversation.name, conversation.system)
        return self.session

    def _open_turn(self) -> None:
        session = self._session()
        self.store.set_system(session, self._conversation.system)
        if self._draft_turn is not None:  # it is said anew now, or not
            self.store.drop_draft(self._draft_turn)
            self._draft_turn = None
        self._add_turn()
        if self._turn is None:
            self._part(self._n_turns)
            self._add_turn()
        self._n_turns += 1

    def _add_turn(self) -> None:
        self._turn = self.store.add_turn(
            self._session(),
            self._n_turns,
            self._question.text,
            self._conversation.name,
            self._question.attachments,
        )

    def _part(self, n_turns: int) -> None:
        """Go on in a copy of the first turns, as another chat has said something else."""
        before = self._session()
        self.session = self.store.fork(before, n_turns)
        self._notes.append(
            f"another chat has gone on with conversation {before}:"
            f" this one is now conversation {self.session}"
        )

    def _reopen_turn(self) -> int:
        """Begin the turn again in a copy: another chat has put its own in this one's place."""
        self._n_turns -= 1
        self._part(self._n_turns)
        self._add_turn()
        self._n_turns += 1
        assert self._turn is not None
        self.store.add_piece(self._turn, self._said)
        return self._turn

    def _drop_last(self) -> None:
        if self.session is None or not self._n_turns:
            return
        if self._draft_turn is not None:
            self.store.drop_draft(self._draft_turn)
            self._draft_turn = None
        self._n_turns -= 1
        if not self.store.cut(self.session, self._n_turns):
            self._part(self._n_turns)

    def _replace_last(self) -> None:
        """The first text of another answer takes the place of the old one."""
        if self._replaces:
            self._replaces = False
            self._drop_last()
            self._open_turn()

    def _add(self, piece: str) -> None:
        self._replace_last()
        self._said += piece
        if self._turn is not None and not self.store.add_piece(self._turn, piece):
            self._reopen_turn()

    def _end(self, turn: Turn | None) -> None:
        if turn is not None:
            self._replace_last()
            if self._turn is not None and not self.store.end_turn(self._turn, turn):
                self.store.end_turn(self._reopen_turn(), turn)
        elif self._turn is not None:
            self.store.drop_draft(self._turn)
            self._n_turns -= 1

    def _adapt(self, saved: SavedSession, reader: FileReader) -> list[Turn]:
        """Turns as the model of this conversation can read them, with their files."""
        engine = self._conversation.engine
        n_vocab = engine.info.n_vocab if engine else 0
        is_same = saved.info.model == self._conversation.name
        keeps_ids = is_same and all(0 <= i < n_vocab for turn in saved.turns for i in turn.ids)
        return [
            replace(turn, ids=turn.ids if keeps_ids else (), attachments=reader.read_all(files))
            for turn, files in zip(saved.turns, saved.files, strict=True)
        ]

    def _save(self, step: Callable[[], None]) -> None:
        if self._is_failed:
            return
        try:
            step()
        except G3nError as error:
            self._is_failed = True
            self._notes.append(f"the conversation is not saved any more: {error.message}")
