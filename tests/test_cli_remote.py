"""``--device``: the program as a process, with a server on this machine."""

import contextlib
import json
import signal
import subprocess
import sys
import time

import pexpect
import pytest

from tests.fake_server import fail, make_event, say, serve, stall, stream
from tests.model_files import SMALL8
from tests.program import COMMAND, ROOT, assert_fails, make_environment

KEY = "sk-very-secret"


def ask(g3n, fake, *arguments, **more):
    return g3n.run("chat", "--device", fake.url, *arguments, **more)


def test_the_answer_alone_is_on_stdout(g3n):
    with serve(say("Hel", "lo")) as fake:
        done = ask(g3n, fake, "hi", stdin="there\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"Hello\n", b"")
    assert fake.requests[0]["path"] == "/v1/chat/completions"
    assert fake.requests[0]["messages"] == [{"role": "user", "content": "hi\n\nthere"}]


def test_the_first_model_is_asked_unless_another_is_named(g3n):
    with serve(say("a"), say("b")) as fake:
        ask(g3n, fake, "hi")
        ask(g3n, fake, "-m", "other", "hi")
    assert [request["model"] for request in fake.requests] == ["first", "other"]


def test_json_claims_nothing_that_is_not_known(g3n):
    with serve(say("Hi", " you", usage=(9, 2))) as fake:
        told = json.loads(ask(g3n, fake, "--json", "hi").stdout)
    unknown = ("load_s", "prefill_tps", "peak_rss_bytes", "seed", "size")
    assert [told[name] for name in unknown] == [None] * len(unknown)
    assert (told["text"], told["model"], told["stop_reason"]) == ("Hi you", "first", "end")
    assert (told["prompt_tokens"], told["output_tokens"]) == (9, 2)
    assert told["ttft_s"] > 0


def test_stats_leave_out_what_is_not_known(g3n):
    with serve(say("Hi", " you")) as fake:
        line = ask(g3n, fake, "--stats", "hi").stderr.decode()
    assert line.startswith("first token ")
    assert "gaps " in line
    assert "RSS" not in line


def test_a_broken_stream_keeps_what_was_said_and_says_so(g3n):
    with serve(stream(make_event("Hel"), ends=False)) as fake:
        done = ask(g3n, fake, "hi")
    assert (done.returncode, done.stdout) == (1, b"Hel\n")
    assert done.stderr.decode().startswith("error: 127.0.0.1:")
    assert b"broke off" in done.stderr


def test_a_broken_stream_as_json_is_a_complete_object(g3n):
    with serve(stream(make_event("Hel"), ends=False)) as fake:
        done = ask(g3n, fake, "--json", "hi")
    told = json.loads(done.stdout)
    assert (done.returncode, told["text"], told["stop_reason"]) == (1, "Hel", "dropped")


@pytest.mark.parametrize("flags", [(), ("--json",)])
@pytest.mark.parametrize(
    ("behave", "code", "part"),
    [
        (fail(500, b'{"error": {"message": "no memory"}}'), 1, "500: no memory"),
        (fail(401), 1, "401"),
        (fail(404), 3, "404"),
        (stream(b"data: {\n\n"), 1, "no part of an answer"),
    ],
)
def test_failures_have_a_line_and_a_code(g3n, behave, code, part, flags):
    with serve(behave) as fake:
        assert_fails(ask(g3n, fake, *flags, "hi"), code, part)


def test_trying_again_is_told_on_stderr(g3n):
    with serve(fail(429, Retry_After="1"), say("Hi")) as fake:
        done = ask(g3n, fake, "hi")
    assert (done.returncode, done.stdout) == (0, b"Hi\n")
    assert b"trying again in 1 s" in done.stderr


def test_the_key_comes_from_the_environment_and_is_never_shown(g3n):
    with serve(fail(401, f'{{"error": "wrong key {KEY}"}}'.encode())) as fake:
        done = ask(g3n, fake, "hi", G3N_API_KEY=KEY)
        assert fake.requests[0]["headers"]["authorization"] == f"Bearer {KEY}"
    assert_fails(done, 1, "wrong key ***")
    assert KEY.encode() not in done.stderr


# From Python 3.12 on; what pexpect forks becomes another program at once.
@pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")
@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_at_a_terminal_it_says_who_is_waited_for(tmp_path, flags):
    with serve(fail(429, Retry_After="1"), stall()) as fake:
        child = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], "chat", "--device", fake.url, *flags, "hi"],
            cwd=str(ROOT),
            env=make_environment(tmp_path),
            encoding="utf-8",
            timeout=30,
        )
        with contextlib.closing(child):
            child.expect_exact("waiting for first at 127.0.0.1:")
            child.expect_exact("\x1b[2K127.0.0.1:")
            child.expect_exact("trying again in 1 s")
            child.sendintr()
            child.expect(pexpect.EOF)
            child.wait()
            assert child.exitstatus == 130


@pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")
def test_a_message_without_an_answer_comes_back_and_its_files_wait(tmp_path):
    (tmp_path / "note.txt").write_text("The sky is green.\n")
    with serve(say(), fail(500)) as fake:
        child = pexpect.spawn(
            COMMAND[0],
            [*COMMAND[1:], "chat", "--device", fake.url, "-f", str(tmp_path / "note.txt")],
            cwd=str(ROOT),
            env=make_environment(tmp_path, PROMPT_TOOLKIT_NO_CPR="1"),
            encoding="utf-8",
            timeout=30,
        )
        with contextlib.closing(child):
            child.expect_exact("Ask something")
            child.send("hello there\r")
            child.expect_exact("(an answer without text)")
            child.expect_exact("hello there")
            child.send("\r")
            child.expect_exact("(the files still wait")
            child.expect_exact("answers 500")


