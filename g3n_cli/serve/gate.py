"""Who may ask: checks that come before any work, and a line in the log for each request."""

from __future__ import annotations

import hmac
import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from g3n_cli.serve.ollama import show_error
from g3n_cli.serve.refusal import RefusedError
from g3n_cli.serve.stream import NOTE

PUBLIC = ("/health", "/v1/health")
"""Open to all: they tell nothing but that the server lives."""

_MOST_PATH = 100


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        token: What clients must send, or None.
        origins: Of web pages that may ask; ``*`` stands for all.
        is_loopback: Only programs of this machine reach the server.
    """

    token: str | None = None
    origins: tuple[str, ...] = ()
    is_loopback: bool = True


class Gate:
    """Refuses web pages that nobody allowed, and logs every request.

    A page of the web can make a browser talk to this machine, also by way of a name of its own
    that it lets point here ("DNS rebinding"). Such requests name a host or an origin that is not
    this server.

    Args:
        app: What is behind it.
        access: Who may ask.
        log: Given a line for each request.
    """

    def __init__(self, app: ASGIApp, access: Access, log: Callable[[str], None]) -> None:
        self._app, self._access, self._log = app, access, log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        started, status = time.perf_counter(), 0

        async def note_status(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            self._check(Headers(scope=scope))
            await self._app(scope, receive, note_status)
        except RefusedError as refusal:
            await make_response(scope, refusal)(scope, receive, note_status)
        except ClientDisconnect:
            scope[NOTE] = "the client has left"
        finally:
            took_s = time.perf_counter() - started
            note = f", {scope[NOTE]}" if NOTE in scope else ""
            asked = f"{scope['method']} {scope['path'][:_MOST_PATH]}"
            self._log(f"{time.strftime('%H:%M:%S')} {asked} {status or '-'}{note}, {took_s:.2f} s")

    def _check(self, headers: Headers) -> None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._access.is_loopback and host and not is_local(host):
            raise RefusedError(403, f"this server is not called {host[:_MOST_PATH]}")
        own = f"http://{host}"
        if origin is not None and not {origin, "*"} & {own, *self._access.origins}:
            message = (
                f"pages of {origin[:_MOST_PATH]} may not ask; g3n serve --allow-origin lets them"
            )
            raise RefusedError(403, message)


class TokenCheck:
    """Refuses requests without the token.

    Args:
        app: What is behind it.
        token: What clients must send as ``Authorization: Bearer TOKEN``.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        kind, _, given = Headers(scope=scope).get("authorization", "").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode(errors="replace"), self._token)
        if scope["path"] in PUBLIC or (kind.lower() == "bearer" and is_right):
            await self._app(scope, receive, send)
            return
        refusal = RefusedError(401, "the token is missing or wrong", code="invalid_api_key")
        await make_response(scope, refusal)(scope, receive, send)


def make_response(scope: Scope, refusal: RefusedError) -> JSONResponse:
    """A refusal, as the interface that was asked words it."""
    is_ollama = scope["path"].startswith("/api/")
    content = show_error(refusal) if is_ollama else refusal.show()
    return JSONResponse(content, refusal.status, refusal.headers)


def is_local(host: str) -> bool:
    """Whether a ``Host`` header names this machine."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
