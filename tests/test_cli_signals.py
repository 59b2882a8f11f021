"""SIGINT and SIGTERM while the program works."""

import json
import os
import signal
import subprocess
import time

import pytest

from tests.model_files import SMALL8

ENDLESS = ("--ctx", "2048", "--temp", "0", "hi")
LONG_TEXT = "The quick brown fox jumps over the lazy dog. " * 700
PATIENCE_S = 30


def start_prefill(g3n, *arguments, **streams):
    """SmolLM2 in the middle of reading 7,000 tokens, which takes it many seconds."""
    process = g3n.start(
        "chat", "-m", "smollm2", "--ctx", "8192", *arguments, stdin=subprocess.PIPE, **streams
    )
    process.stdin.write(LONG_TEXT.encode())
    process.stdin.close()
    process.stdin = None  # communicate() would flush it
    wait_until_it_computes(process)
    return process


def wait_until_it_computes(process):
    """Until it has used more processor time than starting and loading take."""
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with open(f"/proc/{process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        if int(fields[11]) > 2 * ticks_per_s:
            return
        time.sleep(0.02)
    raise AssertionError("it does not compute")


@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_in_an_answer_keeps_what_was_said(g3n, signal_, code):
    with g3n.start("chat", "-m", SMALL8, *ENDLESS) as process:
        first = process.stdout.read(1)
        process.send_signal(signal_)
        rest, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code
    assert (first + rest).endswith(b"\n")
    assert errors == b""


@pytest.mark.model
def test_an_interrupted_answer_as_json_tells_what_there_is(g3n):
    prompt = ("--json", "--temp", "0", "--ctx", "8192", "Tell a very long story.")
    with g3n.start("chat", "-m", "smollm2", *prompt) as process:
        wait_until_it_computes(process)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (130, b"")
    assert json.loads(output)["stop_reason"] == "interrupted"


@pytest.mark.model
@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_a_long_prompt_is_read_ends_it_soon(g3n, signal_, code):
    with start_prefill(g3n) as process:
        process.send_signal(signal_)
        output, errors = process.communicate(timeout=5)
    assert (process.returncode, errors) == (code, b"")
    assert output.strip() == b""


@pytest.mark.model
def test_a_long_prompt_interrupted_as_json_has_no_rates(g3n):
    with start_prefill(g3n, "--json") as process:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=5)
    answer = json.loads(output)
    assert (answer["text"], answer["stop_reason"]) == ("", "interrupted")
    assert answer["ttft_s"] is None
    assert answer["decode_tps"] is None


@pytest.mark.parametrize("library", ["_multiarray_umath", "libllama"])
def test_an_interrupt_while_modules_load_leaves_no_traceback(g3n, library):
    with g3n.start("chat", "-m", SMALL8, *ENDLESS) as process:
        wait_until_it_maps(process, library)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, errors) == (130, b"")


def wait_until_it_maps(process, library):
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with open(f"/proc/{process.pid}/maps") as maps:
            if library in maps.read():
                return
    raise AssertionError(f"{library} is not loaded")
