"""GGUF files that are on this machine already: fetched by g3n, or held by other programs.

Nothing here opens a model; folders are read, and small files that say what lies in them. What other
programs hold is used where it lies and never changed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from g3n_cli.registry import store
from g3n_cli.registry.table import HUB_PREFIX

Place = Literal["g3n", "huggingface", "llama.cpp", "lmstudio", "ollama"]

_SHA256 = re.compile(r"sha256[:-]([0-9a-f]{64})")
_HEX = re.compile(r"[0-9a-f]{64}")
_OLLAMA_MODEL = "application/vnd.ollama.image.model"
_OLLAMA_HOSTS = ("registry.ollama.ai", "ollama.com")
_MANIFEST_LIMIT = 1 << 20


@dataclass(frozen=True)
class Held:
    """A GGUF file and who holds it.

    Attributes:
        ref: What ``-m`` takes for it.
        path: Where it is.
        place: Whose it is.
        n_bytes: Its size.
        repo: Repository on the Hugging Face Hub that it comes from, if that can be told.
        file: Its path there.
        sha256: Of its content, as its owner keeps it; not checked here.
    """

    ref: str
    path: Path
    place: Place
    n_bytes: int
    repo: str | None = None
    file: str | None = None
    sha256: str | None = None

    @property
    def is_projector(self) -> bool:
        """Whether it is no model but what turns images and sound into a model's input."""
        return "mmproj" in (self.file or self.path.name).lower()


def find_held() -> list[Held]:
    """All of them, each file once: g3n's own first, then as listed in ``Place``."""
    found: dict[Path, Held] = {}
    for held in _scan():
        found.setdefault(Path(os.path.realpath(held.path)), held)
    return list(found.values())


def find_hub_file(repo: str, file: str, held: Iterable[Held] | None = None) -> Held | None:
    """A file of the Hugging Face Hub, wherever on this machine it is."""
    flat = f"{repo}_{file}".replace("/", "_")
    for each in find_held() if held is None else held:
        if (each.repo, each.file) == (repo, file):
            return each
        if each.place == "llama.cpp" and each.repo is None and each.path.name == flat:
            return each
    return None


def _scan() -> Iterator[Held]:
    yield from _scan_store()
    yield from _scan_hub_cache(_find_hub_cache(), "huggingface")
    for folder in _find_llama_caches():
        yield from _scan_hub_cache(folder, "llama.cpp")
        yield from _scan_flat(folder)
    for folder in _find_lmstudio():
        yield from _scan_lmstudio(folder)
    for folder in _find_ollama():
        yield from _scan_ollama(folder)


# ------------------------------------------------------------------------------------------ folders


def _home(*parts: str) -> Path:
    return Path(os.path.expanduser("~"), *parts)


def _cache(*parts: str) -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base, *parts) if base else _home(".cache", *parts)


def _find_hub_cache() -> Path:
    """Source: huggingface_hub's documentation of its environment variables."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if folder := os.environ.get(name):
            return Path(os.path.expanduser(folder))
    home = os.environ.get("HF_HOME")
    return Path(os.path.expanduser(home), "hub") if home else _cache("huggingface", "hub")


def _find_llama_caches() -> tuple[Path, ...]:
    """Source: llama.cpp pull requests 7826 and 21009; today it shares the Hub's by default."""
    chosen = os.environ.get("LLAMA_CACHE")
    return (Path(chosen),) if chosen else (_cache("llama.cpp"),)


def _find_lmstudio() -> tuple[Path, ...]:
    """Source: LM Studio's documentation, "Import Models"; the second was used before 0.3.6."""
    return _home(".lmstudio", "models"), _cache("lm-studio", "models")


def _find_ollama() -> tuple[Path, ...]:
    """Source: ollama's documentation, "Where are models stored?"; the last is its service's."""
    if chosen := os.environ.get("OLLAMA_MODELS"):
        return (Path(chosen),)
    return _home(".ollama", "models"), Path("/usr/share/ollama/.ollama/models")


# ---------------------------------------------------------------------------------------- scanning


def _find_ggufs(folder: Path) -> Iterator[Path]:
    """GGUF files anywhere below, in order; folders that cannot be read count as empty."""
    for root, folders, files in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(files) if name.endswith(".gguf"))


