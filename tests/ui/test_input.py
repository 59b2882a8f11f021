import os
import stat
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document

from g3n_cli.ui.completion import ChatCompleter
from g3n_cli.ui.files import find_paths
from g3n_cli.ui.history import ChatHistory

COMPLETER = ChatCompleter(
    {"help": "show help", "regen": "again", "set": "options", "file": "send"},
    {"set": ("temp", "top_k", "top_p"), "size": ("full", "small")},
    ["file"],
)


def complete(text, *, by_tab=True):
    event = CompleteEvent(completion_requested=by_tab)
    return [c.text for c in COMPLETER.get_completions(Document(text), event)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/", ["/help", "/regen", "/set", "/file"]),
        ("/re", ["/regen"]),
        ("/set to", ["top_k", "top_p"]),
        ("/size s", ["small"]),
        ("/regen s", []),
        ("asize s", []),
        ("he", []),
    ],
)
def test_commands_and_options_complete(text, expected):
    assert complete(text, by_tab=False) == expected


def test_paths_complete_on_tab_only(tmp_path):
    (tmp_path / "notes.txt").touch()
    text = f"read {tmp_path}/no"
    assert complete(text) == ["tes.txt"]
    assert complete(text, by_tab=False) == []


@pytest.mark.parametrize("typed", ["no", "./no", "{}/no", "~/no"])
def test_paths_complete_after_a_command_that_takes_one(tmp_path, monkeypatch, typed):
    (tmp_path / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert complete("/file " + typed.format(tmp_path)) == ["tes.txt"]
    assert complete(f"/regen {tmp_path}/no") == []


def test_spaces_in_paths_are_completed_so_that_they_are_found(tmp_path):
    path = tmp_path / "my notes.txt"
    path.touch()
    text = f"read {tmp_path}/my"
    (rest,) = complete(text)
    assert [found.name for found in find_paths(text + rest)] == [str(path)]
    assert complete(f"read {tmp_path}/my\\ no") == ["tes.txt"]
    assert complete(f"/file {tmp_path}/my no") == ["tes.txt"]


def test_history_is_kept_for_its_owner_alone(tmp_path):
    path = tmp_path / "state" / "history"
    ChatHistory(path).store_string("two\nlines")
    ChatHistory(path).store_string("three")
    assert list(ChatHistory(path).load_history_strings()) == ["three", "two\nlines"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("place", ["/dev/null/history", "/proc/history"])
def test_chat_goes_on_without_a_history_where_none_can_be(place):
    history = ChatHistory(Path(place))
    history.store_string("said")
    assert list(history.load_history_strings()) == []
    assert place in history.problem


def test_a_full_disk_ends_the_history_not_the_chat(tmp_path):
    path = tmp_path / "history"
    os.symlink("/dev/full", path)
    history = ChatHistory(path)
    assert history.problem is None
    history.store_string("said")
    assert "No space left" in history.problem
