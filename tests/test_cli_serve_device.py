"""``g3n serve-device`` and ``--device rpc:HOST:PORT``, as processes."""

import contextlib
import json
import signal
import socket
import time

import pexpect
import pytest

from g3n_cli.engine.worker import INSIST_S
from g3n_cli.ggml.library import load
from tests.engine.test_offload import LAYERS, assert_agrees_with_transformers
from tests.oracle import CASES, find_case
from tests.program import COMMAND, ROOT, assert_fails, make_environment

HAS_RPC = bool(load().backend_reg_by_name(b"RPC"))
needs_rpc = pytest.mark.skipif(not HAS_RPC, reason="this ggml has no RPC; see make test-rpc")
PATIENCE_S = 30
DETERMINISTIC = ("--temp", "0", "-n", "8", "--json", "hi")


def find_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def start_server(g3n, port):
    process = g3n.start("serve-device", "--port", port, "--threads", 1)
    lines = []
    while not lines or "transport" not in lines[-1]:
        lines.append(process.stderr.readline().decode())
        assert lines[-1], lines
    time.sleep(0.2)  # from its last line until it listens
    return process, lines


@pytest.fixture
def server(g3n):
    port = find_port()
    process, _ = start_server(g3n, port)
    yield f"rpc:127.0.0.1:{port}"
    process.kill()
    process.communicate()


@needs_rpc
@pytest.mark.parametrize("gpu_layers", LAYERS)
def test_logits_agree_with_transformers(gpu_layers, server):
    for case in CASES:
        assert_agrees_with_transformers(case, device=server, gpu_layers=gpu_layers)


@needs_rpc
@pytest.mark.parametrize("kv", ["f32", "q8_0"])
def test_other_types_of_kv_agree_with_transformers(kv, server):
    assert_agrees_with_transformers(find_case("compat30", "q8_0"), device=server, kv=kv)


@needs_rpc
def test_the_answer_is_that_of_the_cpu(g3n, server):
    texts = [
        json.loads(g3n.chat("--device", device, *DETERMINISTIC).stdout)["text"]
        for device in ("cpu", server)
    ]
    assert texts[0] == texts[1]


@needs_rpc
def test_devices_are_compared_in_one_table(g3n, server):
    devices = ("--devices", f"cpu,{server}", "--gpu-layers", "2")
    done = g3n.run("bench", "-p", 8, "-n", 2, "-r", 1, "-o", "json", *devices)
    assert done.returncode == 0, done.stderr
    cases = json.loads(done.stdout)["cases"]
    assert [case["device"] for case in cases] == ["cpu", server]
    assert [case["settings"]["gpu_layers"] for case in cases] == [None, 2]


@needs_rpc
def test_a_server_that_dies_ends_the_program_with_one_line(g3n):
    port = find_port()
    server, _ = start_server(g3n, port)
    chat = ("chat", "--device", f"rpc:127.0.0.1:{port}", "--ctx", 30000, "-n", 20000, "hi")
    # An answer without an end, as g3n-mini would find one.
    with g3n.start(*chat, "-m", find_case("small8", "f32").path) as process:
        process.stdout.read(1)
        server.kill()
        server.communicate()
        _, errors = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert errors.decode().startswith(f"error: rpc:127.0.0.1:{port} failed: Remote RPC server")
    assert errors.count(b"\n") == 1


@contextlib.contextmanager
def converse(g3n, port):
    """A conversation on a lent device, after its first answer."""
    child = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], "chat", "--device", f"rpc:127.0.0.1:{port}"],
        cwd=str(ROOT),
        env=make_environment(g3n.home, PROMPT_TOOLKIT_NO_CPR="1"),
        encoding="utf-8",
        timeout=PATIENCE_S,
    )
    with contextlib.closing(child):
        child.expect_exact("Ask something")
        child.send("What does harbor mean?\r")
        child.expect_exact("cargo.")
        child.expect_exact("Ask something")
        yield child


# From Python 3.12 on; what pexpect forks becomes another program at once.
@pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")
@needs_rpc
def test_a_server_that_dies_in_a_conversation_leaves_a_terminal_that_can_be_used(g3n):
    port = find_port()
    server, _ = start_server(g3n, port)
    with converse(g3n, port) as child:
        server.kill()
        server.communicate()
        child.send("another word?\r")
        child.expect_exact(f"error: rpc:127.0.0.1:{port} failed: Remote RPC server")
        child.expect(pexpect.EOF)
        assert child.getecho()
        child.wait()
    assert child.exitstatus == 1
    saved = g3n.run("sessions", "show", "1").stdout.decode()
    assert "cargo." in saved
    assert "another word?" in saved


@pytest.mark.filterwarnings("ignore:.*forkpty:DeprecationWarning")
@needs_rpc
def test_a_server_that_hangs_can_be_left(g3n):
    port = find_port()
    server, _ = start_server(g3n, port)
    with converse(g3n, port) as child:
        server.send_signal(signal.SIGSTOP)
        child.send("another word?\r")
        child.expect_exact("\x1b[?2004l")  # the input line has ended, the answer begins
        time.sleep(1)
        child.sendintr()
        time.sleep(INSIST_S + 0.5)
        child.sendintr()
        child.expect_exact(f"error: rpc:127.0.0.1:{port} does not answer")
        child.expect(pexpect.EOF)
        assert child.getecho()
        child.wait()
    server.kill()
    server.communicate()
    assert child.exitstatus == 130
    assert "another word?" in g3n.run("sessions", "show", "1").stdout.decode()


@needs_rpc
def test_a_lent_device_is_among_what_runs(g3n):
    port = find_port()
    server, _ = start_server(g3n, port)
    (running,) = json.loads(g3n.run("ps", "--json").stdout)
    assert (running["command"], running["model"]) == ("serve-device", "cpu")
    assert running["address"] == f"rpc:127.0.0.1:{port}"
    server.terminate()
    server.communicate()
    assert json.loads(g3n.run("ps", "--json").stdout) == []


@needs_rpc
@pytest.mark.parametrize(("signal_", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_server(g3n, signal_, code):
    process, lines = start_server(g3n, find_port())
    assert lines[0].startswith("warning: the protocol has no authentication")
    process.send_signal(signal_)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, output) == (code, b"")


@needs_rpc
def test_while_another_program_is_served_nobody_else_is(g3n, server):
    host, port = server.split(":")[1:]
    with socket.create_connection((host, int(port))):
        done = g3n.chat("--device", server, "hi")
    assert_fails(done, 1, "does not answer")


@pytest.mark.skipif(HAS_RPC, reason="this ggml has RPC")
@pytest.mark.parametrize("command", [("serve-device",), ("chat", "--device", "rpc:a:1", "hi")])
def test_without_rpc_nothing_is_served_or_used(g3n, command):
    assert_fails(g3n.run(*command), 2, "the installed ggml has no RPC backend")


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("--host", "localhost"), 2, "is no IPv4 address"),
        (("--host", "::1"), 2, "is no IPv4 address"),
        (("--host", "192.0.2.1"), 1, "cannot listen on 192.0.2.1"),
        (("--port", "0"), 2, "port"),
    ],
)
def test_addresses_that_nobody_can_listen_on(g3n, arguments, code, part):
    assert_fails(g3n.run("serve-device", *arguments), code, part)


def test_a_port_in_use(g3n):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert_fails(g3n.run("serve-device", "--port", port), 1, "in use")


def test_gpu_layers_without_a_device(g3n):
    assert_fails(g3n.chat("--gpu-layers", 3, "hi"), 2, "--gpu-layers needs a --device")
