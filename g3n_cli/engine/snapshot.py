"""K/V on disk: what a conversation has computed, to go on without computing it again."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import npyio

from g3n_cli.config import EngineSettings, Widths
from g3n_cli.engine.gguf import GgufFile
from g3n_cli.engine.prompt import Key
from g3n_cli.errors import G3nError

VERSION = 1
_N_SAMPLES, _SAMPLE_BYTES = 64, 4096
_DAMAGE = (
    *(OSError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile),
    *(AttributeError, IndexError, KeyError, TypeError, ValueError),
)
"""What NumPy's and our own reading of a broken file raise."""

Rows = Mapping[str, npt.NDArray[np.uint8]]
"""K/V rows as they lie in the cache, in the order of their positions, by name: those of the last
positions, as many as there are."""


class StateError(G3nError):
    """A file of K/V that is broken, or of another model or other settings."""


@dataclass(frozen=True)
class State:
    """Computed positions.

    Attributes:
        keys: [n] their identities.
        widths: [n] of the nested model that computed each.
        n_kept: How many of them count whatever size computed them.
        rows: Their K/V: all rows of full layers, those in the window of sliding ones.
    """

    keys: tuple[Key, ...]
    widths: tuple[Widths, ...]
    n_kept: int
    rows: Rows

    def find_rest(self, first: State) -> Rows | None:
        """Rows of the positions after those of ``first``; None unless this begins with it.

        Whatever both hold must be the same, byte by byte.
        """
        n, n_first = len(self.keys), len(first.keys)
        if (self.keys[:n_first], self.widths[:n_first]) != (first.keys, first.widths):
            return None
        if self.rows.keys() != first.rows.keys():
            return None
        rest = {}
        for name, rows in self.rows.items():
            # Rows at its start that have left the window since.
            n_lost = (n - len(rows)) - (n_first - len(first.rows[name]))
            shared = first.rows[name][max(0, n_lost) :]
            if n_lost < 0 or not np.array_equal(shared, rows[: len(shared)]):
                return None
            rest[name] = rows[len(shared) :]
        return rest


