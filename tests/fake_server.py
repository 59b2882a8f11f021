"""An OpenAI-compatible server on this machine that behaves, or misbehaves, as it is told."""

import json
import socket
import struct
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def make_event(text, **more):
    """Bytes of one event with a piece of an answer."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None, **more}
    return b"data: " + json.dumps({"choices": [choice], "usage": None}).encode() + b"\n\n"


def make_usage(prompt, output, cached=0):
    details = {"cached_tokens": cached}
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "prompt_tokens_details": details,
    }
    return b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"


def end_event(reason="stop"):
    choice = {"index": 0, "delta": {}, "finish_reason": reason}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def say(*pieces, usage=None, reason="stop"):
    """Answer as a server should."""
    told = b"" if usage is None else make_usage(*usage)
    return stream(*map(make_event, pieces), end_event(reason) + told + DONE)


def stream(*parts, ends=True):
    """Send bytes as chunks; without ``ends`` hang up in the middle."""

    def behave(handler, _hold):
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for part in parts:
            handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            handler.wfile.flush()
        if ends:
            handler.wfile.write(b"0\r\n\r\n")

    return behave


def stall(*parts):
    """Send bytes, then nothing until the test is over."""

    def behave(handler, hold):
        stream(*parts, ends=False)(handler, hold)
        hold.wait()

    return behave


def fail(status, body=b"", **headers):
    """Refuse; underscores of header names stand for hyphens."""

    def behave(handler, _hold):
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def reset(handler, _hold):
    """Hang up at once, without a word."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


class FakeServer:
    """Behaves in the given ways, one for each chat request.

    Attributes:
        url: Its address, as ``--device`` takes it.
        requests: Bodies of the chat requests, with the headers under "headers".
        models: Answer to ``/models``, or a behaviour.
    """

    def __init__(self, *behaviours):
        self.behaviours = list(behaviours)
        self.models = json.dumps({"data": [{"id": "first"}, {"id": "second"}]}).encode()
        self.requests = []
        self.hold = threading.Event()
        self.url = ""


@contextmanager
def serve(*behaviours):
    """A server as long as the body runs."""
    fake = FakeServer(*behaviours)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_GET(self):
            behave = fake.models if callable(fake.models) else fail(200, fake.models)
            behave(self, fake.hold)

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            fake.requests.append({**body, "headers": headers, "path": self.path})
            self.close_connection = True
            with suppress(OSError):
                fake.behaviours.pop(0)(self, fake.hold)

    class Quiet(ThreadingHTTPServer):
        def handle_error(self, *_):
            pass

    with Quiet(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        fake.url = f"http://127.0.0.1:{server.server_port}/v1"
        try:
            yield fake
        finally:
            fake.hold.set()
            server.shutdown()
            thread.join()
