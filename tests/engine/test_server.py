import json
import socket
import time
from email.utils import formatdate

import pytest

from g3n_cli.engine.server import MOST_BYTES, Patience, Server, ServerAddress
from g3n_cli.engine.server_generation import ServerGeneration
from g3n_cli.errors import ModelError, ServerError, UsageError
from tests.fake_server import (
    DONE,
    end_event,
    fail,
    make_event,
    make_usage,
    reset,
    say,
    serve,
    stall,
    stream,
)

QUICK = Patience(connect_s=5, silence_s=5, pauses_s=(0, 0, 0), longest_pause_s=2)
SECRET = "sk-very-secret"


class Client:
    """One server, and what g3n tells of trying again."""

    def __init__(self, url, key=None, patience=QUICK):
        self.notes = []
        self.server = Server(ServerAddress.parse(url), key, self.notes.append, patience)

    def ask(self, **request):
        return ServerGeneration(self.server, {"model": "m", **request})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://localhost:8080/v1", ServerAddress("localhost", 8080, "/v1", is_secure=False)),
        ("http://127.0.0.1/v1/", ServerAddress("127.0.0.1", 80, "/v1", is_secure=False)),
        ("https://gpu.example/a/v1", ServerAddress("gpu.example", 443, "/a/v1", is_secure=True)),
        ("http://[::1]:9/v1", ServerAddress("::1", 9, "/v1", is_secure=False)),
    ],
)
def test_addresses(text, expected):
    assert ServerAddress.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "ftp://host/v1",
        "http://",
        "http:///v1",
        "http://host:port/v1",
        "http://host:99999/v1",
        "http://host/v1?key=1",
        "http://host/v1#a",
        "http://host/a b",
        "http://host/\r\nX: y",
        "http://[::1/v1",
    ],
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(UsageError, match="--device"):
        ServerAddress.parse(text)


def test_an_address_with_a_password_is_refused_and_not_repeated():
    with pytest.raises(UsageError) as caught:
        ServerAddress.parse(f"http://me:{SECRET}@host/v1")
    assert SECRET not in f"{caught.value.message} {caught.value.hint}"
    assert "G3N_API_KEY" in caught.value.hint


def test_models_are_listed_in_the_servers_order():
    with serve() as fake:
        assert Client(fake.url).server.list_models() == ["first", "second"]


@pytest.mark.parametrize("content", [b"", b"[]", b"<html>", b'{"data": 1}', b"[" * 100_000])
def test_a_list_of_models_that_is_none(content):
    with serve() as fake:
        fake.models = content
        with pytest.raises(ServerError, match="does not list its models"):
            Client(fake.url).server.list_models()


def test_pieces_come_with_figures_by_the_servers_count():
    with serve(say("Hel", "lo", " you", usage=(12, 5, 7))) as fake:
        answer = Client(fake.url).ask()
        assert list(answer) == ["Hel", "lo", " you"]
    stats = answer.stats
    assert (stats.prompt_tokens, stats.reused_tokens, stats.output_tokens) == (12, 7, 5)
    assert stats.stop_reason == "end"
    assert len(stats.gaps_s) == 2
    assert stats.ttft_s > 0
    assert stats.decode_tps == pytest.approx(4 / sum(stats.gaps_s))
    assert fake.requests[0]["stream_options"] == {"include_usage": True}


def test_a_server_that_does_not_count_leaves_figures_open():
    with serve(say("Hi")) as fake:
        answer = Client(fake.url).ask()
        list(answer)
    stats = answer.stats
    assert (stats.prompt_tokens, stats.output_tokens, stats.decode_tps) == (None, None, None)
    assert stats.ttft_s > 0


@pytest.mark.parametrize(
    ("request_", "reason", "expected"),
    [
        ({}, "stop", "end"),
        ({"max_tokens": 3}, "length", "length"),
        ({}, "length", "context"),
        ({}, "content_filter", "end"),
    ],
)
def test_what_ended_an_answer(request_, reason, expected):
    with serve(say("Hi", reason=reason)) as fake:
        answer = Client(fake.url).ask(**request_)
        list(answer)
    assert answer.stats.stop_reason == expected


def test_bytes_of_a_character_in_two_chunks():
    raw = make_event("x").replace(b'"x"', '"aé日🙂"'.encode()) + end_event() + DONE
    with serve(stream(*(raw[i : i + 1] for i in range(len(raw))))) as fake:
        assert list(Client(fake.url).ask()) == ["aé日🙂"]


