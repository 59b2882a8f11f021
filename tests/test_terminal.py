"""A conversation at a pseudo-terminal, as a person has it."""

import contextlib
import json
import re
import signal
import termios

import pexpect
import pytest

from tests import fake_server
from tests.media_files import encode, make_picture
from tests.model_files import SMALL8
from tests.program import COMMAND, ROOT, make_environment
from tests.test_cli_files import BAD

READY = "Ask something, or /help"
TIMEOUT_S = 30
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\r")
ASK_CURSOR, CURSOR_AT_TOP = "\x1b[6n", "\x1b[1;1R"
CTRL_C, CTRL_D, CTRL_U = "\x03", "\x04", "\x15"
SMOLLM2 = ("-m", "smollm2", "--temp", "0")

# From Python 3.12 on; what pexpect forks becomes another program at once.
pytestmark = pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")


@pytest.fixture
def open_chat(tmp_path):
    """Starts chats and ends those that are left."""
    with contextlib.ExitStack() as stack:

        def start(*arguments, home=tmp_path, wanted=READY, tells_cursor=False):
            quiet = "" if tells_cursor else "1"  # do not ask where the cursor is
            environment = make_environment(home, PROMPT_TOOLKIT_NO_CPR=quiet)
            child = pexpect.spawn(
                COMMAND[0],
                [*COMMAND[1:], "chat", *map(str, arguments)],
                cwd=str(ROOT),
                env=environment,
                dimensions=(30, 100),
                encoding="utf-8",
                codec_errors="replace",
                timeout=TIMEOUT_S,
            )
            child.delaybeforesend = None
            stack.callback(child.close, force=True)
            child.expect_exact(wanted)
            return child

        yield start


def say(child, text):
    """Type a line; everything shown until the next one can be typed, without escapes."""
    child.send(text + "\r")
    child.expect_exact(READY)
    return ESCAPES.sub("", child.before)


def leave(child):
    child.send(CTRL_D)
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus


def test_the_first_line_names_model_and_ways_out(open_chat):
    chat = open_chat("-m", SMALL8, wanted="/help explains, Ctrl+D leaves.")
    assert SMALL8.stem in chat.before
    chat.expect_exact(READY)
    assert leave(chat) == 0


def test_g3n_ps_tells_a_conversation_that_waits(open_chat, g3n):
    chat = open_chat("-m", SMALL8, "-n", "3")
    say(chat, "one")
    (found,) = json.loads(g3n.run("ps", "--json").stdout)
    assert (found["pid"], found["command"], found["model"]) == (chat.pid, "chat", SMALL8.stem)
    assert (found["n_done"], found["n_now"]) == (1, 0)
    assert leave(chat) == 0
    assert json.loads(g3n.run("ps", "--json").stdout) == []


@pytest.mark.model
def test_a_message_is_answered_and_the_context_counted(open_chat, g3n):
    question = "What is the capital of France?"
    chat = open_chat(*SMOLLM2, "-n", "12", wanted=ASK_CURSOR, tells_cursor=True)
    chat.send(CURSOR_AT_TOP)
    chat.expect_exact("0 of 4,096 tokens")
    chat.send(question + "\r")
    chat.expect_exact(ASK_CURSOR)
    shown = ESCAPES.sub("", chat.before)
    assert g3n.chat(*SMOLLM2, "-n", "12", question).stdout.decode().strip() in shown
    assert "(ended by max_tokens)" in shown
    chat.send(CURSOR_AT_TOP)
    chat.expect(r"([0-9]+) of 4,096 tokens . [0-9.]+ tok/s")
    assert int(chat.match[1]) > 12
    assert leave(chat) == 0


@pytest.mark.model
def test_what_was_said_is_remembered(open_chat):
    chat = open_chat(*SMOLLM2, "-n", "12")
    say(chat, "What is the capital of France?")
    say(chat, "/undo")
    assert "nothing" in say(chat, "/undo")
    say(chat, "Name a colour.")
    assert "1 turn:" in say(chat, "/context")
    assert "Forgot 1 turn." in say(chat, "/clear")


def test_slash_commands_answer(open_chat):
    chat = open_chat("-m", SMALL8, "--temp", "0", "-n", "4")
    shown = say(chat, "/help")
    for name in ("/regen", "/undo", "/clear", "/system", "/set", "/copy", "/exit", "Ctrl+D"):
        assert name in shown
    assert "error: nothing was said yet" in say(chat, "/stats")
    say(chat, "hi")
    assert "answer 4 at" in say(chat, "/stats")
    chat.send("/stat\r")
    chat.expect_exact("did you mean /stats?")
    chat.expect_exact("> ")
    chat.send(CTRL_U)  # the line came back to be corrected
    chat.expect_exact(READY)
    assert "0.7" in say(chat, "/set temp 0.7")
    chat.send("/exit\r")
    chat.expect(pexpect.EOF)
    chat.wait()
    assert chat.exitstatus == 0


def test_ctrl_c_in_an_answer_keeps_what_was_said(open_chat):
    chat = open_chat("-m", SMALL8, "--temp", "0", "--ctx", "2048")
    chat.send("hi\r")
    chat.expect("(?s)hi.*[a-z]{2}")
    chat.send(CTRL_C)
    chat.expect_exact("(stopped)")
    chat.expect_exact(READY)
    assert "1 turn:" in say(chat, "/context")
    assert "interrupted" in say(chat, "/stats")
    assert leave(chat) == 0


