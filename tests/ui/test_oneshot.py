import json

import pytest

from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.session import Session
from g3n_cli.errors import Terminated
from g3n_cli.ui.oneshot import answer_as_json, answer_as_text, note_stats
from tests.fakes import make_engine, make_terminal

GREEDY = AnswerOptions(seed=11, temp=0)


def make_session(*answers, **settings):
    return Session(make_engine(*answers, **settings), GREEDY)


@pytest.mark.parametrize(
    ("answer", "shown"), [("Hi", "Hi\n"), ("Hi\n", "Hi\n"), ("", "\n"), ("a\x1b[1mb", "a␛[1mb\n")]
)
def test_answer_in_a_pipe_is_plain_text_with_a_newline(answer, shown):
    terminal = make_terminal()
    answer_as_text(make_session(answer), "Hello", terminal)
    assert terminal.stdout.getvalue() == shown
    assert terminal.stderr.getvalue() == ""


def test_answer_is_flushed_piece_by_piece():
    terminal = make_terminal()
    session = make_session("Hi!", errors={2: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        answer_as_text(session, "Hello", terminal)
    assert terminal.stdout.getvalue() == "Hi!\n"


def test_answer_on_a_terminal_is_drawn_as_markdown():
    terminal = make_terminal(is_screen=True)
    answer_as_text(make_session("**Hi**"), "Hello", terminal)
    assert "\x1b[1mHi" in terminal.stdout.getvalue()


def test_answer_on_a_dumb_terminal_is_plain():
    terminal = make_terminal(is_screen=True, is_dumb=True)
    answer_as_text(make_session("**Hi**"), "Hello", terminal)
    assert terminal.stdout.getvalue() == "**Hi**\n"


def test_json_holds_the_exact_text():
    terminal = make_terminal()
    answer_as_json(make_session("a\x1b\x9b\té"), "Hello", terminal, load_s=0.5)
    written = terminal.stdout.getvalue()
    answer = json.loads(written)
    assert answer["text"] == "a\x1b\x9b\té"
    assert answer["load_s"] == 0.5
    assert answer["seed"] == 11
    assert answer["stop_reason"] == "end"
    assert written.endswith("}\n")
    assert written.strip().replace("\\t", "").isprintable()


def test_interrupted_json_is_complete():
    terminal = make_terminal()
    session = make_session("Hi!", errors={1: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        answer_as_json(session, "Hello", terminal, load_s=0.5)
    answer = json.loads(terminal.stdout.getvalue())
    assert answer["text"] == "Hi"
    assert answer["stop_reason"] == "interrupted"


def test_terminated_json_says_nothing():
    terminal = make_terminal()
    session = make_session("Hi!", errors={1: Terminated()})
    with pytest.raises(Terminated):
        answer_as_json(session, "Hello", terminal, load_s=0.5)
    assert terminal.stdout.getvalue() == ""


def test_stats_are_one_line_on_stderr():
    terminal = make_terminal()
    session = make_session("Hi!")
    answer_as_text(session, "Hello", terminal)
    note_stats(session, terminal)
    (line,) = terminal.stderr.getvalue().splitlines()
    assert "answer 3" in line
    assert "first token" in line
    assert "ggml kernels" in line
