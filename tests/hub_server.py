"""A Hugging Face Hub of one file on this machine that behaves, or misbehaves, as it is told."""

import hashlib
import re
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "1234567890" * 4
REPO, FILE = "someone/tiny-GGUF", "tiny-Q8_0.gguf"
_PATH = re.compile(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


class Hub:
    """What the server has, and what was asked of it.

    Attributes:
        content: Of the file.
        script: How the next requests for bytes are answered, in turn; then as they should be.
        ask: How questions about the file are answered; None as they should be.
        told: Headers of such an answer that differ from the truth.
        starts: First byte of each request for bytes.
        tokens: Authorization of each request.
    """

    def __init__(self, content):
        self.content = content
        self.script, self.ask, self.told = [], None, {}
        self.starts, self.tokens = [], []
        self.url = ""

    @property
    def sha256(self):
        return hashlib.sha256(self.content).hexdigest()

    @property
    def file_url(self):
        return f"{self.url}/{REPO}/resolve/{COMMIT}/{FILE}"


def serve(handler, hub, start):
    """As it should be."""
    send(handler, hub, start, hub.content[start:])


def send(handler, hub, start, body, length=None):
    total = len(hub.content)
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    handler.wfile.write(body)


def drop_after(n):
    """Break the connection after ``n`` bytes."""

    def behave(handler, hub, start):
        rest = hub.content[start:]
        send(handler, hub, start, rest[:n], len(rest))
        handler.close_connection = True

    return behave


def trickle(n, seconds):
    """Send blocks of ``n`` bytes with pauses."""

    def behave(handler, hub, start):
        rest = hub.content[start:]
        send(handler, hub, start, b"", len(rest))
        for at in range(0, len(rest), n):
            handler.wfile.write(rest[at : at + n])
            handler.wfile.flush()
            time.sleep(seconds)

    return behave


def lie(length):
    """Claim another length than the file has, and keep to it."""

    def behave(handler, hub, start):
        padded = hub.content + bytes(length)
        handler.send_response(200)
        handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(padded[start : start + length])

    return behave


def corrupt(handler, hub, start):
    """Send as many bytes as there should be, but others."""
    send(handler, hub, start, bytes(len(hub.content) - start))


def ignore_range(handler, hub, _start):
    """Send all of it whatever was asked for."""
    send(handler, hub, 0, hub.content)


def shift(handler, hub, start):
    """Send another part than was asked for."""
    send(handler, hub, start + 1, hub.content[start + 1 :])


def fail(status, **headers):
    """Refuse; underscores of header names stand for hyphens."""

    def behave(handler, _hub, _start):
        handler.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()

    return behave


def redirect(url):
    """Send the reader elsewhere, as the Hub does for large files."""
    return fail(302, Location=url)


@contextmanager
def run_hub(content):
    """A server with this content."""
    hub = Hub(content)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            hub.tokens.append(self.headers.get("Authorization"))
            if hub.ask is not None:
                hub.ask(self, hub, 0)
                return
            match = _PATH.fullmatch(self.path)
            if not match or (match[1], match[3]) != (REPO, FILE):
                code = "EntryNotFound" if match and match[1] == REPO else "RepoNotFound"
                fail(404, X_Error_Code=code)(self, hub, 0)
                return
            told = {
                "X-Linked-Size": str(len(hub.content)),
                "X-Linked-Etag": f'"{hub.sha256}"',
                "X-Repo-Commit": COMMIT,
                "Content-Length": str(len(hub.content)),
            }
            self.send_response(200)
            for name, value in (told | hub.told).items():
                if value is not None:
                    self.send_header(name, value)
            self.end_headers()

        def do_GET(self):
            hub.tokens.append(self.headers.get("Authorization"))
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))
            start = int(asked[1])
            hub.starts.append(start)
            behave = hub.script.pop(0) if hub.script else serve
            if start > len(hub.content) - 1 and behave is serve:
                behave = fail(416)
            with suppress(ConnectionError):
                behave(self, hub, start)

        def handle(self):
            with suppress(ConnectionError):  # the reader was killed
                super().handle()

        def log_message(self, *_arguments):
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
