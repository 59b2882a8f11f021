"""HTTP around a scripted engine: what clients are told."""

import json

import pytest

from tests.engine.scripted import CONTROL
from tests.fakes import make_engine, show_ids
from tests.serve.front import HI, run, wait_until


def read(engine, n):
    """What the engine was asked to read the n-th time, as text."""
    return show_ids(engine.prompts[n].ids.tolist())


def read_events(content):
    """JSON of server-sent events; the end mark stays as it is."""
    blocks = content.decode().split("\n\n")
    assert blocks.pop() == ""
    assert all(block.startswith("data: ") for block in blocks)
    texts = [block.removeprefix("data: ") for block in blocks]
    return [text if text == "[DONE]" else json.loads(text) for text in texts]


def test_a_chat_is_answered_whole():
    with run(make_engine("Hello.")) as front:
        status, answer = front.chat("hi", model="any")
        assert status == 200
        assert answer["object"] == "chat.completion"
        assert answer["model"] == "scripted"
        assert answer["choices"][0]["message"]["content"] == "Hello."
        assert answer["choices"][0]["finish_reason"] == "stop"
        usage = answer["usage"]
        assert usage["completion_tokens"] == 6
        assert usage["total_tokens"] == usage["prompt_tokens"] + 6
        assert "user\nhi<end_of_turn>" in read(front.engine, 0)
        wait_until(lambda: front.log, "it is not logged")
        assert " POST /v1/chat/completions 200, " in front.log[0]


def test_a_chat_is_answered_piece_by_piece():
    body = {"messages": HI["messages"], "stream_options": {"include_usage": True}}
    with run(make_engine("Hi!")) as front:
        kind, content = front.stream("/v1/chat/completions", body)
    assert kind == "text/event-stream; charset=utf-8"
    *chunks, usage, done = read_events(content)
    assert done == "[DONE]"
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 3
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert [choice["delta"]["content"] for choice in choices[1:-1]] == ["H", "i", "!"]
    assert [choice["finish_reason"] for choice in choices] == [None] * 4 + ["stop"]
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_a_conversation_that_goes_on_is_not_read_again():
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "Eins"},
        {"role": "user", "content": "two"},
    ]
    with run(make_engine([*b"Ei", CONTROL, *b"ns"], "Zwei")) as front:  # not as it is encoded
        _, first = front.chat("one")
        assert first["choices"][0]["message"]["content"] == "Eins"
        n_computed = front.engine.n_past
        _, answer = front.post("/v1/chat/completions", {"messages": messages})
    assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == n_computed


def test_limits_and_stop_texts_end_an_answer():
    with run(make_engine("abcdef", "abcdef", "abcdef")) as front:
        _, short = front.chat(max_tokens=2)
        _, stopped = front.chat(stop="d")
        _, text = front.post("/v1/completions", {"prompt": "x", "stop": ["zz", "cd"]})
    assert short["choices"][0]["message"]["content"] == "ab"
    assert short["choices"][0]["finish_reason"] == "length"
    assert stopped["choices"][0]["message"]["content"] == "abc"
    assert stopped["choices"][0]["finish_reason"] == "stop"
    assert text["choices"][0]["text"] == "ab"


def test_a_text_goes_on_without_a_template():
    with run(make_engine("on", "on")) as front:
        front.post("/v1/completions", {"prompt": "go"})
        front.post("/v1/completions", {"prompt": "<bos>go"})
        assert [read(front.engine, n) for n in (0, 1)] == ["<bos>go", "<bos>go"]


def test_front_ends_of_llamacpp_are_answered():
    with run(make_engine("Hi", "Hi")) as front:
        assert json.loads(front.ask("GET", "/health")[2]) == {"status": "ok"}
        props = json.loads(front.ask("GET", "/props")[2])
        assert props["default_generation_settings"]["n_ctx"] == 4096
        assert props["modalities"] == {"vision": False, "audio": False}
        status, whole = front.post("/completion", {"prompt": "a", "n_predict": 1})
        assert (status, whole["content"], whole["stop_type"]) == (200, "H", "limit")
        kind, content = front.stream("/completion", {"prompt": "a"})
    events = read_events(content)
    assert kind.startswith("text/event-stream")
    assert [event["content"] for event in events] == ["H", "i", ""]
    assert [event["stop"] for event in events] == [False, False, True]
    assert events[-1]["stop_type"] == "eos"
    assert events[-1]["tokens_predicted"] == 2


