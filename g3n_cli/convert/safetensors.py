"""Reading published weights: a folder of safetensors files, window by window.

The format is eight bytes of length, a JSON table of that length, then the tensors; so no library is
needed, and every offset is checked before anything is read.

Source: the format's description in the safetensors repository.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from g3n_cli.errors import ModelError

INDEX = "model.safetensors.index.json"
Floats = npt.NDArray[np.float32]

_DTYPES: dict[str, npt.DTypeLike] = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
_SIZES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64"), 8),
}
_MOST_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class Weight:
    """One tensor of a checkpoint.

    Attributes:
        name: As in the file.
        dtype: ``BF16``, ``F16``, ``F32`` or one that cannot be converted.
        shape: Extents, the last one contiguous.
        path: The file that holds it.
        offset: Its first byte there.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    path: Path
    offset: int

    def check_dtype(self) -> None:
        """Refuse what is not a plain float.

        Raises:
            ModelError: names the tensor and its type.
        """
        if self.dtype not in _DTYPES:
            raise ModelError(
                f"{self.path}: tensor {self.name!r} is of type {self.dtype}",
                "take the original weights, in BF16, F16 or F32",
            )

    def read(self, start: int, count: int) -> Floats:
        """``count`` values from the ``start``-th on, in float32.

        Raises:
            ModelError: the file cannot be read, or ends too soon.
        """
        dtype = np.dtype(_DTYPES[self.dtype])
        try:
            raw = np.fromfile(self.path, dtype, count, offset=self.offset + start * dtype.itemsize)
        except OSError as error:
            raise ModelError(f"cannot read {self.path}: {error.strerror}") from error
        if len(raw) != count:
            raise ModelError(f"{self.path} became shorter while it was read")
        if self.dtype == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32, copy=False)


def open_weights(folder: Path) -> dict[str, Weight]:
    """The tensors of all safetensors files of a folder, by name.

    Raises:
        ModelError: there are none, a file of the index is missing, or a file is damaged.
    """
    if (folder / INDEX).is_file():
        return _open_indexed(folder)
    paths = sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    if not paths:
        raise ModelError(
            f"{folder} holds no safetensors files",
            "give the folder of a model as published on Hugging Face",
        )
    weights: dict[str, Weight] = {}
    for path in paths:
        for name, weight in _read_header(path).items():
            if name in weights:
                raise ModelError(f"{path}: tensor {name!r} is in {weights[name].path.name} too")
            weights[name] = weight
    return weights


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object in a file.

    Raises:
        ModelError: it is missing, or holds something else.
    """
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is not JSON") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object")
    return value


def _open_indexed(folder: Path) -> dict[str, Weight]:
    table = read_json(folder / INDEX).get("weight_map")
    if not isinstance(table, dict) or not all(
        isinstance(file, str) and Path(file).name == file for file in table.values()
    ):
        raise ModelError(f"{folder / INDEX} names no files of this folder")
    files = sorted(set(table.values()))
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise ModelError(
            f"{folder}: {missing[0]} is missing, {len(missing)} of {len(files)} files",
            "download the rest of the model",
        )
    headers = {file: _read_header(folder / file) for file in files}
    for name, file in table.items():
        if name not in headers[file]:
            raise ModelError(f"{folder / file} lacks tensor {name!r}, which the index promises")
    return {name: headers[file][name] for name, file in table.items()}


def _read_header(path: Path) -> dict[str, Weight]:
    """The checked table of one file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            n_header = int.from_bytes(file.read(8), "little")
            if size < 8 or n_header > min(size - 8, _MOST_HEADER_BYTES):
                raise _damaged(path, "it ends within its header")
            raw = file.read(n_header)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    try:
        table = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "its header is not JSON") from error
    if not isinstance(table, dict):
        raise _damaged(path, "its header is no table")
    table.pop("__metadata__", None)
    start, at = 8 + n_header, 0
    weights: dict[str, Weight] = {}
    spans = [(*_check_entry(path, name, entry), name) for name, entry in table.items()]
    for begin, end, name in sorted(spans):
        if begin < at:
            raise _damaged(path, f"tensor {name!r} overlaps another")
        if end > size - start:
            raise _damaged(path, f"tensor {name!r} ends behind the end of the file")
        at = end
        entry = table[name]
        shape = tuple(entry["shape"])
        weights[name] = Weight(name, entry["dtype"], shape, path, start + begin)
    return weights


def _check_entry(path: Path, name: str, entry: object) -> tuple[int, int]:
    """Where a tensor begins and ends, if its shape says the same."""
    match entry:
        case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(begin), int(end)]}:
            pass
        case _:
            raise _damaged(path, f"tensor {name!r} lacks a type, shape or place")
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise _damaged(path, f"tensor {name!r} has the shape {shape}")
    if dtype in _SIZES and end - begin != math.prod(shape) * _SIZES[dtype]:
        raise _damaged(path, f"tensor {name!r} of {shape} in {dtype} takes {end - begin} bytes")
    return begin, end


def _damaged(path: Path, fault: str) -> ModelError:
    return ModelError(f"{path} is not a usable safetensors file: {fault}")
