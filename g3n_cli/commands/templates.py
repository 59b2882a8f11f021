"""``g3n templates``: prompts to ask again."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from g3n_cli.commands.complete import complete_template
from g3n_cli.commands.template_options import read_inline_schema
from g3n_cli.errors import UsageError
from g3n_cli.registry.prompts import (
    PromptTemplate,
    find_file,
    find_own_file,
    find_prompt_folder,
    list_files,
    parse_template,
    read_template,
)

app = typer.Typer(help="List, read, write and remove templates of prompts, for g3n chat -t.")

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON.")]
NameArgument = Annotated[
    str,
    typer.Argument(metavar="NAME", autocompletion=complete_template, help="Name of a template."),
]

SKELETON = '''\
description = ""

# Write $name for a variable, $$ for a dollar sign. $input is what is piped in, or the PROMPT.
prompt = """
$input
"""

# What the model is told before:
# system = "You are brief."

# What variables stand for, unless -p name=... says other:
[defaults]

# Flags of g3n chat, unless they are given: model, temp, max-tokens, stop, extract, choice, ...
[settings]
'''


@app.command("list")
def list_templates(*, as_json: JsonOption = False) -> None:
    """List templates; your own come before bundled ones of the same name."""
    from g3n_cli.ui.terminal import Terminal
    from g3n_cli.ui.text import align, make_visible

    found = []
    for path in list_files().values():
        try:
            found.append(parse_template(path))
        except UsageError as error:  # the others are as good as before
            Terminal.of_process().note(f"warning: {error.message}")
    if as_json:
        _write_json([describe(template) for template in found])
    elif found:
        rows = [(t.name, show_variables(t), fold(t.description)) for t in found]
        sys.stdout.write(make_visible(align(rows)) + "\n")


@app.command()
def show(name: NameArgument, *, as_json: JsonOption = False) -> None:
    """Print a template's file."""
    from g3n_cli.ui.text import make_visible

    template = read_template(name)
    if as_json:
        _write_json(describe(template))
    else:
        sys.stdout.write(make_visible(template.path.read_text("utf-8")))


@app.command()
def path(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            show_default=False,
            autocompletion=complete_template,
            help="Name of a template; without it, the folder of your own.",
        ),
    ] = None,
) -> None:
    """Print where a template is."""
    sys.stdout.write(f"{find_prompt_folder() if name is None else find_file(name)}\n")


@app.command()
def edit(name: NameArgument) -> None:
    """Write a template in your editor ($VISUAL, $EDITOR); a bundled one is copied first."""
    own = find_own_file(name)
    before = own if own.exists() else list_files().get(name)
    content = before.read_bytes() if before else SKELETON.encode()
    if before != own:
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(content)
    try:
        run_editor(own)
    finally:
        is_unchanged = own.exists() and own.read_bytes() == content
        if before != own and is_unchanged:
            own.unlink()
    if not is_unchanged and own.exists():
        try:
            template = parse_template(own)
            if "schema" in template.settings:
                read_inline_schema(template)
        except UsageError as error:
            ways = f"g3n templates edit {name} opens it again, g3n templates rm {name} removes it"
            raise UsageError(error.message, error.hint or ways) from error


@app.command()
def rm(name: NameArgument) -> None:
    """Remove a template of your own."""
    own = find_own_file(name)
    if not own.exists():
        raise UsageError(f"you have no template {name!r}", f"yours are in {own.parent}")
    own.unlink()


def run_editor(file: Path) -> None:
    """Open a file in the person's editor and wait until it is closed.

    Raises:
        UsageError: it cannot be started, or fails.
    """
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        code = subprocess.run([*shlex.split(command), str(file)], check=False).returncode
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot start the editor {command!r}: {reason}", "set $EDITOR") from error
    if code:
        raise UsageError(f"the editor {command!r} failed with exit code {code}")


def describe(template: PromptTemplate) -> dict[str, object]:
    """A template for programs; a variable without a default is null."""
    return {
        "name": template.name,
        "description": template.description,
        "is_bundled": template.is_bundled,
        "path": str(template.path),
        "system": template.system,
        "prompt": template.prompt,
        "variables": {name: template.defaults.get(name) for name in template.variables},
        "settings": dict(template.settings),
    }


def show_variables(template: PromptTemplate) -> str:
    """Variables with their defaults, as ``-p`` takes them."""
    defaults = template.defaults
    parts = (
        f"{name}={fold(defaults[name])}" if name in defaults else f"{name}=..."
        for name in template.variables
    )
    return ", ".join(parts)


def fold(text: str) -> str:
    """A text in one line."""
    return " ".join(text.split())


def _write_json(value: object) -> None:
    from g3n_cli.ui.text import escape_json

    sys.stdout.write(escape_json(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")
