"""Where everything is, and deleting it: in a home of its own."""

import json
import stat

import pytest

from tests.hub_server import FILE, REPO
from tests.model_files import SMALL8
from tests.program import assert_fails

ASK = ("chat", "-m", SMALL8, "-n", "2")
RECORD = {
    "repo": REPO,
    "file": FILE,
    "revision": "main",
    "n_bytes": 4,
    "sha256": "0",
    "is_verified": True,
}


@pytest.fixture
def home(g3n):
    """One of everything: made by the program where that is quick, else as it makes it."""
    data, cache = g3n.home / "data" / "g3n", g3n.home / "cache" / "g3n"
    g3n.run(*ASK, "--session", "rome", "secret words")
    g3n.run("bench", "-m", SMALL8, "-t", "1", "-p", "8", "-n", "1", "-r", "1")
    for path in (
        data / "kv" / "1.npz",
        data / "kv" / "2.npz.77.part",
        data / "chats.db.damaged-1",
        data / "models" / REPO / FILE,
        data / "models" / REPO / f"other.gguf.{'0' * 16}.part",
        data / "models" / "my" / "own" / "file.gguf",
        g3n.home / "state" / "g3n" / "history",
        cache / "synthetic" / "e2b.gguf",
        cache / "rows" / "a" / "b.rows",
        g3n.home / "config" / "g3n" / "config.toml",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if path.suffix == ".toml" else b"1234")
    (data / "models" / REPO / f"{FILE}.json").write_text(json.dumps(RECORD))
    return g3n


def list_files(home):
    return {
        str(path.relative_to(home.home))
        for path in home.home.rglob("*")
        if path.is_file() and not path.name.endswith(("-wal", "-shm"))
    }


def kept(home):
    shown = json.loads(home.run("config", "--json").stdout)["kept"]
    return {kind["name"]: kind for kind in shown}


def test_config_tells_where_all_of_it_is_and_what_it_takes(home):
    found = kept(home)
    assert all(kind["path"].startswith(str(home.home)) for kind in found.values())
    assert {name: kind["n_files"] for name, kind in found.items() if name != "sessions"} == {
        "config": 1,
        "damaged": 1,
        "kv": 2,
        "history": 1,
        "running": 0,
        "bench": 1,
        "models": 3,
        "cache/rows": 1,
        "cache/synthetic": 1,
    }
    assert found["kv"]["n_bytes"] == 8
    shown = home.run("config", G3N_API_KEY="hidden", G3N_CTX="512").stdout.decode()
    assert "G3N_CTX=512" in shown
    assert "hidden" not in shown


def test_privacy_tells_what_is_stored_and_that_nothing_is_sent(home):
    shown = home.run("privacy").stdout.decode()
    assert "Telemetry: none" in shown
    assert f"-rw-------  {home.home}/data/g3n/chats.db" in shown
    told = json.loads(home.run("privacy", "--json", "--offline").stdout)
    assert (told["telemetry"], told["is_offline"]) == (None, True)
    assert {kind["name"] for kind in told["stored"]} == set(kept(home))


def test_what_was_said_and_measured_is_readable_by_its_owner_alone(home):
    data = home.home / "data" / "g3n"
    for path in (data / "chats.db", *(data / "bench").iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_clean_asks_and_deletes_only_what_can_be_made_again(home):
    before = list_files(home)
    assert_fails(home.run("clean"), 2, "delete 0 kB?")
    assert list_files(home) == before
    done = home.run("clean", "--yes", "--json")
    assert json.loads(done.stdout)["freed_bytes"] == {
        "kv": 8,
        "cache/rows": 4,
        "cache/synthetic": 4,
    }
    gone = {"data/g3n/kv/1.npz", "data/g3n/kv/2.npz.77.part"}
    gone |= {"cache/g3n/synthetic/e2b.gguf", "cache/g3n/rows/a/b.rows"}
    assert before - list_files(home) == gone
    assert not (home.home / "cache" / "g3n" / "rows").exists()
    assert b"nothing to delete" in home.run("clean", "--yes").stderr


@pytest.mark.parametrize(
    ("what", "gone"),
    [
        ("history", {"state/g3n/history"}),
        ("cache/rows", {"cache/g3n/rows/a/b.rows"}),
        (
            "damaged,kv",
            {"data/g3n/chats.db.damaged-1", "data/g3n/kv/1.npz", "data/g3n/kv/2.npz.77.part"},
        ),
        (
            "models",
            {
                f"data/g3n/models/{REPO}/{FILE}",
                f"data/g3n/models/{REPO}/{FILE}.json",
                f"data/g3n/models/{REPO}/other.gguf.{'0' * 16}.part",
            },
        ),
    ],
)
def test_what_is_named_is_deleted_and_nothing_else(home, what, gone):
    before = list_files(home)
    assert home.run("clean", "--yes", "--what", what).returncode == 0
    assert before - list_files(home) == gone


def test_conversations_are_deleted_where_they_are_named(home):
    assert home.run("clean", "--yes", "--what", "sessions").returncode == 0
    assert json.loads(home.run("sessions", "list", "--json").stdout) == []
    folder = home.home / "data" / "g3n"
    assert not (folder / "kv" / "1.npz").exists()
    assert all(b"secret" not in path.read_bytes() for path in folder.glob("chats.db*"))


def test_links_are_deleted_not_what_they_lead_to(home, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    cache = home.home / "cache" / "g3n" / "synthetic"
    (cache / "folder").symlink_to(outside)
    (cache / "file").symlink_to(outside / "file")
    assert home.run("clean", "--yes").returncode == 0
    assert (outside / "file").read_text() == "precious"
    assert not (cache / "file").is_symlink()


def test_kinds_that_there_are_not_are_refused(home):
    assert_fails(home.run("clean", "--what", "kv,everything", "--yes"), 2, "knows no 'everything'")
    assert_fails(home.run("clean", "--what", "config", "--yes"), 2, "knows no 'config'")
