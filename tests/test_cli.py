"""The program as a process, with a real model."""

import json
import os
import re
import signal
import subprocess
import sys

import pexpect
import pytest

from tests.program import ROOT

pytestmark = pytest.mark.model

G3N = [sys.executable, "-m", "g3n_cli"]
FIELDS = [
    *("text", "model", "prompt_tokens", "reused_tokens", "disk_tokens", "output_tokens"),
    *("draft_tokens", "draft_accepted", "load_s", "read_s", "encode_s", "prefill_s", "ttft_s"),
    *("prefill_tps", "decode_tps", "peak_rss_bytes", "stop_reason", "seed", "size"),
]


@pytest.fixture
def environment(tmp_path):
    ours = ("G3N_", "PYTHONUNBUFFERED")  # the program has to flush by itself
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "COLUMNS": "80"}


@pytest.fixture
def g3n(environment):
    def run(*arguments, stdin=b"", **more):
        result = subprocess.run(
            [*G3N, *arguments],
            input=stdin,
            capture_output=True,
            env=environment | more,
            timeout=120,
            check=False,
        )
        stderr = result.stderr.decode()
        assert "Traceback" not in stderr
        return result.returncode, result.stdout.decode(), stderr

    return run


def test_answer_alone_is_on_stdout(g3n):
    code, out, err = g3n("chat", "Say hello", "-n", "5", "--temp", "0")
    assert code == 0
    assert out.endswith("\n")
    assert out.strip()
    assert "\x1b" not in out
    assert err == ""


def test_json_has_exactly_its_fields(g3n):
    code, out, err = g3n("chat", "--json", "-n", "4", stdin=b"Name a river\n")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert list(answer) == FIELDS
    assert answer["output_tokens"] == 4
    assert answer["stop_reason"] == "length"
    assert answer["size"] == "full"
    assert 0 < answer["ttft_s"] < 60
    assert answer["peak_rss_bytes"] > 50e6


def test_the_readme_names_the_figures_of_an_answer():
    shown = re.search(r"prints one object: `([^`]*)`", (ROOT / "README.md").read_text())
    assert re.split(r",\s+", shown[1]) == FIELDS


def test_a_rate_without_meaning_is_null(g3n):
    _, out, _ = g3n("chat", "--json", "-n", "1", "Hi")
    assert json.loads(out)["decode_tps"] is None


def test_same_seed_same_answer_and_the_seed_is_told(g3n):
    first = json.loads(g3n("chat", "--json", "-n", "8", "Tell me a story")[1])
    again = json.loads(
        g3n("chat", "--json", "-n", "8", "Tell me a story", "--seed", str(first["seed"]))[1]
    )
    assert again["text"] == first["text"]
    assert again["seed"] == first["seed"]


def test_what_was_said_before_is_guessed_and_the_answer_is_the_same(g3n):
    question, told = "What does harbor mean?", {}
    for n in ("0", "3"):
        session = ("--session", f"of {n}", "--json", "--temp", "0", "--speculate", n, question)
        first, second = (json.loads(g3n("chat", *session)[1]) for _ in range(2))
        told[n] = first["text"], second["text"], second["draft_accepted"], second["draft_tokens"]
    assert told["0"][:2] == told["3"][:2]
    assert told["0"][2:] == (0, 0)
    assert 0 < told["3"][2] <= told["3"][3]


def test_argument_and_input_are_joined_by_a_blank_line(g3n):
    joined = g3n("chat", "--json", "-n", "1", "A\n\nB")[1]
    piped = g3n("chat", "--json", "-n", "1", "A", stdin=b"B\n")[1]
    assert json.loads(piped)["prompt_tokens"] == json.loads(joined)["prompt_tokens"]


def test_empty_input_is_ignored(g3n):
    alone = g3n("chat", "--json", "-n", "1", "A")[1]
    piped = g3n("chat", "--json", "-n", "1", "A", stdin=b"\n")[1]
    assert json.loads(piped)["prompt_tokens"] == json.loads(alone)["prompt_tokens"]


