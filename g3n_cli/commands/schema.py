"""``g3n schema``: what ``--schema`` makes of a text or a file."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from g3n_cli.ui.terminal import Terminal

HELP = """Show the JSON Schema that --schema makes of a file or of fields.

What the grammar cannot follow, and so is only checked in the end, is told on stderr.

\b
  g3n schema 'name, age int, tags [str], note str?' > person.json
  g3n schema --gbnf person.json
"""


def show_schema(
    text: Annotated[
        str,
        typer.Argument(
            metavar="FILE|TEXT", help="A file, JSON, or fields such as 'name, age int'."
        ),
    ],
    *,
    gbnf: Annotated[
        bool, typer.Option("--gbnf", help="Show the grammar instead, as --grammar takes it.")
    ] = False,
) -> None:
    """Show the JSON Schema that --schema makes of a file or of fields."""
    from g3n_cli.chat.schema.answer import read_schema

    terminal = Terminal.of_process()
    schema = read_schema(text)
    if gbnf:
        terminal.write(schema.grammar)
    else:
        terminal.write(json.dumps(schema.value, indent=2, ensure_ascii=False) + "\n")
    if schema.unfollowed:
        terminal.note(f"note: only checked in the end: {', '.join(schema.unfollowed)}")
