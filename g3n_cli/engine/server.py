"""An OpenAI-compatible server: where it is, asking it, and reading the events it streams."""

from __future__ import annotations

import http.client
import json
import math
import os
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from g3n_cli.errors import ContextFullError, ModelError, ServerError, UsageError
from g3n_cli.offline import check_online

MOST_BYTES = 1 << 20
"""Of one event or one list; more is taken for a fault."""

_MOST_SHOWN = 300
_TOO_LONG = ("maximum context length", "available context size", "exceed context window")
_HOW = "for example http://127.0.0.1:8080/v1"
CHECK_ADDRESS = "is the address right? most end in /v1"


@dataclass(frozen=True)
class ServerAddress:
    """Where a server is.

    Attributes:
        host: Name or number.
        port: TCP port.
        path: What its resources' paths begin with, without a slash at the end.
        is_secure: Whether it is spoken to through TLS.
    """

    host: str
    port: int
    path: str
    is_secure: bool

    @classmethod
    def parse(cls, text: str) -> ServerAddress:
        """Read ``http://host:port/v1``.

        Raises:
            UsageError: it is no such address, or holds more than one.
        """
        try:
            url = urlsplit(text)
            port = url.port
        except ValueError as error:
            raise UsageError(f"--device {text!r} is no address: {error}", _HOW) from None
        if "@" in url.netloc:
            hint = "a server's key comes from the environment: G3N_API_KEY"
            raise UsageError("--device must hold no password", hint)
        is_plain = text.isascii() and text.isprintable() and " " not in text
        if url.scheme not in ("http", "https") or not url.hostname or not is_plain:
            raise UsageError(f"--device {text!r} is no http:// or https:// address", _HOW)
        if url.query or url.fragment:
            raise UsageError(f"--device {text!r} must end with its path", _HOW)
        is_secure = url.scheme == "https"
        if port is None:
            port = 443 if is_secure else 80
        return cls(url.hostname, port, url.path.rstrip("/"), is_secure)

    def __str__(self) -> str:
        """Host and port, as messages name the server."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Patience:
    """How long to wait for a server, in seconds.

    Attributes:
        connect_s: For a connection.
        silence_s: For the next bytes; a long prompt may take minutes to be read.
        pauses_s: Between one try and the next, where trying again is safe.
        longest_pause_s: Longer than this a server may not ask to wait.
        awaits_start: Whether an address where nothing listens is tried again: the server may be
            about to start.
    """

    connect_s: float = 10
    silence_s: float = 300
    pauses_s: tuple[float, ...] = (1, 2, 4)
    longest_pause_s: float = 60
    awaits_start: bool = True


class Server:
    """Asks one server, and nobody else: proxies and redirections are not followed.

    Args:
        address: Where it is.
        key: Sent with each request, or None; never shown.
        on_retry: Told, in one line, when a request is sent again.
        patience: How long to wait.

    Raises:
        G3nError: connections are forbidden.
    """

    def __init__(
        self,
        address: ServerAddress,
        key: str | None,
        on_retry: Callable[[str], None],
        patience: Patience | None = None,
    ) -> None:
        check_online(str(address))
        self.address = address
        self._key = key
        self._on_retry = on_retry
        self._patience = patience or Patience()

    def list_models(self) -> list[str]:
        """Names of the models it has.

        Raises:
            ServerError: it cannot be reached, refuses, or answers with something else.
        """
        with self._open("GET", "/models") as response:
            content = response.read()
        match parse_json(content):
            case {"data": [*models]}:
                return [
                    str(model["id"])
                    for model in models
                    if isinstance(model, dict) and "id" in model
                ]
        hint = f"{CHECK_ADDRESS}; of a server that lists none, -m names a model"
        raise ServerError(f"{self.address} does not list its models", hint)

    def open_chat(self, request: dict[str, Any]) -> ServerResponse:
        """The stream of an answer's events; close it.

        Raises:
            ServerError: the server cannot be reached, or refuses.
            ModelError: it has no such model.
        """
        return self._open("POST", "/chat/completions", json.dumps(request).encode())

    def ask_chat(self, request: dict[str, Any]) -> Any:  # noqa: ANN401  whatever a stranger sends
        """An answer as a whole, as JSON; None for what is not JSON.

        Raises:
            ServerError: the server cannot be reached, or refuses.
            ModelError: it has no such model.
        """
        with self.open_chat(request) as response:
            return parse_json(response.read())

    def _open(self, method: str, path: str, body: bytes | None = None) -> ServerResponse:
        """The response to a request; asked again as long as nobody has begun to work on it."""
        pauses = iter(self._patience.pauses_s)
        while True:
            try:
                return self._ask(method, path, body)
            except _BusyError as busy:
                pause_s = max(next(pauses, float("inf")), busy.after_s)
                if pause_s > self._patience.longest_pause_s:
                    raise ServerError(busy.message, busy.hint) from None
                self._on_retry(f"{busy.message}: trying again in {pause_s:g} s")
                time.sleep(pause_s)

    def _ask(self, method: str, path: str, body: bytes | None) -> ServerResponse:
        address, connect_s = self.address, self._patience.connect_s
        connection = (
            http.client.HTTPSConnection(address.host, address.port, timeout=connect_s)
            if address.is_secure
            else http.client.HTTPConnection(address.host, address.port, timeout=connect_s)
        )
        headers = {"Connection": "close", "User-Agent": "g3n", "Accept": "*/*"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        with ExitStack() as stack:
            stack.callback(connection.close)
            try:
                connection.connect()
                connection.sock.settimeout(self._patience.silence_s)
                connection.request(method, address.path + path, body, headers)
                response = connection.getresponse()
            except ConnectionRefusedError:
                kind = _BusyError if self._patience.awaits_start else ServerError
                raise kind(f"nothing answers at {address}", "is the server running?") from None
            except (OSError, http.client.HTTPException, UnicodeError) as error:
                raise self._explain_failure(error) from error  # UnicodeError: no host's name
            opened = ServerResponse(address, response, stack.pop_all())
        if response.status != http.client.OK:
            with opened:
                raise self._explain_status(opened, response)
        return opened

    def _explain_failure(self, error: Exception) -> ServerError:
        if isinstance(error, TimeoutError):
            return ServerError(f"{self.address} does not answer in time")
        if isinstance(error, http.client.RemoteDisconnected):
            return ServerError(f"{self.address} hung up without an answer")
        if isinstance(error, ssl.SSLCertVerificationError):
            hint = "SSL_CERT_FILE names a file of certificates to trust"
            fault = f"has a certificate that is not trusted: {error.verify_message}"
            return ServerError(f"{self.address} {fault}", hint)
        if isinstance(error, ssl.SSLError):
            hint = "a server without TLS has an address that begins with http://"
            return ServerError(f"{self.address} does not speak TLS: {error.reason}", hint)
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        return ServerError(f"cannot talk to {self.address}: {self.show(reason)}")

    def _explain_status(
        self, opened: ServerResponse, response: http.client.HTTPResponse
    ) -> ServerError | ModelError:
        """The error that a status other than 200 stands for."""
        status = response.status
        told = _read_refusal(opened)
        text = self.show(find_message(told) or response.reason)
        if is_context_full(told):
            return ContextFullError(f"{self.address} has no room for all that was said: {text}")
        message = f"{self.address} answers {status}: {text}"
        if status in (429, 503):
            return _BusyError(message, None, _read_delay(response.getheader("Retry-After")))
        if status in (401, 403):
            hint = "the server's key goes into the environment: G3N_API_KEY"
            if self._key is not None:
                hint = "it does not take the key in G3N_API_KEY"
            return ServerError(message, hint)
        if status == 404:
            return ModelError(message, "-m names the model; most addresses end in /v1")
        if location := response.getheader("Location"):
            return ServerError(message, f"it sends on to {self.show(location)}; name that address")
        return ServerError(message)

    def show(self, text: str) -> str:
        """A server's words on one line, of bearable length, without the key."""
        if self._key is not None:
            text = text.replace(self._key, "***")
        line = " ".join(text.split())
        return line if len(line) <= _MOST_SHOWN else line[:_MOST_SHOWN] + " ..."