def identify(gguf: GgufFile, settings: EngineSettings, kernels: str) -> str:
    """What K/V depends on: the model, and how it is computed.

    Of the model the header, with all tensors' names and places, the length and samples of its
    data: reading 3 GB at each start would cost more than it saves.
    """
    how = (VERSION, settings.kv, settings.act, kernels, settings.device, settings.gpu_layers)
    seen = hashlib.sha256(repr(how).encode())
    first = min((info.offset for info in gguf.tensors.values()), default=0)
    with gguf.path.open("rb") as file:
        seen.update(file.read(first))
        size = os.fstat(file.fileno()).st_size
        seen.update(str(size).encode())
        for i in range(_N_SAMPLES):
            file.seek(first + (size - first) * i // _N_SAMPLES)
            seen.update(file.read(_SAMPLE_BYTES))
    return seen.hexdigest()


def write_state(path: Path, identity: str, state: State, beginning: Path | None = None) -> int:
    """Write a state to a file that only its owner reads, all of it or nothing; its bytes.

    Args:
        path: The file.
        identity: See ``identify``.
        state: What is written.
        beginning: A file in the same folder. If the state begins with just what it holds, that is
            left out, and ``read_state`` takes it from there.

    Raises:
        OSError: it cannot be written.
    """
    n_first, rows, follows = 0, state.rows, None
    if beginning is not None:
        with suppress(StateError):  # what is gone or of something else leaves nothing out
            first, digest = _read_first(beginning, identity)
            if (rest := state.find_rest(first)) is not None:
                n_first, rows = len(first.keys), rest
                follows = {"file": beginning.name, "digest": digest}
    distinct = list(dict.fromkeys(state.widths))
    meta = {
        "version": VERSION,
        "identity": identity,
        "keys": state.keys[n_first:],
        "n_kept": state.n_kept,
        "sizes": distinct,
        "size_of": [distinct.index(widths) for widths in state.widths[n_first:]],
        "follows": follows,
        "n_rows": {name: len(array) for name, array in state.rows.items()},
    }
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            header = np.frombuffer(json.dumps(meta).encode(), np.uint8)
            np.savez(file, allow_pickle=False, meta=header, **rows)
        n_bytes = partial.stat().st_size  # once it is there, another process may delete it
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return n_bytes


def read_state(path: Path, identity: str) -> State:
    """Read what ``write_state`` wrote, with what it has left out.

    Raises:
        StateError: it is broken, or of another identity, or lacks its beginning.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            meta = json.loads(arrays["meta"].tobytes())
            state = _read_own(arrays, meta, identity)
        if follows := meta.get("follows"):
            first, digest = _read_first(path.with_name(Path(follows["file"]).name), identity)
            if digest != follows["digest"]:
                raise StateError("what it begins with was computed again since")
            state = _join(first, state, meta["n_rows"])
    except _DAMAGE as error:
        raise StateError(f"{path} is damaged") from error
    return replace(state, n_kept=min(state.n_kept, len(state.keys)))


def read_beginning_name(path: Path) -> str | None:
    """Name of the file that holds what a state begins with; None where nothing was left out.

    Raises:
        StateError: it is broken.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            follows = json.loads(arrays["meta"].tobytes()).get("follows")
            return str(follows["file"]) if follows else None
    except _DAMAGE as error:
        raise StateError(f"{path} is damaged") from error


def check_rows(rows: Rows, expected: Mapping[str, tuple[int, int]]) -> None:
    """Refuse K/V of another shape: ``expected`` gives rows and bytes of a row by name.

    Raises:
        StateError: it is.
    """
    if rows.keys() != expected.keys():
        raise StateError("what is saved has other layers")
    for name, shape in expected.items():
        if rows[name].dtype != np.uint8 or rows[name].shape != shape:
            raise StateError(f"what is saved of {name} is not {math.prod(shape)} bytes")


def _read_first(path: Path, identity: str) -> tuple[State, str]:
    """A state from whose file nothing was left out, and the digest of that file's content.

    The digest is that of the checksums with which ``zipfile`` compares what is read.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            meta = json.loads(arrays["meta"].tobytes())
            if meta.get("follows"):
                raise StateError(f"{path} is no beginning")
            members = [(member.filename, member.CRC) for member in arrays.zip.infolist()]
            digest = hashlib.sha256(repr(members).encode()).hexdigest()
            return _read_own(arrays, meta, identity), digest
    except FileNotFoundError as error:
        raise StateError("what it begins with is not kept any more") from error
    except _DAMAGE as error:
        raise StateError(f"{path} is damaged") from error


def _read_own(arrays: npyio.NpzFile, meta: Mapping[str, Any], identity: str) -> State:
    """What one file holds itself; raises those of ``_DAMAGE`` too."""
    if meta["identity"] != identity:
        raise StateError("another model, or other settings, computed what is saved")
    rows = {name: arrays[name] for name in arrays.files if name != "meta"}
    sizes = [tuple(map(int, widths)) for widths in meta["sizes"]]
    keys = tuple(map(_read_key, meta["keys"]))
    widths = tuple(sizes[i] for i in meta["size_of"])
    if len(keys) != len(widths):
        raise ValueError
    return State(keys, widths, int(meta["n_kept"]), rows)


def _join(first: State, rest: State, n_rows: Mapping[str, int]) -> State:
    """What ``State.find_rest`` took apart; ``n_rows`` are those of the whole."""
    rows = {}
    for name, own in rest.rows.items():
        known = first.rows[name]
        n_known = n_rows[name] - len(own)
        if not 0 <= n_known <= len(known):
            raise ValueError(n_known)
        rows[name] = np.concatenate([known[len(known) - n_known :], own])
    return State(first.keys + rest.keys, first.widths + rest.widths, rest.n_kept, rows)


def _read_key(value: object) -> Key:
    match value:
        case int():
            return value
        case [str(medium), int(index)]:
            return medium, index
        case _:
            raise ValueError(value)
