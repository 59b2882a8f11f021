import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from g3n_cli.chat.conversation import Question
from g3n_cli.chat.media import MediaStore
from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.saved import SavedChat
from g3n_cli.chat.session import Session
from g3n_cli.chat.states import StateFolder
from g3n_cli.chat.store import SessionStore
from g3n_cli.engine.encoders.open import Projector
from g3n_cli.errors import UsageError
from g3n_cli.media.attach import read_attachment
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.source import Source
from tests.fake_encoder import FakeProjector
from tests.fakes import make_engine, show_ids
from tests.media_files import encode, make_picture

GREEDY = AnswerOptions(seed=1, temp=0)


@pytest.fixture
def store(tmp_path):
    with closing(SessionStore(tmp_path / "chats.db")) as store:
        yield store


def begin(store, *answers, **settings):
    session = Session(make_engine(*answers, **settings), GREEDY, "Be brief.")
    session.recorder = SavedChat(store, StateFolder(store.path.parent / "kv"), session)
    return session


def say(session, *messages):
    for message in messages:
        list(session.reply(message))


def saved_turns(store, wanted="1"):
    return [(turn.user, turn.text) for turn in store.load(wanted).turns]


def test_nothing_is_saved_before_the_first_message(store):
    session = begin(store, "Hi!")
    assert store.list_sessions() == []
    say(session, "Hello")
    assert saved_turns(store) == [("Hello", "Hi!")]
    assert store.load("1").system == "Be brief."


def test_a_conversation_goes_on_with_the_tokens_it_had(store):
    say(begin(store, "Hi!"), "Hello")
    later = begin(store, "Bye.")
    later.recorder.resume()
    assert later.recorder.draft.text == ""
    say(later, "And?")
    assert saved_turns(store) == [("Hello", "Hi!"), ("And?", "Bye.")]
    assert later.turns[0].ids != ()
    read = show_ids(later.engine.prompts[0].ids.tolist())
    assert "Hello<end_of_turn>\n<start_of_turn>model\nHi!<end_of_turn>" in read


def test_another_model_reads_the_text_not_the_tokens(store):
    session = begin(store, "Hi!")
    say(session, "Hello")
    later = begin(store, "Bye.")
    later.engine.info = replace(later.engine.info, name="another")
    later.recorder.resume()
    assert later.turns[0].ids == ()
    say(later, "And?")
    read = show_ids(later.engine.prompts[0].ids.tolist())
    assert "<start_of_turn>model\nHi!<end_of_turn>" in read


def test_every_piece_is_saved_before_it_is_shown(store):
    session = begin(store, "Hi!")
    shown = ""
    for piece in session.reply("Hello"):
        shown += piece
        assert saved_turns(store) == [("Hello", shown)]


def test_a_message_is_saved_before_its_answer_begins(store):
    session = begin(store, "Hi!")

    def look(_done, _total):
        assert store.load("1").draft == "Hello"

    list(session.reply("Hello", look))


def test_answers_that_have_no_text_leave_nothing(store):
    session = begin(store, "Hi!", "")
    say(session, "Hello", "And?")
    assert saved_turns(store) == [("Hello", "Hi!")]
    assert store.load("1").draft == ""


def test_another_answer_takes_the_place_of_the_old_one_once_it_has_text(store):
    session = begin(store, "Hi!", "Hello there.", "")
    say(session, "Hello")
    reply = iter(session.regenerate())
    assert saved_turns(store) == [("Hello", "Hi!")]
    next(reply)
    assert saved_turns(store) == [("Hello", "H")]
    list(reply)
    assert saved_turns(store) == [("Hello", "Hello there.")]
    list(session.regenerate())
    assert saved_turns(store) == [("Hello", "Hello there.")]


def test_undo_and_clear(store):
    session = begin(store, "One.", "Two.", "Three.")
    say(session, "1", "2")
    session.undo()
    assert saved_turns(store) == [("1", "One.")]
    session.clear()
    say(session, "3")
    assert saved_turns(store) == [("1", "One.")]
    assert saved_turns(store, "2") == [("3", "Three.")]


