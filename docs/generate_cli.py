"""Writes ``cli.md`` beside this file from what ``--help`` says: ``python docs/generate_cli.py``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from typer.core import TyperGroup

from g3n_cli.app import build_program

CLI_MD = Path(__file__).with_name("cli.md")
INTRODUCTION = """\
# The command line

Written by `python docs/generate_cli.py`; the texts are those of `--help`.

## Exit codes

| code | meaning |
| ---: | --- |
| 0 | all went well |
| 1 | something failed while running, such as writing to a full disk, or a server; `--offline` |
| 2 | a flag, a setting or a command that makes no sense; no prompt |
| 3 | the model is missing, here or on a server, broken, or of a kind that g3n does not run |
| 4 | the input cannot be used: binary, not UTF-8, longer than the context |
| 5 | not enough memory |
| 6 | the answer is not what was asked for: cut off, or not as `--schema` wants it |
| 10, 11, ... | the second choice, the third, ... of `--choice-exit`; 0 is the first |
| 130 | interrupted with Ctrl+C, also when a second Ctrl+C ends a conversation |
| 141 | the reader of the answer went away (`g3n chat ... \\| head -1`): silent, as for `cat` |
| 143 | terminated by SIGTERM |

Failures are told on standard error, as `error: ...` and sometimes `hint: ...`.

## Output

Answers go to standard output, all the rest to standard error. Where standard output is not a
terminal, it is the answer alone, piece by piece as it comes, without colour, ended by a newline.
Control characters other than newline and tab, and characters that reorder text, are replaced by
pictures of them (`␛`), in a terminal and in a pipe; only `--json` carries the exact text, escaped.
"""


def find_commands() -> Iterator[tuple[str, ...]]:
    """Words of every command, a group before what is in it."""
    yield ()
    program = build_program()
    for name in sorted(program.commands):
        yield (name,)
        command = program.build(name)
        if isinstance(command, TyperGroup):
            yield from ((name, nested) for nested in sorted(command.commands))


def read_help(words: tuple[str, ...]) -> str:
    """What ``--help`` says of a command, whatever the settings of this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("G3N_")}
    result = subprocess.run(
        [sys.executable, "-m", "g3n_cli", *words, "--help"],
        env=kept | {"G3N_CONFIG": os.devnull, "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    return "\n".join(line.rstrip() for line in result.stdout.splitlines())


def generate() -> str:
    """The whole document."""
    sections = [
        f"## {' '.join(('g3n', *words))}\n\n```\n{read_help(words)}\n```\n"
        for words in find_commands()
    ]
    return "\n".join([INTRODUCTION, *sections])


if __name__ == "__main__":
    CLI_MD.write_text(generate(), "utf-8")
