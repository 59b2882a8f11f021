"""``g3n map`` with a server that answers."""

import json
import signal
import time

from tests.fake_server import fail, make_event, say, serve, stall, stream
from tests.map_inputs import FIELDS, SCHEMA, join, read_records
from tests.program import assert_fails


def ask(g3n, fake, *arguments, stdin="a\nb\n", **more):
    return g3n.run("map", "What is {}?", "--device", fake.url, *arguments, stdin=stdin, **more)


def test_a_server_answers_each_line(g3n):
    with serve(say("one", usage=(9, 1, 4)), say("two", usage=(9, 1, 8))) as fake:
        done = ask(g3n, fake, "--seed", 4)
    assert [record["text"] for record in read_records(done)] == ["one", "two"]
    assert (done.returncode, done.stderr) == (
        0,
        b"2 inputs \xc2\xb7 12 of 18 prompt tokens reused\n",
    )
    asked = [request["messages"] for request in fake.requests]
    assert asked == [[{"role": "user", "content": f"What is {x}?"}] for x in "ab"]
    assert [(r["seed"], r["temperature"]) for r in fake.requests] == [(4, 0.0), (5, 0.0)]


def test_a_server_that_has_no_room_fails_one_line_and_one_that_breaks_off_all(g3n, tmp_path):
    too_long = b'{"error": {"code": "context_length_exceeded", "message": "too long"}}'
    path = tmp_path / "out"
    with serve(fail(400, too_long), say("two"), stream(make_event("th"), ends=False)) as fake:
        done = ask(g3n, fake, "--output", path, stdin=join("a", "b", "c"))
        assert done.returncode == 1
        assert b"2 of 3 inputs" in done.stderr
        assert b"broke off" in done.stderr
        first, second = map(json.loads, path.read_text().splitlines())
        assert "too long" in first["error"]
        assert second["text"] == "two"
        fake.behaviours = [say("three")]
        done = ask(g3n, fake, "--output", path, "--resume", stdin=join("a", "b", "c"))
    assert b"error: 1 of 3 inputs" in done.stderr
    assert path.read_text().count("\n") == 3


def test_a_server_is_asked_for_the_schema_and_each_answer_checked(g3n):
    answers = ('{\n  "name": "a  b", "old": true}\n', '{"name": "Ann"}')
    with serve(*map(say, answers)) as fake:
        good, bad = read_records(ask(g3n, fake, "--schema", SCHEMA))
    assert good["value"] == {"name": "a  b", "old": True}
    assert "'old' is a required property" in bad["error"]
    assert fake.requests[1]["response_format"]["json_schema"]["schema"] == FIELDS
    with serve(say(answers[0])) as fake:
        done = ask(g3n, fake, "--schema", SCHEMA, "-o", "text", stdin="a")
    assert done.stdout == b'{ "name": "a  b", "old": true}\n'


def test_flags_of_the_engine_are_refused_for_a_server(g3n):
    with serve() as fake:
        assert_fails(ask(g3n, fake, "--choice", "a,b"), 2, "--choice", "not for a server")
        assert_fails(ask(g3n, fake, "--kv", "q8_0"), 2, "--kv", "not for a server")


def test_an_interrupt_while_a_server_is_silent(g3n, tmp_path):
    stdin = tmp_path / "in"
    stdin.write_text("a\n")
    with (
        serve(stall()) as fake,
        stdin.open("rb") as lines,
        g3n.start("map", "x", "--device", fake.url, stdin=lines) as process,
    ):
        deadline = time.monotonic() + 30
        while not fake.requests and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (130, b"", b"0 of 1 input\n")
