"""ggml's RPC backend: devices of other machines, and lending this one's.

The protocol knows no authentication, and a client that loses its server aborts its process: see
``DeviceBackend``. So a server is greeted from here before ggml connects.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Sequence

from g3n_cli.errors import ServerError, UsageError
from g3n_cli.ggml.bindings import RPC_ADD_SERVER, RPC_START_SERVER
from g3n_cli.ggml.library import load
from g3n_cli.offline import check_online

PREFIX = "rpc:"
PORT = 50052
"""What ggml's own server listens on."""

PATIENCE_S = 5.0
_MAJOR = 7  # version of the protocol
_HELLO, _N_CAPABILITIES = 14, 24
_BUILD_HINT = 'build llama-cpp-python with CMAKE_ARGS="-DGGML_RPC=on"; g3n devices shows how'


def is_rpc(name: str) -> bool:
    """Whether a device's name is that of a server."""
    return name.lower().startswith(PREFIX)


def parse_endpoint(name: str) -> tuple[str, int]:
    """Host and port of ``rpc:HOST:PORT``.

    Raises:
        UsageError: it is no such name.
    """
    host, _, port = name[len(PREFIX) :].rpartition(":")
    if not host or ":" in host or not (port.isdecimal() and 0 < int(port) < 1 << 16):
        raise UsageError(f"{name!r} is no server's name", f"for example rpc:127.0.0.1:{PORT}")
    return host, int(port)


def check_built() -> None:
    """Refuse a ggml without the RPC backend.

    Raises:
        UsageError: it is one.
    """
    if not load().backend_reg_by_name(b"RPC"):
        raise UsageError("the installed ggml has no RPC backend", _BUILD_HINT)


def connect(name: str) -> int:
    """Address of the first device of the server called ``rpc:HOST:PORT``.

    Raises:
        UsageError: this is no name of a server, or ggml is built without RPC.
        ServerError: the server cannot be used.
        G3nError: connections are forbidden.
    """
    host, port = parse_endpoint(name)
    check_online(name)
    check_built()
    greet(host, port)
    lib = load()
    add_server = RPC_ADD_SERVER(_find_function(b"ggml_backend_rpc_add_server"))
    registry = add_server(f"{host}:{port}".encode())
    if not registry or not lib.backend_reg_dev_count(registry):
        raise ServerError(f"{name} has no device")
    return int(lib.backend_reg_dev_get(registry, 0))


def greet(host: str, port: int) -> None:
    """Find out whether a server answers, and in the right protocol.

    Source: ggml-rpc.cpp ``negotiate_hello``, with no capability offered.

    Raises:
        ServerError: it does not.
    """
    where = f"{PREFIX}{host}:{port}"
    request = struct.pack("<BQ", _HELLO, _N_CAPABILITIES) + bytes(_N_CAPABILITIES)
    try:
        # ggml speaks IPv4 alone.
        address = socket.gethostbyname(host)
        with socket.create_connection((address, port), PATIENCE_S) as connection:
            connection.sendall(request)
            with connection.makefile("rb") as stream:
                answer = stream.read(12)
    except TimeoutError as error:
        hint = "it serves one program at a time: another one may be using it"
        raise ServerError(f"{where} does not answer", hint) from error
    except OSError as error:
        hint = f"start it there: g3n serve-device --port {port}"
        raise ServerError(f"cannot reach {where}: {error.strerror or error}", hint) from error
    if len(answer) < 12 or struct.unpack_from("<Q", answer)[0] != 4 + _N_CAPABILITIES:
        raise ServerError(f"{where} is no RPC server of ggml")
    major, minor, patch = answer[8:11]
    if (major, minor) != (_MAJOR, 0):
        raise ServerError(
            f"{where} speaks version {major}.{minor}.{patch} of the protocol, not {_MAJOR}.0",
            "run the same g3n on both machines",
        )


def serve(host: str, port: int, n_threads: int, devices: Sequence[int]) -> None:
    """Compute for whoever connects, one client after the other; returns only if that fails.

    ggml writes what happens to standard output.

    Args:
        host: IPv4 address to listen on.
        port: Port to listen on.
        n_threads: Threads of a CPU among the devices.
        devices: Addresses of what computes, at least one.
    """
    array = (ctypes.c_void_p * len(devices))(*devices)
    start = RPC_START_SERVER(_find_function(b"ggml_backend_rpc_start_server"))
    start(f"{host}:{port}".encode(), None, n_threads, len(devices), array)


def _find_function(name: bytes) -> int:
    lib = load()
    return int(lib.backend_reg_get_proc_address(lib.backend_reg_by_name(b"RPC"), name))
