"""The conversation as a person meets it, in a pseudo-terminal."""

import json
import os
import sys

import pexpect
import pytest

from tests.media_files import encode, make_picture

PROMPT = "Ask something"  # what stands in an empty input line
PATIENCE_S = 20


class Person:
    """Types and reads."""

    def __init__(self, home, **environment):
        self.child = pexpect.spawn(
            sys.executable,
            ["-m", "tests.ui.fake_chat"],
            env={
                **os.environ,
                "XDG_STATE_HOME": str(home),
                "TERM": "xterm-256color",
                "PROMPT_TOOLKIT_NO_CPR": "1",  # nobody answers where the cursor is
                **environment,
            },
            dimensions=(24, 80),
            encoding="utf-8",
            timeout=PATIENCE_S,
        )

    def see(self, text):
        self.child.expect_exact(text)

    def type(self, keys):
        self.child.send(keys)

    def say(self, text):
        self.type(text + "\r")

    def find_turns(self):
        """What was said, once the chat has ended."""
        self.child.expect(r"TURNS (\[.*\])")
        turns = json.loads(self.child.match[1])
        self.child.expect(pexpect.EOF)
        self.child.close()
        return turns


@pytest.fixture
def person(tmp_path):
    person = Person(tmp_path)
    person.see(PROMPT)
    yield person
    person.child.close(force=True)


def test_ask_read_and_leave_with_ctrl_d(person):
    person.say("Hello")
    person.see("First")
    person.see("answer")
    person.see(PROMPT)
    person.type("\x04")
    assert person.find_turns() == [["Hello", "First **answer**."]]
    assert person.child.exitstatus == 0


@pytest.mark.parametrize("newline", ["\n", "\x1b\r"])
def test_new_lines_in_a_message(person, newline):
    person.type(f"one{newline}two")
    person.say("")
    person.see("First")
    person.see(PROMPT)
    person.say("/exit")
    assert person.find_turns()[0][0] == "one\ntwo"


def test_pasted_lines_are_one_message(person):
    person.type("\x1b[200~one\r\ntwo\n\nthree\x1b[201~")
    person.say("")
    person.see("First")
    person.see(PROMPT)
    person.say("/exit")
    assert person.find_turns()[0][0] == "one\ntwo\n\nthree"


def test_ctrl_c_stops_the_answer_keeps_it_and_leaves_the_second_time(person):
    person.say("a")
    person.see("answer")
    person.see(PROMPT)
    person.say("b")
    person.see("Second. More words. More")
    person.type("\x03")
    person.see("(stopped)")
    person.see("Ctrl+C again leaves")
    person.see(PROMPT)
    person.type("\x03")
    (_, (message, answer)) = person.find_turns()
    assert message == "b"
    assert answer.startswith("Second. More words. ")
    assert len(answer) < 5000
    assert person.child.exitstatus == 130


def test_ctrl_c_clears_the_line_before_it_leaves(person):
    person.type("never sent")
    person.see("never sent")
    person.type("\x03")
    person.type("\x03")
    person.see("Ctrl+C again leaves")
    person.say("Hello")
    person.see("answer")
    person.see(PROMPT)
    person.type("\x03")
    person.see("Ctrl+C again leaves")
    person.see(PROMPT)
    person.type("\x03")
    assert [turn[0] for turn in person.find_turns()] == ["Hello"]


def test_what_is_typed_during_an_answer_is_the_next_message(person):
    person.say("a")
    person.see("answer")
    person.see(PROMPT)
    person.say("b")
    person.see("More")
    person.type("\x03")
    person.see("(stopped)")
    person.say("typed ahead")
    person.see("Third.")
    person.see(PROMPT)
    person.say("/exit")
    assert [turn[0] for turn in person.find_turns()] == ["a", "b", "typed ahead"]


def test_an_unknown_command_comes_back_into_the_line(person):
    person.say("/undoo")
    person.see("did you mean /undo?")
    person.see("/undoo")
    person.type("\x03")
    person.say("//text")
    person.see("answer")
    person.see(PROMPT)
    person.say("/exit")
    assert person.find_turns()[0][0] == "/text"


def test_edit_brings_the_last_message_back(person):
    person.say("first tyr")
    person.see("answer")
    person.see(PROMPT)
    person.say("/edit")
    person.see("first tyr")
    person.type("\x7f")
    person.say("y")
    person.see("Second")
    person.type("\x03")
    person.see("(stopped)")
    person.see(PROMPT)
    person.say("/exit")
    assert [turn[0] for turn in person.find_turns()] == ["first tyy"]


def test_regen_answers_again(person):
    person.say("a")
    person.see("answer")
    person.see(PROMPT)
    person.say("/regen")
    person.see("Second")
    person.type("\x03")
    person.see("(stopped)")
    person.see(PROMPT)
    person.say("/exit")
    ((message, answer),) = person.find_turns()
    assert message == "a"
    assert answer.startswith("Second")


