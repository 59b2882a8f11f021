"""``g3n chat --events``: what happens, as JSON lines."""

import json

import pytest

from tests import fake_server
from tests.program import assert_fails

QUESTION = "what does moon mean?"


def read(output: bytes) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


def test_pieces_and_figures_are_those_of_the_answer(g3n):
    events = read(g3n.run("chat", "--events", "--temp", "0", QUESTION).stdout)
    plain = g3n.run("chat", "--temp", "0", QUESTION).stdout.decode().removesuffix("\n")
    pieces = [event["text"] for event in events if event["event"] == "text"]
    assert len(pieces) > 1
    assert "".join(pieces) == plain
    assert events[0] == {"event": "stage", "stage": "load"}
    last = events[-1]
    assert (last["event"], last["text"], last["stop_reason"]) == ("answer", plain, "end")
    told = json.loads(g3n.run("chat", "--json", "--temp", "0", QUESTION).stdout)
    assert set(last) == {"event", *told}


def test_progress_of_the_prompt_is_told(g3n):
    events = read(g3n.run("chat", "--events", "-n", "1", "moon " * 400).stdout)
    told = [event for event in events if event.get("stage") == "prefill" and "done" in event]
    counts = [event["done"] for event in told]
    assert counts == sorted(counts)
    assert counts[-1] == told[-1]["total"] == events[-1]["prompt_tokens"]


def test_each_of_several_answers_has_its_figures(g3n):
    events = read(g3n.run("chat", "--events", "--temp", "1", "--num", "2", QUESTION).stdout)
    seeds = [event["seed"] for event in events if event["event"] == "answer"]
    assert seeds[1] == seeds[0] + 1


def test_a_failure_is_an_event_and_a_line_on_stderr(g3n):
    done = g3n.run("chat", "--events", "--ctx", "64", "moon " * 400)
    (error,) = [event for event in read(done.stdout) if event["event"] == "error"]
    assert error["exit_code"] == done.returncode == 4
    assert error["message"] in done.stderr.decode()


@pytest.mark.parametrize("broken", ["flag", "config"])
def test_what_fails_before_flags_are_read_is_an_event_too(g3n, broken):
    flags = ["--nonsense"] if broken == "flag" else []
    if broken == "config":
        folder = g3n.home / "config" / "g3n"
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text("= nothing")
    done = g3n.run("chat", "--events", *flags, "hi")
    (error,) = read(done.stdout)
    assert (error["event"], error["exit_code"]) == ("error", done.returncode)
    assert error["message"] in done.stderr.decode()


def test_without_the_flag_a_failure_is_no_event(g3n):
    assert_fails(g3n.run("chat", "--nonsense", "--", "--events"), 2, "--nonsense")
    assert_fails(g3n.run("chat", "-m", "nope", "hi"), 3, "nope")


def test_an_answer_of_a_server_is_told_alike(g3n):
    with fake_server.serve(fake_server.say("Hello", usage=(9, 2))) as server:
        done = g3n.run("chat", "--events", "--device", server.url, "hi")
    events = read(done.stdout)
    assert "".join(event["text"] for event in events if event["event"] == "text") == "Hello"
    last = events[-1]
    assert (last["event"], last["prompt_tokens"], last["output_tokens"]) == ("answer", 9, 2)


@pytest.mark.parametrize("flag", ["--json", "-x", "--schema=name", "--choice=yes,no"])
def test_other_forms_are_refused(g3n, flag):
    assert_is_told(g3n.run("chat", "--events", flag, "hi"), 2, "--events")


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("-m", "nope", "hi"), 3, "nope"),
        (("-f", "no-such-file", "hi"), 4, "no-such-file"),
        (("--grammar", "no-such-file", "hi"), 4, "no-such-file"),
        (("--temp", "-1", "hi"), 2, "--temp"),
        (("--num", "0", "hi"), 2, "--num"),
        (("-t", "nowhere", "hi"), 2, "nowhere"),
        ((), 2, "no prompt"),
    ],
    ids=str,
)
def test_what_fails_before_a_model_is_loaded_is_an_event_too(g3n, arguments, code, part):
    assert_is_told(g3n.run("chat", *arguments, "--events"), code, part)
    by_environment = g3n.run("chat", *arguments, G3N_EVENTS="1")
    assert_is_told(by_environment, code, part)


def assert_is_told(done, code, part):
    """It ended with this code, one error event and the same on stderr."""
    (error,) = read(done.stdout)
    assert error["event"] == "error"
    assert error["exit_code"] == done.returncode == code
    assert part in error["message"]
    hint = "" if error["hint"] is None else f"hint: {error['hint']}\n"
    assert done.stderr.decode() == f"error: {error['message']}\n{hint}"


@pytest.mark.parametrize("arguments", [("-m", "nope"), ()], ids=str)
def test_a_full_disk_behind_events_is_a_failure_on_stderr(g3n, arguments):
    with open("/dev/full", "wb") as full:
        process = g3n.start("chat", "--events", *arguments, "hi", stdout=full)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == (3 if arguments else 1)
    (line, *_) = errors.decode().splitlines()
    assert line.startswith("error: ")
    assert b"Traceback" not in errors
