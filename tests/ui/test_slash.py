import base64

import pytest

from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.session import Session
from g3n_cli.errors import UsageError
from g3n_cli.ui import clipboard
from g3n_cli.ui.slash import Draft, Leave, Regenerate, SlashCommands, read_command
from tests.fakes import make_engine, make_terminal


class Chat:
    """A conversation of one turn, and its commands."""

    def __init__(self, *answers):
        self.session = Session(make_engine(*answers), AnswerOptions(seed=5, temp=0))
        self.terminal = make_terminal(is_screen=True)
        self.slash = SlashCommands(self.session, self.terminal)
        for answer in answers:
            list(self.session.reply(f"Tell me {answer}"))

    def run(self, line):
        return self.slash.run(*read_command(line))

    @property
    def said(self):
        return self.terminal.stderr.getvalue()


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("/help", ("help", "")),
        (" /SET temp 0.5 ", ("set", "temp 0.5")),
        ("/?", ("?", "")),
        ("/", ("", "")),
        ("/no/such/path is wrong", None),
        ("/tmp", None),
        ("//help", None),
        ("what is /help", None),
        ("", None),
    ],
)
def test_commands_are_told_from_messages(line, command):
    assert read_command(line) == command


@pytest.mark.parametrize("line", ["/exit", "/quit", "/bye"])
def test_leaving(line):
    assert Chat().run(line) == Leave()


def test_help_names_every_command():
    chat = Chat()
    chat.run("/?")
    for name in chat.slash.commands:
        assert f"/{name}" in chat.said


def test_unknown_command_is_suggested():
    chat = Chat()
    assert not chat.slash.knows("regn")
    with pytest.raises(UsageError) as caught:
        chat.run("/regn")
    assert "/regen" in caught.value.hint


def test_arguments_that_mean_nothing_are_refused():
    with pytest.raises(UsageError, match="no argument"):
        Chat("a").run("/undo 2")


def test_system_text_is_set_shown_and_removed():
    chat = Chat()
    chat.run("/system Be brief.")
    assert chat.session.system == "Be brief."
    chat.run("/system")
    assert chat.said.count("Be brief.") == 2
    chat.run("/system -")
    assert chat.session.system == ""


def test_options_are_set_and_shown():
    chat = Chat()
    chat.run("/set temp 0.5")
    assert chat.session.options.temp == 0.5
    chat.run("/set")
    for name in ("top_k", "max_tokens", "seed"):
        assert name in chat.said
    with pytest.raises(UsageError):
        chat.run("/set temp")
    with pytest.raises(UsageError):
        chat.run("/set temp warm")
    assert chat.session.options.temp == 0.5


def test_undo_edit_and_regen():
    chat = Chat("one", "two", "three")
    assert chat.run("/regen") == Regenerate()
    assert chat.run("/edit") == Draft("Tell me three")
    chat.run("/undo")
    assert "Forgot: Tell me two" in chat.said
    chat.run("/clear")
    assert "Forgot 1 turn." in chat.said
    assert chat.session.turns == []
    with pytest.raises(UsageError, match="nothing was said"):
        chat.run("/undo")


def test_context_shows_how_full_it_is():
    chat = Chat("a" * 1000)
    chat.run("/context")
    assert f"{chat.session.count_used():,} of 4,096 tokens" in chat.said
    assert "1 turn:" in chat.said
    assert "1,000 of answers" in chat.said


def test_stats_of_the_last_answer():
    chat = Chat("abc")
    chat.run("/stats")
    assert "answer 3" in chat.said
    with pytest.raises(UsageError):
        Chat().run("/stats")


@pytest.fixture
def _no_desktop(monkeypatch):
    monkeypatch.setattr(clipboard.shutil, "which", lambda _: None)


def copied(chat):
    written = chat.terminal.stdout.getvalue()
    assert written.startswith("\x1b]52;c;")
    return base64.b64decode(written[7:-1]).decode()


@pytest.mark.usefixtures("_no_desktop")
def test_copy_asks_the_terminal():
    chat = Chat("Grüße")
    chat.run("/copy")
    assert copied(chat) == "Grüße"


@pytest.mark.usefixtures("_no_desktop")
def test_copy_code_takes_the_blocks_alone():
    chat = Chat("Do\n```sh\nls\n```\nthen\n~~~~\ncd\n~~~~\n")
    chat.run("/copy code")
    assert copied(chat) == "ls\n\ncd\n"
    with pytest.raises(UsageError, match="no code"):
        Chat("plain").run("/copy code")


def test_copy_uses_the_desktops_tool(monkeypatch, tmp_path):
    tool = tmp_path / "wl-copy"
    tool.write_text(f"#!/bin/sh\ncat > {tmp_path}/clipboard\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("WAYLAND_DISPLAY", "wayland-0")
    chat = Chat("text")
    chat.run("/copy")
    assert (tmp_path / "clipboard").read_text() == "text"
    assert "wl-copy" in chat.said


def test_sizes_are_listed_and_chosen():
    chat = Chat("a")
    chat.run("/size")
    assert "* full" in chat.said
    assert "1.00b" in chat.said
    chat.run("/size small")
    assert chat.session.engine.info.size == "small"
    assert chat.session.engine.n_past > 0
    chat.run("/size full --recompute")
    assert (chat.session.engine.info.size, chat.session.engine.n_past) == ("full", 0)
    assert "read again" in chat.said


def test_a_change_of_size_can_be_stopped():
    chat = Chat("a")

    def resize(*_, **__):
        raise KeyboardInterrupt

    chat.session.engine.resize = resize
    assert chat.run("/size small") is None
    assert "(stopped, still full)" in chat.said


@pytest.mark.parametrize("line", ["/size nothing", "/size small full", "/size --recompute"])
def test_a_size_that_is_none_changes_nothing(line):
    chat = Chat("a")
    with pytest.raises(UsageError):
        chat.run(line)
    assert chat.session.engine.info.size == "full"
