import random
import shutil
import sqlite3
from contextlib import closing, suppress

import pytest

from g3n_cli.chat.store import SessionStore
from g3n_cli.chat.store_repair import repair
from g3n_cli.errors import G3nError
from tests.chat.test_store import OLD, say

N, PAGE = 60, 4096


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store of some conversations, each as long as several pages."""
    path = tmp_path_factory.mktemp("whole") / "chats.db"
    with closing(SessionStore(path)) as store:
        for i in range(N):
            say(store, store.begin("model", "", f"name{i}"), (f"question {i} " * 300, "yes"))
        store.add_piece(store.add_turn(N, 1, "broken off", "model"), "Once")
    return path


def read_all(path):
    with closing(SessionStore(path)) as store:
        loaded = [store.load(str(info.id)) for info in store.list_sessions()]
    return {saved.turns[0].user: [(t.user, t.text) for t in saved.turns] for saved in loaded}


def damage(whole, path, seed):
    """Garbage over some pages that are no table's first; which ones, the seed says."""
    shutil.copy(whole, path)
    with closing(sqlite3.connect(whole)) as db:
        roots = {page for (page,) in db.execute("SELECT rootpage FROM sqlite_master")}
    draw = random.Random(seed)
    pages = sorted(set(range(1, path.stat().st_size // PAGE + 1)) - roots - {1})
    with path.open("r+b") as file:
        for page in draw.sample(pages, 3):
            file.seek((page - 1) * PAGE)
            file.write(draw.randbytes(PAGE))


@pytest.mark.parametrize("seed", range(20))
def test_a_damaged_store_fails_with_one_line_and_the_rest_is_kept(whole, tmp_path, seed):
    path = tmp_path / "chats.db"
    damage(whole, path, seed)
    with suppress(G3nError):  # it may do, depending on what is damaged
        read_all(path)
        with closing(SessionStore(path)) as store:
            store.search("question")
            say(store, store.begin("model", ""), ("Hello", "Hi!"))
    done = repair(path)
    assert done.aside.exists()
    kept, before = read_all(path), read_all(whole)
    kept.pop("Hello", None)
    assert len(kept) >= N - 6  # a page holds at most two
    assert all(before[name] == turns for name, turns in kept.items())
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_of_a_sound_store_all_is_kept(whole, tmp_path):
    path = tmp_path / "chats.db"
    shutil.copy(whole, path)
    done = repair(path)
    assert (done.n_kept, done.n_lost) == (N, 0)
    assert read_all(path) == read_all(whole)
    with closing(SessionStore(path)) as store:
        assert [info.name for info in store.list_sessions(2)] == [f"name{N - 1}", f"name{N - 2}"]
        assert store.search("broken off") != []


def test_an_old_store_is_repaired_too(tmp_path):
    path = tmp_path / "chats.db"
    shutil.copy(OLD, path)
    assert repair(path).n_kept == 1
    assert [user for user, _ in read_all(path)["What is in it?"]] == [
        "What is in it?",
        "And?",
        "Broken off",
    ]


def test_of_garbage_nothing_is_kept(tmp_path):
    path = tmp_path / "chats.db"
    path.write_bytes(b"no database" * 1000)
    assert repair(path).n_kept == 0
    assert read_all(path) == {}


def test_the_command_says_what_it_did(g3n, whole):
    path = g3n.home / "data" / "g3n" / "chats.db"
    path.parent.mkdir(parents=True)
    damage(whole, path, 3)
    told = g3n.run("sessions", "repair").stderr.decode()
    assert f"Before: {path}.damaged-" in told
    assert g3n.run("sessions", "list").returncode == 0
    path.unlink()
    missing = g3n.run("sessions", "repair")
    assert (missing.returncode, b"error: " in missing.stderr) == (1, True)
