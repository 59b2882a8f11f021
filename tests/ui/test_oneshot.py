import json

import pytest

from g3n_cli.chat.options import AnswerOptions
from g3n_cli.chat.session import Session
from g3n_cli.errors import Terminated
from g3n_cli.ui.oneshot import Form, note_stats
from g3n_cli.ui.oneshot import answer as give
from tests.fakes import make_engine, make_terminal

GREEDY = AnswerOptions(seed=11, temp=0)
TEXT, JSON = Form(), Form(as_json=True)


def make_session(*answers, **settings):
    return Session(make_engine(*answers, **settings), GREEDY)


@pytest.mark.parametrize(
    ("answer", "shown"), [("Hi", "Hi\n"), ("Hi\n", "Hi\n"), ("", "\n"), ("a\x1b[1mb", "a␛[1mb\n")]
)
def test_answer_in_a_pipe_is_plain_text_with_a_newline(answer, shown):
    terminal = make_terminal()
    give(make_session(answer), "Hello", terminal, TEXT)
    assert terminal.stdout.getvalue() == shown
    assert terminal.stderr.getvalue() == ""


def test_answer_is_flushed_piece_by_piece():
    terminal = make_terminal()
    session = make_session("Hi!", errors={2: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        give(session, "Hello", terminal, TEXT)
    assert terminal.stdout.getvalue() == "Hi!\n"


def test_answer_on_a_terminal_is_drawn_as_markdown():
    terminal = make_terminal(is_screen=True)
    give(make_session("**Hi**"), "Hello", terminal, TEXT)
    assert "\x1b[1mHi" in terminal.stdout.getvalue()


def test_answer_on_a_dumb_terminal_is_plain():
    terminal = make_terminal(is_screen=True, is_dumb=True)
    give(make_session("**Hi**"), "Hello", terminal, TEXT)
    assert terminal.stdout.getvalue() == "**Hi**\n"


def test_json_holds_the_exact_text():
    terminal = make_terminal()
    give(make_session("a\x1b\x9b\té"), "Hello", terminal, JSON, load_s=0.5)
    written = terminal.stdout.getvalue()
    told = json.loads(written)
    assert told["text"] == "a\x1b\x9b\té"
    assert told["load_s"] == 0.5
    assert told["seed"] == 11
    assert told["stop_reason"] == "end"
    assert written.endswith("}\n")
    assert written.strip().replace("\\t", "").isprintable()


def test_interrupted_json_is_complete():
    terminal = make_terminal()
    session = make_session("Hi!", errors={1: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        give(session, "Hello", terminal, JSON, load_s=0.5)
    told = json.loads(terminal.stdout.getvalue())
    assert told["text"] == "Hi"
    assert told["stop_reason"] == "interrupted"


def test_terminated_json_says_nothing():
    terminal = make_terminal()
    session = make_session("Hi!", errors={1: Terminated()})
    with pytest.raises(Terminated):
        give(session, "Hello", terminal, JSON, load_s=0.5)
    assert terminal.stdout.getvalue() == ""


def test_stats_are_one_line_on_stderr():
    terminal = make_terminal()
    session = make_session("Hi!")
    give(session, "Hello", terminal, TEXT)
    note_stats(session, terminal)
    (line,) = terminal.stderr.getvalue().splitlines()
    assert "answer 3" in line
    assert "first token" in line
    assert "ggml kernels" in line


BLOCKS = "Here:\n\n```python\nfirst = 1\n```\n\nor\n\n~~~\nlast\x1b\n~~~\n"


@pytest.mark.parametrize(
    ("extract", "shown"), [("first", "first = 1\n"), ("last", "last␛\n"), (None, BLOCKS)]
)
def test_a_block_alone_is_written_and_all_of_the_answer_kept(extract, shown):
    terminal, session = make_terminal(), make_session(BLOCKS)
    give(session, "Hello", terminal, Form(extract=extract))
    assert terminal.stdout.getvalue() == shown.replace("\x1b", "␛")
    assert session.turns[0].text == BLOCKS


def test_an_interrupted_answer_has_no_block():
    terminal = make_terminal()
    session = make_session(BLOCKS, errors={40: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt):
        give(session, "Hello", terminal, Form(extract="first"))
    assert terminal.stdout.getvalue() == ""


def test_a_block_that_may_be_cut_off_is_said_to_be():
    terminal = make_terminal()
    session = Session(make_engine(BLOCKS), AnswerOptions(seed=1, temp=0, max_tokens=22))
    give(session, "Hello", terminal, Form(extract="first"))
    assert terminal.stdout.getvalue() == "first\n"
    assert "warning: the answer is cut off (length)" in terminal.stderr.getvalue()


def test_json_holds_the_block_beside_the_answer():
    terminal = make_terminal()
    give(make_session(BLOCKS), "Hello", terminal, Form(as_json=True, extract="first"))
    told = json.loads(terminal.stdout.getvalue())
    assert (told["text"], told["extracted"]) == (BLOCKS, "first = 1\n")


def make_drawing_session(*answers):
    """Of the first answer the prompt is read in two parts: the engine has an answer to each."""
    return Session(make_engine(*answers), AnswerOptions(seed=2**32 - 2, top_k=1))


def test_several_answers_stand_apart_and_the_last_one_is_kept():
    terminal, session = make_terminal(), make_drawing_session("", "one", "two", "three")
    give(session, "Hello", terminal, Form(num=3))
    assert terminal.stdout.getvalue() == "one\n\ntwo\n\nthree\n"
    assert terminal.stderr.getvalue() == "--- 1 of 3\n--- 2 of 3\n--- 3 of 3\n"
    assert [(turn.user, turn.text) for turn in session.turns] == [("Hello", "three")]


def test_several_answers_in_json_are_lines_with_seeds_that_follow_each_other():
    terminal = make_terminal()
    give(make_drawing_session("", "one", "two", "three"), "Hello", terminal, Form(True, num=3))
    told = [json.loads(line) for line in terminal.stdout.getvalue().splitlines()]
    assert [(each["text"], each["seed"]) for each in told] == [
        ("one", 2**32 - 2),
        ("two", 2**32 - 1),
        ("three", 0),
    ]


def test_several_answers_read_the_prompt_once():
    terminal, session = make_terminal(), make_drawing_session("", "one", "two", "three")
    give(session, "Hello", terminal, Form(num=3, show_stats=True))
    n_prompt = len(session.engine.prompts[-1])
    figures = [line for line in terminal.stderr.getvalue().splitlines() if "prompt" in line]
    assert "reused" not in figures[0]
    assert [f"prompt {n_prompt} ({n_prompt - 1} reused)" in line for line in figures[1:]] == [
        True,
        True,
    ]


def test_an_empty_answer_among_several_leaves_earlier_turns_alone():
    terminal, session = make_terminal(), make_drawing_session("before", "", "", "", "two", "")
    give(session, "First", terminal, Form())
    give(session, "Hello", terminal, Form(True, num=3))
    assert [(turn.user, turn.text) for turn in session.turns] == [
        ("First", "before"),
        ("Hello", "two"),
    ]
    told = [json.loads(line) for line in terminal.stdout.getvalue().splitlines()[1:]]
    assert [each["seed"] for each in told] == [2**32 - 2, 2**32 - 1, 0]
