"""Schemas: what they let a model write, what they refuse, and what the check in the end says."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from g3n_cli.chat.schema.answer import AnswerSchema, read_schema
from g3n_cli.engine.tokenizer import LlamaTokenizer
from g3n_cli.errors import AnswerError, G3nError, InputError, UsageError
from g3n_cli.ggml.llama_sampler import GrammarSampler
from tests.chat.schema.documents import SCHEMAS, write
from tests.model_files import SMALL8

ANY_HEALTH = list(HealthCheck)  # making schemas is what takes the time
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
    },
    "required": ["name"],
}
TREE = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "type": "object",
            "properties": {"v": {"type": "null"}, "of": {"items": {"$ref": "#/$defs/node"}}},
            "required": ["v"],
        }
    },
}


@pytest.fixture(scope="module")
def tokenizer():
    opened = LlamaTokenizer.open(SMALL8)
    yield opened
    opened.close()


@pytest.fixture
def admits(tokenizer):
    """Whether a schema's grammar lets a model write a text and end there."""

    def check(schema, text):
        with GrammarSampler(tokenizer.vocab, parse(schema).grammar) as grammar:
            for token in tokenizer.encode(text, parse_special=False):
                if not grammar.allows(token):
                    return False
                grammar.accept(token)
            return any(grammar.allows(end) for end in tokenizer.end_ids)

    return check


def parse(schema):
    return AnswerSchema.parse(json.dumps(schema))


@given(SCHEMAS, st.integers(0, 2**31))
@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=ANY_HEALTH)
def test_whatever_a_model_writes_under_a_schema_satisfies_it(tokenizer, text, seed):
    schema = AnswerSchema.parse(text)
    written = write(schema, tokenizer, seed)
    if written is not None:  # what has no end in time is told as such
        schema.read(written)
        assert "\n" not in written


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (
            PERSON,
            [
                *('{"name":"x"}', '{"name": "é", "age": 120, "tags": ["a", "b"]}'),
                '{"name":"","tags":[]}',
            ],
            ['{"age":1}', '{"name":1}', '{"name":"x","age":121}', '{"name":"x","more":1}', "{}"],
        ),
        (
            PERSON | {"required": []},
            ["{}", '{"age":1}', '{"age":1,"tags":["a"]}', '{"tags":["b"]}'],
            ['{"tags":["c"]}', '{"tags":["a","a","a"]}', '{,"age":1}', '{"age":1,}'],
        ),
        (
            TREE,
            ['{"v":null}', '{"v":null,"of":[{"v":null}]}'],
            ['{"of":[]}', '{"v":null,"of":[1]}'],
        ),
        ({"const": {"a": ['"\\\n', 1.5]}}, [json.dumps({"a": ['"\\\n', 1.5]})], ['{"a": []}']),
        ({"enum": ["on", "one", 1, None]}, ['"on"', '"one"', "1", "null"], ['"o"', "11", "on"]),
        (
            {"type": "string", "minLength": 2, "maxLength": 3},
            ['"ab"', '"é\\n\\u00e9"'],
            ['"a"', '"abcd"'],
        ),
        ({"type": "string"}, ['"\\"\\\\\\ud7ff"'], ['"\n"', '"\\ud800"', '"\\x"', '"a']),
        (
            {"type": "string", "pattern": "^[a-c]{2}\\d?$"},
            ['"ab"', '"cc7"'],
            ['"ad"', '"ab77"', '"a"'],
        ),
        ({"type": "string", "pattern": '"|\\\\'}, ['"\\""', '"\\\\"'], ['"""', '"\\"']),
        (
            {"type": "string", "format": "date"},
            ['"2026-01-31"', '"2024-02-29"'],
            ['"2026-02-30"', '"2026-04-31"'],
        ),
        ({"type": ["integer", "null"]}, ["-12", "null", "0"], ["1.0", "01", '"1"', "+1"]),
        ({"type": "number"}, ["-1.5e-3", "0", "10"], [".5", "1.", "00", "NaN"]),
        (
            {"type": "number", "minimum": 0, "maximum": 1},
            ["0", "0.25", "1", "1.0"],
            ["-0.1", "1.1", "2"],
        ),
        (
            {"prefixItems": [{"type": "null"}, {"type": "boolean"}]},
            ["[null,true]"],
            ["[true,null]"],
        ),
        ({"type": "array", "items": False}, ["[]"], ["[1]"]),
        ({"additionalProperties": {"type": "null"}}, ["{}", '{"x":null, "y":null}'], ['{"x":1}']),
        ({"anyOf": [{"const": 1}, {"type": "array", "maxItems": 0}]}, ["1", "[]"], ["2", "[1]"]),
        (
            {"type": "object", "properties": {"a": {"const": 1}}, "anyOf": [{"required": ["a"]}]},
            ['{"a":1}'],
            ["{}"],
        ),
        (
            {"allOf": [{"$ref": "#/$defs/a"}, {"required": ["x"]}], "$defs": {"a": PERSON}},
            ['{"name":"n","x":[1, {"y": null}]}'],
            ['{"name":"n"}', '{"x":1}'],
        ),
        ({}, ['{"a":[1,"b",null,{}]}', "true"], ["", "{a:1}", "[1,]"]),
    ],
)
def test_a_grammar_admits_what_satisfies_its_schema_and_nothing_else(admits, schema, good, bad):
    assert [text for text in good if not admits(schema, text)] == []
    assert [text for text in bad if admits(schema, text)] == []
    for text in good:
        parse(schema).read(text)


@given(st.integers(-2000, 2000), st.integers(0, 3000), st.integers(-3000, 3000))
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=ANY_HEALTH)
def test_integers_are_exactly_those_within_their_bounds(admits, low, width, n):
    schema = {"type": "integer", "minimum": low, "exclusiveMaximum": low + width + 1}
    for value in (n, low - 1, low, low + width, low + width + 1):
        assert admits(schema, str(value)) == (low <= value <= low + width)


