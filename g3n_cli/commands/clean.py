"""``g3n clean``: delete what g3n keeps; by itself only what can be made again."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from g3n_cli.errors import UsageError
from g3n_cli.ui.text import escape_json

if TYPE_CHECKING:
    from g3n_cli.commands.kept import Kept

HELP = """Delete what g3n keeps on this machine; g3n config shows it.

Without --what it is what can be made again: what models have computed of conversations and of
system texts (kv), and caches. Conversations, models, history and results are deleted only where
--what names them.

\b
  g3n clean                        tells what would go, and asks
  g3n clean --what kv,history --yes
"""


def clean(
    *,
    what: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            show_default="kv,cache",
            help="kv, cache (all of it) or cache/NAME, history, bench, damaged, sessions, models.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Delete what g3n keeps."""
    from g3n_cli.commands.kept import find_kept, format_kept
    from g3n_cli.ui.ask import confirm
    from g3n_cli.ui.terminal import Terminal
    from g3n_cli.units import format_bytes

    terminal = Terminal.of_process()
    chosen = [kind for kind in choose(find_kept(), what) if kind.paths]
    if chosen and not yes:
        if terminal.stdin.isatty():
            terminal.note(format_kept(chosen))
        if not confirm(f"delete {format_bytes(sum(kind.n_bytes for kind in chosen))}?", terminal):
            terminal.note("nothing was deleted")
            raise typer.Exit(1)
    freed = {kind.label: remove(kind) for kind in chosen}
    if as_json:
        sys.stdout.write(escape_json(json.dumps({"freed_bytes": freed})) + "\n")
    else:
        total = format_bytes(sum(freed.values()))
        terminal.note(f"{total} are free again" if freed else "there is nothing to delete")


def choose(kept: Sequence[Kept], what: str | None) -> list[Kept]:
    """The kinds that ``--what`` names, or those that can be made again.

    Raises:
        UsageError: there is no such kind.
    """
    if what is None:
        return [kind for kind in kept if kind.is_cache]
    names = [kind.name for kind in kept if kind.name]
    chosen = []
    for word in (part.strip() for part in what.split(",")):
        found = [
            kind
            for kind in kept
            if kind.name and (kind.name == word or kind.name.startswith(f"{word}/"))
        ]
        if not found and word != "damaged":
            raise UsageError(f"--what knows no {word!r}", f"there is cache, {', '.join(names)}")
        chosen += [kind for kind in found if kind not in chosen]
    return chosen


def remove(kind: Kept) -> int:
    """Delete all of a kind; how many bytes that frees.

    Raises:
        OSError: some of it cannot be deleted.
    """
    before = kind.n_bytes
    if kind.name == "sessions":
        _remove_sessions(kind)
        return before - kind.n_bytes
    for path in kind.paths:
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if not folder.is_relative_to(kind.place):
                break
            with contextlib.suppress(OSError):  # it holds something else
                folder.rmdir()
    return before


def _remove_sessions(kind: Kept) -> None:
    """Through the store, as chats may be open on it; their K/V go too."""
    from contextlib import closing

    from g3n_cli.chat.states import StateFolder
    from g3n_cli.chat.store import SessionStore

    with closing(SessionStore(kind.place)) as store:
        found = [info.id for info in store.list_sessions()]
        store.remove(found)
        store.shrink()
    StateFolder(kind.place.parent / "kv").remove(found)
