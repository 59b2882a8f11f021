import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from g3n_cli.serve import llamacpp, ollama
from g3n_cli.serve.fields import parse_body
from g3n_cli.serve.refusal import RefusedError
from g3n_cli.serve.requests import (
    ChatRequest,
    Medium,
    TextRequest,
    parse_chat,
    parse_text,
    wants_usage,
)

PICTURE = base64.b64encode(b"picture").decode()
SOUND = base64.b64encode(b"sound").decode()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary().map(repr),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        *("messages", "prompt", "model", "stop", "max_tokens", "max_completion_tokens", "seed"),
        *("temperature", "top_p", "top_k", "min_p", "n", "response_format", "tools", "modalities"),
        *("stream_options", "logprobs", "tool_choice", "n_predict", "options", "format", "images"),
        *("system", "raw", "context", "repeat_penalty"),
    ]
)
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "input_audio", "refusal"]) | VALUES},
    optional={"text": VALUES, "image_url": VALUES, "input_audio": VALUES},
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["system", "user", "assistant", "tool", None])},
        optional={"content": VALUES | st.lists(PARTS, max_size=3), "images": VALUES},
    ),
    max_size=4,
)


def ask(*messages, **fields):
    """A request whose messages are pairs of role and content."""
    listed = [{"role": role, "content": content} for role, content in messages]
    return parse_chat({"messages": listed, **fields})


def attempt(parse, body):
    try:
        return parse(body)
    except RefusedError as refusal:
        return refusal


def refused(parse, body):
    with pytest.raises(RefusedError) as caught:
        parse(body)
    return caught.value


@settings(max_examples=500)
@given(
    st.dictionaries(NAMES, VALUES, max_size=6),
    MESSAGES | VALUES,
    st.sampled_from(
        [
            parse_chat,
            parse_text,
            llamacpp.parse_completion,
            ollama.parse_chat,
            ollama.parse_generate,
        ]
    ),
)
def test_whatever_is_sent_is_understood_or_refused(body, messages, parse):
    outcome = attempt(parse, {**body, "messages": messages})
    if isinstance(outcome, RefusedError):
        assert 400 <= outcome.status < 500
        assert outcome.message
    else:
        assert outcome is None or isinstance(outcome, ChatRequest | TextRequest)


@given(st.binary() | st.text().map(str.encode))
def test_a_body_is_an_object_or_refused(content):
    outcome = attempt(parse_body, content)
    assert isinstance(outcome, dict) or outcome.status == 400


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b'{"a": NaN}', b'{"a": Infinity}', b"[" * 100_000, b'{"a": ' + b"9" * 9999],
)
def test_what_is_no_json_object_is_refused(content):
    assert refused(parse_body, content).status == 400


def test_a_conversation_is_read():
    request = ask(
        ("system", "Be brief."),
        ("user", "hi"),
        ("assistant", "Hello."),
        ("developer", "Be kind."),
        ("user", "and?"),
    )
    assert request.system == "Be brief.\n\nBe kind."
    assert request.turns == ((("hi",), "Hello."),)
    assert request.question == ("and?",)


def test_messages_in_a_row_by_one_side_are_one():
    request = ask(
        ("assistant", "Welcome."), ("assistant", "Ask."), ("user", "one"), ("user", "two")
    )
    assert request.turns == (((), "Welcome.\n\nAsk."),)
    assert request.question == ("one\n\ntwo",)


def test_parts_keep_their_order():
    content = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}},
        {"type": "text", "text": "and hear:"},
        {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}},
    ]
    assert ask(("user", content)).question == (
        "Look:",
        Medium("image", b"picture"),
        "and hear:",
        Medium("audio", b"sound"),
    )


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/a.png", "https://example.org/a.png", "file:///etc/passwd", "a.png"]
)
def test_nothing_is_fetched(url):
    content = [{"type": "image_url", "image_url": {"url": url}}]
    refusal = refused(parse_chat, {"messages": [{"role": "user", "content": content}]})
    assert "nothing is fetched" in refusal.message


