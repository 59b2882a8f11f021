"""What the program says about itself, and what that costs."""

import json
import subprocess
import sys

import pytest

from g3n_cli import __version__
from g3n_cli.app import build_program
from g3n_cli.commands.index import COMMANDS
from tests.program import ROOT, make_environment

HEAVY = ("numpy", "llama_cpp", "rich", "prompt_toolkit", "jinja2")
SPY = f"""
import json, sys
from g3n_cli.app import run
try:
    run(sys.argv[1:])
finally:
    print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "arguments",
    [(), ("--help",), ("--version",), ("chat", "--help"), ("debug", "--help"), ("nope",)],
    ids=str,
)
def test_help_and_mistakes_load_nothing_heavy(tmp_path, arguments):
    done = subprocess.run(
        [sys.executable, "-c", SPY, *arguments],
        capture_output=True,
        cwd=ROOT,
        env=make_environment(tmp_path),
        timeout=30,
        check=False,
    )
    assert json.loads(done.stderr.splitlines()[-1]) == []


WHAT_IS_IMPORTED = """
import json, sys
from g3n_cli.app import run
try:
    run(sys.argv[1:])
finally:
    start = "g3n_cli.commands."
    found = sorted(name.removeprefix(start) for name in sys.modules if name.startswith(start))
    print(json.dumps(found), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "imported"),
    [
        (("--version",), ["index"]),
        ((), ["index"]),
        (("--help",), ["index"]),
        (("ps", "--help"), ["config_file", "index", "ps"]),
    ],
    ids=str,
)
def test_only_the_command_that_runs_is_imported(tmp_path, arguments, imported):
    done = subprocess.run(
        [sys.executable, "-c", WHAT_IS_IMPORTED, *arguments],
        capture_output=True,
        cwd=ROOT,
        env=make_environment(tmp_path),
        timeout=30,
        check=False,
    )
    assert json.loads(done.stderr.splitlines()[-1]) == imported


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_begins_its_help_with_its_line_of_the_list(name):
    command = build_program().build(name)
    assert command.name == name
    assert command.help.partition("\n\n")[0].replace("\n", " ") == COMMANDS[name][1]


def test_the_version_is_told(g3n):
    done = g3n.run("--version")
    assert (done.returncode, done.stdout.decode()) == (0, f"g3n {__version__}\n")


def test_without_a_command_the_help_is_shown(g3n):
    assert g3n.run().stdout == g3n.run("--help").stdout


@pytest.mark.parametrize(
    "command", [("chat",), ("show",), ("devices",), ("debug",), ("debug", "logits")]
)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_has_help(g3n, command, flag):
    done = g3n.run(*command, flag)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().startswith(f"Usage: g3n {' '.join(command)} ")
    assert b"\x1b" not in done.stdout


@pytest.mark.parametrize(("shell", "part"), [("bash", "complete -o"), ("zsh", "#compdef g3n")])
def test_completion_is_shown_for_a_shell(g3n, shell, part):
    flags = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = g3n.run("--show-completion", shell, **flags)
    assert (done.returncode, done.stderr) == (0, b"")
    assert part in done.stdout.decode()


def test_a_shell_completes_commands_and_flags(g3n):
    words = {"COMP_WORDS": "g3n ch", "COMP_CWORD": "1", "_G3N_COMPLETE": "complete_bash"}
    assert g3n.run(**words).stdout.decode().split() == ["chat"]
    words |= {"COMP_WORDS": "g3n chat --top", "COMP_CWORD": "2"}
    assert g3n.run(**words).stdout.decode().split() == ["--top-k", "--top-p"]
    words |= {"COMP_WORDS": "g3n bench c", "COMP_CWORD": "2"}
    assert g3n.run(**words).stdout.decode().split() == ["compare"]