def _count_bytes(path: Path) -> int | None:
    """Size of a file; None if it is none, such as a link to what is gone."""
    return os.path.getsize(path) if os.path.isfile(path) else None


def _scan_store() -> Iterator[Held]:
    folder = store.find_store()
    for path in _find_ggufs(folder):
        parts = path.relative_to(folder).parts
        n_bytes = _count_bytes(path)
        if n_bytes is None or len(parts) < 3:
            continue
        repo, file = "/".join(parts[:2]), "/".join(parts[2:])
        record = store.read_record(path)
        digest = record.sha256 if record else None
        yield Held(f"{HUB_PREFIX}{repo}:{file}", path, "g3n", n_bytes, repo, file, digest)


def _scan_hub_cache(folder: Path, place: Place) -> Iterator[Held]:
    """``models--OWNER--NAME/snapshots/COMMIT/FILE``, links into ``blobs``, named by digest."""
    for repository in sorted(_list(folder)):
        kind, *names = repository.name.split("--")
        if kind != "models" or len(names) != 2:
            continue
        repo = "/".join(names)
        main = _read_small(repository / "refs" / "main").decode(errors="replace").strip()
        snapshots = sorted(_list(repository / "snapshots"), key=lambda each: each.name != main)
        seen: set[str] = set()
        for snapshot in snapshots:
            for path in _find_ggufs(snapshot):
                file, n_bytes = path.relative_to(snapshot).as_posix(), _count_bytes(path)
                if n_bytes is None or file in seen:
                    continue
                seen.add(file)
                blob = Path(os.path.realpath(path)).name
                digest = blob if _HEX.fullmatch(blob) else None
                yield Held(f"{HUB_PREFIX}{repo}:{file}", path, place, n_bytes, repo, file, digest)


def _scan_flat(folder: Path) -> Iterator[Held]:
    """Files beside each other, called ``OWNER_NAME_FILE``."""
    for path in sorted(_list(folder)):
        n_bytes = _count_bytes(path) if path.suffix == ".gguf" else None
        if n_bytes is not None:
            yield Held(f"llama.cpp:{path.name}", path, "llama.cpp", n_bytes)


def _scan_lmstudio(folder: Path) -> Iterator[Held]:
    """``PUBLISHER/MODEL/FILE``, as on the Hub."""
    for path in _find_ggufs(folder):
        parts, n_bytes = path.relative_to(folder).parts, _count_bytes(path)
        if n_bytes is not None and len(parts) >= 3:
            repo, file = "/".join(parts[:2]), "/".join(parts[2:])
            yield Held(f"lmstudio:{repo}/{file}", path, "lmstudio", n_bytes, repo, file)


def _scan_ollama(folder: Path) -> Iterator[Held]:
    """``manifests/HOST/NAMESPACE/MODEL/TAG`` is JSON that names files in ``blobs``."""
    for manifests in (folder / "manifests", folder / "manifests-v2"):
        for root, folders, files in os.walk(manifests):
            folders.sort()
            for name in sorted(files):
                manifest = Path(root, name)
                parts = manifest.relative_to(manifests).parts
                digest = _read_ollama_digest(manifest) if len(parts) == 4 else None
                path = folder / "blobs" / f"sha256-{digest}"
                n_bytes = _count_bytes(path) if digest else None
                if n_bytes is not None:
                    ref = _name_ollama(*parts)
                    yield Held(ref, path, "ollama", n_bytes, sha256=digest)


def _name_ollama(host: str, namespace: str, model: str, tag: str) -> str:
    """As ollama shows it: without host and namespace where they are its own."""
    parts = [] if host in _OLLAMA_HOSTS else [host]
    if parts or namespace != "library":
        parts.append(namespace)
    return f"ollama:{'/'.join([*parts, model])}:{tag}"


def _read_ollama_digest(manifest: Path) -> str | None:
    """Digest of the GGUF layer of a manifest; None where there is none, or several."""
    try:
        content: Any = json.loads(_read_small(manifest))
        layers = [layer for layer in content["layers"] if layer["mediaType"] == _OLLAMA_MODEL]
        (digest,) = (layer["digest"] for layer in layers)
        match = _SHA256.fullmatch(digest)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return match[1] if match else None


def _list(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _read_small(path: Path) -> bytes:
    """The beginning of a file; nothing where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(_MANIFEST_LIMIT)
    except OSError:
        return b""
