"""K/V on disk: what a conversation has computed, to go on without computing it again."""

from __future__ import annotations

import hashlib
import json
import math
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

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
"""K/V rows as they lie in the cache, in the order of their positions, by name."""


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


def write_state(path: Path, identity: str, state: State) -> int:
    """Write a state to a file that only its owner reads, all of it or nothing; its bytes.

    Raises:
        OSError: it cannot be written.
    """
    distinct = list(dict.fromkeys(state.widths))
    meta = {
        "version": VERSION,
        "identity": identity,
        "keys": state.keys,
        "n_kept": state.n_kept,
        "sizes": distinct,
        "size_of": [distinct.index(widths) for widths in state.widths],
    }
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            header = np.frombuffer(json.dumps(meta).encode(), np.uint8)
            np.savez(file, allow_pickle=False, meta=header, **state.rows)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path.stat().st_size


def read_state(path: Path, identity: str) -> State:
    """Read what ``write_state`` wrote.

    Raises:
        StateError: it is broken, or of another identity.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            meta = json.loads(arrays["meta"].tobytes())
            if meta["identity"] != identity:
                raise StateError("another model, or other settings, computed what is saved")
            rows = {name: arrays[name] for name in arrays.files if name != "meta"}
        sizes = [tuple(map(int, widths)) for widths in meta["sizes"]]
        keys = tuple(map(_read_key, meta["keys"]))
        widths = tuple(sizes[i] for i in meta["size_of"])
        if len(keys) != len(widths):
            raise ValueError
        return State(keys, widths, min(int(meta["n_kept"]), len(keys)), rows)
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


def _read_key(value: object) -> Key:
    match value:
        case int():
            return value
        case [str(medium), int(index)]:
            return medium, index
        case _:
            raise ValueError(value)
