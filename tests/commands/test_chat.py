import pytest

from g3n_cli.commands.asking import Wording, read_question
from g3n_cli.errors import InputError, UsageError
from g3n_cli.ui.terminal import Terminal
from tests.fakes import Pipe, Screen, make_terminal


@pytest.mark.parametrize(
    ("argument", "stdin", "prompt"),
    [
        ("ask", b"", "ask"),
        ("ask", b"\n", "ask"),
        ("ask", b"  \n", "ask"),
        (None, b"input\n", "input"),
        ("ask", b"input\n", "ask\n\ninput"),
        ("ask", b"two\nlines\n\n", "ask\n\ntwo\nlines\n"),
        (None, b"dos\r\n", "dos"),
        (None, b"  indented", "  indented"),
        (None, "\ufeffmärchen".encode(), "märchen"),
        ("", b"input", "input"),
    ],
)
def test_prompt_is_argument_and_input(argument, stdin, prompt):
    assert read_question(Wording(argument), make_terminal(stdin=stdin)) == prompt


@pytest.mark.parametrize(
    ("argument", "stdin"), [(None, b""), (None, b"\n"), ("", b""), (" ", b" ")]
)
def test_no_prompt_is_a_usage_error(argument, stdin):
    with pytest.raises(UsageError, match="no prompt"):
        read_question(Wording(argument), make_terminal(stdin=stdin))


@pytest.mark.parametrize("stdin", [b"\x7fELF\0\0", b"\xff\xfe", b"caf\xe9"])
def test_input_that_is_not_text_is_refused(stdin):
    with pytest.raises(InputError):
        read_question(Wording("ask"), make_terminal(stdin=stdin))


def test_a_person_whose_answer_goes_to_a_file_is_asked_to_type():
    terminal = Terminal(Screen("typed\n"), Pipe(), Screen())
    assert read_question(Wording(None), terminal) == "typed"
    assert "Ctrl+D" in terminal.stderr.getvalue()


def test_a_terminal_is_not_read_where_a_prompt_is_given():
    terminal = Terminal(Screen("typed\n"), Pipe(), Screen())
    assert read_question(Wording("ask"), terminal) == "ask"