@pytest.mark.parametrize("messages", [[], [("user", "hi"), ("assistant", "Hello.")]])
def test_there_must_be_something_to_answer(messages):
    listed = [{"role": role, "content": content} for role, content in messages]
    assert refused(parse_chat, {"messages": listed}).param == "messages"


@pytest.mark.parametrize(
    "field",
    [
        {"n": 2},
        {"tools": [{"type": "function"}]},
        {"functions": [{"name": "f"}]},
        {"logprobs": True},
        {"logit_bias": {"1": 5}},
        {"presence_penalty": 0.5},
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        {"response_format": {"type": "xml"}},
        {"modalities": ["text", "audio"]},
        {"grammar": 'root ::= "a"'},
        {"temperature": -1},
        {"temperature": True},
        {"temperature": "1"},
        {"top_p": 0},
        {"max_tokens": 0},
        {"max_tokens": 1.5},
        {"seed": "a"},
        {"stop": [1]},
        {"stop": ["a"] * 65},
        {"stream_options": 1},
    ],
)
def test_what_cannot_be_done_is_refused_and_named(field):
    (name,) = field
    body = {"messages": [{"role": "user", "content": "hi"}], **field}

    def parse(body):
        wants_usage(body)
        parse_chat(body)

    refusal = refused(parse, body)
    assert (refusal.status, refusal.param) == (400, name)
    assert refusal.message.startswith(name)


def test_what_says_nothing_is_taken():
    empty = {"n": 1, "tools": [], "logprobs": False, "logit_bias": {}, "presence_penalty": 0}
    request = ask(("user", "hi"), **empty, user="me", seed=-1, stop=["", "x"], top_k=-1)
    assert request.rules.stop == ("x",)
    assert (request.rules.options.seed, request.rules.options.top_k) == (None, 0)


def test_the_newer_name_of_the_limit_wins():
    request = ask(("user", "hi"), max_tokens=5, max_completion_tokens=7)
    assert request.rules.options.max_tokens == 7


def test_tools_that_must_not_be_used_are_no_matter():
    assert ask(("user", "hi"), tools=[{"type": "function"}], tool_choice="none").question


def test_a_negative_limit_is_none():
    assert ask(("user", "hi"), max_tokens=-1).rules.options.max_tokens is None
    rules = llamacpp.parse_completion({"prompt": "a", "n_predict": -1, "max_tokens": 3}).rules
    assert rules.options.max_tokens is None
    assert llamacpp.parse_completion({"prompt": "a", "n_predict": 4}).rules.options.max_tokens == 4


def test_ollamas_options_are_read():
    options = {"temperature": 0.5, "num_predict": 9, "num_ctx": 8192, "stop": ["x"], "seed": 3}
    messages = [{"role": "user", "content": "Look", "images": [PICTURE]}]
    request = ollama.parse_chat({"messages": messages, "options": options, "format": "json"})
    assert request.question == (Medium("image", b"picture"), "Look")
    assert request.rules.is_json
    assert request.rules.stop == ("x",)
    asked = request.rules.options
    assert (asked.temp, asked.max_tokens, asked.seed) == (0.5, 9, 3)


def test_a_schema_is_found_where_each_interface_has_it():
    schema = {"type": "object"}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    rules = [
        ask(("user", "hi"), response_format=wanted).rules,
        ask(("user", "hi"), response_format={"type": "json_object", "schema": schema}).rules,
        llamacpp.parse_completion({"prompt": "a", "json_schema": schema}).rules,
        ollama.parse_generate({"prompt": "a", "format": schema}).rules,
    ]
    assert {rule.schema for rule in rules} == {'{"type": "object"}'}
    assert not any(rule.is_json for rule in rules)


def test_ollama_asks_for_the_model_alone():
    assert ollama.parse_chat({"messages": []}) is None
    assert ollama.parse_generate({"model": "any"}) is None


def test_ollamas_raw_prompt_has_no_template():
    assert ollama.parse_generate({"prompt": "Once", "raw": True}) == TextRequest(
        "Once", parse_text({"prompt": "Once"}).rules
    )
