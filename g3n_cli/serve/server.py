"""The server's thread beside the one that computes, and where it listens."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import uvicorn
from starlette.types import ASGIApp

from g3n_cli.chat.presence import Presence, describe_process
from g3n_cli.errors import G3nError, UsageError
from g3n_cli.offline import check_online
from g3n_cli.serve.app import make_app
from g3n_cli.serve.compute import compute_all
from g3n_cli.serve.gate import Access
from g3n_cli.serve.model import ServedModel
from g3n_cli.serve.queue import JobQueue

MOST_CONNECTIONS = 512
_GRACE_S = 1
_HINTS = {
    errno.EADDRINUSE: "g3n ps lists g3n's own servers; --port N takes another port",
    errno.EACCES: "ports from 1024 on are free to all",
}


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts connections; port 0 takes a free one.

    Raises:
        UsageError: the host is not known.
        G3nError: it is none of this machine, the port is taken, or connections are forbidden.
    """
    check_online(f"serve at {host}:{port}")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except (socket.gaierror, UnicodeError):
        raise UsageError(f"--host {host!r} is no address of this machine") from None
    except OSError as error:
        hint = _HINTS.get(error.errno or 0)
        raise G3nError(
            f"cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}", hint
        ) from None


def show_address(listener: socket.socket) -> str:
    """Where a listener answers, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listener: socket.socket) -> bool:
    """Whether only programs of this machine reach it."""
    return ipaddress.ip_address(listener.getsockname()[0]).is_loopback


@contextmanager
def run_front(app: ASGIApp, listener: socket.socket) -> Iterator[threading.Thread]:
    """Serve HTTP on a thread of its own while the context lasts; closes ``listener``.

    The thread that enters computes meanwhile, and signals interrupt it.

    Raises:
        G3nError: it does not start.
    """
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=_GRACE_S,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [listener]}, name="serve", daemon=True
    )
    thread.start()
    try:
        yield thread
    finally:
        server.should_exit = True
        thread.join()


def serve(
    model: ServedModel,
    listener: socket.socket,
    access: Access,
    most_waiting: int,
    folder: Path,
    log: Callable[[str], None],
) -> NoReturn:
    """Answer requests until an interruption.

    Args:
        model: Answers them.
        listener: Where they come in; it is closed.
        access: Who may ask.
        most_waiting: So many may wait beside the one that is computed.
        folder: Where ``g3n ps`` finds what runs.
        log: Given a line once it answers, and one for each request.

    Raises:
        KeyboardInterrupt, Terminated: a signal arrived; the server has ended.
        G3nError: HTTP is not served any more.
    """
    served, address = model.describe(), show_address(listener)
    presence = Presence(
        folder,
        describe_process("serve", served.name, served.size, address, model.cache_use.limit_bytes),
    )

    def note(n_done: int, n_now: int) -> None:
        use = model.cache_use
        presence.note(n_done, n_now, use.n_bytes, use.n_conversations)

    queue = JobQueue(most_waiting, note)
    with run_front(make_app(model, queue, access, log), listener) as thread:

        def check() -> None:
            if not thread.is_alive():
                raise G3nError("the server has stopped answering")

        try:
            log(f"{served.name} answers at {address}/v1; Ctrl+C ends it")
            compute_all(queue, model, log, check)
        finally:
            queue.close()
            presence.close()
