"""``g3n map``: inputs in, an answer for each, failures with a line and a code."""

import json
import re
import shlex
import subprocess

import pytest

from tests.map_inputs import MEANING, QUICK, WORDS, join, read_records
from tests.media_files import encode_wav, make_tone
from tests.program import COMMAND, ROOT, assert_fails, make_environment


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