@pytest.mark.parametrize(
    ("schema", "answer", "told"),
    [
        (PERSON, '{"name":', "not valid JSON"),
        (PERSON, '{"name": 3}', r"\$.name: 3 is not of type 'string'"),
        ({"type": "integer", "multipleOf": 7}, "8", "8 is not a multiple of 7"),
        ({"type": "array", "uniqueItems": True}, "[1,1]", "non-unique"),
        ({"not": {"type": "null"}}, "null", "should not be valid"),
        ({"type": "number"}, "NaN", "not valid JSON"),
        ({"type": "string", "maxLength": 2000}, json.dumps("x" * 3000), "fails maxLength"),
        ({}, "[" * 100_000, "not valid JSON"),
    ],
)
def test_an_answer_that_does_not_satisfy_its_schema_is_refused(schema, answer, told):
    with pytest.raises(AnswerError, match=told) as caught:
        parse(schema).read(answer)
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 6


def test_what_only_the_check_in_the_end_knows_is_listed():
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "integer", "minimum": 1, "multipleOf": 7, "title": "seven"},
            "b": {"type": "string", "pattern": "(?=x)", "unknown": 1},
        },
        "if": {"required": ["a"]},
    }
    assert parse(schema).unfollowed == ("if", "multipleOf", "pattern")
    assert parse(PERSON).unfollowed == parse(TREE).unfollowed == ()


def _nest(n):
    return '{"items":' * n + "{}" + "}" * n


def _chain(n, make):
    defs = {f"d{i}": make(f"#/$defs/d{i + 1}") for i in range(n)}
    return {"$ref": "#/$defs/d0", "$defs": {**defs, f"d{n}": {"type": "null"}}}


HOSTILE = {
    "nested": _nest(39),
    "wide": {"properties": {f"p{i}": {"type": "integer"} for i in range(2000)}},
    "many values": {"enum": [f"{i * 7919 % 100_003}" for i in range(15_000)]},
    "values in each other": {"enum": ["a" * i for i in range(1, 800)]},
    "a long way": _chain(3000, lambda ref: {"anyOf": [{"$ref": ref}, {"const": ref}]}),
    "no end": {"properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    "long": {"type": "string", "minLength": 10**9},
    "much": {"minItems": 1000, "items": {"minItems": 1000, "items": {"minLength": 1000}}},
    "patterns": {"type": "string", "pattern": "((a{1000}){1000}){1000}"},
    "empty repeated": {"type": "string", "pattern": "(a*)*(|b)+"},
    "alternatives": {"anyOf": [{"const": [i]} for i in range(1000)]},
    "huge bounds": {"type": "integer", "minimum": -(10**400), "maximum": 1e308},
    "controls": {"properties": {'\0\n"\\\ud800': {"const": "\0\ud800"}}},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_any_schema_ends_in_a_document_or_in_one_line(tokenizer, name):
    text = HOSTILE[name] if isinstance(HOSTILE[name], str) else json.dumps(HOSTILE[name])
    told = ""
    try:
        schema = AnswerSchema.parse(text)
        written = write(schema, tokenizer, seed=1)
        if written is not None:
            schema.read(written)
    except G3nError as error:
        told = error.message
    assert "\n" not in told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"type": ', "not valid JSON"),
        ('{"const": NaN}', "not valid JSON"),
        ('{"a":' * 100_000, "nested"),
        (_nest(50), "nested more than 40 deep"),
        ('{"type": "strin"}', r"not valid at \$.type"),
        ('{"type": "string", "pattern": "["}', r"not valid at \$.pattern"),
        ('{"enum": []}', "empty enum"),
        ('{"properties": {"a": false}, "required": ["a"]}', "nothing satisfies"),
        ('{"type": "array", "minItems": 2, "maxItems": 1}', "below minItems"),
        ('{"type": "integer", "minimum": 2, "maximum": 1}', "no number lies between"),
        ('{"$ref": "#"}', "leads back to itself"),
        ('{"$ref": "#/$defs/a"}', "leads nowhere"),
        ('{"$ref": "https://example.com/schema.json"}', "leads out of the schema"),
        ('{"properties": {"a": {"$ref": "other.json#/a"}}}', "leads out of the schema"),
        ('{"$dynamicRef": "#a"}', r"\$dynamicRef, which is not followed"),
        (json.dumps(_chain(30, lambda ref: {"allOf": [{"$ref": ref}] * 2})), "too large"),
        ('{"type": "string", "pattern": "' + "(" * 500 + ")" * 500 + '"}', "nested too deep"),
        ("x" * 2_000_000, "longer than"),
    ],
)
def test_what_is_no_schema_is_refused(text, told):
    with pytest.raises(UsageError, match=told):
        AnswerSchema.parse(text)


def test_left_recursion_is_refused_where_the_grammar_is_read(tokenizer):
    schema = parse({"anyOf": [{"$ref": "#"}, {"type": "null"}]})
    with pytest.raises(UsageError, match="left recursion"):
        GrammarSampler(tokenizer.vocab, schema.grammar)


def test_a_schema_may_be_a_file(tmp_path):
    file = tmp_path / "person.json"
    file.write_text(json.dumps(PERSON))
    fields = tmp_path / "fields"
    fields.write_text("name\nage int\n")
    assert read_schema(str(file)).value == PERSON
    assert list(read_schema(str(fields)).value["properties"]) == ["name", "age"]
    assert read_schema("name").value["required"] == ["name"]
    with pytest.raises(InputError, match="cannot read"):
        read_schema(str(tmp_path / "none.json"))
    file.write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        read_schema(str(file))
