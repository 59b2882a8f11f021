"""``g3n map``: the program as a process, with files, signals and servers."""

import json
import random
import re
import resource
import shlex
import signal
import subprocess
import time

import pexpect
import pytest

from tests.fake_server import fail, make_event, say, serve, stall, stream
from tests.media_files import encode_wav, make_tone
from tests.model_files import SMALL8
from tests.program import COMMAND, ROOT, assert_fails, make_environment

WORDS = ("moon", "harbor", "topic", "wealth")
MEANING = "what does {} mean?"
MANY = 40
QUICK = ("-m", SMALL8, "--temp", 0, "-n", 12, "--ctx", 256)


def read_records(done):
    return [json.loads(line) for line in done.stdout.splitlines()]


def join(*lines):
    return "".join(f"{line}\n" for line in lines)


def make_input():
    return join(*(f"word {i}" for i in range(MANY)))


def test_every_line_is_answered_as_chat_would(g3n):
    done = g3n.run("map", MEANING, stdin=join(*WORDS))
    records = read_records(done)
    assert done.returncode == 0
    assert [(record["index"], record["input"]) for record in records] == list(enumerate(WORDS))
    for word, record in zip(WORDS, records, strict=True):
        single = g3n.run("chat", "--temp", 0, "--json", MEANING.replace("{}", word))
        told = json.loads(single.stdout)
        same = ("text", "stop_reason", "prompt_tokens", "output_tokens")
        assert [record[name] for name in same] == [told[name] for name in same]
    summary = done.stderr.decode()
    assert summary.startswith("4 inputs · ")
    assert summary.endswith(" prompt tokens reused\n")


def test_the_example_of_the_documentation(tmp_path):
    page = (ROOT / "docs" / "scripting.md").read_text()
    shown = re.search(r"^```\n\$ (printf .*? g3n map .*?)\n(.*?)^```$", page, re.M | re.S)
    command, output = shown.groups()
    program = " ".join(map(shlex.quote, COMMAND))
    done = subprocess.run(
        ["sh", "-c", f"{command.replace('g3n map', f'{program} map')} 2>&1"],
        cwd=ROOT,
        env=make_environment(tmp_path),
        capture_output=True,
        check=True,
    )
    assert re.sub(r'"key": "\w+"', '"key": "..."', done.stdout.decode()) == output


def test_blank_and_bad_lines(g3n):
    done = g3n.run("map", *QUICK, "say {}", stdin=b"a\n\ncaf\xe9\n" + b"x" * 2000 + b"\nb\r\n")
    records = read_records(done)
    assert done.returncode == 1
    assert [record["index"] for record in records] == [0, 2, 3, 4]
    assert ["error" in record for record in records] == [False, True, True, False]
    assert records[-1]["input"] == "b"
    lines = done.stderr.decode().splitlines()
    assert lines[0] == "input 2: the input is not UTF-8 text"
    assert lines[1].startswith("input 3: the prompt has")
    assert lines[2].startswith("4 inputs · 2 errors · ")
    assert lines[3] == "error: 2 of 4 inputs could not be answered"


def test_text_keeps_line_by_line_with_the_input(g3n):
    done = g3n.run("map", *QUICK, "-o", "text", "say {}", stdin=b"a\n\n\xff\nb\n")
    first, blank, broken, last, end = done.stdout.decode().split("\n")
    assert (blank, broken, end) == ("", "", "")
    assert first
    assert last
    assert g3n.run("map", *QUICK, "-o", "text", "say {}", stdin=b"\n \n").stdout == b"\n\n"


def test_records_fill_the_prompt(g3n):
    records = join('{"word": "moon"}', '{"other": 1}')
    done = g3n.run("map", "what does {word} mean?", "--read", "jsonl", stdin=records)
    answered, failed = read_records(done)
    assert (done.returncode, answered["input"]) == (1, {"word": "moon"})
    assert "satellite" in answered["text"]
    assert failed["error"] == "there is no field 'word'"
    done = g3n.run("map", "what does {word} mean?", "--read", "csv", stdin="n,word\n1,moon\n")
    assert read_records(done)[0]["text"] == answered["text"]


