"""The program as a process of its own, as a shell starts it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.model_files import SMALL8

ROOT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "g3n_cli"]
TIMEOUT_S = 60


def make_environment(home: Path, **changes: str) -> dict[str, str]:
    """The environment of a person whose files are all in ``home``."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("G3N_")}
    folders = {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_DATA_HOME": str(home / "data"),
    }
    return {**kept, **folders, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **changes}


class Program:
    """Runs g3n in a home of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def run(
        self, *arguments: object, stdin: str | bytes = b"", **changes: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run to the end; ``changes`` are environment variables."""
        return subprocess.run(
            [*COMMAND, *map(str, arguments)],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            cwd=ROOT,
            env=make_environment(self.home, **changes),
            timeout=TIMEOUT_S,
            check=False,
        )

    def chat(
        self, *arguments: object, stdin: str | bytes = b"", **changes: str
    ) -> subprocess.CompletedProcess[bytes]:
        """``g3n chat`` with the tiny model unless ``-m`` names another."""
        model = () if "-m" in arguments else ("-m", SMALL8)
        return self.run("chat", *model, *arguments, stdin=stdin, **changes)

    def start(self, *arguments: object, **streams: object) -> subprocess.Popen[bytes]:
        """Start it and leave it running; stdin is empty unless told otherwise."""
        return subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            cwd=ROOT,
            env=make_environment(self.home),
            **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            | streams,
        )


def assert_fails(done: subprocess.CompletedProcess[bytes], code: int, *parts: str) -> None:
    """It ended with this code, nothing on stdout and one clear line on stderr."""
    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (code, b""), done.stderr.decode()
    assert lines[0].startswith("error: ")
    assert [line.partition(" ")[0] for line in lines[1:]] in ([], ["hint:"])
    for part in parts:
        assert part in lines[0]