def test_stats_go_to_stderr(g3n):
    _, out, err = g3n("chat", "Hi", "-n", "2", "--stats")
    assert "first token" in err
    assert "first token" not in out


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "words"),
    [
        (["chat"], b"", 2, "no prompt"),
        (["chat", ""], b"", 2, "no prompt"),
        (["chat", "hi", "-n", "0"], b"", 2, "--max-tokens"),
        (["chat", "hi", "-n", "-3"], b"", 2, "--max-tokens"),
        (["chat", "hi", "--ctx", "0"], b"", 2, "--ctx"),
        (["chat", "hi", "--temp", "-1"], b"", 2, "--temp"),
        (["chat", "hi", "--top-p", "0"], b"", 2, "--top-p"),
        (["chat", "hi", "--stop", ""], b"", 2, "--stop"),
        (["chat", "hi", "--kv", "f8"], b"", 2, "--kv"),
        (["chat", "hi", "--heat", "1"], b"", 2, "--heat"),
        (["chat", "hi", "there"], b"", 2, "more than one prompt"),
        (["map", "{}", "--files", "a.txt", "b.txt"], b"", 2, "more than one prompt"),
        (["chat", "hi", "--ple", "x"], b"", 2, "'G3N_PLE'): 'x' is not one of"),
        (["caht"], b"", 2, "chat"),
        (["chat", "hi", "-m", "no-such-model"], b"", 3, "no-such-model"),
        (["chat", "hi", "-m", __file__], b"", 3, "GGUF"),
        (["chat"], b"a\0b", 4, "binary"),
        (["chat"], b"caf\xe9", 4, "UTF-8"),
        (["chat", "word " * 500, "--ctx", "256"], b"", 4, "256"),
        (["chat", "hi", "--grammar", "no-such-file"], b"", 4, "no-such-file"),
    ],
)
def test_failures_have_a_line_and_a_code(g3n, arguments, stdin, code, words):
    returned, out, err = g3n(*arguments, stdin=stdin)
    assert returned == code
    assert out == ""
    assert err.startswith("error: ")
    assert words in err


def test_flag_beats_environment_beats_file(g3n, tmp_path):
    config = tmp_path / "settings.toml"
    config.write_text("[chat]\nmax-tokens = 3\nseed = 1\n")

    def count(*flags, **environment):
        out = g3n("chat", "--json", "Hi there", *flags, G3N_CONFIG=str(config), **environment)[1]
        answer = json.loads(out)
        return answer["output_tokens"], answer["seed"]

    assert count() == (3, 1)
    assert count(G3N_MAX_TOKENS="2") == (2, 1)
    assert count("-n", "1", G3N_MAX_TOKENS="2") == (1, 1)


def test_a_wrong_setting_in_the_file_is_named(g3n, tmp_path):
    config = tmp_path / "settings.toml"
    config.write_text('[chat]\nctx = "big"\n')
    code, _, err = g3n("chat", "Hi", G3N_CONFIG=str(config))
    assert code == 2
    assert str(config) in err
    assert "ctx" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], "g3n chat"),
        (["chat", "--help"], "--json"),
        ([], "g3n chat"),
        (["--version"], "g3n "),
    ],
)
def test_help_is_on_stdout(g3n, arguments, words):
    code, out, err = g3n(*arguments)
    assert (code, err) == (0, "")
    assert words in out


def test_help_imports_nothing_heavy():
    heavy = "numpy rich prompt_toolkit llama_cpp jinja2 pydantic pygments"
    script = (
        "import sys\nfrom g3n_cli.app import run\nrun(['--help'])\n"
        f"sys.exit(', '.join(sys.modules.keys() & set({heavy.split()!r})) or 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")


class Running:
    """A chat that says a lot, in the background."""

    def __init__(self, environment, *flags):
        arguments = [*G3N, "chat", "What is the capital of France?", "--temp", "0", *flags]
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )

    def end_by(self, number):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        assert b"Traceback" not in err
        return self.process.returncode, out.decode(), err.decode()


def test_interrupted_answer_keeps_what_was_said(environment):
    running = Running(environment)
    first = running.process.stdout.read(1).decode()
    code, out, err = running.end_by(signal.SIGINT)
    assert (code, err) == (130, "")
    assert (first + out).endswith("\n")


def test_terminated_answer_ends_with_its_line(environment):
    running = Running(environment)
    first = running.process.stdout.read(1).decode()
    code, out, err = running.end_by(signal.SIGTERM)
    assert (code, err) == (143, "")
    assert (first + out).endswith("\n")


def test_a_reader_that_leaves_ends_the_answer_quietly(environment):
    running = Running(environment)
    running.process.stdout.read(1)
    running.process.stdout.close()
    assert running.process.wait(timeout=60) == 141
    assert running.process.stderr.read() == b""
    running.process.stderr.close()


@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
def test_an_answer_that_nobody_can_read_is_no_traceback(environment, redirection):
    command = f"{' '.join(G3N)} chat hi -n 3 {redirection}"
    result = subprocess.run(
        ["sh", "-c", command],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment,
        check=False,
    )
    assert result.returncode == (141 if redirection == ">&-" else 1)
    assert b"Traceback" not in result.stderr
    assert b"Exception" not in result.stderr


def test_conversation_terminated_in_the_middle_leaves_the_terminal_as_it_was(environment):
    terminal = environment | {"TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1"}
    chat = pexpect.spawn(G3N[0], [*G3N[1:], "chat", "-n", "9"], env=terminal, timeout=60)
    chat.expect_exact("Ask something")
    chat.send("Say hello\r")
    chat.expect_exact("Ask something")
    chat.kill(signal.SIGTERM)
    rest = chat.read()
    chat.close()
    assert chat.exitstatus == 143
    assert b"Traceback" not in rest
    assert rest.rstrip().endswith((b"\x1b[?2004l", b"\x1b[?25h"))  # paste mode off, cursor shown
