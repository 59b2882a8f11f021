"""A server in this process, with a scripted engine behind it."""

import contextlib
import http.client
import json
import socket
import threading
import time
from dataclasses import replace

from g3n_cli.chat.media import MediaStore
from g3n_cli.engine.encoders.open import Projector
from g3n_cli.serve.app import make_app
from g3n_cli.serve.compute import compute_all
from g3n_cli.serve.gate import Access
from g3n_cli.serve.model import ServedModel
from g3n_cli.serve.queue import JobQueue
from g3n_cli.serve.server import listen, run_front
from tests.fakes import make_engine
from tests.model_files import SMALL8

PATIENCE_S = 20
HI = {"messages": [{"role": "user", "content": "hi"}]}


def make_form(fields):
    """``Content-Type`` and body of a form; ``fields`` are bytes by name, or pairs."""
    pairs = fields.items() if isinstance(fields, dict) else fields
    parts = [
        b'--=_b\r\nContent-Disposition: form-data; name="%s"; filename="f"\r\n\r\n%s\r\n'
        % (name.encode(), value)
        for name, value in pairs
    ]
    return 'multipart/form-data; boundary="=_b"', b"".join(parts) + b"--=_b--\r\n"


class _EndedError(Exception):
    """The test is over."""


class Front:
    """What a client sees of the server, and what a test may see behind it."""

    def __init__(self, engine, queue, port, log):
        self.engine, self.queue, self.port, self.log = engine, queue, port, log

    def ask(self, method, path, body=None, **headers):
        """Status, headers and body of a response; ``body`` is JSON unless it is bytes."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, content, names)
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def post(self, path, body, **headers):
        """Status and JSON of a response."""
        status, _, content = self.ask("POST", path, body, **headers)
        return status, json.loads(content)

    def chat(self, text="hi", **fields):
        """Status and JSON of a chat completion."""
        messages = [{"role": "user", "content": text}]
        return self.post("/v1/chat/completions", {"messages": messages, **fields})

    def stream(self, path, body):
        """The bytes of a stream, with their type."""
        status, headers, content = self.ask("POST", path, {**body, "stream": True})
        assert status == 200, content
        return headers["content-type"], content

    def send_and_stay(self, body, path="/v1/chat/completions", headers=""):
        """A socket on which something was asked for, and nothing was read yet."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{headers}"
        client = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        client.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        return client


@contextlib.contextmanager
def run(engine, access=None, most_waiting=8, projector=None, media_store=None, cache_bytes=0):
    """The server while the context lasts."""
    engine.info = replace(engine.info, path=SMALL8)
    projector = projector or Projector(None, 1)
    store = media_store or MediaStore(engine.info, projector.open)
    model = ServedModel(engine, store, projector, None, {"temp": 0.0}, cache_bytes)
    queue, log, is_over = JobQueue(most_waiting), [], threading.Event()

    def check():
        if is_over.is_set():
            raise _EndedError

    def compute():
        with contextlib.suppress(_EndedError):
            compute_all(queue, model, log.append, check)

    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    thread = threading.Thread(target=compute)
    thread.start()
    try:
        app = make_app(model, queue, access or Access(), log.append)
        with run_front(app, listener):
            yield Front(engine, queue, port, log)
            queue.close()
    finally:
        is_over.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def wait_until(is_so, what):
    """Wait for something that is bound to happen."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


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
