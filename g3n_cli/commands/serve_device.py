"""``g3n serve-device``: lend what this machine computes on to another one."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Annotated

import typer

from g3n_cli.config import CPU, count_physical_cores
from g3n_cli.errors import ExitCode, G3nError, Terminated, UsageError
from g3n_cli.offline import check_online

HELP = """Lend this machine's processor or GPU to g3n on another machine.

There, --device rpc:HOST:PORT computes on it; the model's file is needed there alone. Both
sides need a ggml built with RPC (g3n devices tells how). One program at a time is served;
Ctrl+C ends it.

\b
  g3n serve-device                             for programs on this machine
  g3n serve-device --host 192.168.1.5          for others too: only in a network you trust
"""

_NO_AUTHENTICATION = (
    "warning: the protocol has no authentication: whoever reaches {} can use this machine's memory"
)


def serve_device(
    *,
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="IPv4 address to listen on."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="N", min=1, max=65535, help="Port to listen on.")
    ] = 50052,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="What computes: cpu, or as g3n devices lists it.")
    ] = CPU,
    threads: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, show_default="physical cores", help="CPU threads that compute."
        ),
    ] = None,
) -> None:
    """Lend a device."""
    from g3n_cli.chat.presence import Presence, describe_process, find_folder
    from g3n_cli.ggml import rpc
    from g3n_cli.ggml.device_backend import find_device
    from g3n_cli.ui.terminal import Terminal

    check_online(f"serve-device at {host}:{port}")
    check_address(host, port)
    if rpc.is_rpc(device):
        raise UsageError("--device is one of this machine's own devices")
    rpc.check_built()
    address = find_device(device)
    terminal = Terminal.of_process()
    terminal.note(_NO_AUTHENTICATION.format(f"{host}:{port}"))
    terminal.note(f"{device} is lent at rpc:{host}:{port}; Ctrl+C ends it")
    os.dup2(2, 1)  # ggml's reports are no answer
    n_threads = threads or count_physical_cores()
    running = describe_process("serve-device", device, "full", f"rpc:{host}:{port}")
    with closing(Presence(find_folder(), running)):
        code = serve_until_signal(lambda: rpc.serve(host, port, n_threads, [address]))
    sys.stderr.flush()
    os._exit(code)  # without waiting for the thread, which nothing interrupts


def check_address(host: str, port: int) -> None:
    """Refuse what ggml could not listen on.

    Raises:
        UsageError: no IPv4 address.
        G3nError: it is none of this machine, or in use.
    """
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        raise UsageError(f"--host {host!r} is no IPv4 address", "for example 127.0.0.1") from None
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            hint = "--port names another port" if error.errno == errno.EADDRINUSE else None
            raise G3nError(f"cannot listen on {host}:{port}: {error.strerror}", hint) from error


def serve_until_signal(serve: Callable[[], None]) -> ExitCode:
    """Serve on a thread, as nothing interrupts C, until a signal comes; the process's exit code."""
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        thread.join()
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Terminated:
        return ExitCode.TERMINATED
    return ExitCode.FAILURE  # it never returns of itself