def test_history_lasts_until_the_next_chat(person, tmp_path):
    person.say("remember me")
    person.see("answer")
    person.see(PROMPT)
    person.say("/exit")
    person.find_turns()
    later = Person(tmp_path)
    later.see(PROMPT)
    later.type("\x1b[A\x1b[A")
    later.see("remember me")
    later.child.close(force=True)


def test_a_home_that_cannot_be_written_costs_only_the_history():
    person = Person("/dev/null")
    person.see("warning: history is not kept")
    person.see(PROMPT)
    person.say("Hello")
    person.see("answer")
    person.see(PROMPT)
    person.say("/exit")
    assert len(person.find_turns()) == 1


def test_a_dumb_terminal_gets_plain_text(tmp_path):
    person = Person(tmp_path, TERM="dumb")
    person.see(">")
    person.say("Hello")
    person.see("First **answer**.")
    person.see(">")
    person.type("\x04")
    assert len(person.find_turns()) == 1


def test_a_dropped_file_is_told_and_goes_with_the_next_message(person, tmp_path):
    path = tmp_path / "my notes.txt"
    path.write_text("words")
    person.say(str(path).replace(" ", "\\ "))
    person.see("my notes.txt: text, 1 line, ")
    person.see(PROMPT)
    person.say("Sum up")
    person.see("answer")
    person.see(PROMPT)
    person.say("/file")
    person.see("No files go with the next message.")
    person.say("/exit")
    assert person.find_turns() == [["Sum up", "First **answer**."]]


def test_edit_tells_of_the_files_that_come_back(person, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("words")
    person.say(f"/file {path}")
    person.see("a.txt: text")
    person.see(PROMPT)
    person.say("Sum up")
    person.see("answer")
    person.see(PROMPT)
    person.say("/edit")
    person.see("a.txt: text")
    person.see("Sum up")


def test_a_file_named_in_a_message_is_sent_along_if_so_wished(person, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("words")
    person.say(f"What is in {path}?")
    person.see("Send a.txt: text, 1 line, ")
    person.say("y")
    person.see("First")
    person.see(PROMPT)
    person.say(f"What is in '{path}' now")
    person.see("Send a.txt: text, 1 line, ")
    person.say("n")
    person.see("Second")
    person.type("\x03")
    person.see("(stopped)")
    person.see(PROMPT)
    person.say("/exit")
    assert [turn[0] for turn in person.find_turns()] == [
        f"What is in {path}?",
        f"What is in '{path}' now",
    ]


def test_several_dropped_files_go_with_the_next_message(person, tmp_path):
    paths = [tmp_path / name for name in ("a.txt", "b.txt")]
    for path in paths:
        path.write_text("words")
    person.say(" ".join(map(str, paths)))
    person.see("a.txt: text, 1 line, ")
    person.see("b.txt: text, 1 line, ")
    person.see(PROMPT)
    person.say("Sum up")
    person.see("answer")
    person.see(PROMPT)
    person.say("/exit")
    assert person.find_turns() == [["Sum up", "First **answer**."]]


def test_a_message_about_a_file_that_cannot_be_read_can_be_sent(person, tmp_path):
    path = tmp_path / "program"
    path.write_bytes(bytes(range(256)))
    person.say(f"What does {path} do?")
    person.see("Send the message without it?")
    person.say("n")
    person.see("error: ")
    person.see(" do?")  # comes back into the line
    person.say("")
    person.see("Send the message without it?")
    person.say("")
    person.see("First")
    person.see(PROMPT)
    person.say("/exit")
    assert [turn[0] for turn in person.find_turns()] == [f"What does {path} do?"]


def test_a_file_that_cannot_be_read_loses_nothing(person, tmp_path):
    person.say("Hello")
    person.see("answer")
    person.see(PROMPT)
    (tmp_path / "a.png").write_bytes(b"words")
    person.say(f"/file {tmp_path / 'a.png'}")
    person.see("holds text, no picture")
    person.see(PROMPT)
    person.say("/exit")
    assert [turn[0] for turn in person.find_turns()] == ["Hello"]


def test_a_file_that_the_model_cannot_take_waits_until_it_is_taken_back(person, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(encode(make_picture(), "PNG"))
    person.say(f"/file {path}")
    person.see("picture, 40 x 30")
    person.see(PROMPT)
    person.say("What is it?")
    person.see("/file - takes them back")
    person.see("reads text only")
    person.type("\x03")
    person.say("/file -")
    person.see("No files go with the next message.")
    person.say("Hello")
    person.see("answer")
    person.see(PROMPT)
    person.say("/exit")
    assert [turn[0] for turn in person.find_turns()] == ["Hello"]
