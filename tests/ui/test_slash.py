import base64

import pytest

from g3n_cli.chat.options import AnswerOptions, ServerOptions
from g3n_cli.chat.remote import RemoteSession
from g3n_cli.chat.session import Session
from g3n_cli.engine.server import Server, ServerAddress
from g3n_cli.errors import UsageError
from g3n_cli.ui import clipboard
from g3n_cli.ui.files import Files
from g3n_cli.ui.slash import Draft, Leave, Regenerate, SlashCommands, read_command
from tests.fake_server import say, serve
from tests.fakes import make_engine, make_terminal


class Chat:
    """A conversation of one turn, and its commands."""

    def __init__(self, *answers):
        self.session = Session(make_engine(*answers), AnswerOptions(seed=5, temp=0))
        self.terminal = make_terminal(is_screen=True)
        self.slash = SlashCommands(self.session, self.terminal, Files(self.session, self.terminal))
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


@pytest.fixture
def remote():
    """A conversation of two turns with a server, the second of them counted, and its commands."""
    with serve(say("one"), say("two", " more", usage=(30, 2))) as fake:
        server = Server(ServerAddress.parse(fake.url), None, lambda _: None)
        chat = Chat()
        chat.session = RemoteSession(server, "m", ServerOptions())
        chat.slash = SlashCommands(chat.session, chat.terminal, Files(chat.session, chat.terminal))
        for text in ("x", "y"):
            list(chat.session.reply(text))
        yield chat


def test_commands_about_what_was_said_work_with_a_server(remote):
    assert remote.run("/regen") == Regenerate()
    assert remote.run("/edit") == Draft("y")
    remote.run("/undo")
    assert "Forgot: x" in remote.said
    remote.run("/clear")
    assert "Forgot 0 turns." in remote.said
    remote.run("/system Be brief.")
    assert remote.session.system == "Be brief."


def test_options_of_a_server_are_its_own_until_they_are_set(remote):
    remote.run("/set")
    assert remote.said.count("as the server has it") == 7
    remote.run("/set top-k 5")
    assert remote.session.options == ServerOptions(top_k=5)
    assert "top_k           5" in remote.said
    remote.run("/set top-k none")
    assert remote.session.options == ServerOptions()


def test_context_and_figures_of_a_server_are_as_far_as_it_tells_them(remote):
    remote.run("/context")
    assert "2 turns: 32 tokens" in remote.said
    remote.run("/stats")
    assert "answer 2" in remote.said
    assert "RSS" not in remote.said
    assert "kernels" not in remote.said
    remote.run("/undo")
    remote.run("/context")
    assert "does not count tokens" in remote.said


def test_the_size_of_a_servers_model_is_the_servers(remote):
    with pytest.raises(UsageError, match="the size that the server gives it"):
        remote.run("/size small")
