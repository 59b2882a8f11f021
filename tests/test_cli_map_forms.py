"""``g3n map`` with a grammar, a schema or choices."""

import json

import pytest

from tests.map_inputs import MEANING, QUICK, SCHEMA, WORDS, join, read_records
from tests.program import assert_fails


def test_a_grammar_is_followed(g3n, tmp_path):
    rules = tmp_path / "choice.gbnf"
    rules.write_text('root ::= "yes" | "no"')
    done = g3n.run("map", *QUICK, "--grammar", rules, "-o", "text", stdin=join("a", "b"))
    assert done.returncode == 2  # no prompt
    done = g3n.run("map", *QUICK, "{}?", "--grammar", rules, "-o", "text", stdin=join("a", "b"))
    assert set(done.stdout.decode().split()) <= {"yes", "no"}
    assert done.stdout.count(b"\n") == 2


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
