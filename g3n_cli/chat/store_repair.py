"""Taking over what can be read of a damaged store of conversations."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from g3n_cli.chat.store import N_TITLE
from g3n_cli.chat.store_file import move_aside, open_database

_NAMES = "SELECT name FROM pragma_table_info(?)"


@dataclass(frozen=True)
class Repair:
    """What came of it.

    Attributes:
        aside: The damaged file.
        n_kept: Conversations that are in the new one, perhaps without their names.
        n_lost: Conversations of which something could not be read.
    """

    aside: Path
    n_kept: int
    n_lost: int


def repair(path: Path) -> Repair:
    """Move a store aside and begin a new one with the conversations that can be read in whole.

    Raises:
        OSError: it cannot be moved.
    """
    aside = move_aside(path)
    n_kept = n_lost = 0
    with closing(sqlite3.connect(aside)) as old, closing(open_database(path)) as new:
        for session in _list_ids(old):
            try:
                n_kept += _copy(old, new, session)
            except sqlite3.Error:
                n_lost += 1
    return Repair(aside, n_kept, n_lost)


def _list_ids(old: sqlite3.Connection) -> Iterable[int]:
    """Numbers that conversations may have: a damaged page must not hide those after it."""
    for statement in (
        "SELECT seq FROM sqlite_sequence WHERE name = 'session'",
        "SELECT max(id) FROM session",
        "SELECT max(session) FROM turn",
    ):
        with suppress(sqlite3.Error, TypeError, ValueError):
            return range(1, int(old.execute(statement).fetchone()[0]) + 1)
    return ()


def _copy(old: sqlite3.Connection, new: sqlite3.Connection, session: int) -> bool:
    """Copy a conversation, all of it or nothing; whether there is one."""
    turns = _select(old, "turn", "session = ? ORDER BY position", session)
    try:
        found = _select(old, "session", "id = ?", session)
    except sqlite3.DatabaseError:
        if not turns:
            raise
        found = [_make_session(session, str(turns[0]["user"]))]
    if not found:
        return False
    pieces = [
        row
        for turn in turns
        if turn["answer"] is None
        for row in _select(old, "piece", "turn = ? ORDER BY rowid", turn["id"])
    ]
    new.execute("BEGIN IMMEDIATE")
    try:
        for table, rows in (("session", found), ("turn", turns), ("piece", pieces)):
            known = [name for (name,) in new.execute(_NAMES, (table,))]
            for row in rows:
                names = [name for name in row if name in known]
                marks = ", ".join("?" * len(names))
                new.execute(
                    f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})",
                    [row[name] for name in names],
                )
    except BaseException:
        new.execute("ROLLBACK")
        raise
    new.execute("COMMIT")
    return True


def _make_session(session: int, message: str) -> dict[str, object]:
    """In place of one that cannot be read, but whose turns can."""
    title = next(iter(message.strip().splitlines()), "")[:N_TITLE]
    unknown = {"model": "", "system": "", "created": 0.0, "changed": 0.0}
    return {"id": session, "title": title, **unknown}


def _select(
    old: sqlite3.Connection, table: str, where: str, value: object
) -> list[dict[str, object]]:
    """Rows as dictionaries; where an index is damaged, from the table alone."""
    try:
        cursor = old.execute(f"SELECT * FROM {table} WHERE {where}", (value,))
        rows = cursor.fetchall()
    except sqlite3.DatabaseError:
        cursor = old.execute(f"SELECT * FROM {table} NOT INDEXED WHERE {where}", (value,))
        rows = cursor.fetchall()
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in rows]
