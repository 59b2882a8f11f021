"""Saved conversations: one SQLite file, written as answers come.

Every piece of an answer is committed on its own. SQLite's write-ahead log then holds it, so that a
process that is killed loses at most the piece it was making; only a machine that loses power may
lose more, as the log is not forced to the disk at each piece.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from g3n_cli.chat.conversation import Turn
from g3n_cli.chat.saved_files import SavedFile, read_files, write_files
from g3n_cli.chat.store_file import (
    is_corrupt,
    is_unwritable,
    move_aside,
    open_database,
    open_to_read,
    translated,
)
from g3n_cli.engine.stats import GenerationStats
from g3n_cli.errors import G3nError, UsageError
from g3n_cli.media.parts import Attachment

N_TITLE = 80
"""Letters of a title, at most."""

_LIST = """
SELECT id, name, title, model, created, changed,
       (SELECT count(*) FROM turn WHERE turn.session = session.id)
FROM session
"""
_NEXT = "(SELECT coalesce(max(touched), 0) + 1 FROM session)"
_ANSWER = """
coalesce(answer, (SELECT coalesce(group_concat(text, ''), '')
                  FROM (SELECT text FROM piece WHERE piece.turn = turn.id ORDER BY rowid)))
"""


@dataclass(frozen=True)
class SessionInfo:
    """What a list of saved conversations shows.

    Attributes:
        id: Number of the conversation.
        name: What the person calls it, or None.
        title: First line of the first message.
        model: Name of the model that answered last.
        created: Seconds since 1970.
        changed: The same, of the last turn.
        n_turns: Messages with their answers.
    """

    id: int
    name: str | None
    title: str
    model: str
    created: float
    changed: float
    n_turns: int


@dataclass(frozen=True)
class SavedSession:
    """A saved conversation.

    Attributes:
        info: What the list shows of it.
        system: What the model is told before it.
        turns: What was said, oldest first; also an answer that was broken off.
        draft: A last message that has no answer yet, or "".
        draft_turn: Number of its turn; None without one.
        files: What went with each turn's message, by reference.
        draft_files: What goes with the draft.
    """

    info: SessionInfo
    system: str
    turns: tuple[Turn, ...]
    draft: str
    draft_turn: int | None
    files: tuple[tuple[SavedFile, ...], ...]
    draft_files: tuple[SavedFile, ...]


@dataclass(frozen=True)
class Hit:
    """A turn that a search found.

    Attributes:
        session: Number of its conversation.
        name: What the conversation is called, or None.
        title: Of the conversation.
        position: Of the turn, from 0.
        excerpt: Words around what was found, on one line.
    """

    session: int
    name: str | None
    title: str
    position: int
    excerpt: str


class SessionStore:
    """The file of saved conversations; several processes may use it at the same time.

    Args:
        path: The file; made, with its folder, where missing. Only its owner may read it.
        clock: Seconds since 1970; it may jump, as conversations are ordered by a count.

    Attributes:
        notice: What a person should know about the file that was found, or "".
        is_read_only: Whether it is on a disk, or in a folder, that cannot be written.

    Raises:
        G3nError: the file cannot be opened, or a newer g3n has written it.
        OSError: there is none and none can be made.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self.path, self.notice, self._clock = path, "", clock
        self.is_read_only = False
        with translated(path):
            try:
                self._db = open_database(path)
            except (OSError, sqlite3.Error) as error:
                self._db = self._open_otherwise(error)

    def close(self) -> None:
        """Close the file; closing twice is harmless."""
        self._db.close()

    # ------------------------------------------------------------------------------------- reading

    def list_sessions(self, limit: int | None = None) -> list[SessionInfo]:
        """Saved conversations, the last changed first."""
        with translated(self.path):
            sql = f"{_LIST} ORDER BY touched DESC, id DESC LIMIT ?"
            rows = self._db.execute(sql, (-1 if limit is None else limit,)).fetchall()
        return [SessionInfo(*row) for row in rows]

    def find(self, wanted: str) -> SessionInfo | None:
        """The conversation of a name or number, names first."""
        with translated(self.path):
            row = self._db.execute(f"{_LIST} WHERE name = ?", (wanted,)).fetchone()
            if row is None and wanted.isdecimal():
                number = min(int(wanted), 2**62)  # more than SQLite counts to
                row = self._db.execute(f"{_LIST} WHERE id = ?", (number,)).fetchone()
        return SessionInfo(*row) if row else None

    def load(self, wanted: str) -> SavedSession:
        """A whole conversation, by name or number.

        Raises:
            UsageError: there is none.
        """
        if (info := self.find(wanted)) is None:
            raise UsageError(f"no saved conversation is called {wanted!r}", "see g3n sessions list")
        with translated(self.path):
            (system,) = self._db.execute(
                "SELECT system FROM session WHERE id = ?", (info.id,)
            ).fetchone()
            rows = self._db.execute(
                f"SELECT user, {_ANSWER}, ids, stats, files, id FROM turn WHERE session = ?"
                " ORDER BY position",
                (info.id,),
            ).fetchall()
        # Only an answer that was broken off before its first piece has neither text nor figures.
        said = [row for row in rows if row[1] or row[3]]
        draft = rows[-1] if len(said) < len(rows) else None
        return SavedSession(
            info,
            system,
            turns=tuple(_read_turn(*row[:4]) for row in said),
            draft=draft[0] if draft else "",
            draft_turn=draft[5] if draft else None,
            files=tuple(read_files(row[4]) for row in said),
            draft_files=read_files(draft[4]) if draft else (),
        )

    def search(self, text: str, limit: int = 20) -> list[Hit]:
        """Turns in which all words of ``text`` occur, the best matches first."""
        words = " ".join('"' + word.replace('"', '""') + '"' for word in text.split())
        if not words:
            return []
        with translated(self.path):
            rows = self._db.execute(
                "SELECT session, name, title, position, snippet(words, -1, '', '', '...', 12)"
                " FROM words JOIN turn ON turn.id = words.rowid"
                " JOIN session ON session.id = turn.session"
                " WHERE words MATCH ? ORDER BY rank LIMIT ?",
                (words, limit),
            ).fetchall()
        return [
            Hit(session, name, title, at, " ".join(found.split()))
            for session, name, title, at, found in rows
        ]

    # ------------------------------------------------------------------------------------- writing

    def begin(self, model: str, system: str, name: str | None = None) -> int:
        """Make an empty conversation and return its number.

        Raises:
            UsageError: the name is taken, or looks like a number.
        """
        check_name(name)
        now = self._clock()
        with self._change() as db:
            if name is not None and self.find(name):
                raise UsageError(f"a saved conversation is called {name!r} already")
            row = db.execute(
                "INSERT INTO session (name, model, system, created, changed, touched)"
                f" VALUES (?, ?, ?, ?, ?, {_NEXT})",
                (name, model, system, now, now),
            )
            return int(row.lastrowid or 0)

    def rename(self, session: int, name: str | None) -> None:
        """Give a conversation a name, or take it away.

        Raises:
            UsageError: another one has it, or it looks like a number.
        """
        check_name(name)
        with self._change() as db:
            taken = db.execute(
                "SELECT 1 FROM session WHERE name = ? AND id != ?", (name, session)
            ).fetchone()
            if taken:
                raise UsageError(f"another saved conversation is called {name!r}")
            db.execute("UPDATE session SET name = ? WHERE id = ?", (name, session))

    def remove(self, sessions: Sequence[int]) -> None:
        """Forget conversations; what they held is overwritten in the file."""
        with self._change() as db:
            db.executemany("DELETE FROM session WHERE id = ?", [(i,) for i in sessions])
            db.execute("INSERT INTO words (words) VALUES ('optimize')")  # drops removed words
        with translated(self.path):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def shrink(self) -> None:
        """Give the disk back what removed conversations took."""
        with translated(self.path):
            self._db.execute("VACUUM")
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def fork(self, session: int, n_turns: int) -> int:
        """Copy the first turns of a conversation into a new one and return its number.

        Raises:
            G3nError: it was removed.
        """
        now = self._clock()
        with self._change() as db:
            row = db.execute(
                "INSERT INTO session (title, model, system, created, changed, touched)"
                f" SELECT title, model, system, ?, ?, {_NEXT} FROM session WHERE id = ?",
                (now, now, session),
            )
            if not row.rowcount:
                raise G3nError(f"conversation {session} was removed")
            copy = int(row.lastrowid or 0)
            db.execute(
                "INSERT INTO turn (session, position, user, answer, ids, stats, files)"
                f" SELECT ?, position, user, {_ANSWER}, ids, stats, files FROM turn"
                " WHERE session = ? AND position < ?",
                (copy, session, n_turns),
            )
        return copy

    def add_turn(
        self,
        session: int,
        position: int,
        user: str,
        model: str,
        files: Sequence[Attachment] = (),
    ) -> int | None:
        """Open a turn after ``position`` others and return its number.

        None if there is one at that position already: another process goes on there.
        """
        with self._change() as db:
            if _count_turns(db, session) != position:
                return None
            if position == 0:
                title = next(iter(user.strip().splitlines()), "")[:N_TITLE]
                db.execute("UPDATE session SET title = ? WHERE id = ?", (title, session))
            db.execute(
                f"UPDATE session SET changed = ?, model = ?, touched = {_NEXT} WHERE id = ?",
                (self._clock(), model, session),
            )
            turn = secrets.randbits(62)  # another chat may hold the number of one that is gone
            db.execute(
                "INSERT INTO turn (id, session, position, user, files) VALUES (?, ?, ?, ?, ?)",
                (turn, session, position, user, write_files(files)),
            )
            return turn

    def add_piece(self, turn: int, text: str) -> bool:
        """Append to the answer of an open turn; False if the turn is gone."""
        with self._change() as db:
            sql = "INSERT INTO piece (turn, text) SELECT id, ? FROM turn WHERE id = ?"
            return db.execute(sql, (text, turn)).rowcount == 1

    def end_turn(self, number: int, turn: Turn) -> bool:
        """Close a turn, with all there is to know of it; False if it is gone."""
        ids = struct.pack(f"<{len(turn.ids)}i", *turn.ids)
        stats = json.dumps(asdict(turn.stats))
        with self._change() as db:
            row = db.execute(
                "UPDATE turn SET answer = ?, ids = ?, stats = ? WHERE id = ?",
                (turn.text, ids, stats, number),
            )
            db.execute("DELETE FROM piece WHERE turn = ?", (number,))
        return row.rowcount == 1

    def drop_draft(self, turn: int) -> None:
        """Forget a turn unless something of its answer has come."""
        with self._change() as db:
            db.execute(
                "DELETE FROM turn WHERE id = ? AND answer IS NULL"
                " AND NOT EXISTS (SELECT 1 FROM piece WHERE piece.turn = turn.id)",
                (turn,),
            )

    def cut(self, session: int, n_turns: int) -> bool:
        """Forget the turn after the first ones; False if more follow: another process goes on."""
        with self._change() as db:
            if _count_turns(db, session) > n_turns + 1:
                return False
            db.execute("DELETE FROM turn WHERE session = ? AND position = ?", (session, n_turns))
        return True

    def set_system(self, session: int, system: str) -> None:
        """Change what the model is told before a conversation."""
        with self._change() as db:
            db.execute("UPDATE session SET system = ? WHERE id = ?", (system, session))

    def _open_otherwise(self, error: OSError | sqlite3.Error) -> sqlite3.Connection:
        """The file to read alone where it cannot be written, or a new one if it is damaged."""
        if is_unwritable(error) and self.path.exists():
            self.is_read_only = True
            self.notice = f"{self.path} can only be read"
            return open_to_read(self.path)
        if isinstance(error, OSError) or not is_corrupt(error):
            raise error
        aside = move_aside(self.path)
        self.notice = f"{self.path.name} was damaged and is now {aside.name}; a new one was begun"
        return open_database(self.path)

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """All changes or none; takes its turn among processes."""
        if self.is_read_only:
            raise G3nError(self.notice, "its disk or folder cannot be written")
        with translated(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")


def _count_turns(db: sqlite3.Connection, session: int) -> int:
    row = db.execute("SELECT count(*) FROM turn WHERE session = ?", (session,)).fetchone()
    return int(row[0])


def check_name(name: str | None) -> None:
    """Refuse names that could not be told from numbers, or seen.

    Raises:
        UsageError: it is one.
    """
    if name is not None and (not name.strip() or name.isdecimal() or not name.isprintable()):
        raise UsageError(
            f"{name!r} is no name for a conversation", "use a word with a letter in it"
        )


def _read_turn(user: str, answer: str, ids: bytes, stats: str | None) -> Turn:
    known = json.loads(stats) if stats else {"stop_reason": "interrupted"}
    fields: dict[str, Any] = {n: known.get(n) for n in GenerationStats.__dataclass_fields__}
    fields["gaps_s"] = tuple(known.get("gaps_s", ()))
    return Turn(user, answer, struct.unpack(f"<{len(ids) // 4}i", ids), GenerationStats(**fields))
