"""The SQLite file of saved conversations: its form, opening it, what is damaged."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from g3n_cli.errors import G3nError

VERSION = 2
_BUSY_S = 5.0
_UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
_SCHEMA = """
CREATE TABLE session (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- a running chat may hold the number of a removed one
    name TEXT UNIQUE,
    title TEXT NOT NULL DEFAULT '',
    model TEXT NOT NULL,
    system TEXT NOT NULL,
    created REAL NOT NULL,
    changed REAL NOT NULL,
    touched INTEGER NOT NULL DEFAULT 0  -- counts changes of all, as clocks jump
);
CREATE INDEX session_by_touch ON session (touched);
CREATE TABLE turn (
    id INTEGER PRIMARY KEY,
    session INTEGER NOT NULL REFERENCES session ON DELETE CASCADE,
    position INTEGER NOT NULL,
    user TEXT NOT NULL,
    answer TEXT,  -- NULL while it is being made
    ids BLOB NOT NULL DEFAULT x'',
    stats TEXT,
    files TEXT NOT NULL DEFAULT '[]',
    UNIQUE (session, position)
);
CREATE TABLE piece (
    turn INTEGER NOT NULL REFERENCES turn ON DELETE CASCADE,
    text TEXT NOT NULL
);
CREATE INDEX piece_of_turn ON piece (turn);
CREATE VIRTUAL TABLE words USING fts5 (user, answer, content = 'turn', content_rowid = 'id');
CREATE TRIGGER turn_added AFTER INSERT ON turn BEGIN
    INSERT INTO words (rowid, user, answer) VALUES (new.id, new.user, new.answer);
END;
CREATE TRIGGER turn_removed AFTER DELETE ON turn BEGIN
    INSERT INTO words (words, rowid, user, answer)
    VALUES ('delete', old.id, old.user, old.answer);
END;
CREATE TRIGGER turn_changed AFTER UPDATE OF user, answer ON turn BEGIN
    INSERT INTO words (words, rowid, user, answer)
    VALUES ('delete', old.id, old.user, old.answer);
    INSERT INTO words (rowid, user, answer) VALUES (new.id, new.user, new.answer);
END;
"""


_FROM_VERSION_1 = """
ALTER TABLE session ADD COLUMN touched INTEGER NOT NULL DEFAULT 0;
UPDATE session SET touched = (
    SELECT count(*) FROM session AS other
    WHERE (other.changed, other.id) <= (session.changed, session.id)
);
DROP INDEX session_by_change;
CREATE INDEX session_by_touch ON session (touched);
"""


def open_database(path: Path) -> sqlite3.Connection:
    """The file, made with its folder where missing, in this version's form.

    Raises:
        G3nError: a newer g3n has written it.
        sqlite3.DatabaseError: it cannot be read.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL").fetchall()
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("PRAGMA secure_delete = ON").fetchall()
        db.execute("PRAGMA recursive_triggers = ON")
        _migrate(db, path)
    except BaseException:
        db.close()
        raise
    return db


def open_to_read(path: Path) -> sqlite3.Connection:
    """A file that cannot be written, as it is.

    To read a file, SQLite wants to write an index of its log. Where there is a log, whoever wrote
    it was killed or runs still, and the index is there too; where there is none, nobody writes.

    Raises:
        G3nError: it has not this version's form.
        sqlite3.DatabaseError: it cannot be read.
    """
    log = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
    db = sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version != VERSION:
            raise G3nError(
                f"{path} was written by {'a newer' if version > VERSION else 'an older'} g3n"
                " and can only be read",
                "--no-save works without it",
            )
    except BaseException:
        db.close()
        raise
    return db


def _migrate(db: sqlite3.Connection, path: Path) -> None:
    """Bring the file to this version's form."""
    db.execute("BEGIN IMMEDIATE")  # two processes may have found it empty
    try:
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise G3nError(f"{path} was written by a newer g3n", "update g3n, or use --no-save")
        for statement in _split({0: _SCHEMA, 1: _FROM_VERSION_1}.get(version, "")):
            db.execute(statement)
        if version == 1:
            _describe_files(db)
        if version < VERSION:
            db.execute(f"PRAGMA user_version = {VERSION}")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _describe_files(db: sqlite3.Connection) -> None:
    """From version 1, which kept names of files alone.

    In Python, since names of files may hold what SQLite's JSON makes no text of.
    """
    rows = db.execute("SELECT id, files FROM turn WHERE files != '[]'").fetchall()
    for turn, files in rows:
        try:
            described = [{"name": str(name)} for name in json.loads(files)]
        except (ValueError, TypeError, RecursionError):
            described = []
        db.execute("UPDATE turn SET files = ? WHERE id = ?", (json.dumps(described), turn))


def _split(script: str) -> Iterator[str]:
    """Statements of a script; ``executescript`` would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def is_corrupt(error: sqlite3.Error) -> bool:
    """Whether the file is damaged, or none of SQLite's."""
    name = getattr(error, "sqlite_errorname", "")  # errors of Python's own module have none
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def is_unwritable(error: OSError | sqlite3.Error) -> bool:
    """Whether it says that the file, or what SQLite keeps beside it, cannot be written."""
    if isinstance(error, OSError):
        return error.errno in _UNWRITABLE
    name = getattr(error, "sqlite_errorname", "")
    return name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN"))


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """SQLite's failures as ours.

    Raises:
        G3nError: in place of an ``sqlite3.Error``.
    """
    try:
        yield
    except sqlite3.Error as error:
        if is_corrupt(error):
            hint = "g3n sessions repair keeps what can be read; --no-save works without it"
            raise G3nError(f"{path} is damaged ({error})", hint) from error
        raise G3nError(f"{path}: {error}", "--no-save works without it") from error


def move_aside(path: Path) -> Path:
    """Give a damaged file and its logs another name."""
    aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
    path.rename(aside)
    for suffix in ("-wal", "-shm"):
        log = path.with_name(path.name + suffix)
        if log.exists():
            log.rename(aside.with_name(aside.name + suffix))
    return aside
