"""Nothing is sent: commands run where a socket would be noticed, and where there is no network."""

import os
import shutil
import subprocess

import pytest

from tests.media_files import encode_wav, make_tone
from tests.model_files import SMALL8
from tests.oracle import find_case
from tests.program import COMMAND, ROOT, assert_fails, make_environment

WATCH = """
import os, sys
EVENTS = ("connect", "bind", "sendto", "sendmsg", "getaddrinfo", "gethostbyname", "gethostbyaddr")

def tell(line):
    with open(os.environ["WATCH_LOG"], "a") as log:
        log.write(line + "\\n")

def watch(event, arguments):
    kind, _, name = event.partition(".")
    is_new = event == "socket.__new__" and arguments[1] not in (-1, 1)  # 1: of this machine alone
    if kind == "socket" and (is_new or name in EVENTS):
        tell(event)
        raise RuntimeError(f"{event} {arguments}")

sys.addaudithook(watch)
tell("watched")
"""
"""As ``sitecustomize`` it is run by every Python that starts, children too."""

HEARS = find_case("odd7", "q8_0").path
ENCODERS = ROOT / "tests" / "data" / "oracle" / "audio" / "mmproj-audio-tiny-f32.gguf"
MAT12 = find_case("mat12", "q8_0").path
CHAT = ("chat", "-m", SMALL8, "-n", "2")
COMMANDS = {
    "chat": (*CHAT, "hi"),
    "going on": (*CHAT, "-c", "and?"),
    "file": (*CHAT, "-f", "note.txt", "-c", "hi"),
    "sessions": ("sessions", "list"),
    "search": ("sessions", "search", "hi"),
    "export": ("sessions", "export", "1", "--format", "html"),
    "list": ("list", "--all"),
    "show": ("show", SMALL8),
    "verify": ("verify", SMALL8),
    "estimate": ("estimate", SMALL8),
    "devices": ("devices",),
    "bench": ("bench", "-m", SMALL8, "-t", "1", "-p", "8", "-n", "2", "-r", "1", "-o", "json"),
    "synthetic": ("bench", "--synthetic", "tiny:q8_0", "-t", "1", "-p", "8", "-n", "0", "-r", "1"),
    "history": ("bench", "history"),
    "map": ("map", "-m", SMALL8, "-n", "2", "-f", "note.txt", "count: {}"),
    "templates": ("templates", "list"),
    "config": ("config",),
    "clean": ("clean", "--yes", "--what", "kv"),
    "transcribe": ("transcribe", "-m", HEARS, "--mmproj", ENCODERS, "tone.wav"),
    "quality": ("quality", MAT12, "--context", "24", "--measured", "8", "--vary", "kv=q4_0"),
}
N_WATCHED = {"bench": 2, "synthetic": 2}
"""Commands that start others, and how many processes they are at least."""

REACHING = {
    "map": ("map", "--device", "http://127.0.0.1:9/v1", "-f", "note.txt", "count: {}"),
    "pull": ("pull", "gemma-3n-e2b"),
    "chat": ("chat", "--device", "http://127.0.0.1:9/v1", "hi"),
    "chat rpc": (*CHAT, "--device", "rpc:127.0.0.1:9", "hi"),
    "bench": ("bench", "--device", "http://127.0.0.1:9/v1"),
    "bench rpc": ("bench", "-m", SMALL8, "--device", "rpc:127.0.0.1:9", "-r", "1"),
    "serve-device": ("serve-device", "--port", "9"),
}


class Watched:
    """Runs commands in one home; a socket ends them and stands in the log."""

    def __init__(self, home):
        self.home = home
        (home / "watch").mkdir()
        (home / "watch" / "sitecustomize.py").write_text(WATCH)
        (home / "note.txt").write_text("a note")
        (home / "tone.wav").write_bytes(encode_wav(make_tone(1)))

    def run(self, arguments, before=(), **changes):
        """The finished process, and what stands in the log of it."""
        log = self.home / "log"
        log.write_text("")
        environment = make_environment(self.home, WATCH_LOG=str(log), **changes)
        environment["PYTHONPATH"] = os.pathsep.join((str(self.home / "watch"), str(ROOT)))
        done = subprocess.run(
            [*before, *COMMAND, *map(str, arguments)],
            cwd=self.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return done, log.read_text().split()


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    return Watched(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize("name", COMMANDS)
def test_work_on_this_machine_makes_no_socket(watched, name):
    done, log = watched.run(COMMANDS[name])
    assert (done.returncode, set(log)) == (0, {"watched"}), done.stderr.decode()
    assert len(log) >= N_WATCHED.get(name, 1)


def test_the_watch_notices_what_reaches_out(watched):
    """Otherwise the tests above would prove nothing."""
    assert len(watched.run(REACHING["chat"])[1]) > 1


@pytest.mark.parametrize("name", REACHING)
def test_offline_is_refused_before_a_socket_is_made(watched, name):
    for done, log in (
        watched.run(("--offline", *REACHING[name])),
        watched.run((*REACHING[name], "--offline")),
        watched.run(REACHING[name], G3N_OFFLINE="1"),
    ):
        assert_fails(done, 1, "connections are forbidden")
        assert set(log) == {"watched"}


def test_offline_leaves_work_on_this_machine_alone(watched):
    done, _ = watched.run(("--offline", *CHAT, "hi"))
    assert (done.returncode, done.stdout != b"") == (0, True)


def test_offline_holds_for_what_is_started_too(g3n):
    code = (
        "import os; from g3n_cli.app import run; run(['list', '--offline']);"
        "print(os.environ['G3N_OFFLINE'], os.environ['HF_HUB_OFFLINE'])"
    )
    environment = make_environment(g3n.home)
    done = subprocess.run(
        [COMMAND[0], "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    assert done.stdout.splitlines()[-1] == b"1 1"


def has_namespaces():
    """Whether this machine lets a person begin a network of their own, without any device up."""
    if not (unshare := shutil.which("unshare")):
        return False
    return (
        subprocess.run([unshare, "-rn", "true"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not has_namespaces(), reason="no network namespaces here")
@pytest.mark.parametrize("name", ["chat", "bench", "transcribe", "sessions"])
def test_work_on_this_machine_needs_no_network(watched, name):
    done, _ = watched.run(COMMANDS[name], ("unshare", "-rn"))
    assert done.returncode == 0, done.stderr.decode()
