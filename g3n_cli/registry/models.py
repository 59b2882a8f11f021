"""Models by name: which file a name, a reference or a path stands for."""

from __future__ import annotations

import difflib
import importlib.util
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from g3n_cli.config import NamedSize
from g3n_cli.errors import ModelError
from g3n_cli.registry import places
from g3n_cli.registry.defaults import (
    NO_DEFAULTS,
    NO_SAMPLING,
    EngineDefaults,
    SamplingDefaults,
)
from g3n_cli.registry.places import Held
from g3n_cli.registry.table import (
    HUB_PREFIX,
    Entry,
    HubFile,
    LocalFile,
    PackagedFile,
    parse_hub_ref,
    read_table,
)
from g3n_cli.units import format_bytes

DEFAULT_MODEL = "g3n-mini"
_PREFIXES = ("llama.cpp:", "lmstudio:", "ollama:")


@dataclass(frozen=True)
class ModelSpec:
    """A model that can be opened.

    Attributes:
        name: What to call it.
        path: Its GGUF file.
        aliases: Other names it goes by.
        description: One line, empty for a file without an entry.
        sampling: Its authors' recommendation.
        notice: What a conversation says before it begins.
        defaults: Settings where no flag says other.
        template: Jinja source to use instead of the file's own.
        projector: File for images and sound, if it is known and here.
        entry: What ``models.toml`` says; None for a file without an entry.
        held: Who holds the file; None for a path, and for files in packages.
    """

    name: str
    path: Path
    aliases: tuple[str, ...] = ()
    description: str = ""
    sampling: SamplingDefaults = NO_SAMPLING
    notice: str = ""
    defaults: EngineDefaults = NO_DEFAULTS
    template: str | None = None
    projector: Path | None = None
    entry: Entry | None = None
    held: Held | None = None


def read_sizes() -> tuple[NamedSize, ...]:
    """The named sizes of nested models."""
    return read_table().sizes


def resolve(model: str | None) -> ModelSpec:
    """The model that a name, a reference or a path stands for; None stands for the default.

    A known name wins over a file called the same; write ``./name`` for the file. A reference is
    ``hf:OWNER/REPOSITORY:FILE``, or what ``g3n list`` shows for other programs' files.

    Raises:
        ModelError: there is no such model, or its file is not here.
        UsageError: a reference that is none, or a ``models.toml`` that is wrong.
    """
    names = read_table().names
    wanted = DEFAULT_MODEL if model is None else model
    if (entry := names.get(wanted.lower())) is not None:
        return _open_entry(entry)
    if wanted.startswith(HUB_PREFIX):
        file = parse_hub_ref(wanted)
        if held := places.find_hub_file(file.repo, file.file):
            return ModelSpec(Path(file.file).stem, held.path, held=held)
        raise _is_not_here(wanted, wanted, None)
    if wanted.startswith(_PREFIXES):
        for held in places.find_held():
            if wanted in (held.ref, f"{held.ref.removesuffix(':latest')}"):
                return ModelSpec(wanted.partition(":")[2], held.path, held=held)
    path = Path(os.path.expanduser(wanted))
    # Of os.path, since these also take text that cannot be a path at all.
    if os.path.isfile(path):
        return ModelSpec(path.stem, path)
    if os.path.exists(path):
        raise ModelError(f"{wanted!r} is not a file")
    raise ModelError(f"no model or file is called {wanted!r}", _suggest(wanted, names))


def find_file(entry: Entry, held: Iterable[Held] | None = None) -> tuple[Path | None, Held | None]:
    """Where the file of an entry is, and who holds it; neither if it is not here."""
    source = entry.source
    if isinstance(source, HubFile):
        found = places.find_hub_file(source.repo, source.file, held)
        return (found.path, found) if found else (None, None)
    path = source.path if isinstance(source, LocalFile) else _find_packaged(source)
    return (path if path is not None and path.is_file() else None), None


def _open_entry(entry: Entry) -> ModelSpec:
    path, held = find_file(entry)
    if path is None:
        raise _refuse_missing(entry)
    projector = entry.projector
    images = places.find_hub_file(projector.repo, projector.file) if projector else None
    return ModelSpec(
        name=entry.name,
        path=path,
        aliases=entry.aliases,
        description=entry.description,
        sampling=entry.sampling,
        notice=entry.notice,
        defaults=entry.defaults,
        template=entry.template,
        projector=images.path if images else None,
        entry=entry,
        held=held,
    )


def _find_packaged(source: PackagedFile) -> Path | None:
    spec = importlib.util.find_spec(source.package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / source.file


def _refuse_missing(entry: Entry) -> ModelError:
    source = entry.source
    if isinstance(source, PackagedFile):
        return ModelError(f"the model {entry.name} is not installed", f"install it: {source.pip}")
    if isinstance(source, LocalFile):
        return ModelError(f"the file of {entry.name} is gone: {source.path}")
    return _is_not_here(entry.name, entry.name, source.n_bytes)


def _is_not_here(name: str, ref: str, n_bytes: int | None) -> ModelError:
    """One line that says how to get it."""
    size = f" ({format_bytes(n_bytes)})" if n_bytes else ""
    return ModelError(f"{name} is not on this machine; fetch it{size} with: g3n pull {ref}")


def _suggest(wanted: str, names: dict[str, Entry]) -> str:
    close = difflib.get_close_matches(wanted.lower(), names, n=1)
    known = "known models: " + ", ".join(sorted({entry.name for entry in names.values()}))
    return f"did you mean {close[0]}? {known}" if close else known