@pytest.mark.parametrize("key", ["sk-secret\r\nX: y", "sk-secr€t"])
def test_a_key_that_cannot_be_sent_is_not_shown_either(g3n, key):
    with serve() as fake:
        done = ask(g3n, fake, "hi", G3N_API_KEY=key)
    assert_fails(done, 2, "G3N_API_KEY")
    assert b"sk-" not in done.stderr


@pytest.mark.parametrize(
    "flags",
    [
        ("--kv", "q8_0"),
        ("--size", "full"),
        ("--ple", "ram"),
        ("--prefill", "full"),
        ("--kernels", "ggml"),
        ("--ctx", "9"),
        ("--threads", "1"),
        ("--no-repack",),
        ("--min-tps", "3"),
        ("--grammar", "no-such-file"),
    ],
    ids=str,
)
def test_settings_of_the_engine_are_refused_for_a_server(g3n, flags):
    with serve() as fake:
        done = ask(g3n, fake, *flags, "hi")
        assert_fails(done, 2, flags[0].replace("no-", ""), "not for a server")
        assert fake.requests == []


def test_defaults_for_models_here_do_not_stand_in_a_servers_way(g3n):
    with serve(say("Hi"), say("Hi")) as fake:
        assert ask(g3n, fake, "hi", G3N_KV="q8_0").returncode == 0
        (g3n.home / "config.toml").write_text('[chat]\nkv = "q8_0"\n')
        config = str(g3n.home / "config.toml")
        assert ask(g3n, fake, "hi", G3N_CONFIG=config).returncode == 0
        assert_fails(ask(g3n, fake, "hi", G3N_GRAMMAR="some.gbnf"), 2, "--grammar")


@pytest.mark.parametrize(
    ("device", "part"),
    [
        ("GPU9", "no device is called"),
        ("localhost:8080/v1", "no device is called"),
        ("ftp://host/v1", "no http:// or https:// address"),
        ("http://host/v1?a=b", "must end with its path"),
    ],
)
def test_a_device_that_is_none(g3n, device, part):
    done = g3n.chat("--device", device, "hi")
    assert_fails(done, 2, part)
    assert b"http://" in done.stderr


@pytest.mark.parametrize("device", ["cpu", "CPU"])
def test_the_cpu_is_a_device(g3n, device):
    assert g3n.chat("--device", device, "-n", 1, "hi").returncode == 0


@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_the_stream_and_keeps_what_was_said(g3n, signal_, code):
    with (
        serve(stall(make_event("Hello"))) as fake,
        g3n.start("chat", "--device", fake.url, "hi") as process,
    ):
        said = process.stdout.read(5)
        process.send_signal(signal_)
        rest, errors = process.communicate(timeout=30)
    assert (process.returncode, said + rest, errors) == (code, b"Hello\n", b"")


def test_an_interrupt_before_the_first_word_as_json(g3n):
    with (
        serve(stall()) as fake,
        g3n.start("chat", "--json", "--device", fake.url, "hi") as process,
    ):
        deadline = time.monotonic() + 30
        while not fake.requests and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    told = json.loads(output)
    assert (process.returncode, errors) == (130, b"")
    assert (told["text"], told["stop_reason"], told["ttft_s"]) == ("", "interrupted", None)


def test_a_chat_with_a_server_loads_no_engine(tmp_path):
    heavy = ("numpy", "llama_cpp", "jinja2", "prompt_toolkit")
    script = (
        "import sys\nfrom g3n_cli.app import run\ncode = run(sys.argv[1:])\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    with serve(say("Hi")) as fake:
        done = subprocess.run(
            [sys.executable, "-c", script, "chat", "--device", fake.url, "hi"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=ROOT,
            env=make_environment(tmp_path),
            check=True,
        )
    assert (done.stdout, done.stderr) == (b"Hi\n", b"[]\n")


def test_a_model_here_sends_nothing(g3n):
    with serve() as fake:
        done = g3n.chat("-m", SMALL8, "-n", 1, "hi", HTTP_PROXY=fake.url, G3N_API_KEY=KEY)
        assert done.returncode == 0
        assert fake.requests == []


@pytest.mark.model
def test_llama_cpp_pythons_server_answers(g3n, llama_server):
    arguments = ("chat", "--device", llama_server, "--temp", 0, "-n", 8)
    done = g3n.run(*arguments, "--json", "What is the capital of France?")
    told = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert told["text"].strip()
    assert (told["model"], told["stop_reason"]) == ("smol", "length")
    assert told["output_tokens"] is None  # it counts only answers that are not streamed
    plain = g3n.run(*arguments, "What is the capital of France?")
    assert plain.stdout.decode().strip() == told["text"].strip()


@pytest.mark.model
def test_llama_cpp_pythons_server_refuses_a_prompt_beyond_its_context(g3n, llama_server):
    done = g3n.run("chat", "--device", llama_server, "word " * 2000)
    assert_fails(done, 1, "has no room for all that was said")
    assert b"the message alone is too long" in done.stderr


@pytest.mark.model
def test_llama_cpp_pythons_server_goes_on_when_its_context_is_full(g3n, llama_server):
    chat = ("chat", "--device", llama_server, "-n", 4)
    assert g3n.run(*chat, "word " * 400).returncode == 0
    done = g3n.run(*chat, "-c", "word " * 200)
    assert done.returncode == 0, done.stderr.decode()
