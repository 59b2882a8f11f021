"""What g3n keeps on this machine: where each kind lies and what it takes."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from g3n_cli.ui.text import align, make_visible
from g3n_cli.units import format_bytes

_CACHED = {
    "synthetic": "models of random weights for g3n bench",
    "rows": "encoded pictures, so that the next question about one starts at once",
}


@dataclass(frozen=True)
class Kept:
    """One kind of what is kept.

    Attributes:
        name: What ``g3n clean --what`` takes for it; None if it is not for cleaning.
        label: What a table calls it.
        description: What it holds.
        place: The file or folder; there or not.
        paths: Files of it, in order.
        is_cache: It is made again when it is needed.
    """

    name: str | None
    label: str
    description: str
    place: Path
    paths: tuple[Path, ...]
    is_cache: bool = False

    @property
    def n_bytes(self) -> int:
        """What all of it takes; a link takes nothing."""
        return sum(_count_bytes(path) for path in self.paths)

    @property
    def mode(self) -> str | None:
        """Who may read the place, as ``ls -l`` has it; None where nothing is."""
        try:
            return stat.filemode(self.place.lstat().st_mode)
        except OSError:
            return None

    def to_dict(self) -> dict[str, object]:
        """For programs."""
        return {
            "name": self.label,
            "description": self.description,
            "path": str(self.place),
            "n_bytes": self.n_bytes,
            "n_files": len(self.paths),
            "mode": self.mode,
            "is_cache": self.is_cache,
        }


def find_kept() -> list[Kept]:
    """All kinds, those too of which nothing is there yet."""
    from platformdirs import user_cache_dir, user_config_dir, user_data_dir

    from g3n_cli.bench.files import History
    from g3n_cli.chat.presence import find_folder
    from g3n_cli.registry.store import find_store
    from g3n_cli.ui.history import find_history_path

    data, cache = Path(user_data_dir("g3n")), Path(user_cache_dir("g3n"))
    settings = Path(user_config_dir("g3n"))
    typed, store = find_history_path(), find_store()
    kept = [
        _make(
            None, "what you have set: config.toml, models.toml, templates", settings, label="config"
        ),
        *_find_chosen_config(),
        _make(
            "sessions",
            "conversations: messages, answers, names and digests of files",
            data / "chats.db",
            _find_store_files,
        ),
        _make("damaged", "stores of conversations that were moved aside", data, _find_damaged),
        _make(
            "kv",
            "what models have computed of conversations and system texts",
            data / "kv",
            is_cache=True,
        ),
        _make("history", "what you typed in chats", typed),
        _make(None, "what holds a model now, for g3n ps", find_folder(), label="running"),
        _make("bench", "results of g3n bench", History.of_person().folder),
        _make("models", "what g3n pull has fetched", store, _find_fetched),
    ]
    return [kind for kind in kept if kind.name != "damaged" or kind.paths] + _find_caches(cache)


def format_kept(kept: Sequence[Kept], *, has_modes: bool = False) -> str:
    """A table: name, size, mode if wanted, place, what it is."""
    rows = [
        (
            make_visible(kind.label),
            format_bytes(kind.n_bytes) if kind.paths else "-",
            *([kind.mode or "-"] if has_modes else []),
            make_visible(str(kind.place)),
            kind.description,
        )
        for kind in kept
    ]
    head = ("NAME", "SIZE", *(["MODE"] if has_modes else []), "PLACE", "")
    return align([head, *rows])


def _make(
    name: str | None,
    description: str,
    place: Path,
    choose: Callable[[Path], Iterable[Path]] | None = None,
    *,
    label: str | None = None,
    is_cache: bool = False,
) -> Kept:
    paths = tuple(sorted((choose or _walk)(place)))
    return Kept(name, label or name or "", description, place, paths, is_cache)


def _find_chosen_config() -> list[Kept]:
    chosen = os.environ.get("G3N_CONFIG")
    if not chosen:
        return []
    return [_make(None, "the file that $G3N_CONFIG names", Path(chosen), label="config file")]


def _find_caches(folder: Path) -> list[Kept]:
    return [
        _make(
            f"cache/{place.name}",
            _CACHED.get(place.name, "made again when it is needed"),
            place,
            is_cache=True,
        )
        for place in sorted(_list(folder))
    ]


# -------------------------------------------------------------------------------------- choosing


def _find_store_files(place: Path) -> list[Path]:
    names = (place.name, f"{place.name}-wal", f"{place.name}-shm")
    return [each for each in _list(place.parent) if each.name in names]


def _find_damaged(place: Path) -> list[Path]:
    return [each for each in _list(place) if each.name.startswith("chats.db.damaged-")]


def _find_fetched(place: Path) -> Iterator[Path]:
    """Files with their records, and beginnings of files; the folder may hold a person's own too."""
    from g3n_cli.registry import store

    for path in _walk(place):
        stem = path.name.removesuffix(".part").rpartition(".")[0]
        if (
            store.read_record(path)
            or (path.suffix == ".json" and store.read_record(path.with_suffix("")))
            or (stem and path in store.find_parts(path.with_name(stem)))
        ):
            yield path


def _walk(place: Path) -> Iterator[Path]:
    """Files of a folder and below, or the one file; links below are not followed."""
    if not place.is_dir():
        if place.is_file():
            yield place
        return
    for root, _, files in os.walk(place):
        yield from (Path(root, name) for name in files)


def _list(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _count_bytes(path: Path) -> int:
    try:
        found = path.lstat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0