def test_files_are_inputs(g3n, tmp_path):
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).write_text(f"text of {name}")
    (tmp_path / "c.txt").write_bytes(b"\0\1\2\3" * 100)
    (tmp_path / "d.txt").write_bytes(encode_wav(make_tone(1)))
    done = g3n.run("map", *QUICK, "Sum up: {}", "--files", tmp_path / "*.txt", stdin="not read")
    records = read_records(done)
    assert done.returncode == 1
    assert [record["file"] for record in records] == [
        str(tmp_path / f"{name}.txt") for name in "abcd"
    ]
    assert ["error" in record for record in records] == [False, False, True, True]
    assert_fails(g3n.run("map", "x", "--files", tmp_path / "*.png"), 4, "no file matches")


def test_results_among_the_files_are_no_input(g3n, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "z.txt").write_text("text")
    arguments = ("--files", tmp_path / "notes", "--output", tmp_path / "notes" / "out", "--resume")
    for _ in range(2):
        assert g3n.run("map", *QUICK, "x", *arguments).returncode == 0
    assert (tmp_path / "notes" / "out").read_text().count("\n") == 1


def test_what_the_model_cannot_read_at_all_is_refused_before_anything_is_asked(g3n, tmp_path):
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(encode_wav(make_tone(1)))
    sounds = ("--files", tmp_path / "*.wav")
    assert_fails(g3n.run("map", *QUICK, "x", *sounds), 4, "no audio encoder")
    (tmp_path / "c.txt").write_text("text")
    done = g3n.run("map", *QUICK, "x", *sounds, "--files", tmp_path / "c.txt")
    assert ["error" in record for record in read_records(done)] == [True, True, False]


def test_nothing_to_do_is_no_failure(g3n):
    done = g3n.run("map", "x {}", stdin="")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"0 inputs\n")


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        ((), 2, "PROMPT"),
        (("x", "--resume"), 2, "--output"),
        (("x", "--resume", "--output", "o", "-o", "tsv"), 2, "tsv"),
        (("x", "--temp", "-1"), 2, "--temp"),
        (("x", "--stop", ""), 2, "--stop"),
        (("x", "--read", "xml"), 2, "--read"),
        (("x", "-m", "nope"), 3, "nope"),
        (("x", "--grammar", "nope"), 4, "nope"),
        (("x", "--output", "no/such/folder"), 1, "no/such/folder"),
        (("x" * 9999, *QUICK), 4, "the prompt has"),
    ],
    ids=str,
)
def test_failures_have_a_line_and_a_code(g3n, arguments, code, part):
    done = g3n.run("map", *arguments, stdin="a\n")
    error = next(line for line in done.stderr.decode().splitlines() if line[:7] == "error: ")
    assert (done.returncode, done.stdout) == (code, b"")
    assert part in error


def test_a_grammar_is_followed(g3n, tmp_path):
    rules = tmp_path / "choice.gbnf"
    rules.write_text('root ::= "yes" | "no"')
    done = g3n.run("map", *QUICK, "--grammar", rules, "-o", "text", stdin=join("a", "b"))
    assert done.returncode == 2  # no prompt
    done = g3n.run("map", *QUICK, "{}?", "--grammar", rules, "-o", "text", stdin=join("a", "b"))
    assert set(done.stdout.decode().split()) <= {"yes", "no"}
    assert done.stdout.count(b"\n") == 2


FIELDS = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "old": {"type": "boolean"}},
    "required": ["name", "old"],
}
SCHEMA = json.dumps(FIELDS)


def test_each_answer_is_a_document_as_in_chat(g3n):
    done = g3n.run("map", MEANING, "--schema", SCHEMA, stdin=join(*WORDS))
    records = read_records(done)
    assert done.returncode == 0
    for word, record in zip(WORDS, records, strict=True):
        assert set(record["value"]) == {"name", "old"}
        asked = MEANING.replace("{}", word)
        single = g3n.run("chat", "--temp", 0, "--json", "--schema", SCHEMA, asked)
        told = json.loads(single.stdout)
        assert (record["value"], record["text"]) == (told["value"], told["text"])
    lines = g3n.run("map", MEANING, "--schema", SCHEMA, "-o", "text", stdin=join(*WORDS))
    assert [json.loads(line) for line in lines.stdout.splitlines()] == [
        record["value"] for record in records
    ]


def test_an_answer_that_is_no_document_is_an_error_of_its_line(g3n):
    done = g3n.run("map", *QUICK, "-n", 2, "--schema", SCHEMA, "{}?", stdin=join("a", "b"))
    assert done.returncode == 1
    why = "the answer is cut off after 2 tokens: it is no whole JSON document"
    assert [record["error"] for record in read_records(done)] == [why, why]
    assert done.stderr.decode().splitlines()[-1] == "error: 2 of 2 inputs could not be answered"