@pytest.mark.model
def test_ctrl_c_while_a_long_message_is_read_gives_it_back(open_chat):
    chat = open_chat(*SMOLLM2, "--ctx", "8192")
    words = "The quick brown fox jumps over the lazy dog. " * 600
    chat.send(f"\x1b[200~{words}\x1b[201~")
    chat.send("\r")
    chat.expect_exact("reading ")  # the bar
    chat.send(CTRL_C)
    chat.expect_exact("(stopped)")
    chat.expect("lazy dog")
    assert chat.isalive()


def test_two_ctrl_c_at_an_empty_line_leave_with_130(open_chat):
    chat = open_chat("-m", SMALL8)
    chat.send(CTRL_C)
    chat.expect_exact("(Ctrl+C again leaves)")
    chat.expect_exact(READY)
    chat.send(CTRL_C)
    chat.expect(pexpect.EOF)
    chat.wait()
    assert chat.exitstatus == 130


def test_a_pasted_text_of_many_lines_is_one_message(open_chat):
    chat = open_chat("-m", SMALL8, "--temp", "0", "-n", "3")
    chat.send("\x1b[200~one\ntwo\nthree\x1b[201~")
    say(chat, "")
    assert "1 turn:" in say(chat, "/context")


def test_history_outlives_the_chat(open_chat, tmp_path):
    chat = open_chat("-m", SMALL8, "--temp", "0", "-n", "3")
    say(chat, "remember me")
    assert leave(chat) == 0
    history = next(tmp_path.rglob("history"))
    assert "remember me" in history.read_text("utf-8")
    assert history.stat().st_mode & 0o077 == 0
    again = open_chat("-m", SMALL8)
    again.send("\x1b[A")
    again.expect_exact("remember me")


def test_a_home_that_cannot_be_written_is_told_and_survived(open_chat, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    chat = open_chat("-m", SMALL8, "-n", "3", home=tmp_path / "file", wanted="warning: history")
    chat.expect_exact(READY)
    say(chat, "hi")
    assert leave(chat) == 0


@pytest.mark.parametrize("is_answering", [False, True])
def test_sigterm_leaves_with_143_and_the_terminal_as_it_was(open_chat, is_answering):
    chat = open_chat("-m", SMALL8, "--temp", "0", "--ctx", "2048")
    if is_answering:
        chat.send("hi\r")
        chat.expect("(?s)hi.*[a-z]{2}")
    else:
        assert not read_echo(chat)
    chat.kill(signal.SIGTERM)
    chat.expect(pexpect.EOF)
    assert "Traceback" not in chat.before
    assert read_echo(chat)
    chat.wait()
    assert chat.exitstatus == 143


def read_echo(child):
    """Whether the terminal shows what is typed, and takes it by lines."""
    local = termios.tcgetattr(child.child_fd)[3]
    return bool(local & termios.ECHO and local & termios.ICANON)


def test_an_answer_to_a_terminal_needs_no_conversation(open_chat):
    chat = open_chat("-m", SMALL8, "--temp", "0", "-n", "3", "hi", wanted=pexpect.EOF)
    chat.wait()
    assert chat.exitstatus == 0


def test_bad_files_cost_a_line_and_nothing_of_the_conversation(open_chat, media_model, tmp_path):
    chat = open_chat("-m", media_model, "-n", "2", "--image-size", "256", "--no-preview")
    say(chat, "Hello")
    for name, make in BAD.items():
        path = tmp_path / name
        path.write_bytes(make(tmp_path))
        told = say(chat, f"/file {path}")
        # On the screen the error takes the place of "reading ...".
        assert len(re.findall(f"error: .*{name}", told)) == 1, told
    (tmp_path / "good.png").write_bytes(encode(make_picture(), "PNG"))
    assert "good.png: picture" in say(chat, f"/file {tmp_path / 'good.png'}")
    say(chat, "What is this?")
    assert "2 turns" in say(chat, "/context")
    assert leave(chat) == 0


def test_a_conversation_with_a_server(open_chat):
    answers = [
        fake_server.say("First answer", usage=(9, 2)),
        fake_server.fail(500),
        fake_server.stall(fake_server.make_event("Hello there")),
    ]
    with fake_server.serve(*answers) as fake:
        chat = open_chat("--device", fake.url, wanted="first at 127.0.0.1:")
        chat.expect_exact(READY)
        assert "First answer" in say(chat, "hi")
        assert "11 tokens" in say(chat, "/context")
        chat.send("again\r")
        chat.expect_exact("answers 500")
        assert "(stopped)" not in chat.before
        chat.expect_exact("again")  # comes back into the line
        chat.send("\r")
        chat.expect_exact("Hello there")
        chat.send(CTRL_C)
        chat.expect_exact("(stopped)")
        chat.expect_exact(READY)
        assert "2 turns" in say(chat, "/context")
        assert leave(chat) == 0
    assert [len(request["messages"]) for request in fake.requests] == [1, 3, 3]


def test_a_refusal_stays_in_sight_below_a_text_that_fills_the_screen(open_chat):
    chat = open_chat("-m", "g3n-mini", wanted=ASK_CURSOR, tells_cursor=True)
    chat.send(CURSOR_AT_TOP)
    chat.expect_exact(READY)
    lines = "".join(f"line {i} of a long text\n" for i in range(300))
    chat.send(f"\x1b[200~{lines}the end\x1b[201~")
    chat.expect_exact("the end")
    chat.send("\r")
    chat.expect_exact("the prompt has")
    chat.expect_exact(ASK_CURSOR)
    chat.send(CURSOR_AT_TOP)
    chat.expect_exact("the prompt has")  # once more, as the text comes back and fills the screen
