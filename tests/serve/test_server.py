"""HTTP around a scripted engine: what clients are told, and what becomes of them."""

import base64
import json
import re
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from g3n_cli.chat.media import MediaStore
from g3n_cli.engine.encoders.open import Projector
from g3n_cli.serve.gate import Access
from tests.engine.scripted import CONTROL
from tests.fake_encoder import FakeProjector
from tests.fakes import make_engine, show_ids
from tests.gguf_edit import BOOL, Draft, scalar
from tests.media_files import encode_wav, make_tone
from tests.program import ROOT
from tests.serve.front import run, wait_until

OLLAMA = {"messages": [{"role": "user", "content": "hi"}]}


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


class HeldEngine:
    """A scripted engine whose answers stand still until they may go on."""

    def __init__(self, *answers):
        self.may_go_on = threading.Event()
        self.engine = make_engine(*answers)
        decode = self.engine.decode

        def wait_and_decode(token):
            assert self.may_go_on.wait(20)
            return decode(token)

        self.engine.decode = wait_and_decode


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
    body = {"messages": OLLAMA["messages"], "stream_options": {"include_usage": True}}
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
        kind, content = front.stream("/api/chat", OLLAMA)
        assert kind == "application/x-ndjson; charset=utf-8"
        lines = [json.loads(line) for line in content.splitlines()]
        assert [line["message"]["content"] for line in lines] == ["H", "i", ""]
        assert [line["done"] for line in lines] == [False, False, True]
        assert lines[-1]["eval_count"] == 2
        _, whole = front.post("/api/chat", {**OLLAMA, "stream": False})
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
        *_, last = read_events(front.stream("/v1/chat/completions", OLLAMA)[1])
        assert "answer failed" in last["error"]["message"]
        assert "error: RuntimeError: out of luck" in front.log
        assert front.chat(max_tokens=1)[0] == 200


def test_who_comes_when_too_many_wait_is_sent_away():
    held = HeldEngine("Hello", "Hi")
    with run(held.engine, most_waiting=1) as front:
        clients = [front.send_and_stay(OLLAMA)]
        wait_until(lambda: held.engine.prompts, "the first is not computed")
        clients.append(front.send_and_stay(OLLAMA))
        wait_until(lambda: front.queue.n_waiting == 1, "the second does not wait")
        status, headers, content = front.ask("POST", "/v1/chat/completions", OLLAMA)
        assert status == 429
        assert headers["retry-after"].isdecimal()
        assert json.loads(content)["error"]["code"] == "rate_limit_exceeded"
        held.may_go_on.set()
        for client in clients:
            assert b"200 OK" in client.recv(100)
            client.close()


def test_who_leaves_while_waiting_is_not_computed():
    held = HeldEngine("Hello", "Hi")
    with run(held.engine) as front:
        first = front.send_and_stay(OLLAMA)
        wait_until(lambda: held.engine.prompts, "the first is not computed")
        second = front.send_and_stay(OLLAMA)
        wait_until(lambda: front.queue.n_waiting == 1, "the second does not wait")
        second.close()
        wait_until(lambda: front.queue.n_waiting == 0, "the second still waits")
        held.may_go_on.set()
        assert b"200 OK" in first.recv(100)
        first.close()
        assert front.chat("third")[0] == 200
        assert len(held.engine.prompts) == 2
        assert any("the client has left" in line for line in front.log)


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_while_it_is_computed_ends_it(stream):
    held = HeldEngine("x" * 4000, "Hi")
    with run(held.engine) as front:
        client = front.send_and_stay({**OLLAMA, "stream": stream})
        wait_until(lambda: held.engine.prompts, "it is not computed")
        decoded = held.engine.decoded
        client.close()
        wait_until(lambda: any("has left" in line for line in front.log), "it is not noticed")
        held.may_go_on.set()
        assert front.chat()[0] == 200
        assert len(held.engine.prompts) == 2
        assert len(decoded) <= 1


def test_who_leaves_while_the_prompt_is_read_ends_it():
    engine, is_reading, may_go_on = make_engine("Hello"), threading.Event(), threading.Event()
    prefill = engine.prefill

    def wait_and_prefill(prompt, on_progress):
        is_reading.set()
        assert may_go_on.wait(20)
        return prefill(prompt, on_progress)

    engine.prefill = wait_and_prefill
    with run(engine) as front:
        client = front.send_and_stay(OLLAMA)
        assert is_reading.wait(20)
        client.close()
        wait_until(lambda: any("has left" in line for line in front.log), "it is not noticed")
        may_go_on.set()
        wait_until(lambda: engine.prompts, "it is not read")
        assert front.post("/v1/completions", {"prompt": "x" * 9999})[0] == 400  # computed after it
        assert engine.n_past == 0


def test_a_reader_that_pauses_gets_all_and_holds_up_nobody():
    with run(make_engine("x" * 3000, "Hi")) as front:
        slow = front.send_and_stay({**OLLAMA, "stream": True})
        assert front.chat()[0] == 200
        content = b""
        while b"[DONE]" not in content:
            content += slow.recv(1000)
        slow.close()
    assert content.count(b'"content": "x"') == 3000


