"""``g3n ps``: what runs is shown, and nothing of what is asked."""

import json
import stat
import time
from contextlib import contextmanager

import pytest

from tests.model_files import SMALL8

SECRET = "xylophone"
MANY = ("-m", SMALL8, "--num", "1000000", "-n", "4")
COMMANDS = {
    "chat": ("chat", *MANY, SECRET),
    "chat --no-save": ("chat", *MANY, "--no-save", SECRET),
    "map": ("map", "-m", SMALL8, "-n", "4", f"{SECRET} {{}}"),
    "bench": ("bench", "-m", SMALL8, "-t", "1", "-p", "8", "-n", "1", "-r", "1000000"),
}


def list_running(g3n):
    return json.loads(g3n.run("ps", "--json").stdout)


def wait_until_it_is_busy(g3n):
    """What is told of the one that runs, once it has answered and answers again."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for each in list_running(g3n):
            if each["n_done"] and each["n_now"] == 1:
                return each
    raise AssertionError("it is not shown as busy")


@contextmanager
def running(g3n, *command):
    """A command that is given many lines, killed in the end."""
    lines = g3n.home / "lines.txt"
    lines.write_text("word\n" * 100_000 if command[0] == "map" else "")
    with lines.open() as stdin:
        process = g3n.start(*command, stdin=stdin, stdout=None, stderr=None)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("name", COMMANDS)
def test_what_holds_a_model_is_shown_while_it_runs(g3n, name):
    command = COMMANDS[name]
    with running(g3n, *command) as process:
        found = wait_until_it_is_busy(g3n)
        assert (found["pid"], found["command"]) == (process.pid, command[0])
        assert (found["model"], found["size"], found["address"]) == (SMALL8.stem, "full", "")
        assert found["rss_bytes"] > 20e6
        file = g3n.home / "data" / "g3n" / "running" / f"{process.pid}.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert SECRET not in file.read_text()
    assert list_running(g3n) == []
    assert not file.exists()


def test_a_command_that_ends_leaves_no_file(g3n):
    assert g3n.chat("-n", "2", "hi").returncode == 0
    assert list((g3n.home / "data" / "g3n" / "running").iterdir()) == []


def test_files_of_processes_that_are_gone_are_taken_away(g3n):
    folder = g3n.home / "data" / "g3n" / "running"
    folder.mkdir(parents=True)
    gone = {
        "pid": 1,  # lives, but did not begin then
        "started": 1.5,
        "command": "serve",
        "model": "m",
        "size": "full",
        "address": "http://127.0.0.1:1",
        "n_done": 0,
        "n_now": 0,
    }
    (folder / "1.json").write_text(json.dumps(gone))
    (folder / "2.json").write_text("no JSON")
    (folder / "3.json").write_text(json.dumps({**gone, "pid": "1"}))
    done = g3n.run("ps", "--json")
    assert json.loads(done.stdout) == []
    assert sorted(file.name for file in folder.iterdir()) == ["2.json", "3.json"]