def test_halves_of_a_surrogate_pair_in_two_events():
    parts = [make_event("x").replace(b'"x"', half) for half in (b'"a\\ud83d"', b'"\\ude42b"')]
    with serve(stream(*parts, end_event() + DONE)) as fake:
        assert list(Client(fake.url).ask()) == ["a", "🙂b"]


def test_half_a_surrogate_pair_at_the_end_is_valid_text():
    part = make_event("x").replace(b'"x"', b'"a\\ud83d"')
    with serve(stream(part, end_event() + DONE)) as fake:
        assert "".join(Client(fake.url).ask()) == "a\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    "parts",
    [
        (b": a comment\n\nevent: x\nid: 3\n", make_event("Hi"), end_event(), DONE),
        (make_event("Hi").replace(b"\n", b"\r\n"), end_event(), DONE),
        (make_event("Hi").replace(b"data: ", b"data:"), end_event(), DONE),
        (make_event("Hi").replace(b'"usage"', b'\ndata: "usage"'), end_event(), DONE),
        (make_event(None), make_event(""), make_event("Hi"), end_event(), DONE),
        (make_event("Hi"), end_event()),
        (make_event("Hi"), DONE),
        (make_event("Hi"), end_event(), make_usage(1, 1).replace(b"[]", b"null"), DONE),
        (make_event("Hi", finish_reason="stop"), DONE),
    ],
)
def test_streams_in_other_styles(parts):
    with serve(stream(*parts)) as fake:
        answer = Client(fake.url).ask()
        assert list(answer) == ["Hi"]
        assert answer.stats.stop_reason == "end"


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again(status):
    with serve(fail(status, Retry_After="1"), say("Hi")) as fake:
        client = Client(fake.url)
        assert list(client.ask()) == ["Hi"]
    (note,) = client.notes
    assert f"answers {status}" in note
    assert "trying again in 1 s" in note


def test_a_server_that_stays_busy_is_left_alone():
    with serve(*[fail(429, b'{"error": {"message": "slow down"}}')] * 9) as fake:
        with pytest.raises(ServerError, match="429: slow down"):
            list(Client(fake.url).ask())
        assert len(fake.requests) == 1 + len(QUICK.pauses_s)


def test_a_server_that_asks_for_too_long_a_pause_is_not_waited_for():
    with serve(fail(429, Retry_After="3600")) as fake:
        client = Client(fake.url)
        with pytest.raises(ServerError, match="429"):
            list(client.ask())
    assert client.notes == []


def test_a_pause_may_be_told_as_a_date():
    soon, late = (formatdate(time.time() + s, usegmt=True) for s in (1.9, 3600))
    refusals = [fail(429, Retry_After=text) for text in (soon, "no date", late)]
    with serve(*refusals) as fake:
        client = Client(fake.url)
        with pytest.raises(ServerError, match="429"):
            list(client.ask())
    first, second = client.notes
    assert first.endswith(("in 1 s", "in 2 s"))
    assert second.endswith("in 0 s")


def test_nobody_there_is_tried_again_and_told():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        client = Client(f"http://127.0.0.1:{unused.getsockname()[1]}/v1")
        with pytest.raises(ServerError, match="nothing answers"):
            list(client.ask())
    assert len(client.notes) == len(QUICK.pauses_s)


@pytest.mark.parametrize(
    ("behave", "error", "part"),
    [
        (fail(500, b"<html>"), ServerError, "500: Internal Server Error"),
        (fail(500, b'{"error": "out of memory"}'), ServerError, "500: out of memory"),
        (fail(400, b'{"error": {"message": "bad\\n top_k"}}'), ServerError, "400: bad top_k"),
        (fail(404, b'{"detail": "no such model"}'), ModelError, "404: no such model"),
        (reset, ServerError, "cannot talk"),
        (stream(b"data: {nonsense\n\n"), ServerError, "no part of an answer"),
        (stream(b"data: [1]\n\n"), ServerError, "no part of an answer"),
        (stream(b'data: {"error": {"message": "no GPU"}}\n\n'), ServerError, "gave up: no GPU"),
        (fail(200, b'{"choices": []}'), ServerError, "no text/event-stream"),
        (stream(b"x" * MOST_BYTES), ServerError, "more than makes sense"),
    ],
)
def test_a_failure_is_told_once_and_not_tried_again(behave, error, part):
    with serve(behave, say("never asked")) as fake:
        client = Client(fake.url)
        with pytest.raises(error) as caught:
            list(client.ask())
        assert part in caught.value.message
        assert "\n" not in caught.value.message
        assert len(fake.requests) == 1
    assert client.notes == []