def test_the_token_is_required():
    with run(make_engine("Hi"), Access(token="s3cret")) as front:
        for headers in (
            {},
            {"Authorization": "Bearer s3cre"},
            {"Authorization": "Basic s3cret"},
            {"Authorization": "Bearer s\xe9cret"},
        ):
            status, told, content = front.ask("GET", "/v1/models", **headers)
            assert (status, told["www-authenticate"]) == (401, "Bearer")
            assert json.loads(content)["error"]["code"] == "invalid_api_key"
        assert front.ask("GET", "/v1/models", Authorization="Bearer s3cret")[0] == 200
        assert front.ask("GET", "/health")[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:1", 200), ("[::1]", 200), ("evil.example", 403), ("[", 403)],
)
def test_other_names_of_this_machine_are_refused(host, status):
    with run(make_engine()) as front:
        assert front.ask("GET", "/v1/models", Host=host)[0] == status


def test_who_is_not_on_loopback_may_have_any_name():
    with run(make_engine(), Access(is_loopback=False)) as front:
        assert front.ask("GET", "/v1/models", Host="box.example")[0] == 200


def test_web_pages_ask_only_where_they_are_allowed_to():
    page = "http://localhost:3000"
    with run(make_engine("Hi")) as front:
        own = f"http://127.0.0.1:{front.port}"
        assert front.ask("GET", "/v1/models", Origin=page)[0] == 403
        assert front.ask("GET", "/v1/models", Origin="null")[0] == 403
        assert front.ask("GET", "/v1/models", Origin=own)[0] == 200
    access = Access(origins=(page,), token="s3cret")
    with run(make_engine(), access) as front:
        asks = {"Access_Control_Request_Method": "POST", "Origin": page}
        status, headers, _ = front.ask("OPTIONS", "/v1/chat/completions", **asks)
        assert (status, headers["access-control-allow-origin"]) == (200, page)
        status, headers, _ = front.ask("GET", "/v1/models", Origin=page)
        assert (status, headers["access-control-allow-origin"]) == (401, page)
        assert front.ask("GET", "/v1/models", Origin="http://evil.example")[0] == 403


def hear(content, tmp_path, part=None, n_ctx=4096):
    """What a server with an encoder of sound makes of a message: status, answer, its prompt."""
    engine = make_engine("I hear.", n_ctx=n_ctx)
    engine.info = replace(engine.info, n_embd=8)
    file = tmp_path / "mmproj.gguf"
    Draft({"clip.has_audio_encoder": scalar(BOOL, True)}).write(file)
    store = MediaStore(engine.info, FakeProjector().open)
    data = base64.b64encode(content).decode()
    part = part or {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    messages = [{"role": "user", "content": [part, {"type": "text", "text": "What is this?"}]}]
    with run(engine, projector=Projector(file, 1), media_store=store) as front:
        status, answer = front.post("/v1/chat/completions", {"messages": messages})
    return status, answer, engine.prompts


def test_sound_is_heard_before_the_text_that_follows_it(tmp_path):
    status, _, prompts = hear(encode_wav(make_tone(0.5)), tmp_path)
    assert status == 200
    (prompt,) = prompts
    assert prompt.rows.shape == (189, 8)
    assert show_ids([i for i in prompt.ids.tolist() if i >= 0]).count("<start_of_audio>") == 1


def test_sound_that_the_context_has_no_room_for_is_refused(tmp_path):
    long = encode_wav(np.zeros(600 * 8000), 8000)
    status, answer, prompts = hear(long, tmp_path, n_ctx=400)
    assert (status, answer["error"]["code"], prompts) == (400, "context_length_exceeded", [])
    n_tokens = int(
        re.search(r"prompt has ([\d,]+) tokens", answer["error"]["message"])[1].replace(",", "")
    )
    assert 400 < n_tokens < 1500  # all of it would be 3,800: what is too much is not decoded


@pytest.mark.parametrize("content", [b"some text", b"%PDF-1.4 and more", b"RIFF\0\0\0\0WAVEjunk"])
def test_what_is_no_sound_is_refused(content, tmp_path):
    status, answer, prompts = hear(content, tmp_path)
    assert (status, answer["error"]["type"], prompts) == (400, "invalid_request_error", [])


def test_what_the_model_has_no_encoder_for_is_refused(tmp_path):
    part = {"type": "image_url", "image_url": {"url": "data:;base64,aGVsbG8="}}
    status, answer, _ = hear(b"", tmp_path, part)
    assert status == 400
    assert "image encoder" in answer["error"]["message"]


def test_who_waits_when_the_server_ends_is_told():
    held = HeldEngine("Hello")
    with run(held.engine) as front:
        first = front.send_and_stay(OLLAMA)
        wait_until(lambda: held.engine.prompts, "the first is not computed")
        second = front.send_and_stay(OLLAMA)
        wait_until(lambda: front.queue.n_waiting == 1, "the second does not wait")
        front.queue.close()
        assert b"503" in second.recv(100)
        assert front.chat()[0] == 503
        held.may_go_on.set()
        for client in (first, second):
            client.close()


INTERRUPTED_WHILE_IT_WAITS = """
import random, signal, threading
from g3n_cli.serve.queue import Job, JobQueue

random.seed(0)
signal.signal(signal.SIGALRM, signal.default_int_handler)
queue, n_interrupted, is_over = JobQueue(most=1 << 30), 0, threading.Event()

def ask():
    while not is_over.wait(1e-4):
        queue.put(Job(None, print))

asking = threading.Thread(target=ask, daemon=True)
asking.start()
for _ in range(3000):
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 3e-4))
        for _ in range(100):
            queue.take(1e-5)
    except KeyboardInterrupt:
        n_interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
is_over.set()
asking.join(30)
assert not asking.is_alive()
print(n_interrupted)
"""


def test_an_interrupt_at_any_moment_leaves_the_queue_to_others():
    command = [sys.executable, "-c", INTERRUPTED_WHILE_IT_WAITS]
    done = subprocess.run(command, capture_output=True, check=False, timeout=300, cwd=ROOT)
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) > 100
