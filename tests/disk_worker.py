"""A home on a disk that is full, or that cannot be written: run by ``test_disks.py``.

In namespaces of its own, where it may mount: whoever runs the tests needs no rights for it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from g3n_cli.chat.store import SessionStore
from tests.model_files import SMALL8
from tests.program import Program, assert_fails

BENCH = ("bench", "-m", SMALL8, "-t", "1", "-p", "8", "-n", "1", "-r", "1")
ASK = ("chat", "-m", SMALL8, "-n", "8", "--temp", "0")


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def list_titles(g3n):
    return [info["title"] for info in json.loads(g3n.run("sessions", "list", "--json").stdout)]


def ask(g3n, *arguments):
    """A question that is answered whatever becomes of the saving; what is warned of."""
    done = g3n.run(*ASK, *arguments)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.strip()
    return done.stderr.decode()


def full(home):
    """The answer comes and is not saved; what was saved stays; with room all is as before."""
    data = home / "data"
    data.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "none", data)
    g3n = Program(home)
    assert "warning" not in ask(g3n, "first question")
    filler = data / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096) == 4096:
                pass
        except OSError:
            pass
    assert "not saved" in ask(g3n, "second question " * 100)
    assert_fails(g3n.run(*ASK, "-c", "third question"), 1, "chats.db")
    assert_fails(g3n.run(*BENCH, "--output", data / "r.json"), 1, "No space left")
    bench = g3n.run(*BENCH, "-o", "json")
    assert json.loads(bench.stdout)["cases"]
    assert "not in the history: cannot write" in bench.stderr.decode()
    filler.unlink()
    assert list_titles(g3n)[-1] == "first question"
    assert "warning" not in ask(g3n, "--session", "1", "fourth question")
    turns = json.loads(g3n.run("sessions", "show", "1", "--json").stdout)["turns"]
    assert [turns[0]["user"], turns[-1]["user"]] == ["first question", "fourth question"]


def read_only(home):
    """Chats go on unsaved and say so, what is saved is read; what needs to write says it cannot."""
    g3n = Program(home)
    ask(g3n, "first question")
    (home / "cache").mkdir()
    mount("--bind", home, home)
    mount("-o", "remount,bind,ro", home)
    told = ask(g3n, "second question")
    assert "warning: the conversation is not saved" in told
    assert "can only be read" in told
    assert "not saved" in ask(g3n, "-c", "and?")
    assert list_titles(g3n) == ["first question"]
    for command in (("show", "1"), ("export", "1"), ("search", "first")):
        done = g3n.run("sessions", *command)
        assert done.returncode == 0, done.stderr.decode()
        assert b"first question" in done.stdout
        assert done.stderr.decode().count("can only be read") == 1
    for command in (("rm", "1"), ("rename", "1", "rome")):
        assert_fails(g3n.run("sessions", *command), 1, "can only be read")
    assert_fails(g3n.run(*ASK, "--session", "rome", "new"), 1, "can only be read")
    for command in (("list",), ("config",), ("privacy",), ("show", SMALL8), ("estimate", SMALL8)):
        assert g3n.run(*command).returncode == 0
    bench = g3n.run(*BENCH, "-o", "json")
    assert (bench.returncode, bench.stdout != b"") == (0, True), bench.stderr.decode()
    assert "not in the history: cannot write" in bench.stderr.decode()
    assert_fails(g3n.run(*BENCH, "--output", home / "r.json"), 2, "Read-only file system")


def killed(home):
    """What a process that was killed had not merged into the file yet is read there too."""
    store = home / "data" / "g3n" / "chats.db"
    if child := os.fork():
        os.waitpid(child, 0)
    else:
        chats = SessionStore(store)
        chats.add_turn(chats.begin("model", ""), 0, "last words", "model")
        os._exit(0)  # nothing is closed
    assert store.with_name("chats.db-wal").stat().st_size > 0
    mount("--bind", home, home)
    mount("-o", "remount,bind,ro", home)
    assert list_titles(Program(home)) == ["last words"]


if __name__ == "__main__":
    {"full": full, "read_only": read_only, "killed": killed}[sys.argv[1]](Path(sys.argv[2]))