def test_each_answer_is_a_choice_with_probabilities_as_in_chat(g3n):
    choice = ("--choice", "yes, no ,yes and no")
    done = g3n.run("map", "Is {} good?", *choice, stdin=join(*WORDS), G3N_TEMP="2")
    records = read_records(done)
    assert done.returncode == 0
    assert b"prompt tokens reused" in done.stderr
    for word, record in zip(WORDS, records, strict=True):
        told = json.loads(g3n.run("chat", "--json", *choice, f"Is {word} good?").stdout)
        assert record["text"] == told["text"]
        assert [each["text"] for each in record["choices"]] == ["yes", "no", "yes and no"]
        for each, other in zip(record["choices"], told["choices"], strict=True):
            assert each["logprob"] == pytest.approx(other["logprob"], abs=1e-3)
        assert sum(each["probability"] for each in record["choices"]) == pytest.approx(1)


def test_choices_are_drawn_with_the_seed_of_each_input(g3n):
    letters = ",".join("abcdefgh")
    draw = ("map", *QUICK, "--temp", 9, "--choice", letters, "-o", "text", "{}?")
    same = join(*["x"] * 20)
    first, again, other = (g3n.run(*draw, "--seed", n, stdin=same).stdout for n in (1, 1, 50))
    assert first == again != other
    assert len(set(first.split())) > 1


def test_what_excludes_a_form_of_answers(g3n):
    schema, choice = ("--schema", "a"), ("--choice", "a,b")
    stop, grammar = ("--stop", "x"), ("--grammar", "x.gbnf")
    for pair in (schema + choice, schema + stop, schema + grammar, choice + stop, choice + grammar):
        assert_fails(g3n.run("map", "{}?", *pair, stdin="a"), 2, "exclude each other")


# ---------------------------------------------------------------------------------- going on


def run_with_file(g3n, path, *arguments, **more):
    return g3n.run("map", *QUICK, "say {}", "--output", path, *arguments, **more)


def test_what_was_killed_again_and_again_goes_on_to_the_same_file(g3n, tmp_path):
    whole, path = tmp_path / "whole", tmp_path / "out"
    assert run_with_file(g3n, whole, stdin=make_input()).returncode == 0
    stdin = tmp_path / "in"
    stdin.write_text(make_input())
    chance = random.Random(5)
    n_kills = 0
    while path.read_bytes() != whole.read_bytes() if path.exists() else True:
        n_lines = path.read_bytes().count(b"\n") if path.exists() else 0
        with stdin.open("rb") as lines:
            process = g3n.start(
                *("map", *QUICK, "say {}", "--output", path, "--resume"), stdin=lines
            )
        with process:
            wait_for_lines(path, n_lines + chance.randrange(1, 8), process)
            process.kill()
        n_kills += process.returncode == -signal.SIGKILL
        assert whole.read_bytes().startswith(path.read_bytes())
    assert n_kills >= 3
    before = path.read_bytes()
    done = run_with_file(g3n, path, "--resume", stdin=make_input())
    assert (done.returncode, done.stderr) == (0, b"40 inputs\n")
    assert path.read_bytes() == before


