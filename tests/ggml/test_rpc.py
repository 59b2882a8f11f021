import socket
import struct
import threading
from contextlib import contextmanager

import pytest

from g3n_cli.errors import ServerError, UsageError
from g3n_cli.ggml import rpc
from g3n_cli.ggml.library import load


@contextmanager
def answer_with(data):
    """A server that reads a greeting and writes ``data``, or keeps silent for None."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(100)
                if data is None:
                    done.wait(10)
                else:
                    connection.sendall(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        done.set()
        thread.join()


def greeting(major, minor, patch):
    return struct.pack("<QBBBB", 28, major, minor, patch, 0) + bytes(24)


def test_a_server_of_this_version_is_greeted():
    with answer_with(greeting(7, 0, 3)) as port:
        rpc.greet("127.0.0.1", port)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (None, "does not answer"),
        (b"", "is no RPC server"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "is no RPC server"),
        (greeting(6, 0, 0), "speaks version 6.0.0 of the protocol, not 7.0"),
        (greeting(7, 1, 0), "speaks version 7.1.0"),
    ],
)
def test_what_cannot_be_used_is_told_apart(data, fault, monkeypatch):
    monkeypatch.setattr(rpc, "PATIENCE_S", 0.2)
    with answer_with(data) as port, pytest.raises(ServerError, match=fault):
        rpc.greet("127.0.0.1", port)


def test_nobody_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ServerError, match=f"cannot reach rpc:127.0.0.1:{port}"):
        rpc.greet("127.0.0.1", port)


def test_a_name_has_host_and_port():
    assert rpc.parse_endpoint("RPC:gpu.local:50052") == ("gpu.local", 50052)


@pytest.mark.parametrize(
    "name", ["rpc:", "rpc:host", "rpc:host:", "rpc::1", "rpc:host:0", "rpc:host:70000", "rpc:::1:9"]
)
def test_names_without_host_or_port(name):
    with pytest.raises(UsageError, match="no server's name"):
        rpc.parse_endpoint(name)


@pytest.mark.skipif(bool(load().backend_reg_by_name(b"RPC")), reason="this ggml has RPC")
def test_a_ggml_without_rpc_says_how_to_build_it():
    with pytest.raises(UsageError, match="no RPC backend") as failure:
        rpc.connect("rpc:127.0.0.1:50052")
    assert "GGML_RPC" in failure.value.hint