class ServerResponse:
    """What a server sends. Owns the connection: close it, also to make the server stop."""

    def __init__(
        self, address: ServerAddress, response: http.client.HTTPResponse, owned: ExitStack
    ) -> None:
        self._address, self._response, self._owned = address, response, owned
        owned.callback(response.close)

    @property
    def content_type(self) -> str:
        """What it says it sends, such as ``text/event-stream``."""
        return self._response.headers.get_content_type()

    def __enter__(self) -> ServerResponse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. Closing twice is harmless."""
        self._owned.close()

    def read(self) -> bytes:
        """All of it.

        Raises:
            ServerError: the server breaks off, falls silent, or sends too much.
        """
        return self._receive(self._response.read)

    def read_events(self) -> Iterator[bytes]:
        """Data of the server-sent events, up to the end of the response.

        Source: the event stream format of the HTML standard; fields other than ``data`` mean
        nothing here.

        Raises:
            ServerError: the server breaks off, falls silent, or sends too much.
        """
        lines: list[bytes] = []
        while line := self._receive(self._response.readline):
            line = line.rstrip(b"\r\n")
            if line.startswith(b"data:"):
                lines.append(line.removeprefix(b"data:").removeprefix(b" "))
            elif not line and lines:
                yield b"\n".join(lines)
                lines = []

    def _receive(self, read: Callable[[int], bytes]) -> bytes:
        try:
            content = read(MOST_BYTES)
        except TimeoutError:
            raise ServerError(f"{self._address} fell silent") from None
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"{self._address} broke off") from error
        if len(content) == MOST_BYTES:
            raise ServerError(f"{self._address} sends more than makes sense")
        return content


class _BusyError(ServerError):
    """Nobody has begun to work on the request: sending it again does no harm."""

    def __init__(self, message: str, hint: str | None, after_s: float = 0) -> None:
        super().__init__(message, hint)
        self.after_s = after_s


def read_key() -> str | None:
    """The servers' key from the environment.

    Raises:
        UsageError: it cannot be sent.
    """
    key = os.environ.get("G3N_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError("G3N_API_KEY has characters that no key has")
    return key or None


def parse_json(content: bytes) -> Any:  # noqa: ANN401  whatever a stranger has sent
    """The value, or None for what is not JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def is_context_full(told: object) -> bool:
    """Whether a server refuses a prompt because it is longer than the context.

    Sources: the error codes of OpenAI's API (also llama-cpp-python's) and of llama.cpp's server;
    of others, such as vLLM, the words alone tell.
    """
    match told:
        case {"error": {"code": "context_length_exceeded"}}:
            return True
        case {"error": {"type": "exceed_context_size_error"}}:
            return True
    return any(words in find_message(told).lower() for words in _TOO_LONG)


def find_message(told: object) -> str:
    """What an error says; "" if it says nothing that a person could read."""
    match told:
        case {"error": {"message": str(text)}} | {"error": str(text)}:
            return text
        case {"message": str(text)} | {"detail": str(text)}:
            return text
    return ""


def _read_refusal(opened: ServerResponse) -> object:
    """The body of a refusal; None if it is not JSON."""
    try:
        return parse_json(opened.read())
    except ServerError:
        return None


def _read_delay(header: str | None) -> float:
    """Seconds to wait by a ``Retry-After``, a number or a date; 0 without one."""
    if header is None:
        return 0.0
    if header.isdecimal():
        return float(header)
    try:
        return max(0.0, math.ceil(parsedate_to_datetime(header).timestamp() - time.time()))
    except ValueError:
        return 0.0
