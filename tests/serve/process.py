"""A server as a process, with the bundled model."""

import http.client
import json
import signal
import socket
import subprocess
import sys

from tests.program import ROOT, make_environment
from tests.serve.front import wait_until

PATIENCE_S = 60
QUESTION = "What does harbor mean?"
ASK = {"messages": [{"role": "user", "content": QUESTION}], "temperature": 0}


class Served:
    """A server that runs."""

    def __init__(self, g3n, *flags, **changes):
        self.g3n = g3n
        self._log = (g3n.home / "log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "g3n_cli", "serve", "--port", "0", "--threads", "1", *flags],
            cwd=ROOT,
            env=make_environment(g3n.home, **changes),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        wait_until(lambda: "answers at" in self.log or self.process.poll() is not None, "no start")
        assert "answers at" in self.log, self.log
        self.url = self.log.partition("answers at ")[2].split(";")[0]
        self.port = int(self.url.removesuffix("/v1").rpartition(":")[2])

    @property
    def log(self):
        return (self.g3n.home / "log").read_text()

    def ask(self, path, body=None, **headers):
        """Status and body of a response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            content = None if body is None else json.dumps(body).encode()
            connection.request("GET" if body is None else "POST", path, content, headers)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def say(self):
        """What it answers to the question."""
        status, content = self.ask("/v1/chat/completions", ASK)
        assert status == 200, content
        return json.loads(content)["choices"][0]["message"]["content"]

    def open_stream(self):
        """A socket on which an answer has been asked for."""
        content = json.dumps({**ASK, "stream": True}).encode()
        head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        client = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S)
        client.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        return client

    def end(self, signal_=signal.SIGINT):
        """Stop it; the exit code and what is on stdout."""
        self.process.send_signal(signal_)
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        self._log.close()
        return self.process.returncode, output
