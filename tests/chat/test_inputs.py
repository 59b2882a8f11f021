import json

import pytest

from g3n_cli.chat.inputs import (
    READERS,
    BlankInput,
    BrokenInput,
    FileInput,
    Form,
    TextInput,
    make_key,
    make_question,
)
from g3n_cli.errors import InputError
from g3n_cli.media.options import MediaOptions
from g3n_cli.media.parts import Attachment, TextPart


def read(content, kind="lines", form="{}"):
    return list(READERS[kind](content, Form(form)))


@pytest.mark.parametrize(
    ("form", "filled"),
    [
        ("classify: {}", "classify: a{}b"),
        ("{} or {}?", "a{}b or a{}b?"),
        ("classify", "classify\n\na{}b"),
        ("", "a{}b"),
        ("a literal {{}}", "a literal {}\n\na{}b"),
        ('as {"a": {}}, {name}, {{name}}', 'as {"a": a{}b}, {name}, {{name}}'),
    ],
)
def test_a_line_takes_its_place_in_the_prompt(form, filled):
    assert Form(form).fill("a{}b") == filled


@pytest.mark.parametrize(
    ("form", "filled"),
    [
        ("{who} has {n}", "{n} has 3"),
        ("{}", "LINE"),
        ("{{who}} is {who}", "{who} is {n}"),
        ("{list}: {null}", "[1, 2]: null"),
        ('{"who": {who}}, { }', '{"who": {n}}, { }'),
        ("sum up", "sum up\n\nLINE"),
    ],
)
def test_fields_take_their_places(form, filled):
    fields = {"who": "{n}", "n": 3, "list": [1, 2], "null": None}
    assert Form(form).fill("LINE", fields) == filled


def test_a_field_that_is_not_there_is_named():
    with pytest.raises(InputError, match="no field 'age'"):
        Form("{age}").fill("{}", {"name": "x"})


def test_lines_of_all_kinds():
    assert read(b"\xef\xbb\xbfone\r\n\n  \ntwo \nlast") == [
        TextInput(0, "one"),
        BlankInput(1),
        BlankInput(2),
        TextInput(3, "two "),
        TextInput(4, "last"),
    ]
    assert read(b"") == []


@pytest.mark.parametrize(("line", "why"), [(b"caf\xe9", "UTF-8"), (b"a\0b", "binary")])
def test_a_line_that_is_not_text_spoils_no_other(line, why):
    before, broken, after = read(b"a\n" + line + b"\nb\n")
    assert (before, after) == (TextInput(0, "a"), TextInput(2, "b"))
    assert isinstance(broken, BrokenInput)
    assert why in broken.why
    with pytest.raises(InputError, match=why):
        make_question(Form("{}"), broken, MediaOptions())


def test_json_lines():
    line = '{"a": "x", "b": {"c": 1}}'
    (record,) = read(line.encode(), "jsonl")
    assert record == TextInput(0, line, {"a": "x", "b": {"c": 1}})
    assert make_question(Form("{a} {b}"), record, MediaOptions()).text == 'x {"c": 1}'
    assert record.shown == {"input": {"a": "x", "b": {"c": 1}}}


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[1]",
        b'"a"',
        b'{"a": NaN}',
        b'{"a": "\\ud800"}',
        b"[" * 100_000,
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
    ids=lambda line: line[:12].decode(),
)
def test_what_is_no_json_object_spoils_no_other(line):
    broken, record = read(line + b'\n{"a": 1}', "jsonl")
    assert isinstance(broken, BrokenInput)
    assert isinstance(record, TextInput)


def test_tables():
    content = b'name,note\nAda,"two\nlines"\n\nBob,\n'
    first, second = read(content, "csv", "{name}")
    assert first.fields == {"name": "Ada", "note": "two\nlines"}
    assert (second.index, second.fields) == (1, {"name": "Bob", "note": ""})
    assert json.loads(second.text) == second.fields
    (row,) = read(b"a\tb\n1,5\t2\n", "tsv")
    assert row.fields == {"a": "1,5", "b": "2"}


def test_a_column_that_is_not_there_is_told_before_anything_is_asked():
    with pytest.raises(InputError, match="no column 'nme'") as refused:
        read(b"name,note\nAda,x\n", "csv", "{nme}")
    assert "name, note" in refused.value.hint


@pytest.mark.parametrize("row", [b"1", b"1,2,3", b"caf\xe9,2"])
def test_a_row_that_does_not_fit_spoils_no_other(row):
    broken, record = read(b"a,b\n" + row + b"\n1,2\n", "csv")
    assert isinstance(broken, BrokenInput)
    assert isinstance(record, TextInput)


def show(question):
    return [*(part.text for part in question.parts), question.text]


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ("Sum up {}", ["Sum up ", "FILE", ""]),
        ("{}", ["FILE", ""]),
        ("Sum up", ["FILE", "Sum up"]),
        ("A {} b {{}} {} c", ["A ", "FILE", " b {} ", "FILE", " c"]),
    ],
)
def test_a_file_takes_its_place_or_comes_first(form, shown):
    attachment = Attachment("a.txt", "text", (TextPart("FILE"),))
    assert show(Form(form).surround(attachment)) == shown


def test_a_file_is_read_when_it_is_asked_about(tmp_path):
    path = tmp_path / "a.txt"
    asked = FileInput(0, path)
    with pytest.raises(InputError, match=r"a\.txt"):
        make_question(Form("Sum up {}"), asked, MediaOptions())
    path.write_text("words")
    question = make_question(Form("Sum up {}"), asked, MediaOptions())
    assert "words" in question.parts[1].text


def test_keys_tell_inputs_and_settings_apart(tmp_path):
    path = tmp_path / "a.txt"
    inputs = [TextInput(0, "a"), TextInput(0, "b"), TextInput(0, "a", {"x": 1}), FileInput(0, path)]
    keys = {make_key(settings, each) for each in inputs for settings in (["p", 1], ["p", 2])}
    path.write_text("there")
    keys.add(make_key(["p", 1], FileInput(0, path)))
    path.write_text("changed")
    keys.add(make_key(["p", 1], FileInput(0, path)))
    assert len(keys) == 10
    assert make_key(["p", 1], TextInput(0, "a")) == make_key(["p", 1], TextInput(0, "a"))
