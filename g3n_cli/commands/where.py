"""``g3n config`` and ``g3n privacy``: where everything is, who can read it, and what is sent."""

from __future__ import annotations

import json
import os
import sys
from typing import Annotated, Any

import typer

from g3n_cli.ui.text import align, escape_json, make_visible

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON, sizes in bytes.")]

_SECRET = ("KEY", "TOKEN")
_STORED = """\
Messages, answers, and paths and digests of the files that went with them are saved as chats go,
unless --no-save is given. What is typed in chats is kept in the history. Files themselves are
never copied; of pictures the encoded form is cached."""
_SENT = {
    "g3n pull": "asks huggingface.co, or $HF_ENDPOINT, for a file; your token goes along if you"
    " have one",
    "--device http://HOST": "the conversation and its files go to that server (https:// too)",
    "--device rpc:HOST:PORT": "weights and what is computed go to that machine",
    "g3n serve": "answers programs that ask the model: of this machine, unless --host is given",
    "g3n serve-device": "answers programs that compute here: of this machine, unless --host is"
    " given",
}


def config(context: typer.Context, *, as_json: JsonOption = False) -> None:
    """Show where everything is that g3n keeps, what it takes, and which settings are in force."""
    from g3n_cli.commands.config_file import find_config_path
    from g3n_cli.commands.kept import find_kept, format_kept

    kept, environment, file = find_kept(), read_environment(), find_config_path()
    kv_disk = read_setting(context, "chat", "kv_disk")
    if as_json:
        values = {
            "config_file": None if file is None else str(file),
            "environment": environment,
            "kv_most_bytes": None if kv_disk is None else kv_disk * 1_000_000,
            "kept": [kind.to_dict() for kind in kept],
        }
        _write_json(values)
        return
    lines = [format_kept(kept), ""]
    if kv_disk is not None:
        lines.append(f"kv takes {kv_disk:,} MB at most (--kv-disk of g3n chat)")
    lines.append(f"Configuration file: {file or 'none'}")
    lines += [f"{name}={value}" for name, value in environment.items()]
    sys.stdout.write(make_visible("\n".join(lines)) + "\n")


def privacy(*, as_json: JsonOption = False) -> None:
    """Say what g3n stores on this machine and where, and what it sends: nothing by itself."""
    from g3n_cli.commands.kept import find_kept, format_kept
    from g3n_cli.offline import is_offline

    kept = find_kept()
    if as_json:
        stored = [kind.to_dict() for kind in kept]
        _write_json(
            {"telemetry": None, "is_offline": is_offline(), "sent_by": _SENT, "stored": stored}
        )
        return
    rule = "--offline, or G3N_OFFLINE=1, forbids all of these"
    lines = [
        "Telemetry: none. g3n connects to nobody but by what you name:",
        "",
        align([(f"  {name}", what) for name, what in _SENT.items()]),
        "",
        f"{rule}; it is set." if is_offline() else f"{rule}.",
        "",
        _STORED,
        "g3n sessions rm removes conversations, g3n clean the rest.",
        "",
        format_kept(kept, has_modes=True),
    ]
    sys.stdout.write(make_visible("\n".join(lines)) + "\n")


def read_setting(context: typer.Context, command: str, name: str) -> Any:  # noqa: ANN401
    """What an option of a command is where no flag says other; None if that makes no sense."""
    root = context.find_root()
    program: Any = root.command
    made = program.build(command).make_context(command, [], parent=root, resilient_parsing=True)
    return made.params[name]


def read_environment() -> dict[str, str]:
    """Settings of the environment; of secrets only that they are there."""
    return {
        name: "(set)" if name.endswith(_SECRET) else value
        for name, value in sorted(os.environ.items())
        if name.startswith("G3N_")
    }


def _write_json(values: object) -> None:
    sys.stdout.write(escape_json(json.dumps(values, indent=2)) + "\n")
