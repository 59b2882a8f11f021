import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from g3n_cli.chat.conversation import Turn
from g3n_cli.chat.saved_files import SavedFile
from g3n_cli.chat.store import SessionStore
from g3n_cli.chat.store_file import VERSION
from g3n_cli.engine.stats import GenerationStats
from g3n_cli.errors import G3nError, UsageError
from tests.model_files import TESTS

OLD = TESTS / "data" / "store" / "chats-1.db"
STATS = GenerationStats(5, 0, 3, 0.1, 50.0, 20.0, "end")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "chats.db"


@pytest.fixture
def store(path):
    with closing(SessionStore(path)) as store:
        yield store


def say(store, session, *turns, first=0):
    for position, (user, answer) in enumerate(turns, first):
        number = store.add_turn(session, position, user, "model")
        for letter in answer:
            store.add_piece(number, letter)
        store.end_turn(number, Turn(user, answer, (7, 8, 9), STATS))


def test_what_was_said_is_loaded_as_it_was(store):
    session = store.begin("model", "Be brief.", "rome")
    say(store, session, ("Hello\nyou", "Hi!"), ("And?", "Bye."))
    saved = store.load("rome")
    assert saved.turns == (
        Turn("Hello\nyou", "Hi!", (7, 8, 9), STATS),
        Turn("And?", "Bye.", (7, 8, 9), STATS),
    )
    assert (saved.system, saved.draft) == ("Be brief.", "")
    assert (saved.info.title, saved.info.n_turns, saved.info.model) == ("Hello", 2, "model")
    assert store.load(str(session)) == saved


def test_an_answer_that_was_broken_off_is_there_as_far_as_it_came(store, path):
    session = store.begin("model", "")
    number = store.add_turn(session, 0, "Hello", "model")
    for piece in ("Once ", "upon ", "a"):
        store.add_piece(number, piece)
    with closing(SessionStore(path)) as other:
        (turn,) = other.load(str(session)).turns
    assert (turn.user, turn.text, turn.ids) == ("Hello", "Once upon a", ())
    assert turn.stats.stop_reason == "interrupted"


def test_a_message_without_an_answer_is_a_draft(store):
    session = store.begin("model", "")
    say(store, session, ("One", "1"))
    store.add_turn(session, 1, "Two", "model")
    saved = store.load(str(session))
    assert ([turn.user for turn in saved.turns], saved.draft) == (["One"], "Two")


def test_only_its_owner_can_read_the_file(store, path):
    store.begin("model", "")
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_conversations_are_listed_by_their_last_change(store):
    first, second = store.begin("a", ""), store.begin("b", "")
    say(store, second, ("2", "x"))
    say(store, first, ("1", "x"))
    assert [info.id for info in store.list_sessions()] == [first, second]
    assert [info.id for info in store.list_sessions(1)] == [first]


def test_words_are_found_in_messages_and_answers(store):
    session = store.begin("model", "")
    say(store, session, ("What is a moon?", "A satellite."), ("And the sun?", "A star."))
    assert [(hit.session, hit.position) for hit in store.search("satellite")] == [(session, 0)]
    assert [hit.position for hit in store.search("sun star")] == [1]
    assert store.search("moon star") == store.search("") == []
    store.cut(session, 1)
    assert store.search("star") == []
    assert store.search('"quotes" AND (syntax* OR') == []


def test_names_are_unique_and_no_numbers(store):
    one, two = store.begin("model", "", "one"), store.begin("model", "")
    with pytest.raises(UsageError, match="is called 'one' already"):
        store.begin("model", "", "one")
    with pytest.raises(UsageError, match="another saved conversation is called 'one'"):
        store.rename(two, "one")
    for name in ("12", "", " ", "a\nb", "\x1b[31m"):
        with pytest.raises(UsageError, match="no name"):
            store.rename(two, name)
    store.rename(one, "uno")
    assert store.find("uno").id == one
    assert store.find("one") is None
    assert store.find("9" * 30) is None
    with pytest.raises(UsageError, match="no saved conversation is called 'one'"):
        store.load("one")


