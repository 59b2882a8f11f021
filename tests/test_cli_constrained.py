"""``--schema`` and ``--choice``: the program as a process."""

import json
import sys

import pexpect
import pytest

from tests.fake_server import say, serve
from tests.program import ROOT, assert_fails, make_environment

FIELDS = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
    },
    "required": ["name", "age"],
}
SCHEMA = json.dumps(FIELDS)


def test_the_answer_is_one_document_on_one_line(g3n):
    for seed in range(3):
        done = g3n.chat("--schema", SCHEMA, "--seed", seed, stdin="who?")
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.count(b"\n") == 1
        person = json.loads(done.stdout)
        assert set(person) == {"name", "age"}
        assert 0 <= person["age"] <= 120


def test_json_holds_the_document_as_a_value(g3n):
    told = json.loads(g3n.chat("--json", "--schema", SCHEMA, "who?").stdout)
    assert told["value"] == json.loads(told["text"])


def test_an_answer_cut_off_is_no_document(g3n):
    done = g3n.chat("--schema", SCHEMA, "-n", "3", "who?")
    assert_fails(done, 6, "cut off after 3 tokens")
    told = g3n.chat("--schema", SCHEMA, "-n", "3", "--json", "who?")
    assert (told.returncode, json.loads(told.stdout)["value"]) == (6, None)


def test_what_the_grammar_cannot_follow_is_checked(g3n):
    done = g3n.chat("--schema", '{"type": "boolean", "not": {"type": "boolean"}}', "who?")
    assert_fails(done, 6, "does not satisfy the schema")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--schema", "a b c"], 2, "is no field"),
        (["--schema", "no-such.json"], 4, "no-such.json"),
        (["--schema", '{"$ref": "http://127.0.0.1:1/x"}'], 2, "leads out of the schema"),
        (["--schema", '{"anyOf": [{"$ref": "#"}]}'], 2, "left recursion"),
        (["--schema", "a", "--choice", "a,b"], 2, "exclude each other"),
        (["--schema", "a", "--grammar", "x.gbnf"], 2, "exclude each other"),
        (["--schema", "a", "--stop", "x"], 2, "exclude each other"),
        (["--schema", "a", "--num", "2"], 2, "exclude each other"),
        (["--choice", "a,b", "--extract"], 2, "exclude each other"),
        (["--choice", "a,b", "--prefix", "x"], 2, "exclude each other"),
        (["--choice", "a"], 2, "at least two"),
        (["--choice", "a,,b"], 2, "empty"),
        (["--choice", "a,b, a"], 2, "twice"),
        (["--choice-exit"], 2, "wants --choice"),
        (["--choice-exit", "--choice", ",".join(map(str, range(101)))], 2, "at most 100"),
    ],
)
def test_what_makes_no_sense_is_one_line(g3n, arguments, code, told):
    assert_fails(g3n.chat(*arguments, "hi"), code, told)


def test_the_answer_is_one_of_the_choices_and_the_same_one_each_time(g3n):
    first = g3n.chat("--choice", "yes, no ,yes and no", "Is it?")
    again = g3n.chat("--choice", "yes and no,no,yes", stdin="Is it?", G3N_TEMP="2")
    assert (first.returncode, first.stderr) == (0, b"")
    assert first.stdout.decode() in ("yes\n", "no\n", "yes and no\n")
    assert again.stdout == first.stdout


def test_choices_given_one_by_one_may_have_commas(g3n):
    done = g3n.chat("--choice", "a, b", "--choice", "c, d", "Which?")
    assert done.stdout in (b"a, b\n", b"c, d\n")


def test_the_exit_code_tells_the_choice(g3n):
    best = g3n.chat("--choice", "yes,no,maybe", "Is it?").stdout.decode().strip()
    others = [text for text in ("yes", "no", "maybe") if text != best]
    for place, code in enumerate((0, 10, 11)):
        order = [*others[:place], best, *others[place:]]
        done = g3n.chat("--choice", ",".join(order), "--choice-exit", "Is it?")
        assert (done.returncode, done.stdout.decode().strip()) == (code, best)
        assert done.stderr == b""
    told = g3n.chat("--choice", f"{others[0]},{best}", "--choice-exit", "--stats", "Is it?")
    assert (told.returncode, told.stderr[:7]) == (10, b"prompt ")


def test_json_tells_the_probability_of_each_choice(g3n):
    told = json.loads(g3n.chat("--json", "--choice", "yes,no", "Is it?").stdout)
    assert [choice["text"] for choice in told["choices"]] == ["yes", "no"]
    assert sum(choice["probability"] for choice in told["choices"]) == pytest.approx(1)
    best = max(told["choices"], key=lambda choice: choice["probability"])
    assert told["text"] == best["text"]
    assert best["logprob"] < 0


def test_a_choice_is_saved_and_gone_on_with(g3n):
    said = g3n.chat("--choice", "yes,no", "Is it?").stdout.decode().strip()
    done = g3n.chat("-c", "--json", "--choice", "yes,no", "And now?")
    assert json.loads(done.stdout)["prompt_tokens"] > 10
    shown = g3n.run("sessions", "export", "1").stdout.decode()
    assert said in shown
    assert "And now?" in shown


def test_conversations_refuse_both(tmp_path):
    for flag in ("--schema", "--choice"):
        child = pexpect.spawn(
            sys.executable,
            ["-m", "g3n_cli", "chat", flag, "a,b"],
            cwd=str(ROOT),
            env=make_environment(tmp_path),
            timeout=60,
        )
        child.expect(f"{flag} is for single answers")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 2


def test_servers_are_asked_for_the_schema_and_their_answers_checked(g3n):
    with serve(say('{\n  "name": "Ann", ', '"age":\n 3}\n'), say('{"name": "Ann"}')) as fake:
        good, bad = (
            g3n.run("chat", "--device", fake.url, "--schema", SCHEMA, "who?") for _ in "ab"
        )
    assert (good.returncode, good.stdout) == (0, b'{ "name": "Ann", "age": 3}\n')
    assert_fails(bad, 6, "'age' is a required property")
    asked = fake.requests[0]["response_format"]
    assert asked["type"] == "json_schema"
    assert asked["json_schema"]["schema"] == FIELDS


def test_what_is_advised_about_a_servers_answer_is_possible_there(g3n):
    with serve(say('{"name": "A', reason="length")) as fake:
        done = g3n.run("chat", "--device", fake.url, "--schema", SCHEMA, "who?")
    assert_fails(done, 6, "cut off")
    assert b"--ctx" not in done.stderr
    assert b"maxLength" in done.stderr


def test_servers_cannot_choose(g3n):
    with serve(say("yes")) as fake:
        done = g3n.run("chat", "--device", fake.url, "--choice", "yes,no", "Is it?")
    assert_fails(done, 2, "--choice is for models on this machine")
    assert fake.requests == []


def test_schema_shows_what_fields_mean(g3n):
    done = g3n.run("schema", "name, age int?")
    assert json.loads(done.stdout)["required"] == ["name"]
    assert done.stderr == b""
    grammar = g3n.run("schema", "--gbnf", "name, age int?").stdout.decode()
    file = g3n.home / "person.gbnf"
    file.write_text(grammar)
    answer = g3n.chat("--grammar", file, "-n", "3", "who?").stdout
    assert answer.startswith(b'{"')
    told = g3n.run("schema", '{"type": "integer", "multipleOf": 3}').stderr
    assert told == b"note: only checked in the end: multipleOf\n"