def test_front_ends_of_ollama_are_answered():
    with run(make_engine("Hi", "Hi", "Hi")) as front:
        assert json.loads(front.ask("GET", "/api/version")[2]).keys() == {"version"}
        (model,) = json.loads(front.ask("GET", "/api/tags")[2])["models"]
        assert model["name"] == "scripted"
        assert front.post("/api/show", {"model": "scripted"})[1]["capabilities"] == ["completion"]
        assert front.post("/api/show", {"model": "other"})[0] == 404
        kind, content = front.stream("/api/chat", HI)
        assert kind == "application/x-ndjson; charset=utf-8"
        lines = [json.loads(line) for line in content.splitlines()]
        assert [line["message"]["content"] for line in lines] == ["H", "i", ""]
        assert [line["done"] for line in lines] == [False, False, True]
        assert lines[-1]["eval_count"] == 2
        _, whole = front.post("/api/chat", {**HI, "stream": False})
        assert whole["message"]["content"] == "Hi"
        _, generated = front.post("/api/generate", {"prompt": "a", "stream": False})
        assert (generated["response"], generated["done_reason"]) == ("Hi", "stop")
        assert front.post("/api/chat", {"model": "scripted"})[1]["done_reason"] == "load"


def test_embeddings_are_refused_clearly():
    with run(make_engine()) as front:
        status, answer = front.post("/v1/embeddings", {"input": "a"})
        assert (status, answer["error"]["type"]) == (501, "not_supported_error")
        status, answer = front.post("/api/embed", {"input": "a"})
        assert status == 501
        assert isinstance(answer["error"], str)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/chat/completions", b"{", 400),
        ("POST", "/v1/chat/completions", b'{"messages": 1}', 400),
        ("POST", "/v1/chat/completions", b'{"messages": [], "stream": "yes"}', 400),
        ("GET", "/v1/chat/completions", None, 405),
        ("GET", "/v2/models", None, 404),
        ("GET", "/v1/models/other", None, 404),
        ("POST", "/api/chat", b"[]", 400),
        ("GET", "/../../etc/passwd", None, 404),
    ],
)
def test_nonsense_is_refused_and_the_next_request_is_answered(method, path, body, status):
    with run(make_engine("Hi")) as front:
        got, headers, content = front.ask(method, path, body)
        assert got == status
        assert headers["content-type"] == "application/json"
        assert json.loads(content)["error"]
        assert front.chat()[0] == 200


def test_a_body_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr("g3n_cli.serve.app.MOST_BODY_BYTES", 1000)
    with run(make_engine()) as front:
        assert front.chat("x" * 1000)[0] == 413


def test_a_conversation_longer_than_the_context_is_refused_by_name():
    turns = [{"role": role, "content": "x" * 50} for role in ("user", "assistant", "user")]
    with run(make_engine("Hi", n_ctx=128)) as front:
        status, answer = front.post("/v1/chat/completions", {"messages": turns})
        assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
        status, answer = front.post("/v1/completions", {"prompt": "x" * 200})
        assert (status, answer["error"]["code"]) == (400, "context_length_exceeded")
        assert front.chat()[0] == 200


def test_a_failure_in_the_middle_of_a_stream_is_told_there():
    engine = make_engine("Hello", "Hi", errors={2: RuntimeError("out of luck")})
    with run(engine) as front:
        *_, last = read_events(front.stream("/v1/chat/completions", HI)[1])
        assert "answer failed" in last["error"]["message"]
        assert "error: RuntimeError: out of luck" in front.log
        assert front.chat(max_tokens=1)[0] == 200