def test_a_fork_goes_its_own_way(store):
    session = store.begin("model", "Be brief.", "one")
    say(store, session, ("A", "a"), ("B", "b"), ("C", "c"))
    copy = store.fork(session, 2)
    say(store, copy, ("D", "d"), first=2)
    assert [turn.user for turn in store.load(str(copy)).turns] == ["A", "B", "D"]
    assert [turn.user for turn in store.load("one").turns] == ["A", "B", "C"]
    assert store.load(str(copy)).system == "Be brief."
    assert store.load(str(copy)).info.name is None


def test_what_is_removed_is_not_in_the_file_any_more(store, path):
    session = store.begin("model", "")
    say(store, session, ("xylophone secret", "marimba"))
    store.remove([session])
    assert store.list_sessions() == []
    found = b"".join(file.read_bytes() for file in path.parent.iterdir())
    assert b"xylophone" not in found
    assert b"marimba" not in found


def test_the_number_of_a_removed_conversation_is_not_given_again(store):
    session = store.begin("model", "")
    say(store, session, ("A", "a"))
    store.remove([session])
    assert store.begin("model", "") != session
    assert store.add_turn(session, 1, "B", "model") is None
    with pytest.raises(G3nError, match=f"conversation {session} was removed"):
        store.fork(session, 1)


def test_another_turn_at_the_same_place_is_refused(store, path):
    session = store.begin("model", "")
    say(store, session, ("A", "a"))
    with closing(SessionStore(path)) as other:
        say(other, session, ("B", "b"), first=1)
    assert store.add_turn(session, 1, "C", "model") is None