def wait_for_lines(path, n_lines, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if path.exists() and path.read_bytes().count(b"\n") >= n_lines:
            return
        time.sleep(0.001)


def test_a_file_of_something_else_is_refused_and_left_alone(g3n, tmp_path):
    path = tmp_path / "out"
    assert run_with_file(g3n, path, stdin=join("a", "b")).returncode == 0
    content = path.read_bytes()
    assert_fails(run_with_file(g3n, path, stdin=join("a", "b")), 2, "is not empty")
    others = [
        (("--temp", 1), join("a", "b")),
        (("--system", "be brief"), join("a", "b")),
        ((), join("a", "c")),
        ((), join("a")),
    ]
    for arguments, stdin in others:
        done = run_with_file(g3n, path, "--resume", *arguments, stdin=stdin)
        assert_fails(done, 2, "another prompt, other inputs or settings")
    assert path.read_bytes() == content
    more = run_with_file(g3n, path, "--resume", "--threads", 1, stdin=join("a", "b", "c"))
    assert more.returncode == 0
    assert path.read_bytes().startswith(content)
    assert path.read_bytes().count(b"\n") == 3


def test_results_of_another_form_of_answers_are_not_gone_on_with(g3n, tmp_path):
    path = tmp_path / "out"
    forms = [("--choice", "a,b"), ("--choice", "b,a"), ("--schema", SCHEMA), ()]
    for form in forms:
        path.unlink(missing_ok=True)
        assert run_with_file(g3n, path, *form, "-n", 60, stdin=join("a")).returncode == 0
        for other in forms:
            done = run_with_file(g3n, path, *other, "-n", 60, "--resume", stdin=join("a", "b"))
            assert done.returncode == (0 if other == form else 2)
            if other == form:
                assert path.read_bytes().count(b"\n") == 2


def test_errors_of_an_earlier_run_still_count(g3n, tmp_path):
    path = tmp_path / "out"
    assert run_with_file(g3n, path, stdin=b"a\n\xff\n").returncode == 1
    done = run_with_file(g3n, path, "--resume", stdin=b"a\n\xff\nb\n")
    assert done.returncode == 1
    assert b"error: 1 of 3 inputs" in done.stderr


def test_a_full_disk_leaves_complete_lines_and_can_be_gone_on_from(g3n, tmp_path):
    whole, path = tmp_path / "whole", tmp_path / "out"
    run_with_file(g3n, whole, stdin=make_input())
    full = subprocess.run(
        [*COMMAND, *map(str, ("map", *QUICK, "say {}", "--output", path))],
        input=make_input().encode(),
        capture_output=True,
        cwd=ROOT,
        env=make_environment(g3n.home),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        check=False,
    )
    assert full.returncode == 1
    assert f"error: cannot write {path}" in full.stderr.decode()
    assert b"Traceback" not in full.stderr
    content = path.read_bytes()
    assert content.endswith(b"\n")
    assert 0 < len(content) <= 1000
    assert run_with_file(g3n, path, "--resume", stdin=make_input()).returncode == 0
    assert path.read_bytes() == whole.read_bytes()


def test_a_full_disk_behind_stdout_is_1(g3n):
    with open("/dev/full", "wb") as full:
        process = g3n.start("map", *QUICK, "x", "--files", ROOT / "README.md", stdout=full)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert errors.decode().splitlines()[-1] == "error: No space left on device"


# ----------------------------------------------------------------------------------- signals


@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_complete_lines(g3n, tmp_path, signal_, code):
    stdin = tmp_path / "in"
    stdin.write_text(make_input() * 100)
    with stdin.open("rb") as lines, g3n.start("map", *QUICK, "x", stdin=lines) as process:
        first = process.stdout.readline()
        process.send_signal(signal_)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == code
    results = (first + rest).splitlines(keepends=True)
    assert all(line.endswith(b"\n") and json.loads(line)["text"] for line in results)
    n_told, told = errors.decode().split(" ", 1)
    assert len(results) - int(n_told) in (0, 1)  # it may arrive between a line and its count
    assert told.startswith("of 4,000 inputs · ")
    assert told.count("\n") == 1


def test_a_reader_that_goes_away_ends_it_silently(g3n, tmp_path):
    stdin = tmp_path / "in"
    stdin.write_text(make_input())
    with stdin.open("rb") as lines, g3n.start("map", *QUICK, "x", stdin=lines) as process:
        process.stdout.readline()
        process.stdout.close()
        process.wait(timeout=60)
        assert (process.returncode, process.stderr.read()) == (141, b"")


# From Python 3.12 on; what pexpect forks becomes another program at once.
@pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")
def test_a_terminal_shows_how_far_it_is(tmp_path):
    (tmp_path / "in").write_text(join(*WORDS))
    command = [*COMMAND, "map", MEANING, "-o", "text", f"< {tmp_path / 'in'}"]
    child = pexpect.spawn(
        "sh",
        ["-c", " ".join(part if part[0] == "<" else f"'{part}'" for part in command)],
        cwd=str(ROOT),
        env=make_environment(tmp_path),
        encoding="utf-8",
        timeout=60,
    )
    child.expect_exact("0 of 4")
    child.expect_exact("\r\x1b[2KAs a noun, moon means")
    child.expect(r"1 of 4 · .* left")
    child.expect_exact("4 inputs · ")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0


# ----------------------------------------------------------------------------------- servers


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
