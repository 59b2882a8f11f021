"""The folder that ``g3n pull`` fills: ``OWNER/REPOSITORY/FILE``, a record beside each file."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path

from g3n_cli.registry.table import HubFile

_RECORD_LIMIT = 100_000
_PART = re.compile(r"\.[0-9a-f]{1,16}\.part")


@dataclass(frozen=True)
class Record:
    """What is known of a fetched file.

    Attributes:
        repo: Where it came from.
        file: Its path there.
        revision: The commit, or what was asked for where the server told none.
        n_bytes: Its size.
        sha256: Of what was fetched.
        is_verified: The digest was known beforehand, and is the same.
    """

    repo: str
    file: str
    revision: str
    n_bytes: int
    sha256: str
    is_verified: bool


def find_store() -> Path:
    """``$G3N_MODELS``, or ``models`` in the person's data folder; there or not."""
    if chosen := os.environ.get("G3N_MODELS"):
        return Path(os.path.expanduser(chosen))
    import platformdirs

    return Path(platformdirs.user_data_dir("g3n")) / "models"


def path_of(file: HubFile) -> Path:
    """Where a file is, or will be, in the store."""
    return find_store() / file.repo / file.file


def record_path(path: Path) -> Path:
    """The record that belongs to a file of the store."""
    return path.with_name(f"{path.name}.json")


def read_record(path: Path) -> Record | None:
    """The record of a file; None where it has none that makes sense."""
    try:
        with record_path(path).open("rb") as stream:
            values = json.loads(stream.read(_RECORD_LIMIT))
        record = Record(**values)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    kinds = Record.__annotations__
    names = {"str": str, "int": int, "bool": bool}
    fits = all(type(getattr(record, key)) is names[kind] for key, kind in kinds.items())
    return record if fits else None


def write_record(path: Path, record: Record) -> None:
    """Write it at once or not at all."""
    target = record_path(path)
    new = target.with_name(f"{target.name}.new")
    new.write_text(json.dumps(asdict(record), indent=2) + "\n", "utf-8")
    new.replace(target)


def find_parts(path: Path) -> list[Path]:
    """What interrupted downloads of a file have left."""
    if not path.parent.is_dir():
        return []
    start = len(path.name)
    return [
        each
        for each in path.parent.iterdir()
        if each.name.startswith(path.name) and _PART.fullmatch(each.name[start:])
    ]


def remove(path: Path) -> None:
    """Delete a file of the store with all that belongs to it, and folders that are empty then."""
    for each in (*find_parts(path), record_path(path), path):
        each.unlink(missing_ok=True)
    store = find_store().resolve()
    with contextlib.suppress(OSError):  # not empty
        for folder in path.resolve().parents:
            if folder == store or not folder.is_relative_to(store):
                break
            folder.rmdir()
