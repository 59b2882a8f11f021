"""What a shell's Tab offers for values of options: nothing heavy is imported, nothing fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import typer

from g3n_cli.errors import G3nError


def complete_model(incomplete: str) -> list[tuple[str, str]]:
    """Names of models, those that are here first, and references to what other programs hold.

    Paths are left to the shell, which completes them where nothing is offered.
    """
    try:
        return [pair for pair in _list_models() if pair[0].startswith(incomplete)]
    except G3nError:  # a models.toml that is wrong is told by the command itself
        return []


def complete_size(context: typer.Context, incomplete: str) -> list[str]:
    """Sizes that the model of ``-m`` offers, as far as ``models.toml`` tells; else all names."""
    from g3n_cli.registry.table import read_table

    try:
        table = read_table()
    except G3nError:
        return []
    model = context.params.get("model")
    entry = table.names.get(model.lower()) if isinstance(model, str) else None
    shape = (entry.n_layer, entry.n_ff) if entry and entry.n_layer else None
    names = ["full", "auto"]
    names += [s.name for s in table.sizes if shape is None or (s.n_layer, s.n_ff) == shape]
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def complete_sizes(context: typer.Context, incomplete: str) -> list[str]:
    """The last of several sizes, with those before it."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in complete_size(context, last)]


def complete_words(words: Sequence[str]) -> Callable[[str], list[str]]:
    """The last of several words, with those before it."""

    def complete(incomplete: str) -> list[str]:
        before, comma, last = incomplete.rpartition(",")
        return [f"{before}{comma}{word}" for word in words if word.startswith(last)]

    return complete


def complete_template(incomplete: str) -> list[str]:
    """Names of templates; paths are left to the shell."""
    from g3n_cli.registry.prompts import list_files

    return [name for name in list_files() if name.startswith(incomplete)]


def complete_session(incomplete: str) -> list[tuple[str, str]]:
    """Numbers of saved conversations with their titles, the last changed first, and names."""
    from g3n_cli.chat.saved import find_data_folder
    from g3n_cli.chat.store import SessionStore

    file = find_data_folder() / "chats.db"
    if not file.exists():
        return []
    try:
        with closing(SessionStore(file)) as store:
            found = store.list_sessions()
    except G3nError:
        return []
    offers = [(str(info.id), info.name or info.title) for info in found]
    offers += [(info.name, info.title) for info in found if info.name]
    return [offer for offer in offers if offer[0].startswith(incomplete)]


def complete_device(incomplete: str) -> list[str]:
    """Devices that models run on, and where an address begins."""
    return [name for name in ("cpu", "http://", "rpc:") if name.startswith(incomplete)]


def complete_devices(incomplete: str) -> list[str]:
    """The last of several devices, with those before it."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in complete_device(last)]


def _list_models() -> Iterator[tuple[str, str]]:
    from g3n_cli.registry.models import find_file
    from g3n_cli.registry.places import find_held
    from g3n_cli.registry.table import read_table

    held = [each for each in find_held() if not each.is_projector]
    found = [(entry, find_file(entry, held)) for entry in read_table().entries.values()]
    known = {file[1].path for _, file in found if file[1]}
    for entry, (path, _) in sorted(found, key=lambda pair: pair[1][0] is None):
        yield entry.name, entry.description if path else f"{entry.description} (not fetched)"
    yield from ((each.ref, each.place) for each in held if each.path not in known)
