"""``g3n sessions``: saved conversations."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from g3n_cli.commands.complete import complete_session
from g3n_cli.errors import UsageError
from g3n_cli.ui.text import escape_json, make_visible

if TYPE_CHECKING:
    from g3n_cli.chat.store import SessionStore

app = typer.Typer(help="List, read, search, export and remove saved conversations.")

JsonOption = Annotated[bool, typer.Option("--json", help="Write JSON.")]
WantedArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        autocompletion=complete_session,
        help="Name or number of a conversation.",
    ),
]


@contextmanager
def open_store(*, is_to_change: bool = False) -> Iterator[SessionStore]:
    """The person's saved conversations; that they can only be read is told where that is enough."""
    from g3n_cli.chat.saved import find_data_folder
    from g3n_cli.chat.store import SessionStore
    from g3n_cli.ui.terminal import Terminal

    with closing(SessionStore(find_data_folder() / "chats.db")) as store:
        if store.notice and not (store.is_read_only and is_to_change):
            Terminal.of_process().note(f"warning: {store.notice}")
        yield store


@app.command("list")
def list_sessions(
    *,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, help="Most that are listed; 0 for all.")
    ] = 20,
    as_json: JsonOption = False,
) -> None:
    """List saved conversations, the last changed first."""
    from g3n_cli.ui.sessions import format_sessions

    with open_store() as store:
        found = store.list_sessions(limit or None)
    if as_json:
        _write_json([asdict(info) for info in found])
    elif found:
        sys.stdout.write(format_sessions(found) + "\n")


@app.command()
def show(wanted: WantedArgument, *, as_json: JsonOption = False) -> None:
    """Print a conversation."""
    from g3n_cli.ui.sessions import show_session

    with open_store() as store:
        saved = store.load(wanted)
    sys.stdout.write(show_session(saved, "json" if as_json else "md"))


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(help="Words that must all occur in a turn.")],
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Most that are listed.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Find turns by their words, the best matches first."""
    with open_store() as store:
        hits = store.search(" ".join(words), limit)
    if as_json:
        _write_json([asdict(hit) for hit in hits])
        return
    for hit in hits:
        called = hit.name or hit.title
        line = f"{hit.session:>5}  turn {hit.position + 1}  {called}: {hit.excerpt}"
        sys.stdout.write(make_visible(line) + "\n")


@app.command()
def export(
    wanted: WantedArgument,
    *,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Where to write; else to stdout."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="md|json|html",
            show_default="by the end of --output's name, else md",
            help="How to write it.",
        ),
    ] = None,
) -> None:
    """Write a conversation as Markdown, JSON or an HTML page of its own."""
    from g3n_cli.ui.sessions import EXPORT_FORMATS, export_session, show_session

    suffix = output.suffix.removeprefix(".").lower() if output else ""
    if form is not None and form not in EXPORT_FORMATS.values():
        raise UsageError(f"--format must be md, json or html, not {form!r}")
    if form is None and suffix and suffix not in EXPORT_FORMATS:
        endings = ", ".join(f".{ending}" for ending in EXPORT_FORMATS)
        raise UsageError(
            f"no format belongs to the ending .{suffix}", f"use {endings}, or name it with --format"
        )
    chosen = EXPORT_FORMATS[form or suffix or "md"]
    with open_store() as store:
        saved = store.load(wanted)
    if output is None:
        sys.stdout.write(show_session(saved, chosen))
        return
    text = export_session(saved, chosen)
    partial = output.with_name(output.name + ".part")
    try:
        partial.write_text(text, "utf-8", errors="replace")
        partial.replace(output)
    finally:
        partial.unlink(missing_ok=True)


@app.command()
def rename(
    wanted: WantedArgument, name: Annotated[str, typer.Argument(help="What to call it.")]
) -> None:
    """Give a conversation a name."""
    with open_store(is_to_change=True) as store:
        store.rename(store.load(wanted).info.id, name)


@app.command()
def rm(
    wanted: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            show_default=False,
            autocompletion=complete_session,
            help="Names or numbers.",
        ),
    ] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Remove all of them.")] = False,
) -> None:
    """Remove conversations; what they held is overwritten."""
    if bool(wanted) == everything:
        raise UsageError("which conversations?", "give names or numbers, or --all")
    from g3n_cli.chat.saved import find_data_folder
    from g3n_cli.chat.states import StateFolder

    with open_store(is_to_change=True) as store:
        infos = (
            store.list_sessions()
            if everything
            else [store.load(name).info for name in wanted or ()]
        )
        store.remove([info.id for info in infos])
    StateFolder(find_data_folder() / "kv").remove(info.id for info in infos)


@app.command("repair")
def repair_store() -> None:
    """Begin a new store with what can be read of a damaged one, which is moved aside."""
    from g3n_cli.chat.saved import find_data_folder
    from g3n_cli.chat.store_repair import repair
    from g3n_cli.ui.terminal import Terminal

    done = repair(find_data_folder() / "chats.db")
    lost = f"; {done.n_lost} could not be read" if done.n_lost else ""
    Terminal.of_process().note(f"{done.n_kept} conversations are kept{lost}. Before: {done.aside}")


def _write_json(value: object) -> None:
    sys.stdout.write(escape_json(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")
