"""The short form of a schema."""

import pytest

from g3n_cli.chat.schema.short import parse_short
from g3n_cli.errors import UsageError


def test_fields_become_properties():
    schema = parse_short("name, age int, tags [str], note str?, ok bool?, x float, nick?")
    assert schema == {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "age": {"type": "integer"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "note": {"type": "string"},
            "ok": {"type": "boolean"},
            "x": {"type": "number"},
            "nick": {"type": "string"},
        },
        "required": ["name", "age", "tags", "x"],
        "additionalProperties": False,
    }


def test_descriptions_reach_to_the_next_comma_or_on_lines_to_the_end():
    by_comma = parse_short("name: who it is, age int : in years")
    assert by_comma["properties"]["name"]["description"] == "who it is"
    by_line = parse_short("name: first, last\n\n age int?\n")
    assert by_line["properties"]["name"]["description"] == "first, last"
    assert by_line["required"] == ["name"]


def test_brackets_mean_a_list():
    schema = parse_short("[name, [int]]".replace("[int]", "n [int]"))
    assert schema["type"] == "array"
    assert schema["items"]["properties"]["n"]["items"] == {"type": "integer"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names no field"),
        (" , ", "names no field"),
        ("a b c", "'a b c' is no field"),
        ("a int int", "is no field"),
        ("a text", "no type 'text'"),
        ("a [[int]]", "is no field"),
        ("a, a", "two fields 'a'"),
        ('"a"', "is no field"),
    ],
)
def test_anything_else_is_refused(text, told):
    with pytest.raises(UsageError) as caught:
        parse_short(text)
    assert told in caught.value.message