def test_two_chats_write_at_the_same_time(path):
    def write(name):
        with closing(SessionStore(path)) as store:
            say(store, store.begin("model", "", name), *[(f"{name}{i}", "abc") for i in range(30)])

    writers = [threading.Thread(target=write, args=(name,)) for name in ("x", "y", "z")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with closing(SessionStore(path)) as store:
        for name in ("x", "y", "z"):
            saved = store.load(name)
            assert [turn.user for turn in saved.turns] == [f"{name}{i}" for i in range(30)]


@pytest.mark.parametrize("garbage", [b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 9000])
def test_a_damaged_file_is_moved_aside_and_named(path, garbage):
    path.parent.mkdir()
    path.write_bytes(garbage)
    with closing(SessionStore(path)) as store:
        assert "chats.db was damaged and is now chats.db.damaged-" in store.notice
        store.begin("model", "")
    (aside,) = path.parent.glob("chats.db.damaged-*")
    assert aside.read_bytes() == garbage
    with closing(SessionStore(path)) as store:
        assert store.notice == ""
        assert len(store.list_sessions()) == 1


def test_a_file_of_a_newer_g3n_is_left_alone(store, path):
    store.begin("model", "")
    store.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
        db.commit()
    with pytest.raises(G3nError, match="written by a newer g3n"):
        SessionStore(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM session").fetchone() == (1,)


def test_a_file_of_version_1_is_brought_to_this_one(path):
    """It was written by the program of that time."""
    path.parent.mkdir()
    shutil.copy(OLD, path)
    for _ in range(2):
        with closing(SessionStore(path)) as store:
            saved = store.load("rome")
            assert store.search("nothing") != []
    said = [(turn.user, turn.text, turn.ids) for turn in saved.turns]
    assert said == [
        ("What is in it?", "A cat.", (7, 8)),
        ("And?", "Nothing.", (9,)),
        ("Broken off", "Once ", ()),
    ]
    files = (SavedFile("cat \udcff.png", None), SavedFile("note.txt", None))
    assert saved.files == (files, (), ())
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


HOSTILE = [
    "nonsense",
    "7",
    "[7, null]",
    "[" * 100_000,
    '[{"name": "a", "path": 7}]',
    '[{"name": "a", "path": "/x", "kind": "text", "sha256": "0", "n_bytes": 1, "options": {}}]',
]


@pytest.mark.parametrize("files", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("is_old", [True, False])
def test_files_that_make_no_sense_are_no_files(path, files, is_old):
    path.parent.mkdir()
    shutil.copy(OLD, path)
    if not is_old:
        SessionStore(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE turn SET files = ?", (files,))
    with closing(SessionStore(path)) as store:
        found = store.load("rome").files
    assert len(found) == 3
    assert all(file.reference is None for turn in found for file in turn)


def test_order_is_that_of_changes_whatever_the_clock_says(path):
    moments = [50.0]
    with closing(SessionStore(path, lambda: moments[-1])) as store:
        for moment, name in ((5e9, "future"), (1.0, "past"), (-7.0, "before"), (2e9, "now")):
            moments.append(moment)
            say(store, store.begin("model", "", name), ("Hello", "Hi!"))
        moments.append(0.0)
        say(store, 1, ("And?", "Bye."), first=1)
        store.fork(3, 1)
        listed = store.list_sessions()
    assert [info.name for info in listed] == [None, "future", "now", "before", "past"]
    assert [info.changed for info in listed] == [0.0, 0.0, 2e9, -7.0, 1.0]


def test_ten_thousand_conversations_are_all_there_and_in_order(store, path):
    n, step = 10_000, 7_919
    with closing(sqlite3.connect(path)) as db:
        db.executemany(
            "INSERT INTO session (id, name, title, model, system, created, changed, touched)"
            " VALUES (?, ?, ?, 'model', '', 0, ?, ?)",
            ((i, f"name{i}", f"title {i}", i, i * step % n) for i in range(1, n + 1)),
        )
        db.executemany(
            "INSERT INTO turn (session, position, user, answer) VALUES (?, 0, ?, 'yes')",
            ((i, f"word{i} every") for i in range(1, n + 1)),
        )
        db.commit()
    wanted = sorted(range(1, n + 1), key=lambda i: (i * step % n, i), reverse=True)
    assert [info.id for info in store.list_sessions()] == wanted
    assert [info.id for info in store.list_sessions(20)] == wanted[:20]
    assert [hit.session for hit in store.search("word777")] == [777]
    assert len(store.search("every", 2 * n)) == n
    assert store.load("name4711").turns[0].user == "word4711 every"
    say(store, 5_000, ("And?", "Bye."), first=1)
    assert [info.id for info in store.list_sessions(2)] == [5_000, wanted[0]]
    store.remove(list(range(1, n)))
    assert [info.id for info in store.list_sessions()] == [n]


def test_a_full_disk_is_said_and_loses_nothing(store, path):
    session = store.begin("model", "")
    say(store, session, ("A", "a"))
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "import tests.chat.test_store as t\nfrom g3n_cli.errors import G3nError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = t.SessionStore(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "try:\n    t.say(store, 1, ('B', 'x' * 100), ('C', 'y' * 3000), first=1)\n"
        "except G3nError as error: print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, path],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "full" in run.stdout or "I/O error" in run.stdout
    turns = store.load("1").turns
    assert [turn.user for turn in turns][:2] == ["A", "B"]
    say(store, session, ("D", "d"), first=len(turns))


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(OSError, match=r"exists|directory"):
        SessionStore(tmp_path / "data" / "chats.db")


WRITER = """
import sys
from pathlib import Path
from g3n_cli.chat.saved_files import SavedFile
from g3n_cli.chat.store import SessionStore
from g3n_cli.chat.store_file import VERSION
from tests.chat.test_store import make_turn
store = SessionStore(Path(sys.argv[1]))
session = store.begin("model", "")
for position in range(1000):
    turn = store.add_turn(session, position, f"question {position}", "model")
    for i in range(20):
        store.add_piece(turn, f"{position}.{i} ")
        print(position, i, flush=True)
    store.end_turn(turn, make_turn(position))
"""


def make_turn(position):
    text = "".join(f"{position}.{i} " for i in range(20))
    return Turn(f"question {position}", text, (1, 2), STATS)


def test_a_killed_process_loses_at_most_the_piece_it_was_making(path):
    for n_lines in range(1, 200, 13):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, path],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        ) as writer:
            lines = [writer.stdout.readline() for _ in range(n_lines)]
            writer.kill()
            lines += writer.stdout.readlines()
        with closing(SessionStore(path)) as store:
            saved = store.load(str(store.list_sessions(1)[0].id))
        said = "".join(turn.text for turn in saved.turns).split()
        told = [".".join(line.split()) for line in lines if line.endswith("\n")]
        assert said[: len(told)] == told
        assert len(said) <= len(told) + 1
