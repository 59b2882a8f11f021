"""Models by name: what ``models.toml`` says about them, and where their files are."""

from __future__ import annotations

import difflib
import importlib.util
import os
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from g3n_cli.config import NamedSize, parse_widths
from g3n_cli.errors import ModelError

DEFAULT_MODEL = "g3n-mini"
_SIZES = "size"


@dataclass(frozen=True)
class SamplingDefaults:
    """How a model's authors recommend to sample; None where they don't say."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None


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
        projector: Where its encoders would be, beside what is found without that.
    """

    name: str
    path: Path
    aliases: tuple[str, ...] = ()
    description: str = ""
    sampling: SamplingDefaults = SamplingDefaults()
    notice: str = ""
    projector: Path | None = None


@dataclass(frozen=True)
class PackagedFile:
    """A file inside a wheel.

    Attributes:
        package: Import name of the package it lies in; never imported.
        file: Its path there.
        pip: Command that installs the wheel.
    """

    package: str
    file: str
    pip: str


@dataclass(frozen=True)
class Entry:
    """One model of ``models.toml``, whether its file is here or not."""

    name: str
    aliases: tuple[str, ...]
    description: str
    source: PackagedFile
    sampling: SamplingDefaults
    notice: str


def read_entries() -> dict[str, Entry]:
    """All entries of ``models.toml`` by name."""
    tables = _read_models_toml()
    return {
        name: Entry(
            name=name,
            aliases=tuple(table["aliases"]),
            description=table["description"],
            source=PackagedFile(table["package"], table["file"], table["pip"]),
            sampling=SamplingDefaults(**table.get("sampling", {})),
            notice=table.get("notice", ""),
        )
        for name, table in tables.items()
        if name != _SIZES
    }


def read_sizes() -> tuple[NamedSize, ...]:
    """The sizes that ``models.toml`` lists."""
    sizes = []
    for table in _read_models_toml()[_SIZES]:
        widths = parse_widths(table["widths"])
        assert widths is not None
        assert len(widths) == table["n_layer"]
        aliases = tuple(table.get("aliases", ()))
        sizes.append(NamedSize(table["name"], aliases, table["n_layer"], table["n_ff"], widths))
    return tuple(sizes)


def resolve(model: str | None) -> ModelSpec:
    """The model that a name, an alias or a path stands for; None stands for the default.

    A known name wins over a file called the same; write ``./name`` for the file.

    Raises:
        ModelError: there is no such model, or its file is not installed.
    """
    entries = read_entries()
    names = {alias: entry for entry in entries.values() for alias in (entry.name, *entry.aliases)}
    wanted = DEFAULT_MODEL if model is None else model
    if (entry := names.get(wanted.lower())) is not None:
        return ModelSpec(
            name=entry.name,
            path=locate(entry),
            aliases=entry.aliases,
            description=entry.description,
            sampling=entry.sampling,
            notice=entry.notice,
        )
    path = Path(os.path.expanduser(wanted))
    # Of os.path, since these also take text that cannot be a path at all.
    if os.path.isfile(path):
        return ModelSpec(path.stem, path)
    if os.path.exists(path):
        raise ModelError(f"{wanted!r} is not a file")
    raise ModelError(f"no model or file is called {wanted!r}", _suggest(wanted, names, entries))


def locate(entry: Entry) -> Path:
    """The GGUF file of an entry.

    Raises:
        ModelError: it is not installed.
    """
    source = entry.source
    spec = importlib.util.find_spec(source.package)
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / source.file
        if path.is_file():
            return path
    raise ModelError(f"the model {entry.name} is not installed", f"install it: {source.pip}")


def _suggest(wanted: str, names: dict[str, Entry], entries: dict[str, Entry]) -> str:
    close = difflib.get_close_matches(wanted.lower(), names, n=1)
    known = "known models: " + ", ".join(sorted(entries))
    return f"did you mean {close[0]}? {known}" if close else known


def _read_models_toml() -> dict[str, Any]:
    return tomllib.loads(_find_models_toml().read_text("utf-8"))


def _find_models_toml() -> Path:
    """Inside the installed package, or at the top of a checkout."""
    packaged = Path(str(resources.files("g3n_cli"))) / "models.toml"
    return packaged if packaged.is_file() else packaged.parent.parent / "models.toml"
