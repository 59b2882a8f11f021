from contextlib import closing

import pytest

from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.saved import SavedChat
from g3n_cli.chat.session import Session
from g3n_cli.chat.states import StateFolder
from g3n_cli.chat.store import SessionStore
from g3n_cli.errors import UsageError
from g3n_cli.ui.files import Files
from g3n_cli.ui.slash import SlashCommands, read_command
from g3n_cli.ui.slash_types import Draft
from tests.fakes import make_engine, make_terminal


class SavedConversation:
    """A saved chat, its commands and what they say."""

    def __init__(self, store, *answers):
        self.store, self.terminal = store, make_terminal(is_screen=True)
        self.session = Session(make_engine(*answers), AnswerOptions(seed=5, temp=0))
        states = StateFolder(store.path.parent / "kv")
        self.session.recorder = SavedChat(store, states, self.session)
        self.slash = SlashCommands(self.session, self.terminal, Files(self.session, self.terminal))

    def say(self, message):
        list(self.session.reply(message))

    def run(self, line):
        """What comes of a command, and what it says."""
        self.terminal.stderr.seek(0)
        self.terminal.stderr.truncate()
        return self.slash.run(*read_command(line)), self.terminal.stderr.getvalue()


@pytest.fixture
def store(tmp_path):
    with closing(SessionStore(tmp_path / "chats.db")) as store:
        yield store


def test_save_tells_the_place_and_how_to_go_on(store):
    chat = SavedConversation(store, "Hi!")
    _, said = chat.run("/save")
    assert (str(store.path) in said, store.list_sessions()) == (True, [])
    chat.say("Hello")
    _, said = chat.run("/save")
    assert f"Kept as it goes in {store.path}; g3n chat --session 1 goes on." in said
    assert store.list_sessions()[0].name is None


@pytest.mark.parametrize("command", ["save", "rename"])
def test_a_name_is_given_and_given_anew(store, command):
    chat = SavedConversation(store, "Hi!")
    chat.say("Hello")
    chat.run("/save rome")
    _, said = chat.run(f"/{command} trip to Rome")
    assert "This is conversation 1, trip to Rome." in said
    assert f"in {store.path}; g3n chat --session 'trip to Rome' goes on." in said
    assert [info.name for info in store.list_sessions()] == ["trip to Rome"]
    with pytest.raises(UsageError, match="is no name"):
        chat.run(f"/{command} 12")


def test_fork_and_load(store):
    chat = SavedConversation(store, "Hi!", "Bye.")
    chat.say("Hello")
    assert "This is conversation 2" in chat.run("/fork")[1]
    store.add_turn(1, 1, "lost", "model")
    outcome, said = chat.run("/load 1")
    assert outcome == Draft("lost")
    assert "Conversation 1, 1 turn: Hello" in said
    assert "1 turn" in chat.run("/sessions")[1]
    with pytest.raises(UsageError, match="which conversation"):
        chat.run("/load")


def test_help_names_rename(store):
    assert "/rename" in SavedConversation(store).run("/help")[1]