def test_what_is_no_stream_of_events_is_named():
    page = fail(200, b"<!doctype html>\n\n<p>Welcome", Content_Type="text/html; charset=utf-8")
    with serve(page) as fake, pytest.raises(ServerError, match="sends text/html") as caught:
        list(Client(fake.url).ask())
    assert "most end in /v1" in caught.value.hint


REFUSAL = {"error": {"message": "no space left", "code": 400}}


@pytest.mark.parametrize("silent", [stream(), stream(ends=False)])
@pytest.mark.parametrize(
    ("behave", "part"),
    [
        (fail(400, json.dumps(REFUSAL).encode()), "no space left"),
        (fail(200, b'{"choices": []}'), "ended without an answer"),
    ],
)
def test_a_stream_that_ends_without_a_word_is_asked_for_its_reason(silent, behave, part):
    with serve(silent, behave) as fake:
        answer = Client(fake.url).ask(top_k=3)
        with pytest.raises(ServerError, match=part):
            list(answer)
    assert answer.stats.stop_reason == "dropped"
    again = fake.requests[1]
    assert (again["top_k"], again["max_tokens"], "stream" in again) == (3, 1, False)


def test_tls_with_a_server_that_has_none_is_told():
    with serve() as fake, pytest.raises(ServerError, match="does not speak TLS") as caught:
        list(Client(fake.url.replace("http:", "https:")).ask())
    assert "http://" in caught.value.hint


@pytest.mark.parametrize("host", ["a" * 64, "a..b"])
def test_a_host_whose_name_cannot_be_one(host):
    with pytest.raises(ServerError, match="cannot talk to"):
        list(Client(f"http://{host}/v1").ask())


def test_redirections_are_not_followed():
    with serve(say("stolen")) as other, serve(fail(307, Location=other.url)) as fake:
        with pytest.raises(ServerError) as caught:
            list(Client(fake.url).ask())
        assert other.url in caught.value.hint
        assert other.requests == []


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("key", "hint"), [(None, "goes into"), (SECRET, "does not take")])
def test_a_refused_key_is_explained_and_never_shown(status, key, hint):
    body = f'{{"error": {{"message": "wrong key: {SECRET}"}}}}'.encode()
    with serve(fail(status, body)) as fake:
        with pytest.raises(ServerError) as caught:
            list(Client(fake.url, key).ask())
        assert fake.requests[0]["headers"].get("authorization") == (key and f"Bearer {key}")
    assert hint in caught.value.hint
    assert "G3N_API_KEY" in caught.value.hint
    assert key is None or SECRET not in caught.value.message


@pytest.mark.parametrize("parts", [(), (make_event("Hi"),)])
def test_a_server_that_falls_silent_is_given_up(parts):
    with serve(stall(*parts)) as fake:
        answer = Client(fake.url, patience=Patience(silence_s=0.2)).ask()
        with pytest.raises(ServerError, match="fell silent"):
            list(answer)
        assert answer.text == ("Hi" if parts else "")
        answer.close()


@pytest.mark.parametrize(
    "behave",
    [
        stream(make_event("Hel"), make_event("lo"), ends=False),
        stream(make_event("Hel"), make_event("lo"), make_event("lost")[:-9]),
        stream(make_event("Hel"), make_event("lo"), b'data: {"error": "gone"}\n\n'),
    ],
)
def test_what_came_before_a_stream_broke_off_is_there(behave):
    with serve(behave) as fake:
        answer = Client(fake.url).ask()
        with pytest.raises(ServerError):
            list(answer)
        answer.close()
    assert (answer.text, answer.stats.stop_reason) == ("Hello", "dropped")


def test_closing_hangs_up():
    with serve(stall(make_event("Hi"))) as fake:
        answer = Client(fake.url).ask()
        assert next(answer) == "Hi"
        answer.close()
        answer.close()
    assert answer.stats.stop_reason == "interrupted"
