"""The tiny checkpoint, and changed copies of it."""

import json
import shutil
from pathlib import Path

import numpy as np

DATA = Path(__file__).parent.parent / "data" / "convert"
CHECKPOINT = DATA / "checkpoint"
FIRST, SECOND = (f"model-0000{i}-of-00002.safetensors" for i in (1, 2))
INDEX = "model.safetensors.index.json"


def copy_checkpoint(folder: Path) -> Path:
    """A copy to be changed."""
    return shutil.copytree(CHECKPOINT, folder / "tiny")


def edit_json(path: Path, change) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def read_header(path: Path) -> tuple[dict, bytes]:
    """Table and tensors of a safetensors file."""
    raw = path.read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    return json.loads(raw[8:end]), raw[end:]


def write_header(path: Path, table: object, body: bytes) -> None:
    raw = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + body)


def write_weights(path: Path, weights: dict[str, tuple[str, np.ndarray]]) -> None:
    """A safetensors file of (dtype, values as stored)."""
    table, body = {}, b""
    for name, (dtype, values) in weights.items():
        raw = values.tobytes()
        offsets = [len(body), len(body) + len(raw)]
        table[name] = {"dtype": dtype, "shape": list(values.shape), "data_offsets": offsets}
        body += raw
    write_header(path, table, body)