def test_turns_that_no_longer_fit_the_context_stay_saved(store):
    session = begin(store, *["A long answer. " * 4] * 6, n_ctx=300)
    messages = [f"message {i}" for i in range(6)]
    say(session, *messages)
    assert len(session.turns) < 6
    assert [user for user, _ in saved_turns(store)] == messages


def test_two_chats_that_go_on_with_one_conversation_part(store):
    say(begin(store, "Hi!"), "Hello")
    one, two = begin(store, "One."), begin(store, "Two.")
    one.recorder.resume()
    two.recorder.resume()
    say(one, "1")
    say(two, "2")
    assert saved_turns(store, "1") == [("Hello", "Hi!"), ("1", "One.")]
    assert saved_turns(store, "2") == [("Hello", "Hi!"), ("2", "Two.")]
    (note,) = two.recorder.take_notes()
    assert "this one is now conversation 2" in note
    assert one.recorder.take_notes() == two.recorder.take_notes() == []


def while_waiting(step):
    """Does something once while a chat waits for its first token."""
    steps = [step]

    def look(_done, _total):
        if steps:
            steps.pop()()

    return look


def test_a_chat_that_waits_for_its_first_token_keeps_its_turn(store):
    say(begin(store, "Hi!"), "Hello")
    one, two = begin(store, "One."), begin(store, "Two.")
    one.recorder.resume()
    list(one.reply("1", while_waiting(two.recorder.resume)))
    assert saved_turns(store) == [("Hello", "Hi!"), ("1", "One.")]
    assert (two.recorder.draft.text, one.recorder.take_notes()) == ("1", [])
    say(two, "2")
    assert saved_turns(store) == [("Hello", "Hi!"), ("1", "One.")]
    assert saved_turns(store, "2") == [("Hello", "Hi!"), ("2", "Two.")]


@pytest.mark.parametrize("answer", ["One.", ""])
def test_a_chat_whose_turn_was_replaced_while_it_waited_goes_on_in_a_copy(store, answer):
    say(begin(store, "Hi!"), "Hello")
    one, two = begin(store, answer), begin(store, "Two.")
    one.recorder.resume()

    def speak():
        two.recorder.resume()
        say(two, "2")

    list(one.reply("1", while_waiting(speak)))
    assert saved_turns(store) == [("Hello", "Hi!"), ("2", "Two.")]
    if answer:
        assert saved_turns(store, "2") == [("Hello", "Hi!"), ("1", "One.")]
        (note,) = one.recorder.take_notes()
        assert "this one is now conversation 2" in note


def test_a_message_that_nobody_answered_makes_room_for_the_next(store):
    say(begin(store, "Hi!"), "Hello")
    store.add_turn(1, 1, "lost", "model")
    later = begin(store, "Bye.")
    later.recorder.resume()
    assert (later.recorder.draft.text, store.load("1").draft) == ("lost", "lost")
    say(later, "And?")
    assert saved_turns(store) == [("Hello", "Hi!"), ("And?", "Bye.")]
    assert later.recorder.take_notes() == []


@pytest.mark.parametrize("has_draft", [False, True])
def test_undo_leaves_what_another_chat_has_said(store, has_draft):
    say(begin(store, "Hi!"), "Hello")
    if has_draft:
        store.add_turn(1, 1, "lost", "model")
    one, two = begin(store, "One."), begin(store, "Two.")
    one.recorder.resume()
    two.recorder.resume()
    say(two, "2")
    one.undo()
    assert saved_turns(store) == [("Hello", "Hi!"), ("2", "Two.")]
    say(one, "1")
    assert saved_turns(store, "2") == [("1", "One.")]


def begin_seeing(store, answer, reader=None):
    """A chat that can be shown pictures, or cannot."""
    session = begin(store, answer)
    session.engine.info = replace(session.engine.info, n_embd=8)
    media = MediaStore(session.engine.info, (reader or FakeProjector()).open)
    session = Session(session.engine, GREEDY, media=media)
    session.recorder = SavedChat(store, StateFolder(store.path.parent / "kv"), session)
    return session


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(make_picture(), "PNG"))
    return path


SQUARE = MediaOptions(image_size=64)


def send(session, path):
    attachment = read_attachment(Source.of_path(path), SQUARE)
    list(session.reply(Question("What?", (attachment,))))
    return session.turns[-1].attachments[0]


def test_pictures_of_earlier_turns_are_read_again_as_they_were(store, picture):
    sent = send(begin_seeing(store, "A cat."), picture)
    later = begin_seeing(store, "Yes.")
    later.recorder.resume()
    (again,) = later.turns[0].attachments
    assert [part.content_hash for part in again.media] == [p.content_hash for p in sent.media]
    assert (again.name, later.recorder.take_notes()) == (sent.name, [])
    say(later, "Sure?")
    third = begin_seeing(store, "No.")
    third.recorder.resume()
    assert [len(turn.attachments) for turn in third.turns] == [1, 0]
    third.recorder.fork()
    assert [len(files) for files in store.load("2").files] == [1, 0]


def test_what_a_model_cannot_read_is_left_out_and_named(store, picture):
    send(begin_seeing(store, "A cat."), picture)
    blind = begin_seeing(store, "Yes.", Projector(None, 1))
    blind.recorder.resume()
    (note,) = blind.recorder.take_notes()
    assert f"reads no image: {picture}; its message goes on as text alone" in note
    say(blind, "Sure?")
    assert saved_turns(store) == [("What?", "A cat."), ("Sure?", "Yes.")]


def swap_bytes(path):
    """As long as before, and with the same times."""
    times = path.stat()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (Path.unlink, "is not there any more"),
        (swap_bytes, "has changed"),
        (lambda path: path.write_bytes(b"longer" * 999), "has changed"),
        (lambda path: (path.unlink(), path.mkdir()), "is not there any more"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "is not there any more"),
    ],
)
def test_a_file_that_is_gone_or_changed_is_named(store, picture, change, fault):
    send(begin_seeing(store, "A cat."), picture)
    change(picture)
    later = begin_seeing(store, "Yes.")
    later.recorder.resume()
    assert later.recorder.take_notes() == [f"{picture} {fault}; its message goes on as text alone"]
    assert later.turns[0].attachments == ()


def test_a_draft_comes_back_with_its_files(store, picture):
    session = begin_seeing(store, "A cat.")
    attachment = read_attachment(Source.of_path(picture), SQUARE)
    store.add_turn(store.begin("model", ""), 0, "What?", "model", (attachment,))
    session.recorder.resume()
    (again,) = session.recorder.draft.attachments
    assert (session.recorder.draft.text, again.name) == ("What?", str(picture))


def test_names_begin_and_find_conversations(store):
    session = begin(store, "Hi!")
    session.recorder.resume("rome", or_begin=True)
    say(session, "Hello")
    again = begin(store, "Bye.")
    again.recorder.resume("rome", or_begin=True)
    say(again, "And?")
    assert len(saved_turns(store, "rome")) == 2
    with pytest.raises(UsageError, match="no saved conversation is called 'paris'"):
        again.recorder.resume("paris")


def test_a_store_that_fails_ends_the_saving_not_the_chat(store):
    session = begin(store, "One.", "Two.")
    say(session, "1")
    store.close()
    say(session, "2")
    assert [turn.text for turn in session.turns] == ["One.", "Two."]
    (note,) = session.recorder.take_notes()
    assert note.startswith("the conversation is not saved any more")


def test_what_was_computed_is_not_computed_again(store):
    session = begin(store, "Hi!" * 100)
    say(session, "Hello")
    session.recorder.keep_state()
    later = begin(store, "Bye.")
    later.recorder.resume()
    assert "tokens from disk" in later.recorder.describe()
    reply = later.reply("And?")
    list(reply)
    assert reply.stats.reused_tokens == session.engine.n_past


def test_short_conversations_are_read_again(store):
    session = begin(store, "Hi!")
    say(session, "Hello")
    session.recorder.keep_state()
    assert not (store.path.parent / "kv").exists()
